//! What hub and readers share: the board, the newest transitions, whether we hear, and the frames of this tick.
//! Written by the hub; read by every session, by REST and by the publisher of statuses. Equal frames are written once
//! and shared as bytes.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use bytestring::ByteString;
use foldhash::quality::FixedState;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::columns;
use super::protocol::{DeltaWriter, Frame, VehicleView};
use super::wire::{Message, Wire};
use crate::clock::Clock;
use crate::domain::board::{Board, Group, Row, Slot, Version};
use crate::domain::ids::VehicleKey;
use crate::domain::query::Filter;
use crate::domain::time::{Millis, rfc3339};
use crate::domain::transition::Transition;

/// Newest transitions kept for sessions, some 350 bytes each: 23 MB, and as much again for the frames where somebody
/// follows in JSON. A session further behind is told how many it missed and reads them by REST.
pub const TRANSITIONS_MAX: usize = 65_536;
/// Different deltas kept within one tick: one a filter and version; past it, rare ones are written twice.
const DELTAS_MAX: usize = 256;

/// How long a snapshot is shared, milliseconds. The deltas since then bring whoever gets it up to date; told by time,
/// for versions stand still while nobody follows.
const SNAPSHOT_AGE_MAX: Millis = 1_000;

/// Rows of a delta up to which it is kept as frames (about half a megabyte in both, and in columns more than a tick of
/// a fast fleet); a longer one is written part by part, for the client may be slow.
const fn rows_at_once_max(wire: Wire) -> usize {
    match wire {
        Wire::Json => 2_000,
        Wire::Columns => 20_000,
    }
}

/// Rows written for one part of a long delta: about one frame.
const fn rows_a_part(wire: Wire) -> usize {
    match wire {
        Wire::Json => 100,
        Wire::Columns => 1_000,
    }
}

/// Whether Rollcall itself hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// It does.
    pub listening: bool,
    /// Since when it does, or does not.
    pub since: Option<Millis>,
    /// Which part does not: `process`, `link` or `intake`; empty when all do.
    pub scope: String,
    /// Why not.
    pub cause: String,
}

/// One transition as every session sends it.
#[derive(Debug)]
pub struct Sent {
    /// Its number among all transitions of this run.
    pub number: u64,
    /// The transition itself.
    pub transition: Arc<Transition>,
    version: Version,
    frame: OnceLock<ByteString>,
}

impl Sent {
    /// The frame in JSON: finished by the first session that needs it, and the same for all others.
    pub fn frame(&self) -> ByteString {
        self.frame.get_or_init(|| Frame::transition(&self.transition)).clone()
    }

    /// Whether a filter shows it: its customer, and the status before or after.
    pub fn is_in(&self, filter: &Filter) -> bool {
        let change = &self.transition.change;
        filter.allows_customer(&self.transition.key.customer)
            && (filter.statuses.allows(change.from) || filter.statuses.allows(change.to))
    }
}

/// Finished deltas by language, filter and the versions they lead from and to.
type Deltas = HashMap<(Wire, Filter, Version, Version), Arc<[Message]>>;

/// The shared state of the live push.
pub struct Feed {
    board: RwLock<Board>,
    transitions: RwLock<VecDeque<Arc<Sent>>>,
    newest: watch::Sender<u64>,
    observation: RwLock<(u64, Observation)>,
    deltas: Mutex<Deltas>,
    /// The last snapshot in columns and when it was written: 53 bytes a vehicle.
    snapshot: Mutex<Option<(Filter, Millis, Bytes)>>,
    dashboards: AtomicUsize,
    pushed_until: AtomicI64,
    epoch: String,
    tick: Millis,
    clock: Clock,
}

impl Feed {
    /// An empty board that does not hear yet.
    pub fn new(clock: Clock, tick: Millis) -> Self {
        let (since, scope) = (Some(clock.now()), "process".into());
        let started = Observation { listening: false, since, scope, cause: "start".into() };
        Self {
            board: RwLock::default(),
            transitions: RwLock::default(),
            newest: watch::Sender::new(0),
            observation: RwLock::new((1, started)),
            deltas: Mutex::default(),
            snapshot: Mutex::default(),
            dashboards: AtomicUsize::new(0),
            pushed_until: AtomicI64::new(clock.now()),
            epoch: format!("{:x}-{:x}", clock.started_at(), std::process::id()),
            tick,
            clock,
        }
    }

