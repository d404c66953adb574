//! What hub and readers share: the board, the newest transitions, whether we hear, and the frames of this tick.
//! Written by the hub; read by every session, by REST and by the publisher of statuses. Equal frames are written once
//! and shared as bytes.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed};

use bytestring::ByteString;
use foldhash::quality::FixedState;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::protocol::{DeltaWriter, Frame, VehicleView};
use crate::clock::Clock;
use crate::domain::board::{Board, Group, Slot, Version};
use crate::domain::query::Filter;
use crate::domain::time::{Millis, rfc3339};
use crate::domain::transition::Transition;

/// Newest transitions kept for sessions, as finished frames of about 250 bytes: 16 MB. A session further behind is told
/// how many it missed and reads them by REST.
pub const TRANSITIONS_MAX: usize = 65_536;
/// Different deltas kept within one tick: one a filter and version; past it, rare ones are written twice.
const DELTAS_MAX: usize = 256;
/// A delta of more rows (about half a megabyte) is not kept as frames for a client that may be slow.
const ROWS_AT_ONCE_MAX: usize = 2_000;
/// Rows written for one part of a long delta: about one frame.
const ROWS_A_PART: usize = 100;

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
#[derive(Debug, Clone)]
pub struct Sent {
    /// Its number among all transitions of this run.
    pub number: u64,
    /// The finished frame.
    pub frame: ByteString,
    transition: Arc<Transition>,
    version: Version,
}

impl Sent {
    /// Whether a filter shows it: its customer, and the status before or after.
    pub fn is_in(&self, filter: &Filter) -> bool {
        let change = &self.transition.change;
        filter.allows_customer(&self.transition.key.customer)
            && (filter.statuses.allows(change.from) || filter.statuses.allows(change.to))
    }
}

/// Finished deltas by filter and the versions they lead from and to.
type Deltas = HashMap<(Filter, Version, Version), Arc<[ByteString]>>;

/// The shared state of the live push.
pub struct Feed {
    board: RwLock<Board>,
    transitions: RwLock<VecDeque<Sent>>,
    newest: watch::Sender<u64>,
    observation: RwLock<(u64, Observation)>,
    deltas: Mutex<Deltas>,
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
        Frame::Hello { epoch: &self.epoch(filter), version, tick_ms: self.tick, server_time }.encode()
    }

    /// Whether we hear, with a number that counts its changes.
    pub fn observation(&self) -> (u64, Observation) {
        self.observation.read().clone()
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
            let frame = Frame::transition(&transition);
            list.push_back(Sent { number, frame, transition, version });
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

    /// The transitions after `number` in a filter: how many are no longer here, at most `limit` frames, and the number
    /// to go on from.
    pub fn transitions_after(&self, number: u64, filter: &Filter, limit: usize) -> (u64, Vec<ByteString>, u64) {
        let list = self.transitions.read();
        let Some(oldest) = list.front().map(|sent| sent.number) else { return (0, Vec::new(), number) };
        let missed = oldest.saturating_sub(number + 1);
        let (mut frames, mut last) = (Vec::new(), number.max(oldest - 1));
        for sent in list.range((last + 1 - oldest) as usize..) {
            if frames.len() == limit {
                break;
            }
            last = sent.number;
            if sent.is_in(filter) {
                frames.push(sent.frame.clone());
            }
        }
        (missed, frames, last)
    }

    /// What brings a reader of this filter from `from` to the newest version.
    pub fn delta(&self, filter: &Filter, from: Version) -> Delta {
        let board = self.board();
        let to = board.version();
        let key = (filter.clone(), from, to);
        if let Some(frames) = self.deltas.lock().get(&key) {
            return Delta::Whole(Arc::clone(frames), to);
        }
        let slots = board.changed_after(from);
        if slots.len() > ROWS_AT_ONCE_MAX {
            return Delta::Long(LongDelta { from, to, slots, next: 0 });
        }
        let frames: Arc<[ByteString]> = write_delta(&board, filter, &slots, (from, to), true).into();
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
    Whole(Arc<[ByteString]>, Version),
    /// Long: only the list of rows, written part by part as the client takes them.
    Long(LongDelta),
}

/// A delta for a reader that was far behind; holds four bytes a row.
#[derive(Debug)]
pub struct LongDelta {
    from: Version,
    to: Version,
    slots: Vec<Slot>,
    next: usize,
}

impl LongDelta {
    /// The next part, and the version it leads to once it is the last one.
    pub fn next_part(&mut self, feed: &Feed, filter: &Filter) -> (Vec<ByteString>, Option<Version>) {
        let end = (self.next + ROWS_A_PART).min(self.slots.len());
        let (part, is_first, is_last) = (&self.slots[self.next..end], self.next == 0, end == self.slots.len());
        let version = if is_last { self.to } else { self.from };
        let frames = write_delta(&feed.board(), filter, part, (self.from, version), is_first);
        self.next = end;
        (frames, is_last.then_some(self.to))
    }
}

/// A row that leaves the filter by its status is told as removed; whether the client had it need not be known, since a
/// removal of what is not there changes nothing. One that enters by its status is told whole.
fn write_delta(
    board: &Board,
    filter: &Filter,
    slots: &[Slot],
    (from, to): (Version, Version),
    with_removals: bool,
) -> Vec<ByteString> {
    let mut writer = DeltaWriter::new(from, to);
    let removals = board.removed_after(from).filter(|key| with_removals && filter.allows_customer(&key.customer));
    for key in removals {
        writer.removed(&key.customer, &key.vehicle);
    }
    for row in slots.iter().filter_map(|slot| board.row(*slot)) {
        if !filter.allows_customer(&row.key.customer) {
            continue;
        }
        let status_moved = !filter.statuses.is_all() && row.changed_after(Group::Status, from);
        match (filter.statuses.allows(row.state.status), status_moved) {
            (true, true) => writer.changed(&VehicleView::whole(row)),
            (true, false) => writer.changed(&VehicleView::changes(row, from)),
            (false, true) => writer.removed(&row.key.customer, &row.key.vehicle),
            (false, false) => {}
        }
    }
    writer.finish()
}
