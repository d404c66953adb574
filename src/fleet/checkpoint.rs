//! The slow checkpoint: what was last heard of each vehicle, into the store, at most one row a vehicle in an interval.
//! Driven by the persister between its commits; reads the board. A sweep over the board is cut into short steps, spread
//! over the interval: a transition waits for one step at most, never for a million rows.
//!
//! Only the end of a whole sweep says until when we listened. Said earlier, it would be a promise about rows that are
//! not written yet: after a crash their vehicles would look silent, and be called offline.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use super::persister::StoreHealth;
use super::registry::Registry;
use crate::domain::board::{Group, Slot, Version};
use crate::domain::ids::VehicleKey;
use crate::domain::time::Millis;
use crate::live::feed::Feed;
use crate::store::{Checkpoint, Repair, Store};

/// Slots of one step, and so rows at most: 20 to 60 ms of work for the store.
const STEP_SLOTS: Slot = 2_000;
/// Vehicles compared with their last transition in one sweep (R1): a second's work at most, and every vehicle of a
/// small fleet; a million are gone through in a hundred sweeps.
const REPAIR_ROWS: u32 = 10_000;
/// How long the last sweep may take when the service stops. What is left out then is positions and gauges of the last
/// minute; when each vehicle was last heard is in the local file.
const STOP_MAX: Duration = Duration::from_secs(3);

/// Until when everything that was said is known. It does not move while we are blind: if the process ends meanwhile,
/// the next one has been blind since then.
pub fn alive_until(registry: &Registry, feed: &Feed) -> Millis {
    let until = registry.on_board_until();
    let observation = feed.observation().1;
    let blind_since = observation.since.filter(|_| !observation.listening);
    blind_since.map_or(until, |since| since.min(until))
}

/// The sweeps, one after the other.
pub struct Checkpoints {
    store: Arc<dyn Store>,
    feed: Arc<Feed>,
    registry: Arc<Registry>,
    health: Arc<StoreHealth>,
    every: Duration,
    /// What was heard up to this version is written.
    written: Version,
    sweep: Option<Sweep>,
    /// When the next step is due.
    due: Instant,
    /// Where the next slice to compare begins.
    compared: Option<VehicleKey>,
}

/// One sweep under way.
struct Sweep {
    next: Slot,
    version: Version,
    alive_until: Millis,
    began: Instant,
    pause: Duration,
}

impl Checkpoints {
    /// The first sweep begins after one interval.
    pub fn new(
        store: Arc<dyn Store>,
        feed: Arc<Feed>,
        registry: Arc<Registry>,
        health: Arc<StoreHealth>,
        every: Duration,
    ) -> Self {
        let due = Instant::now() + every;
        Self { store, feed, registry, health, every, written: 0, sweep: None, due, compared: None }
    }

    /// Returns when there is something to do; may be dropped at any moment.
    pub async fn due(&self) {
        sleep_until(self.due).await;
    }

    /// Whether there is something to do.
    pub fn are_due(&self) -> bool {
        self.due <= Instant::now()
    }

    /// One step: some rows, or the end of the sweep. A sweep that fails is given up: the next one holds its rows too,
    /// because the version it starts from has not moved.
    pub async fn step(&mut self) {
        let mut sweep = match self.sweep.take() {
            Some(sweep) => sweep,
            None => self.begin(),
        };
        let next = sweep.began + self.every;
        match self.write(&mut sweep).await {
            Ok(false) => {
                // Late steps are not made up for in a burst.
                self.due = Instant::now() + sweep.pause;
                self.sweep = Some(sweep);
            }
            Ok(true) => {
                self.written = sweep.version;
                self.repair().await;
                self.due = next.max(Instant::now());
            }
            Err(_) => self.due = next.max(Instant::now()),
        }
    }

    /// A last sweep without pauses, when the service stops.
    pub async fn finish(&mut self) {
        let mut sweep = self.begin();
        let whole = async { while let Ok(false) = self.write(&mut sweep).await {} };
        if timeout(STOP_MAX, whole).await.is_err() {
            tracing::warn!("stopped before the last positions of all vehicles were stored; statuses are complete");
        }
    }

    fn begin(&self) -> Sweep {
        // In this order: everything said until then is on the board that is read from now on.
        let alive_until = alive_until(&self.registry, &self.feed);
        let board = self.feed.board();
        let steps = board.slots().div_ceil(STEP_SLOTS).max(1);
        Sweep { next: 0, version: board.version(), alive_until, began: Instant::now(), pause: self.every / (steps + 1) }
    }

    /// Writes the next rows; `true` when the sweep is whole.
    async fn write(&self, sweep: &mut Sweep) -> anyhow::Result<bool> {
        if let Some(rows) = self.heard(sweep.next) {
            if !rows.is_empty() {
                self.noted(self.store.heard(&rows).await)?;
            }
            sweep.next += STEP_SLOTS;
            return Ok(false);
        }
        // Before the fleet is on the board nothing is known, and 1970 would be written down for it.
        if sweep.alive_until > 0 {
            self.noted(self.store.checkpoint(&[], sweep.alive_until).await)?;
        }
        Ok(true)
    }

    fn noted(&self, outcome: anyhow::Result<()>) -> anyhow::Result<()> {
        self.health.note(&outcome);
        outcome
    }

    /// What was heard in the slots from here on since the last whole sweep; nothing past the last slot.
    fn heard(&self, from: Slot) -> Option<Vec<Checkpoint>> {
        let board = self.feed.board();
        let slots = from..from.saturating_add(STEP_SLOTS).min(board.slots());
        if slots.is_empty() {
            return None;
        }
        let heard = slots.filter_map(|slot| board.row(slot)).filter(|row| row.changed_after(Group::Seen, self.written));
        let rows = heard.filter_map(|row| {
            let last_seen = row.state.last_seen?;
            Some(Checkpoint { key: Arc::clone(&row.key), last_seen, latest: row.state.latest.clone() })
        });
        Some(rows.collect())
    }

    /// Compares some stored vehicles with their last transitions.
    async fn repair(&mut self) {
        match self.store.repair(self.compared.as_ref(), REPAIR_ROWS).await {
            Ok(repair) => {
                tell(&repair, &self.health);
                self.compared = repair.end;
            }
            Err(error) => tracing::warn!("stored statuses could not be compared with their transitions: {error:#}"),
        }
    }
}

/// Compares every stored vehicle with its last transition, before anybody relies on it.
///
/// # Errors
/// The store cannot be read or written.
pub async fn repair_all(store: &Arc<dyn Store>, health: &StoreHealth) -> anyhow::Result<()> {
    let mut after = None;
    loop {
        let repair = store.repair(after.as_ref(), REPAIR_ROWS).await?;
        tell(&repair, health);
        match repair.end {
            Some(end) => after = Some(end),
            None => return Ok(()),
        }
    }
}

fn tell(repair: &Repair, health: &StoreHealth) {
    health.repaired.fetch_add(repair.mended.len() as u64, Relaxed);
    for row in &repair.mended {
        let (customer, vehicle, was, is) = (&row.key.customer, &row.key.vehicle, &row.was, &row.is);
        tracing::warn!(
            %customer, %vehicle, was = %was.status, was_seq = was.seq, was_since_ms = was.since,
            is = %is.status, is_seq = is.seq, is_since_ms = is.since,
            "a stored status was changed by somebody else; it is mended from the vehicle's last transition"
        );
    }
}