    /// The board, to read. Hold it briefly: the hub waits for readers.
    pub fn board(&self) -> parking_lot::RwLockReadGuard<'_, Board> {
        self.board.read()
    }

    /// The board, to write; for the hub only.
    pub(super) fn board_mut(&self) -> parking_lot::RwLockWriteGuard<'_, Board> {
        self.board.write()
    }

    /// The clock everything here is dated by.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// New with every start and different for every filter, so that a version is never resumed under another one.
    pub fn epoch(&self, filter: &Filter) -> String {
        format!("{}-{:x}", self.epoch, FixedState::default().hash_one(filter) as u32)
    }

    /// The first frame of a connection, and of each change of its filter.
    pub fn hello(&self, filter: &Filter) -> ByteString {
        let (version, server_time) = (self.board().version(), rfc3339(self.clock.today()));
        let service = env!("CARGO_PKG_VERSION");
        Frame::Hello { epoch: &self.epoch(filter), version, tick_ms: self.tick, server_time, service }.encode()
    }

    /// Whether we hear, with a number that counts its changes.
    pub fn observation(&self) -> (u64, Observation) {
        self.observation.read().clone()
    }

    /// The same, if it changed after the change of this number.
    pub fn observation_after(&self, number: u64) -> Option<(u64, Observation)> {
        let observation = self.observation.read();
        (observation.0 != number).then(|| observation.clone())
    }

    pub(super) fn set_observation(&self, new: Observation) {
        let mut observation = self.observation.write();
        if observation.1 != new {
            *observation = (observation.0 + 1, new);
        }
    }

    /// The observation frame.
    pub fn observation_frame(observation: &Observation) -> ByteString {
        let Observation { listening, since, scope, cause } = observation;
        Frame::Observation { listening: *listening, since: since.map(rfc3339), scope, cause }.encode()
    }

    /// Closes the tick.
    pub(super) fn publish(&self) -> Version {
        self.deltas.lock().clear();
        let until = self.clock.now();
        let version = self.board.write().publish();
        self.pushed_until.store(until, Relaxed);
        version
    }

    /// Everything that was on the board then has been offered to dashboards.
    pub fn pushed_until(&self) -> Millis {
        self.pushed_until.load(Relaxed)
    }

    /// Durable transitions, for everybody who follows.
    pub(super) fn push_transitions(&self, new: impl IntoIterator<Item = Arc<Transition>>) {
        let version = self.board().version();
        let mut list = self.transitions.write();
        let first = list.back().map_or(1, |last| last.number + 1);
        for (number, transition) in (first..).zip(new) {
            list.push_back(Arc::new(Sent { number, transition, version, frame: OnceLock::new() }));
            if list.len() > TRANSITIONS_MAX {
                list.pop_front();
            }
        }
        let newest = list.back().map_or(0, |last| last.number);
        drop(list);
        self.newest.send_replace(newest);
    }

    /// Number of the newest transition.
    pub fn newest_transition(&self) -> u64 {
        self.transitions.read().back().map_or(0, |last| last.number)
    }

    /// Tells the number of the newest transition whenever there is a newer one.
    pub fn newest_transitions(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// The transitions after `number` themselves, in order: how many are no longer here, and at most `limit` others
    /// with their numbers.
    pub fn durable_after(&self, number: u64, limit: usize) -> (u64, Vec<(u64, Arc<Transition>)>) {
        let list = self.transitions.read();
        let Some(oldest) = list.front().map(|sent| sent.number) else { return (0, Vec::new()) };
        let known = (number + 1).saturating_sub(oldest) as usize;
        let kept = list.iter().skip(known).take(limit);
        let missed = oldest.saturating_sub(number + 1);
        (missed, kept.map(|sent| (sent.number, Arc::clone(&sent.transition))).collect())
    }

    /// Number of the last transition that a client at this version has been shown.
    pub fn transition_at(&self, version: Version) -> u64 {
        let list = self.transitions.read();
        let first_after = list.partition_point(|sent| sent.version < version);
        list.get(first_after).map_or_else(|| list.back().map_or(0, |last| last.number), |sent| sent.number - 1)
    }

    /// The transitions after `number` in a filter: how many are no longer here, at most `limit` of them, and the number
    /// to go on from.
    pub fn transitions_after(&self, number: u64, filter: &Filter, limit: usize) -> (u64, Vec<Arc<Sent>>, u64) {
        let list = self.transitions.read();
        let Some(oldest) = list.front().map(|sent| sent.number) else { return (0, Vec::new(), number) };
        let missed = oldest.saturating_sub(number + 1);
        let (mut found, mut last) = (Vec::new(), number.max(oldest - 1));
        for sent in list.range((last + 1 - oldest) as usize..) {
            if found.len() == limit {
                break;
            }
            last = sent.number;
            if sent.is_in(filter) {
                found.push(Arc::clone(sent));
            }
        }
        (missed, found, last)
    }

    /// The whole fleet of a filter in columns, as it is now, by vehicle and then customer, as the dashboard shows it:
    /// so a page has little left to sort. Dashboards that all come back at once share one of the last second.
    pub fn snapshot(&self, filter: &Filter) -> Bytes {
        let mut last = self.snapshot.lock(); // held while one is written: whoever comes meanwhile shares it
        let now = self.clock.now();
        if let Some((of, written_at, bytes)) = &*last
            && of == filter
            && now - written_at <= SNAPSHOT_AGE_MAX
        {
            return bytes.clone();
        }
        let bytes = self.write_snapshot(filter);
        *last = Some((filter.clone(), now, bytes.clone()));
        bytes
    }

    /// The board is free while the order is made; what changes meanwhile is newer than the version, so the next delta
    /// tells it.
    fn write_snapshot(&self, filter: &Filter) -> Bytes {
        let (epoch, at) = (self.epoch(filter), self.date());
        let (version, mut order) = {
            let board = self.board();
            let rows = board.rows(filter).map(|row| (Arc::clone(&row.key), row.state.slot));
            (board.version(), rows.collect::<Vec<_>>())
        };
        order.sort_unstable_by(|(a, _), (b, _)| (&a.vehicle, &a.customer).cmp(&(&b.vehicle, &b.customer)));
        let board = self.board();
        let rows = order.iter().filter_map(|(_, slot)| board.row(*slot));
        let rows: Vec<&Row> = rows.filter(|row| filter.statuses.allows(row.state.status)).collect();
        columns::snapshot(&rows, &epoch, version, at)
    }

    /// Our time, for ages.
    fn date(&self) -> Millis {
        self.clock.date(self.clock.now())
    }

    /// Transitions as one frame of columns.
    pub fn transitions_frame(&self, list: &[Arc<Sent>]) -> Bytes {
        let list: Vec<&Transition> = list.iter().map(|sent| &*sent.transition).collect();
        columns::transitions(&self.board(), &list, self.date())
    }

    /// What brings a reader of this filter from `from` to the newest version.
    pub fn delta(&self, wire: Wire, filter: &Filter, from: Version) -> Delta {
        let board = self.board();
        let to = board.version();
        let key = (wire, filter.clone(), from, to);
        if let Some(frames) = self.deltas.lock().get(&key) {
            return Delta::Whole(Arc::clone(frames), to);
        }
        let slots = board.changed_after(from);
        if slots.len() > rows_at_once_max(wire) {
            return Delta::Long(LongDelta { wire, from, to, slots, next: 0, frames: 0 });
        }
        let mut writer = Writer::new(wire, from, to, 0);
        write_removals(&mut writer, &board, filter, from);
        write_rows(&mut writer, &board, filter, &slots, from);
        let frames: Arc<[Message]> = writer.finish(self.date()).into();
        let mut deltas = self.deltas.lock();
        if deltas.len() < DELTAS_MAX {
            deltas.insert(key, Arc::clone(&frames));
        }
        Delta::Whole(frames, to)
    }

    pub(super) fn set_dashboards(&self, count: usize) {
        self.dashboards.store(count, Relaxed);
    }

    /// How many dashboards are connected.
    pub fn dashboards(&self) -> usize {
        self.dashboards.load(Relaxed)
    }
}

