//! The persister: what is decided becomes durable here, in order, and nothing is dropped. Fed by shards with decisions
//! and by the supervisor with blind intervals; its writer brings them to the store or the spool, and beside it the
//! checkpoints write down what was heard. Bound: `PENDING_MAX` transitions in memory; when they are reached, shards
//! take no new batch, so ingest fills up and tells its senders to wait. Blind intervals come when hearing changes.

mod health;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use tokio::sync::{mpsc, oneshot};

use super::checkpoint::Checkpoints;
use super::registry::Registry;
use super::token::Token;
use crate::domain::transition::Transition;
use crate::live::feed::Feed;
use crate::live::hub::Hub;
use crate::store::spool::Spool;
use crate::store::{ObservationGap, Store};
pub use health::StoreHealth;
use writer::Writer;

/// Transitions that may wait in memory: about 400 MB, a whole fleet of a million once.
const PENDING_MAX: usize = 1_000_000;

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
        let checkpoints = Checkpoints::new(store, feed, registry, Arc::clone(&health), checkpoint_every);
        tokio::spawn(checkpoints.run(stop));
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
