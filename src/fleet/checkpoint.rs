//! The slow checkpoint: what was last heard of each vehicle, into the store, at most one row a vehicle in an interval.
//! Started by the persister, beside its writer; reads the board. A sweep over the board is cut into short steps, spread
//! over the interval: a transition waits for one step at most, never for a million rows.
//!
//! Only the end of a whole sweep says until when we listened. Said earlier, it would be a promise about rows that are
//! not written yet: after a crash their vehicles would look silent, and be called offline.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::persister::StoreHealth;
use super::registry::Registry;
use crate::domain::board::{Group, Slot, Version};
use crate::domain::ids::VehicleKey;
use crate::domain::time::Millis;
use crate::live::feed::Feed;
use crate::store::{Checkpoint, Repair, Store, VEHICLES_A_READ};

/// Slots of one step, and so rows at most. SQLite takes less than 10 us of CPU for a row with all its facts, so a step
/// is some 10 ms and what the disk takes: a transition that comes meanwhile waits no longer.
const STEP_SLOTS: Slot = 1_000;
/// Vehicles compared with their last transition in one sweep (R1): a second's work at most, and every vehicle of a
/// small fleet; a million are gone through in a hundred sweeps. As many as are read at once, so that at the start the
/// one goes ahead of the other.
const REPAIR_ROWS: u32 = VEHICLES_A_READ as u32;
/// How long the last sweep may take when the service stops. What is left out then is positions and gauges of the last
/// minute; when each vehicle was last heard is in the local file.
const STOP_MAX: Duration = Duration::from_secs(5);
/// How long the store's goodbye may take then: the whole stop has 9 s.
const CLOSE_MAX: Duration = Duration::from_secs(1);
/// A step is followed by a pause of so many times its own length, so that the sweeps of a large fleet take a fortieth
/// of the store's time at most, and heartbeats and transitions the rest: by that a million take some seven minutes on
/// SQLite, whatever the interval.
const REST: u32 = 39;
/// How soon to look again whether the store has time for us.
const PUT_OFF: Duration = Duration::from_secs(1);

