//! The heartbeat log: takes what vehicles said off the live path and writes it to the store in batches.
//! Fed by vehicles through [`Hand`], where `history.heartbeats` is on; read by REST, exports and the trail on the map.
//!
//! Bound: [`ROWS_MAX`] heartbeats wait. When there is no room, because the store takes nothing or less than comes, the
//! newest is dropped and counted ([`Counts`]): the log never slows intake, nor the writing of transitions, which goes
//! first. One write is under way at a time; it is repeated under the same number until it succeeds.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::persister::StoreHealth;
use crate::domain::logged::{Logged, Sampler};
use crate::domain::time::Millis;
use crate::store::Store;

/// Heartbeats that wait at most: about 20 MB with a position and a few gauges each, some seconds of a fast intake.
pub const ROWS_MAX: usize = 65_536;
/// Rows of a write: some tens of milliseconds of the writer, which transitions wait for.
const BATCH_MAX: usize = 2_000;
/// How long rows are collected for a write.
const COLLECT: Duration = Duration::from_millis(500);
/// How soon a write that failed, or that gave way to transitions, is tried again.
const AGAIN: Duration = Duration::from_millis(500);
/// How long the last writes may take when the service stops.
const STOP_MAX: Duration = Duration::from_secs(1);

/// How the log is doing.
#[derive(Debug, Default)]
pub struct Counts {
    /// Heartbeats in the store.
    pub logged: AtomicU64,
    /// Heartbeats that found no room.
    pub dropped: AtomicU64,
    /// Heartbeats older than the log reaches back.
    pub expired: AtomicU64,
    /// Heartbeats that wait.
    pub waiting: AtomicU64,
}

/// What a shard puts its vehicles' heartbeats in with.
#[derive(Clone)]
pub struct Hand {
    rows: mpsc::Sender<Logged>,
    counts: Arc<Counts>,
    /// What was last kept of each vehicle by its place in the shard, when only a sample is kept.
    samplers: Option<HashMap<u32, Sampler>>,
    reach: Option<Millis>,
}

impl Hand {
    /// Takes one heartbeat of the vehicle at this place of the shard.
    pub fn put(&mut self, place: u32, row: Logged) {
        if self.reach.is_some_and(|reach| row.at < row.arrived - reach) {
            self.counts.expired.fetch_add(1, Relaxed);
            return;
        }
        if let Some(samplers) = &mut self.samplers
            && !samplers.entry(place).or_default().takes(&row)
        {
            return;
        }
        match self.rows.try_send(row) {
            Ok(()) => drop(self.counts.waiting.fetch_add(1, Relaxed)),
            // Closed: the service is stopping, and its last heartbeats are written.
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => drop(self.counts.dropped.fetch_add(1, Relaxed)),
        }
    }

    /// Nothing is known any more of the vehicle that had this place.
    pub fn forget(&mut self, place: u32) {
        if let Some(samplers) = &mut self.samplers {
            samplers.remove(&place);
        }
    }
}

/// The running task.
pub struct HeartbeatLog {
    hand: Hand,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl HeartbeatLog {
    /// Begins to write. `sampled`: only what [`Sampler`] takes; `reach`: nothing older than that.
    pub fn start(store: Arc<dyn Store>, health: Arc<StoreHealth>, sampled: bool, reach: Option<Millis>) -> Self {
        let (rows, queue) = mpsc::channel(ROWS_MAX);
        let (stop, stopped) = oneshot::channel();
        let counts = Arc::<Counts>::default();
        let task =
            Task { store, health, queue, counts: Arc::clone(&counts), batch: Vec::new(), number: 1, failing: false };
        let samplers = sampled.then(HashMap::new);
        Self { hand: Hand { rows, counts, samplers, reach }, stop, task: tokio::spawn(task.run(stopped)) }
    }

    /// For a shard.
    pub fn hand(&self) -> Hand {
        self.hand.clone()
    }

    /// How it is doing.
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.hand.counts)
    }

    /// Writes what waits; returns when done, or when that takes too long.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        // A write under way has a limit of its own, which is longer.
        let _ = timeout(2 * STOP_MAX, self.task).await;
    }
}

struct Task {
    store: Arc<dyn Store>,
    health: Arc<StoreHealth>,
    queue: mpsc::Receiver<Logged>,
    counts: Arc<Counts>,
    /// Rows of the write under way; they keep their number until it has succeeded.
    batch: Vec<Logged>,
    number: i64,
    failing: bool,
}

impl Task {
    async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        loop {
            tokio::select! {
                biased;
                _ = &mut stop => break,
                () = self.collect() => {}
            }
            // Not inside the select: a write that is dropped would be made, and nobody would know of it.
            if !self.write().await {
                sleep(AGAIN).await;
            }
        }
        self.queue.close();
        let end = Instant::now() + STOP_MAX;
        let last = async {
            loop {
                while self.batch.len() < BATCH_MAX {
                    let Ok(row) = self.queue.try_recv() else { break };
                    self.batch.push(row);
                }
                if self.batch.is_empty() || !self.write().await {
                    return;
                }
            }
        };
        let _ = timeout_at(end, last).await;
        let left = self.batch.len() + self.queue.len();
        if left > 0 {
            self.counts.dropped.fetch_add(left as u64, Relaxed);
            tracing::warn!(left, "stopped before the last heartbeats were in the log");
        }
    }

    /// Until a batch is full, or its first row has waited long enough.
    async fn collect(&mut self) {
        if self.batch.is_empty() {
            let Some(first) = self.queue.recv().await else { return std::future::pending().await };
            self.batch.push(first);
        }
        let end = Instant::now() + COLLECT;
        while self.batch.len() < BATCH_MAX {
            let room = BATCH_MAX - self.batch.len();
            match timeout_at(end, self.queue.recv_many(&mut self.batch, room)).await {
                Ok(rows) if rows > 0 => {}
                _ => return,
            }
        }
    }

    /// Writes the batch; `false` when it has to be tried again.
    async fn write(&mut self) -> bool {
        if self.batch.is_empty() {
            return true;
        }
        if self.health.draining() {
            return false;
        }
        match self.store.log_heartbeats(self.number, &self.batch).await {
            Ok(()) => {
                let rows = self.batch.len();
                self.number += rows as i64;
                self.batch.clear();
                self.counts.logged.fetch_add(rows as u64, Relaxed);
                self.counts.waiting.fetch_sub(rows as u64, Relaxed);
                self.failing = false;
                true
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!("the heartbeat log cannot be written, trying on: {error:#}");
                }
                false
            }
        }
    }
}
