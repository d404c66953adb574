//! How durable what was decided is: what waits in memory and in the spool, and why. Written by the persister's writer
//! and its checkpoints; read by shards (room), /status, /readyz and /metrics.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::store::TakenOver;
use crate::store::spool::Stats;

/// How the store and the spool are doing.
#[derive(Debug, Default)]
pub struct StoreHealth {
    pending: AtomicUsize,
    fault: Mutex<Option<String>>,
    /// None: there is no spool.
    spool: Mutex<Option<Stats>>,
    /// Something waits for the store.
    draining: AtomicBool,
    /// Why something can be kept nowhere but in memory.
    stuck: Mutex<Option<String>>,
    /// Stored statuses that were not what the vehicle's last transition says, and were mended.
    repaired: AtomicU64,
    /// Another process writes to the store now.
    replaced: Notify,
}

impl StoreHealth {
    /// Transitions that are decided and not yet durable: they wait in memory.
    pub fn pending(&self) -> usize {
        self.pending.load(Relaxed)
    }

    pub(super) fn decided(&self, rows: usize) {
        self.pending.fetch_add(rows, Relaxed);
    }

    pub(super) fn durable(&self, rows: usize) {
        self.pending.fetch_sub(rows, Relaxed);
    }

    /// The spool, where there is one.
    pub fn spool(&self) -> Option<Stats> {
        *self.spool.lock()
    }

    pub(super) fn note_spool(&self, stats: Stats) {
        *self.spool.lock() = Some(stats);
    }

    /// Transitions that are not yet in the store: in memory and in the spool.
    pub fn waiting(&self) -> u64 {
        self.pending() as u64 + self.spool().map_or(0, |spool| spool.rows)
    }

    /// Whether something waits for the store, which then is not asked for less important things.
    pub(in crate::fleet) fn draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    pub(super) fn note_draining(&self, draining: bool) {
        self.draining.store(draining, Relaxed);
    }

    /// Why the last write to the store failed, until one succeeds.
    pub fn fault(&self) -> Option<String> {
        self.fault.lock().clone()
    }

    /// Why new transitions cannot be made durable, neither in the store nor in the spool.
    pub fn stuck(&self) -> Option<String> {
        self.stuck.lock().clone()
    }

    pub(in crate::fleet) fn note(&self, outcome: &anyhow::Result<()>) {
        let mut fault = self.fault.lock();
        match outcome {
            Ok(()) => {
                if fault.take().is_some() {
                    tracing::info!("the store takes writes again");
                }
            }
            Err(error) => {
                if error.is::<TakenOver>() {
                    self.replaced.notify_one();
                }
                if fault.is_none() {
                    tracing::error!("the store takes no writes, trying on: {error:#}");
                }
                *fault = Some(format!("{error:#}"));
            }
        }
    }

    /// Returns when another process has taken the store over.
    pub async fn replaced(&self) {
        self.replaced.notified().await;
    }

    /// Stored statuses that somebody changed and that were mended, since the start.
    pub fn repaired(&self) -> u64 {
        self.repaired.load(Relaxed)
    }

    pub(in crate::fleet) fn note_repaired(&self, rows: usize) {
        self.repaired.fetch_add(rows as u64, Relaxed);
    }

    /// What is decided can be kept in memory only, for this reason; or that is over.
    pub(super) fn note_stuck(&self, reason: Option<String>) {
        let mut stuck = self.stuck.lock();
        match (&*stuck, &reason) {
            (None, Some(reason)) => {
                tracing::error!("what is decided cannot be kept on disk and is not acknowledged, trying on: {reason}");
            }
            (Some(_), None) => tracing::info!("what is decided is durable again"),
            _ => {}
        }
        *stuck = reason;
    }
}