/// The way from one version to the newest.
#[derive(Debug)]
pub enum Delta {
    /// Short: finished frames, shared with everybody who goes the same way, and the version they lead to.
    Whole(Arc<[Message]>, Version),
    /// Long: only the list of rows, written part by part as the client takes them.
    Long(LongDelta),
}

/// A delta for a reader that was far behind; holds four bytes a row.
#[derive(Debug)]
pub struct LongDelta {
    wire: Wire,
    from: Version,
    to: Version,
    slots: Vec<Slot>,
    next: usize,
    /// Written so far.
    frames: usize,
}

impl LongDelta {
    /// The next part, and the version it leads to once it is the last one.
    pub fn next_part(&mut self, feed: &Feed, filter: &Filter) -> (Vec<Message>, Option<Version>) {
        let end = (self.next + rows_a_part(self.wire)).min(self.slots.len());
        let (part, is_first, is_last) = (&self.slots[self.next..end], self.next == 0, end == self.slots.len());
        let version = if is_last { self.to } else { self.from };
        let board = feed.board();
        let mut writer = Writer::new(self.wire, self.from, version, self.frames);
        if is_first {
            write_removals(&mut writer, &board, filter, self.from);
        }
        write_rows(&mut writer, &board, filter, part, self.from);
        let frames = writer.finish(feed.date());
        self.next = end;
        self.frames += frames.len();
        (frames, is_last.then_some(self.to))
    }
}

