//! The wire language of `rollcall.v1.bin`: rows as little-endian columns, so that a page looks at them in place. Used
//! by the feed for snapshots and deltas, by the reader for transitions. docs/protocol.md describes it byte by byte.
//!
//! A frame is a header of 32 bytes and its columns, widest numbers first, so that each column is aligned; texts last.

use bytes::Bytes;

use crate::domain::board::{Board, Group, Row, Slot, Version};
use crate::domain::ids::VehicleKey;
use crate::domain::time::Millis;
use crate::domain::transition::{Status, Transition};

/// Version of this language; a client that does not know it must not go on.
const FORMAT: u8 = 1;
/// Length of the header.
const HEADER_BYTES: usize = 32;
/// No frame on the socket is longer, as in JSON; the snapshot is no frame on the socket.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;
/// What each kind of row takes, so that so many fit into a frame.
const HEARD_ROW_BYTES: usize = 25;
const TURNED_ROW_BYTES: usize = 17;
const LEFT_ROW_BYTES: usize = 4;
/// A whole row without its texts.
const WHOLE_ROW_BYTES: usize = 42;
/// Numbers that mean "not known".
const NO_PLACE: i32 = i32::MIN;
const NO_TENTHS: u16 = u16::MAX;
const NO_PERCENT: u8 = u8::MAX;
/// Stands for a vehicle that has left meanwhile.
const NO_SLOT: Slot = Slot::MAX;
/// The last frame of a delta says how many it took, so that one that was lost on the way is missed. The others say
/// this.
const UNTOLD: u16 = 0;
/// Between the items of a list of texts, and between the tags of one vehicle. Neither occurs in a text.
const BETWEEN_TEXTS: u8 = b'\n';
const BETWEEN_TAGS: u8 = 0x1f;

/// What a frame is.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Snapshot = 1,
    Joined = 2,
    Left = 3,
    Turned = 4,
    Heard = 5,
    Transitions = 6,
}

/// Writes the whole fleet of a filter.
pub fn snapshot(rows: &[&Row], epoch: &str, version: Version, at: Millis) -> Bytes {
    let texts: usize = rows.iter().map(|row| text_bytes(row)).sum();
    let mut body = Vec::with_capacity(rows.len() * WHOLE_ROW_BYTES + texts + 1024);
    whole_rows(&mut body, rows);
    text_list(&mut body, [epoch]);
    text_list(&mut body, Status::ALL.map(Status::word));
    frame(Kind::Snapshot, rows.len(), (0, version), UNTOLD, at, &body)
}

/// Writes transitions in one frame, each with the slot its vehicle has now.
pub fn transitions(board: &Board, list: &[&Transition], at: Millis) -> Bytes {
    let slot = |key: &VehicleKey| board.find(&key.customer, &key.vehicle).map_or(NO_SLOT, |row| row.state.slot);
    let mut body = Vec::new();
    float64(&mut body, list.iter().map(|one| one.change.at as f64));
    float64(&mut body, list.iter().map(|one| one.decided_at as f64));
    uint32(&mut body, list.iter().map(|one| slot(&one.key)));
    uint32(&mut body, list.iter().map(|one| one.change.seq as u32));
    body.extend(list.iter().map(|one| one.change.from as u8));
    body.extend(list.iter().map(|one| one.change.to as u8));
    body.extend(list.iter().map(|one| one.change.cause as u8));
    frame(Kind::Transitions, list.len(), (0, 0), UNTOLD, at, &body)
}

/// Collects the rows of a delta and writes them as one frame or several, by the same rule as in JSON: all but the last
/// lead from the old version to the old version.
pub struct DeltaWriter<'a> {
    from: Version,
    to: Version,
    /// Frames of this delta that were written before these.
    before: usize,
    left: Vec<Slot>,
    joined: Vec<&'a Row>,
    turned: Vec<&'a Row>,
    heard: Vec<&'a Row>,
}

impl<'a> DeltaWriter<'a> {
    /// Begins a delta between two versions, or goes on with one of which so many frames were written before.
    pub fn new(from: Version, to: Version, before: usize) -> Self {
        Self { from, to, before, left: Vec::new(), joined: Vec::new(), turned: Vec::new(), heard: Vec::new() }
    }

    /// A vehicle that left, or left the filter.
    pub fn left(&mut self, slot: Slot) {
        self.left.push(slot);
    }

    /// A vehicle that is new to the client, or whose names changed.
    pub fn joined(&mut self, row: &'a Row) {
        self.joined.push(row);
    }

    /// A row of which the client knows an older state.
    pub fn changed(&mut self, row: &'a Row) {
        if row.joined_after(self.from) || row.changed_after(Group::Registry, self.from) {
            return self.joined.push(row);
        }
        if row.changed_after(Group::Status, self.from) {
            self.turned.push(row);
        }
        if [Group::Seen, Group::Place, Group::Gauges].into_iter().any(|group| row.changed_after(group, self.from)) {
            self.heard.push(row);
        }
    }

