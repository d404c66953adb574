//! One record of the spool as bytes: what is waiting, with a length and a checksum, so that a torn or damaged one is
//! known for what it is. Written and read by the segments.
//!
//! ```text
//! segment:  "RCSPOOL\n" | version u32 | length of id u32 | id of the store | crc32 of these
//! record:   "RcS1" | length u32 | rows u32 | oldest i64 | crc32 of these and the payload | payload: JSON
//! ```
//! All numbers are little-endian.

use std::ops::Range;
use std::sync::Arc;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use crate::domain::ids::VehicleKey;
use crate::domain::time::Millis;
use crate::domain::transition::{Cause, Change, Evidence, Status, Transition};
use crate::store::ObservationGap;

/// Version of the form of segments and records. A later form gets another number and its own reader.
pub const VERSION: u32 = 1;
const SEGMENT_MARK: [u8; 8] = *b"RCSPOOL\n";
const RECORD_MARK: [u8; 4] = *b"RcS1";
const HEAD_BYTES: usize = 24;
/// Longer than any record we write (1,000 transitions are about 400 KB, at the very most 2 MB). Its highest byte is no
/// letter, so no text inside a payload passes for a record.
const PAYLOAD_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What waits for the store: transitions in their order, and blind intervals.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Entry {
    /// Transitions, in the order they were decided.
    pub transitions: Vec<Transition>,
    /// Blind intervals.
    pub gaps: Vec<ObservationGap>,
}

#[derive(Serialize, Deserialize)]
struct Payload<'a> {
    #[serde(borrow)]
    transitions: Vec<Row<'a>>,
    gaps: Vec<(String, Millis, Option<Millis>, String)>,
}

/// Names are written as text with escapes where JSON needs them, so they are read into owned texts.
#[derive(Serialize, Deserialize)]
struct Row<'a> {
    customer: std::borrow::Cow<'a, str>,
    vehicle: std::borrow::Cow<'a, str>,
    seq: u64,
    from: Status,
    to: Status,
    at: Millis,
    decided_at: Millis,
    cause: Cause,
    last_seen: Option<Millis>,
    deadline: Option<Millis>,
    evidence: std::borrow::Cow<'a, Evidence>,
}

impl<'a> From<&'a Transition> for Row<'a> {
    fn from(transition: &'a Transition) -> Self {
        let Transition { key, change, decided_at, evidence } = transition;
        let Change { seq, from, to, at, cause, last_seen, deadline } = *change;
        let (customer, vehicle) = ((*key.customer).into(), (*key.vehicle).into());
        let evidence = std::borrow::Cow::Borrowed(evidence);
        Self { customer, vehicle, seq, from, to, at, decided_at: *decided_at, cause, last_seen, deadline, evidence }
    }
}

impl From<Row<'_>> for Transition {
    fn from(row: Row<'_>) -> Self {
        let key = VehicleKey { customer: (&*row.customer).into(), vehicle: (&*row.vehicle).into() };
        let Row { seq, from, to, at, cause, last_seen, deadline, .. } = row;
        let change = Change { seq, from, to, at, cause, last_seen, deadline };
        Self { key: Arc::new(key), change, decided_at: row.decided_at, evidence: row.evidence.into_owned() }
    }
}

