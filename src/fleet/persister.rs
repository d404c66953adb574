//! The persister: the one writer of the store. Transitions in groups, checkpoints now and then, blind intervals. Fed
//! by shards with decisions and by the supervisor with gaps; tells the hub what is durable, and accepts the tokens of
//! senders who waited for it. Bound: `PENDING_MAX` transitions; when they are reached, shards take no new batch, so
//! ingest fills up and tells its senders to wait. Nothing is dropped, and nothing is written out of order.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use actix::Addr;
use backon::{BackoffBuilder, ExponentialBuilder};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use super::registry::Registry;
use super::token::Token;
use crate::domain::board::{Group, Version};
use crate::domain::time::Millis;
use crate::domain::transition::Transition;
use crate::live::feed::Feed;
use crate::live::hub::{Durable, Hub};
use crate::store::{Checkpoint, ObservationGap, Store};

/// Transitions that may wait for the store: about 400 MB, a whole fleet of a million once.
const PENDING_MAX: usize = 1_000_000;
/// Transitions in one transaction: large enough that a commit's cost is shared, small enough for a second at most.
const GROUP_ROWS_MAX: usize = 10_000;
/// Rows of one checkpoint statement.
const CHECKPOINT_ROWS: usize = 5_000;
/// Slots looked at while the board is held for a checkpoint: under a millisecond.
const CHECKPOINT_SCAN: u32 = 20_000;

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

/// How the store is doing, for /status and /readyz.
#[derive(Debug, Default)]
pub struct StoreHealth {
    pending: AtomicUsize,
    fault: Mutex<Option<String>>,
}

impl StoreHealth {
    /// Transitions that are decided and not yet durable.
    pub fn pending(&self) -> usize {
        self.pending.load(Relaxed)
    }

    /// Why the last write failed, until one succeeds.
    pub fn fault(&self) -> Option<String> {
        self.fault.lock().clone()
    }

    fn note(&self, outcome: &anyhow::Result<()>) {
        let mut fault = self.fault.lock();
        match outcome {
            Ok(()) => {
                if fault.take().is_some() {
                    tracing::info!("the store takes writes again");
                }
            }
            Err(error) => {
                if fault.is_none() {
                    tracing::error!("the store takes no writes, trying on: {error:#}");
                }
                *fault = Some(format!("{error:#}"));
            }
        }
    }
}

/// The way to the persister; cheap to clone.
#[derive(Clone)]
pub struct Persister {
    jobs: mpsc::UnboundedSender<Job>,
    health: Arc<StoreHealth>,
}

impl Persister {
    /// Starts the writer as a task of the current runtime.
    pub fn start(
        store: Arc<dyn Store>,
        feed: Arc<Feed>,
        hub: Addr<Hub>,
        registry: Arc<Registry>,
        checkpoint_every: Duration,
    ) -> Self {
        let (jobs, queue) = mpsc::unbounded_channel();
        let health = Arc::<StoreHealth>::default();
        let writer = Writer { store, feed, hub, registry, health: Arc::clone(&health), checkpointed: 0 };
        tokio::spawn(writer.run(queue, checkpoint_every));
        Self { jobs, health }
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
        self.health.pending.fetch_add(decided.len(), Relaxed);
        // The channel is unbounded, and bounded by `has_room`, which shards ask before they take what could decide
        // more.
        let _ = self.jobs.send(Job::Transitions(decided));
    }

    /// Writes down a blind interval.
    pub fn record_gap(&self, gap: ObservationGap) {
        let _ = self.jobs.send(Job::Gap(gap));
    }

    /// Writes everything that was handed over, a last checkpoint, and ends; returns when done.
    pub async fn stop(&self) {
        let (done, wait) = oneshot::channel();
        if self.jobs.send(Job::Stop(done)).is_ok() {
            let _ = wait.await;
        }
    }
}

struct Writer {
    store: Arc<dyn Store>,
    feed: Arc<Feed>,
    hub: Addr<Hub>,
    registry: Arc<Registry>,
    health: Arc<StoreHealth>,
    checkpointed: Version,
}

impl Writer {
    async fn run(mut self, mut queue: mpsc::UnboundedReceiver<Job>, checkpoint_every: Duration) {
        let mut checkpoint = tokio::time::interval(checkpoint_every);
        checkpoint.set_missed_tick_behavior(MissedTickBehavior::Delay);
        checkpoint.tick().await;
        let mut next = None;
        loop {
            // Only receiving and waiting are cancelled here, never a write.
            let job = match next.take() {
                Some(job) => Some(job),
                None => tokio::select! {
                    biased;
                    job = queue.recv() => job,
                    _ = checkpoint.tick() => {
                        self.checkpoint().await;
                        continue;
                    }
                },
            };
            match job {
                Some(Job::Transitions(decided)) => next = self.commit_group(decided, &mut queue).await,
                Some(Job::Gap(gap)) => self.until_written(|| self.store.record_gap(&gap)).await,
                Some(Job::Stop(done)) => {
                    self.checkpoint().await;
                    self.store.close().await;
                    let _ = done.send(());
                    return;
                }
                None => return,
            }
        }
    }

    /// Commits what is queued as one group; gives back the job that ended it.
    async fn commit_group(&self, mut group: Vec<Decided>, queue: &mut mpsc::UnboundedReceiver<Job>) -> Option<Job> {
        let mut next = None;
        while group.len() < GROUP_ROWS_MAX && next.is_none() {
            match queue.try_recv() {
                Ok(Job::Transitions(decided)) => group.extend(decided),
                Ok(other) => next = Some(other),
                Err(_) => break,
            }
        }
        self.commit(group).await;
        next
    }

    async fn commit(&self, group: Vec<Decided>) {
        let rows: Vec<Transition> = group.iter().map(|decided| (*decided.transition).clone()).collect();
        for rows in rows.chunks(GROUP_ROWS_MAX) {
            self.until_written(|| self.store.commit(rows)).await;
        }
        self.health.pending.fetch_sub(group.len(), Relaxed);
        let mut durable = Vec::with_capacity(group.len());
        for Decided { transition, token } in group {
            if let Some(token) = token {
                token.accept();
            }
            durable.push(transition);
        }
        let _ = self.hub.send(Durable(durable)).await;
    }

    /// Tries until it succeeds: 50 ms, doubling to 5 s, with jitter.
    async fn until_written<F>(&self, write: impl Fn() -> F)
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(50))
            .with_max_delay(Duration::from_secs(5))
            .without_max_times()
            .with_jitter();
        let mut pauses = pauses.build();
        loop {
            let outcome = write().await;
            self.health.note(&outcome);
            if outcome.is_ok() {
                return;
            }
            tokio::time::sleep(pauses.next().unwrap_or(Duration::from_secs(5))).await;
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