    /// The frames; at least one, which leads to the new version.
    pub fn finish(self, at: Millis) -> Vec<Bytes> {
        let room = FRAME_BYTES_MAX - HEADER_BYTES;
        let mut parts = Vec::new();
        let left = self.left.chunks(room / LEFT_ROW_BYTES);
        parts.extend(left.map(|slots| (Kind::Left, slots.len(), left_rows(slots))));
        let joined = in_parts(&self.joined, room - 256);
        parts.extend(joined.into_iter().map(|rows| (Kind::Joined, rows.len(), written(rows, whole_rows))));
        let turned = self.turned.chunks(room / TURNED_ROW_BYTES);
        parts.extend(turned.map(|rows| (Kind::Turned, rows.len(), written(rows, turned_rows))));
        let heard = self.heard.chunks(room / HEARD_ROW_BYTES);
        parts.extend(heard.map(|rows| (Kind::Heard, rows.len(), written(rows, heard_rows))));
        if parts.is_empty() {
            parts.push((Kind::Heard, 0, Vec::new()));
        }
        let last = parts.len() - 1;
        let all = u16::try_from(self.before + parts.len()).unwrap_or(UNTOLD);
        // Where the versions are the same, more of this delta follows.
        let ends = |i: usize| i == last && self.to != self.from;
        let version = |i: usize| if i == last { self.to } else { self.from };
        let frames = |i: usize| if ends(i) { all } else { UNTOLD };
        let parts = parts.iter().enumerate();
        parts
            .map(|(i, (kind, count, body))| frame(*kind, *count, (self.from, version(i)), frames(i), at, body))
            .collect()
    }
}

/// Cuts rows with texts so that no part takes more than `bytes_max`; a row that does alone is a part alone.
fn in_parts<'a, 'b>(rows: &'b [&'a Row], bytes_max: usize) -> Vec<&'b [&'a Row]> {
    let (mut parts, mut from, mut bytes) = (Vec::new(), 0, 0);
    for (i, row) in rows.iter().enumerate() {
        // Its customer may be the first of that name in the part.
        let more = WHOLE_ROW_BYTES + text_bytes(row) + row.key.customer.len() + 1;
        if bytes + more > bytes_max && i > from {
            parts.push(&rows[from..i]);
            (from, bytes) = (i, 0);
        }
        bytes += more;
    }
    parts.extend((from < rows.len()).then(|| &rows[from..]));
    parts
}

fn frame(kind: Kind, count: usize, (from, to): (Version, Version), frames: u16, at: Millis, body: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(HEADER_BYTES + body.len());
    frame.extend([kind as u8, FORMAT]);
    uint16(&mut frame, [frames]);
    uint32(&mut frame, [count as u32, from, to]);
    float64(&mut frame, [at as f64]);
    uint32(&mut frame, [body.len() as u32, 0]);
    frame.extend_from_slice(body);
    frame.into()
}

fn written(rows: &[&Row], write: impl Fn(&mut Vec<u8>, &[&Row])) -> Vec<u8> {
    let mut body = Vec::new();
    write(&mut body, rows);
    body
}

fn left_rows(slots: &[Slot]) -> Vec<u8> {
    let mut body = Vec::with_capacity(slots.len() * LEFT_ROW_BYTES);
    uint32(&mut body, slots.iter().copied());
    body
}

fn turned_rows(body: &mut Vec<u8>, rows: &[&Row]) {
    float64(body, rows.iter().map(|row| time(row.state.since)));
    uint32(body, rows.iter().map(|row| row.state.slot));
    uint32(body, rows.iter().map(|row| row.state.seq as u32));
    body.extend(rows.iter().map(|row| row.state.status as u8));
}

fn heard_rows(body: &mut Vec<u8>, rows: &[&Row]) {
    float64(body, rows.iter().map(|row| time(row.state.last_seen)));
    uint32(body, rows.iter().map(|row| row.state.slot));
    places(body, rows);
    gauges(body, rows);
}

fn whole_rows(body: &mut Vec<u8>, rows: &[&Row]) {
    float64(body, rows.iter().map(|row| time(row.state.last_seen)));
    float64(body, rows.iter().map(|row| time(row.state.since)));
    uint32(body, rows.iter().map(|row| row.state.slot));
    places(body, rows);
    uint32(body, rows.iter().map(|row| row.state.seq as u32));
    let customers = Customers::of(rows);
    uint32(body, rows.iter().map(|row| customers.number(row)));
    gauges(body, rows);
    body.extend(rows.iter().map(|row| row.state.status as u8));
    pad(body);
    text_list(body, customers.names.iter().copied());
    text_list(body, rows.iter().map(|row| &*row.key.vehicle));
    let registered = |row: &&'_ Row| row.registered.is_some();
    if rows.iter().any(registered) {
        text_list(body, rows.iter().map(|row| row.registered.as_ref().and_then(|r| r.name.as_deref()).unwrap_or("")));
        let plate = |row: &&Row| row.registered.as_ref().and_then(|r| r.registration.clone()).unwrap_or_default();
        text_list(body, rows.iter().map(plate));
        text_list(body, rows.iter().map(|row| row.registered.as_ref().and_then(|r| r.vin.as_deref()).unwrap_or("")));
        tag_list(body, rows);
    } else {
        (0..4).for_each(|_| text_list(body, [""; 0]));
    }
}