/// A delta being written in either language.
enum Writer<'a> {
    Json(DeltaWriter, Version),
    Columns(columns::DeltaWriter<'a>),
}

impl<'a> Writer<'a> {
    fn new(wire: Wire, from: Version, to: Version, before: usize) -> Self {
        match wire {
            Wire::Json => Self::Json(DeltaWriter::new(from, to), from),
            Wire::Columns => Self::Columns(columns::DeltaWriter::new(from, to, before)),
        }
    }

    fn removed(&mut self, slot: Slot, key: &VehicleKey) {
        match self {
            Self::Json(writer, _) => writer.removed(&key.customer, &key.vehicle),
            Self::Columns(writer) => writer.left(slot),
        }
    }

    /// Whether a vehicle is known by its names: then one that came back under the same is told whole, and its old row
    /// needs no end.
    fn by_name(&self) -> bool {
        matches!(self, Self::Json(..))
    }

    fn whole(&mut self, row: &'a Row) {
        match self {
            Self::Json(writer, _) => writer.changed(&VehicleView::whole(row)),
            Self::Columns(writer) => writer.joined(row),
        }
    }

    fn changed(&mut self, row: &'a Row) {
        match self {
            Self::Json(writer, from) => writer.changed(&VehicleView::changes(row, *from)),
            Self::Columns(writer) => writer.changed(row),
        }
    }

    fn finish(self, at: Millis) -> Vec<Message> {
        match self {
            Self::Json(writer, _) => writer.finish().into_iter().map(Message::from).collect(),
            Self::Columns(writer) => writer.finish(at).into_iter().map(Message::from).collect(),
        }
    }
}

fn write_removals(writer: &mut Writer<'_>, board: &Board, filter: &Filter, from: Version) {
    for (slot, key) in board.removed_after(from).filter(|(_, key)| filter.allows_customer(&key.customer)) {
        if !(writer.by_name() && board.find(&key.customer, &key.vehicle).is_some()) {
            writer.removed(slot, key);
        }
    }
}

/// A row that leaves the filter by its status is told as removed; whether the client had it need not be known, since a
/// removal of what is not there changes nothing. One that enters by its status is told whole.
fn write_rows<'a>(writer: &mut Writer<'a>, board: &'a Board, filter: &Filter, slots: &[Slot], from: Version) {
    for row in slots.iter().filter_map(|slot| board.row(*slot)) {
        if !filter.allows_customer(&row.key.customer) {
            continue;
        }
        let status_moved = !filter.statuses.is_all() && row.changed_after(Group::Status, from);
        match (filter.statuses.allows(row.state.status), status_moved) {
            (true, true) => writer.whole(row),
            (true, false) => writer.changed(row),
            (false, true) => writer.removed(row.state.slot, &row.key),
            (false, false) => {}
        }
    }
}