/// The head of a segment of this store.
pub fn segment_head(identity: &str) -> Vec<u8> {
    let mut bytes = SEGMENT_MARK.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((identity.len() as u32).to_le_bytes());
    bytes.extend(identity.as_bytes());
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

/// What the head of a segment says.
#[derive(Debug, PartialEq, Eq)]
pub enum Head {
    /// Of this store; records begin here.
    Ours(usize),
    /// Of another store.
    Foreign,
    /// Of a form that this program does not know.
    Newer(u32),
    /// Torn or damaged.
    Unreadable,
}

/// Reads the head of a segment.
pub fn read_head(bytes: &[u8], identity: &str) -> Head {
    let number = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    let (Some(version), Some(length), true) = (number(8), number(12), bytes.starts_with(&SEGMENT_MARK)) else {
        return Head::Unreadable;
    };
    let end = 16usize.saturating_add(length as usize);
    let whole = bytes.get(..end).is_some_and(|head| number(end) == Some(crc32fast::hash(head)));
    match (whole, version) {
        (false, _) => Head::Unreadable,
        (true, VERSION) if &bytes[16..end] == identity.as_bytes() => Head::Ours(end + 4),
        (true, VERSION) => Head::Foreign,
        (true, newer) => Head::Newer(newer),
    }
}

/// The bytes of a record.
///
/// # Errors
/// It is longer than a record may be.
pub fn encode(transitions: &[Arc<Transition>], gaps: &[ObservationGap]) -> anyhow::Result<Vec<u8>> {
    let rows = transitions.iter().map(|transition| Row::from(&**transition)).collect();
    let intervals = gaps.iter().map(|gap| (gap.scope.clone(), gap.from, gap.to, gap.cause.clone())).collect();
    let mut bytes = vec![0; HEAD_BYTES];
    serde_json::to_writer(&mut bytes, &Payload { transitions: rows, gaps: intervals })?;
    let length = bytes.len() - HEAD_BYTES;
    ensure!(length <= PAYLOAD_BYTES_MAX, "{} transitions are too long for one record", transitions.len());
    let began = transitions.iter().map(|transition| transition.decided_at).chain(gaps.iter().map(|gap| gap.from));
    let oldest = began.min().unwrap_or(0);
    bytes[..4].copy_from_slice(&RECORD_MARK);
    bytes[4..8].copy_from_slice(&(length as u32).to_le_bytes());
    bytes[8..12].copy_from_slice(&(transitions.len() as u32).to_le_bytes());
    bytes[12..20].copy_from_slice(&oldest.to_le_bytes());
    let checksum = checksum(&bytes);
    bytes[20..24].copy_from_slice(&checksum.to_le_bytes());
    Ok(bytes)
}

fn checksum(record: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&record[..20]);
    hasher.update(&record[HEAD_BYTES..]);
    hasher.finalize()
}

/// Where a sound record lies, and what its head says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its bytes.
    pub bytes: Range<usize>,
    /// Transitions in it.
    pub rows: u64,
    /// When the first thing in it happened.
    pub oldest: Millis,
}

/// The sound record that begins here, if one does.
fn sound(bytes: &[u8], from: usize) -> Option<Place> {
    let head: &[u8; HEAD_BYTES] = bytes.get(from..from + HEAD_BYTES)?.try_into().ok()?;
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let length = word(4) as usize;
    if head[..4] != RECORD_MARK || length > PAYLOAD_BYTES_MAX {
        return None;
    }
    let end = from + HEAD_BYTES + length;
    let record = bytes.get(from..end)?;
    let oldest = Millis::from_le_bytes(head[12..20].try_into().ok()?);
    (checksum(record) == word(20)).then_some(Place { bytes: from..end, rows: word(8).into(), oldest })
}

/// Finds the sound record that begins at `from`, or, when that is damaged, the next one behind it; none when nothing
/// readable follows. A damaged length misleads nobody: the next mark with a fitting checksum counts.
pub fn next(bytes: &[u8], from: usize) -> Option<Place> {
    let here = sound(bytes, from);
    here.or_else(|| {
        let marks = memchr::memmem::find_iter(bytes.get(from..)?, &RECORD_MARK);
        marks.into_iter().find_map(|at| sound(bytes, from + at))
    })
}

/// What a sound record holds.
///
/// # Errors
/// It is not in the form that this version writes.
pub fn decode(record: &[u8]) -> anyhow::Result<Entry> {
    let payload = record.get(HEAD_BYTES..).context("a record without a payload")?;
    let Payload { transitions, gaps } = serde_json::from_slice(payload).context("a record that is not in our form")?;
    let gaps = gaps.into_iter().map(|(scope, from, to, cause)| ObservationGap { scope, from, to, cause });
    Ok(Entry { transitions: transitions.into_iter().map(Transition::from).collect(), gaps: gaps.collect() })
}