fn places(body: &mut Vec<u8>, rows: &[&Row]) {
    let place = |row: &&Row| row.state.latest.position;
    int32(body, rows.iter().map(|row| place(row).map_or(NO_PLACE, |at| degrees(at.lat))));
    int32(body, rows.iter().map(|row| place(row).map_or(NO_PLACE, |at| degrees(at.lon))));
}

/// Speed, heading and charge.
fn gauges(body: &mut Vec<u8>, rows: &[&Row]) {
    let place = |row: &&Row| row.state.latest.position;
    uint16(body, rows.iter().map(|row| tenths(place(row).and_then(|at| at.speed_kmh))));
    uint16(body, rows.iter().map(|row| tenths(place(row).and_then(|at| at.heading_deg))));
    body.extend(
        rows.iter().map(|row| row.state.latest.battery_pct.map_or(NO_PERCENT, |fact| fact.value.round() as u8)),
    );
}

/// The customers of some rows, each once, and the number of each row's.
struct Customers<'a> {
    names: Vec<&'a str>,
    numbers: std::collections::HashMap<&'a str, u32>,
}

impl<'a> Customers<'a> {
    fn of(rows: &[&'a Row]) -> Self {
        let mut list = Self { names: Vec::new(), numbers: std::collections::HashMap::new() };
        for row in rows {
            let name = &*row.key.customer;
            if !list.numbers.contains_key(name) {
                list.numbers.insert(name, list.names.len() as u32);
                list.names.push(name);
            }
        }
        list
    }

    fn number(&self, row: &Row) -> u32 {
        self.numbers.get(&*row.key.customer).copied().unwrap_or(0)
    }
}

/// An upper bound of the texts of a row, with what stands between them.
fn text_bytes(row: &Row) -> usize {
    let registered = row.registered.as_deref().map_or(0, |r| {
        let texts = [&r.name, &r.registration, &r.vin].into_iter().flatten();
        texts.map(|text| text.len()).sum::<usize>() + r.tags.iter().map(|tag| tag.len() + 1).sum::<usize>()
    });
    row.key.vehicle.len() + registered + 5
}

/// Number of texts, their bytes, and the texts one after another; padded to four bytes. No text at all is written as a
/// list of none.
fn text_list<T: AsRef<str>>(body: &mut Vec<u8>, texts: impl IntoIterator<Item = T>) {
    let start = body.len();
    uint32(body, [0, 0]);
    let mut count = 0_u32;
    for text in texts {
        if count > 0 {
            body.push(BETWEEN_TEXTS);
        }
        count += 1;
        clean(body, text.as_ref());
    }
    close_list(body, start, count);
}

fn tag_list(body: &mut Vec<u8>, rows: &[&Row]) {
    let start = body.len();
    uint32(body, [0, 0]);
    for (i, row) in rows.iter().enumerate() {
        if i > 0 {
            body.push(BETWEEN_TEXTS);
        }
        for (n, tag) in row.registered.iter().flat_map(|r| &*r.tags).enumerate() {
            if n > 0 {
                body.push(BETWEEN_TAGS);
            }
            clean(body, tag);
        }
    }
    close_list(body, start, rows.len() as u32);
}

fn close_list(body: &mut Vec<u8>, start: usize, count: u32) {
    let bytes = (body.len() - start - 8) as u32;
    body[start..start + 4].copy_from_slice(&count.to_le_bytes());
    body[start + 4..start + 8].copy_from_slice(&bytes.to_le_bytes());
    pad(body);
}

/// Identifiers hold no control characters; in a name one comes as a space, so that none is taken for a separator.
fn clean(body: &mut Vec<u8>, text: &str) {
    body.extend(text.bytes().map(|byte| if byte < 0x20 { b' ' } else { byte }));
}

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

fn time(at: Option<Millis>) -> f64 {
    at.map_or(f64::NAN, |at| at as f64)
}

/// Ten-millionths of a degree: about a centimetre.
fn degrees(value: f64) -> i32 {
    (value * 1e7).round() as i32
}

fn tenths(value: Option<f32>) -> u16 {
    value.map_or(NO_TENTHS, |value| (value * 10.0).round() as u16)
}

fn float64(body: &mut Vec<u8>, values: impl IntoIterator<Item = f64>) {
    values.into_iter().for_each(|value| body.extend(value.to_le_bytes()));
}

fn uint32(body: &mut Vec<u8>, values: impl IntoIterator<Item = u32>) {
    values.into_iter().for_each(|value| body.extend(value.to_le_bytes()));
}

fn int32(body: &mut Vec<u8>, values: impl IntoIterator<Item = i32>) {
    values.into_iter().for_each(|value| body.extend(value.to_le_bytes()));
}

fn uint16(body: &mut Vec<u8>, values: impl IntoIterator<Item = u16>) {
    values.into_iter().for_each(|value| body.extend(value.to_le_bytes()));
}

#[cfg(test)]
#[path = "columns_tests.rs"]
pub mod tests;
