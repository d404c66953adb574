//! The persister: what is decided becomes durable here, in order, and nothing is dropped. Fed by shards with decisions
//! and by the supervisor with blind intervals; its writer brings them to the store or the spool, and from time to time
//! a checkpoint writes down what was heard. Bound: `PENDING_MAX` transitions in memory; when they are reached, shards
//! take no new batch, so ingest fills up and tells its senders to wait. Blind intervals come when hearing changes.

mod health;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, timeout};

use super::registry::Registry;
use super::token::Token;
use crate::domain::board::{Group, Version};
use crate::domain::time::Millis;
use crate::domain::transition::Transition;
use crate::live::feed::Feed;
use crate::live::hub::Hub;
use crate::store::spool::Spool;
use crate::store::{Checkpoint, ObservationGap, Store};
pub use health::StoreHealth;
use writer::Writer;

/// Transitions that may wait in memory: about 400 MB, a whole fleet of a million once.
const PENDING_MAX: usize = 1_000_000;
/// Rows of one checkpoint statement.
const CHECKPOINT_ROWS: usize = 5_000;
/// Slots looked at while the board is held for a checkpoint: under a millisecond.
const CHECKPOINT_SCAN: u32 = 20_000;

/// At the end, how long a checkpoint and goodbye may take: the whole stop has 9 s.
const LAST_CHECKPOINT: Duration = Duration::from_secs(6);
const CLOSE: Duration = Duration::from_secs(1);

/// A transition, and the sender who waits until it is durable.
#[derive(Debug)]
pub struct Decided {
    /// What changed.
    pub transition: Arc<Transition>,
    /// The sender, where one waits.
    pub token: Option<Token>,
}

enum Job {
    Transitions(Vec<Decided>),
    Gap(ObservationGap),
    Stop(oneshot::Sender<()>),
}

/// The way to the persister; cheap to clone.
#[derive(Clone)]
pub struct Persister {
    jobs: mpsc::UnboundedSender<Job>,
    stop_checkpoints: mpsc::UnboundedSender<oneshot::Sender<()>>,
    health: Arc<StoreHealth>,
}

impl Persister {
    /// Starts the writer and the checkpoints as tasks of the current runtime. Without a spool, what the store does not
    /// take waits in memory.
    pub fn start(
        store: Arc<dyn Store>,
        spool: Option<Spool>,
        feed: Arc<Feed>,
        hub: Addr<Hub>,
        registry: Arc<Registry>,
        checkpoint_every: Duration,
    ) -> Self {
        let (jobs, queue) = mpsc::unbounded_channel();
        let (stop_checkpoints, stop) = mpsc::unbounded_channel();
        let health = Arc::<StoreHealth>::default();
        tokio::spawn(Writer::new(Arc::clone(&store), spool, hub, Arc::clone(&health)).run(queue));
        let checkpoints = Checkpoints { store, feed, registry, health: Arc::clone(&health), checkpointed: 0 };
        tokio::spawn(checkpoints.run(stop, checkpoint_every));
        Self { jobs, stop_checkpoints, health }
    }

    /// Whether more decisions may be taken.
    pub fn has_room(&self) -> bool {
        self.health.pending() < PENDING_MAX
    }

    /// How the store is doing.
    pub fn health(&self) -> Arc<StoreHealth> {
        Arc::clone(&self.health)
    }

    /// Hands over decisions of one shard, in their order.
    pub fn submit(&self, decided: Vec<Decided>) {
        self.health.decided(decided.len());
        // The channel is unbounded, and bounded by `has_room`, which shards ask before they take what could decide
        // more.
        let _ = self.jobs.send(Job::Transitions(decided));
    }

    /// Writes down a blind interval.
    pub fn record_gap(&self, gap: ObservationGap) {
        let _ = self.jobs.send(Job::Gap(gap));
    }

    /// Makes everything durable that was handed over, writes a last checkpoint, and ends; returns when done.
    pub async fn stop(&self) {
        let (done, wait) = oneshot::channel();
        if self.jobs.send(Job::Stop(done)).is_ok() {
            let _ = wait.await;
        }
        let (done, wait) = oneshot::channel();
        if self.stop_checkpoints.send(done).is_ok() {
            let _ = wait.await;
        }
    }
}

/// What writes down from time to time what was heard. Apart from the writer, so that neither waits for the other.
struct Checkpoints {
    store: Arc<dyn Store>,
    feed: Arc<Feed>,
    registry: Arc<Registry>,
    health: Arc<StoreHealth>,
    checkpointed: Version,
}

impl Checkpoints {
    async fn run(mut self, mut stop: mpsc::UnboundedReceiver<oneshot::Sender<()>>, every: Duration) {
        let mut checkpoint = tokio::time::interval(every);
        checkpoint.set_missed_tick_behavior(MissedTickBehavior::Delay);
        checkpoint.tick().await;
        let done = loop {
            // A checkpoint that is cut off here is made anew below, and what it has asked of the store runs to its end.
            tokio::select! {
                biased;
                done = stop.recv() => break done,
                () = async { checkpoint.tick().await; self.checkpoint_if_useful().await } => {}
            }
        };
        let _late = timeout(LAST_CHECKPOINT, self.checkpoint_if_useful()).await;
        let _late = timeout(CLOSE, self.store.close()).await;
        if let Some(done) = done {
            let _ = done.send(());
        }
    }

    /// A store that does not even take transitions is not asked to take more.
    async fn checkpoint_if_useful(&mut self) {
        if !self.health.draining() {
            self.checkpoint().await;
        }
    }

    /// Writes what was last heard of each vehicle that was heard since the last checkpoint. One that fails is not
    /// repeated: the next one holds it too, because the version it starts from has not moved.
    async fn checkpoint(&mut self) {
        let alive_until = self.alive_until();
        let (since, newest) = (self.checkpointed, self.feed.board().version());
        let mut from = 0;
        while let Some((rows, next)) = self.heard_since(since, from) {
            for rows in rows.chunks(CHECKPOINT_ROWS) {
                let outcome = self.store.checkpoint(rows, alive_until).await;
                self.health.note(&outcome);
                if outcome.is_err() {
                    return;
                }
            }
            from = next;
        }
        let outcome = self.store.checkpoint(&[], alive_until).await;
        self.health.note(&outcome);
        if outcome.is_ok() {
            self.checkpointed = newest;
        }
    }

    /// Until when everything that was said is known. It does not move while we are blind: if the process ends
    /// meanwhile, the next one has been blind since then.
    fn alive_until(&self) -> Millis {
        let until = self.registry.on_board_until();
        let observation = self.feed.observation().1;
        let blind_since = observation.since.filter(|_| !observation.listening);
        blind_since.map_or(until, |since| since.min(until))
    }

    fn heard_since(&self, since: Version, from: u32) -> Option<(Vec<Checkpoint>, u32)> {
        let board = self.feed.board();
        let next = from.saturating_add(CHECKPOINT_SCAN);
        let slots = from..next.min(board.slots());
        if slots.is_empty() {
            return None;
        }
        let heard = slots.filter_map(|slot| board.row(slot)).filter(|row| row.changed_after(Group::Seen, since));
        let rows = heard.filter_map(|row| {
            let last_seen = row.state.last_seen?;
            Some(Checkpoint { key: Arc::clone(&row.key), last_seen, latest: row.state.latest.clone() })
        });
        Some((rows.collect(), next))
    }
}
