//! What one dashboard is still owed. It holds no queue of events: only the version it has, and, while the snapshot is
//! under way, which part comes next; so a slow dashboard costs the same memory as a fast one and gets fewer, newer
//! frames. Asked by the session for its next frames when there is credit; reads the feed.

use std::collections::VecDeque;

use super::feed::{Delta, Feed, LongDelta};
use super::protocol::{Frame, SnapshotPlan};
use super::wire::{Message, Wire};
use crate::domain::board::Version;
use crate::domain::query::Filter;
use crate::domain::time::Millis;

/// Counts are sent at most this often, and not less: they are the heartbeat of the connection too.
const COUNTS_EVERY: Millis = 1_000;
/// Transitions sent in one turn.
const TRANSITIONS_A_TURN: usize = 500;
/// Turns with a delta that a client which acknowledges at all may be behind: a page that is stuck gets nothing more.
const UNACKED_DELTAS_MAX: u32 = 4;

/// One dashboard's place in the feed.
#[derive(Debug)]
pub struct Reader {
    wire: Wire,
    filter: Filter,
    stage: Stage,
    transition: u64,
    counts_at: Option<Millis>,
    observation: u64,
    acked: Option<Version>,
    unacked: u32,
    /// The last resume could not be followed.
    refused: bool,
    /// Frames of a turn that was begun; at most one delta, shared with other readers.
    begun: VecDeque<Message>,
}

#[derive(Debug)]
enum Stage {
    /// Nothing is known of the client: it needs a snapshot.
    Fresh,
    /// The snapshot is under way; this part is next.
    Snapshot(SnapshotPlan, usize),
    /// The client fetches its snapshot by HTTP and will resume from it.
    Waiting,
    /// The client has this version.
    Following(Version),
    /// The client was far behind and gets a long delta part by part.
    CatchingUp(LongDelta),
}

impl Reader {
    /// A reader that starts with a snapshot.
    pub fn new(wire: Wire, filter: Filter, feed: &Feed) -> Self {
        Self {
            wire,
            filter,
            stage: Stage::Fresh,
            transition: feed.newest_transition(),
            counts_at: None,
            observation: 0,
            acked: None,
            unacked: 0,
            refused: false,
            begun: VecDeque::new(),
        }
    }

    /// The frame every connection starts with.
    pub fn hello(&self, feed: &Feed) -> Message {
        feed.hello(&self.filter).into()
    }

    /// The client was here before. If its version can still be followed, it gets a delta instead of a snapshot.
    pub fn resume(&mut self, feed: &Feed, epoch: &str, version: Version) {
        if epoch == feed.epoch(&self.filter) && feed.board().can_resume(version) {
            self.stage = Stage::Following(version);
            self.transition = feed.transition_at(version);
            self.begun.clear();
        } else {
            self.stage = Stage::Fresh;
            self.refused = true;
        }
    }

    /// The client wants to see others: it starts again with a hello and a snapshot.
    pub fn set_filter(&mut self, feed: &Feed, filter: Filter) {
        // What it may see does not change with what it wants to see.
        self.filter = filter.within(self.filter.own.take());
        self.stage = Stage::Fresh;
        self.counts_at = None;
        self.begun.clear();
        self.begun.push_back(self.hello(feed));
    }

    /// The client has drawn up to here.
    pub fn ack(&mut self, version: Version) {
        self.acked = Some(version);
        self.unacked = 0;
    }

    /// The next frame it is owed, if any.
    pub fn next(&mut self, feed: &Feed) -> Option<Message> {
        if let Some(frame) = self.begun.pop_front() {
            return Some(frame);
        }
        self.observation(feed).or_else(|| self.snapshot_part(feed)).or_else(|| {
            self.begin_delta(feed);
            self.catch_up(feed);
            self.begin_transitions(feed);
            self.begin_counts(feed);
            self.begun.pop_front()
        })
    }

    fn observation(&mut self, feed: &Feed) -> Option<Message> {
        let (number, observation) = feed.observation_after(self.observation)?;
        self.observation = number;
        Some(Feed::observation_frame(&observation).into())
    }

    /// In columns the snapshot is fetched by HTTP: one answer that is compressed, and shared by whoever asks.
    fn snapshot_part(&mut self, feed: &Feed) -> Option<Message> {
        if matches!(self.stage, Stage::Fresh) && self.wire == Wire::Columns {
            self.stage = Stage::Waiting;
            return Some(Frame::Resync { refused: self.refused }.encode().into());
        }
        if matches!(self.stage, Stage::Fresh) {
            let board = feed.board();
            let plan = SnapshotPlan::new(&board, board.all_in_order(&self.filter));
            self.stage = Stage::Snapshot(plan, 0);
        }
        let Stage::Snapshot(plan, part) = &mut self.stage else { return None };
        let filter = &self.filter;
        let frame = plan.encode(&feed.board(), *part, |row| filter.allows(&row.key.customer, row.state.status));
        *part += 1;
        if *part == plan.parts() {
            self.stage = Stage::Following(plan.version());
        }
        Some(frame.into())
    }

    fn begin_delta(&mut self, feed: &Feed) {
        let Stage::Following(version) = self.stage else { return };
        if feed.board().version() == version || (self.acked.is_some() && self.unacked >= UNACKED_DELTAS_MAX) {
            return;
        }
        self.unacked += 1;
        match feed.delta(self.wire, &self.filter, version) {
            Delta::Whole(frames, newest) => {
                self.begun.extend(frames.iter().cloned());
                self.stage = Stage::Following(newest);
            }
            Delta::Long(long) => self.stage = Stage::CatchingUp(long),
        }
    }

    fn catch_up(&mut self, feed: &Feed) {
        let Stage::CatchingUp(long) = &mut self.stage else { return };
        let (frames, reached) = long.next_part(feed, &self.filter);
        self.begun.extend(frames);
        if let Some(version) = reached {
            self.stage = Stage::Following(version);
        }
    }

    fn begin_transitions(&mut self, feed: &Feed) {
        if matches!(self.stage, Stage::Waiting) {
            return; // where the client will resume decides which it has missed
        }
        let (dropped, list, last) = feed.transitions_after(self.transition, &self.filter, TRANSITIONS_A_TURN);
        if dropped > 0 {
            self.begun.push_back(Frame::Gap { dropped }.encode().into());
        }
        match self.wire {
            Wire::Json => self.begun.extend(list.iter().map(|sent| sent.frame().into())),
            Wire::Columns if list.is_empty() => {}
            Wire::Columns => self.begun.push_back(feed.transitions_frame(&list).into()),
        }
        self.transition = last;
    }

    fn begin_counts(&mut self, feed: &Feed) {
        let now = feed.clock().now();
        if self.counts_at.is_some_and(|at| now - at < COUNTS_EVERY) {
            return;
        }
        self.counts_at = Some(now);
        let (board, server_time) = (feed.board(), feed.clock().date(now));
        self.begun.push_back(Frame::counts(board.version(), board.counts(&self.filter), server_time).encode().into());
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