/// Until when everything that was said is known. It does not move while we are blind: if the process ends meanwhile,
/// the next one has been blind since then.
pub fn alive_until(registry: &Registry, feed: &Feed) -> Millis {
    let until = feed.clock().date(registry.on_board_until());
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

    /// Sweeps until it is told to stop; then a last sweep, and the store is closed.
    pub async fn run(mut self, mut stop: mpsc::UnboundedReceiver<oneshot::Sender<()>>) {
        let done = loop {
            // A step that is cut off here is made anew at the end, and what it has asked of the store runs on.
            tokio::select! {
                biased;
                done = stop.recv() => break done,
                () = self.step_when_due() => {}
            }
        };
        if !self.health.draining() {
            self.finish().await;
        }
        let _late = timeout(CLOSE_MAX, self.store.close()).await;
        if let Some(done) = done {
            let _ = done.send(());
        }
    }

    /// Whether a sweep has begun and is not whole yet.
    pub fn is_under_way(&self) -> bool {
        self.sweep.is_some()
    }

    async fn step_when_due(&mut self) {
        self.due().await;
        // A store that does not even take transitions is not asked to take more.
        if self.health.draining() {
            self.due = Instant::now() + PUT_OFF;
        } else {
            self.step().await;
        }
    }

    /// Returns when there is something to do; may be dropped at any moment.
    pub async fn due(&self) {
        sleep_until(self.due).await;
    }

    /// One step: some rows, or the end of the sweep. A sweep that fails is given up: the next one holds its rows too,
    /// because the version it starts from has not moved.
    pub async fn step(&mut self) {
        let mut sweep = match self.sweep.take() {
            Some(sweep) => sweep,
            None => self.begin(),
        };
        let next = sweep.began + self.every;
        let began = Instant::now();
        match self.write(&mut sweep).await {
            Ok(false) => {
                // Late steps are not made up for in a burst.
                self.due = Instant::now() + sweep.pause.max(REST * began.elapsed());
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
    async fn finish(&mut self) {
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
        // Not every shard has looked around yet: 1970 would be written down.
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
            let (announced, latest) = (row.state.announced, row.state.latest.clone());
            Some(Checkpoint { key: Arc::clone(&row.key), last_seen, announced, latest })
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

/// Compares every stored vehicle with its last transition, before anybody relies on it. After each slice `compared` is
/// told where that ended; nothing for the last one.
///
/// # Errors
/// The store cannot be read or written.
pub async fn repair_all(
    store: &Arc<dyn Store>,
    health: &StoreHealth,
    mut compared: impl FnMut(Option<&VehicleKey>),
) -> anyhow::Result<()> {
    let mut after = None;
    loop {
        let repair = store.repair(after.as_ref(), REPAIR_ROWS).await?;
        tell(&repair, health);
        compared(repair.end.as_ref());
        match repair.end {
            Some(end) => after = Some(end),
            None => return Ok(()),
        }
    }
}

/// Counts what was mended, and says it.
fn tell(repair: &Repair, health: &StoreHealth) {
    health.note_repaired(repair.mended.len());
    for row in &repair.mended {
        let (customer, vehicle, was, is) = (&row.key.customer, &row.key.vehicle, &row.was, &row.is);
        tracing::warn!(
            %customer, %vehicle, was = %was.status, was_seq = was.seq, was_since_ms = was.since,
            is = %is.status, is_seq = is.seq, is_since_ms = is.since,
            "a stored status was changed by somebody else; it is mended from the vehicle's last transition"
        );
    }
}

#[cfg(test)]
mod tests {
    use actix::Actor;

    use super::*;
    use crate::clock::Clock;
    use crate::domain::board::Update;
    use crate::domain::latest::Latest;
    use crate::domain::limit::Limit;
    use crate::domain::policy::Policy;
    use crate::domain::sleep::Announced;
    use crate::domain::transition::{Cause, Change, Evidence, Status, Transition};
    use crate::fleet::registry::Admission;
    use crate::live::hub::{Hub, Joined, Updates};
    use crate::store;

    const VEHICLES: Slot = 2 * STEP_SLOTS + 1;

    fn key(n: Slot) -> Arc<VehicleKey> {
        Arc::new(VehicleKey::parse("acme", &format!("v{n:05}")).unwrap())
    }

    fn state(slot: Slot, last_seen: Millis) -> Update {
        let (status, latest, policy) = (Status::Online, Latest::default(), Policy::default());
        let announced = Announced::NONE;
        Update { slot, status, since: Some(1), seq: 1, last_seen: Some(last_seen), announced, latest, policy }
    }

    async fn stored(store: &Arc<dyn Store>) -> Vec<Option<Millis>> {
        let mut all = Vec::new();
        store.load_vehicles(&mut |vehicle| all.push(vehicle.last_seen)).await.unwrap();
        all
    }

    async fn published(feed: &Feed, version: Version) {
        while feed.board().version() < version {
            tokio::time::sleep(Duration::from_millis(2)).await; // poll:
        }
    }

    /// R23: until when we listened is written when every row is, never between two of them. A crash in between would
    /// leave old rows under a new promise, and their vehicles would be called offline.
    #[actix::test]
    async fn a_sweep_promises_nothing_before_it_is_whole() {
        let store = store::open("sqlite::memory:").await.unwrap();
        let change = |seq, to| Change {
            seq,
            from: Status::NeverSeen,
            to,
            at: 1,
            cause: Cause::Heartbeat,
            last_seen: Some(1),
            deadline: None,
        };
        let evidence = Evidence { last_seen_ms: Some(1), ..Evidence::default() };
        let online = |n| Transition {
            key: key(n),
            change: change(1, Status::Online),
            decided_at: 1,
            evidence: evidence.clone(),
        };
        store.commit(&(0..VEHICLES).map(online).collect::<Vec<_>>()).await.unwrap();
        let clock = Clock::start();
        let limit = Limit::NONE;
        let admission = Admission { vehicles_max: 1, customer_vehicles_max: 1, auto_register: true, limit };
        let registry = Arc::new(Registry::new(1, admission, clock));
        let feed = Arc::new(Feed::new(clock, 10));
        let hub = Hub::new(Arc::clone(&feed), Duration::from_millis(5), 1).start();
        let joined = (0..VEHICLES).map(|slot| Joined { key: key(slot), registered: None, state: state(slot, 500) });
        hub.send(Updates { joined: joined.collect(), ..Updates::default() }).await.unwrap();
        published(&feed, 1).await;
        registry.report_on_board(0, 600);

        let health = Arc::<StoreHealth>::default();
        let every = Duration::from_millis(50);
        let mut sweeps = Checkpoints::new(Arc::clone(&store), Arc::clone(&feed), Arc::clone(&registry), health, every);
        for part in 1..=3 {
            sweeps.step().await;
            let written = stored(&store).await.iter().filter(|seen| **seen == Some(500)).count();
            assert_eq!(written as Slot, VEHICLES.min(part * STEP_SLOTS));
            assert_eq!(store.alive_until().await.unwrap(), None, "after part {part}");
        }
        registry.report_on_board(0, 700);
        sweeps.step().await;
        assert_eq!(store.alive_until().await.unwrap(), Some(600), "what held when it began, not when it ended");
        assert!(!sweeps.is_under_way());

        // The next one holds what was heard since, and nothing else.
        let changed = vec![state(VEHICLES - 1, 650)];
        hub.send(Updates { changed, ..Updates::default() }).await.unwrap();
        published(&feed, 2).await;
        assert_eq!(sweeps.heard(0).map(|rows| rows.len()), Some(0));
        assert_eq!(sweeps.heard(2 * STEP_SLOTS).map(|rows| rows.len()), Some(1));
        sweeps.finish().await;
        assert_eq!(stored(&store).await.last(), Some(&Some(650)));
        assert_eq!(store.alive_until().await.unwrap(), Some(700));
    }
}
