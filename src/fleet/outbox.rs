//! What the vehicles of one shard share: the rules they are judged by, and what they have to tell. Written by
//! vehicles; emptied by their shard. Lives on one thread, so nothing here is locked. Bound: one update and one
//! decision under way a vehicle, since a later update overwrites the earlier one in place.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use actix::Addr;

use super::alarms::Alarms;
use super::heartbeat_log::Hand;
use super::persister::Decided;
use super::registry::{Entry, Registry};
use super::shard::{Arm, Flush, Shard};
use crate::clock::Clock;
use crate::domain::board::{Registered, Slot, Update};
use crate::domain::logged::Logged;
use crate::domain::observation::{Gap, Gaps};
use crate::domain::policy::Rules;
use crate::domain::time::Millis;
use crate::live::hub::{Joined, Updates};
use crate::telemetry::DetectionLag;
use crate::telemetry::warnings::Warnings;

/// A shard looks around every 50 ms; one that did not for this long was suspended with its process, or could not keep
/// up. What arrived meanwhile may still lie in the sockets, so it was blind (R15).
const PAUSE_MAX: Millis = 1_000;

/// Changes whose room is kept for the next ones, about 7 MB: what the fastest intake brings between two looks around.
const SPARE_MAX: usize = 40_000;

/// Counters of all shards.
#[derive(Debug, Default)]
pub struct FleetCounters {
    /// Beats that came twice.
    pub duplicates: AtomicU64,
    /// Beats that had waited somewhere.
    pub backlog: AtomicU64,
    /// Vehicles whose clock is further off than is believed, ahead or behind.
    pub clocks_off: AtomicI64,
    /// Vehicles whose actor panicked and was made anew.
    pub restarts: AtomicU64,
    /// Changes of status decided.
    pub transitions: AtomicU64,
    /// How late decisions were.
    pub detection_lag: DetectionLag,
    /// The shortest timeout of any vehicle.
    pub shortest_timeout: Shortest,
}

/// The shortest duration noted so far, milliseconds.
#[derive(Debug)]
pub struct Shortest(AtomicI64);

impl Default for Shortest {
    fn default() -> Self {
        Self(AtomicI64::new(Millis::MAX))
    }
}

impl Shortest {
    /// Notes one.
    pub fn note(&self, duration: Millis) {
        self.0.fetch_min(duration, Relaxed);
    }

    /// The shortest; `Millis::MAX` while none was noted.
    pub fn get(&self) -> Millis {
        self.0.load(Relaxed)
    }
}

/// Where a vehicle's update stands in the outbox: (generation, index).
pub type Mark = (u32, u32);

/// What the vehicles of one shard share.
pub struct Outbox {
    /// What holds for all vehicles.
    pub rules: Rules,
    /// When we could not hear.
    pub gaps: Gaps,
    /// The clock decisions are dated by.
    pub clock: Clock,
    /// Counters of all shards.
    pub counters: Arc<FleetCounters>,
    /// What operators are warned of.
    pub warnings: Arc<Warnings>,
    /// When vehicles want to be looked at.
    pub alarms: Alarms,
    /// Where heartbeats go that are kept; none: they are not.
    pub log: Option<Hand>,
    /// Vehicles whose deadline has passed by the clock, but not yet by what was surely heard.
    pub held: Vec<u32>,
    /// Vehicles that cannot be judged before we hear again.
    pub parked: Vec<u32>,
    /// Blind intervals that this shard found by itself and has not told yet.
    pub pauses: Vec<Gap>,
    /// The machine slept, and all timers with it.
    pub slept: bool,
    /// Vehicles whose actor panicked.
    pub fallen: Vec<Arc<Entry>>,
    shard: usize,
    /// Whose outbox it is. Here and not with each vehicle: an address of its own is over 100 bytes.
    owner: Addr<Shard>,
    registry: Arc<Registry>,
    /// Everything that arrived until then has been handled.
    horizon: Millis,
    ran_at: Millis,
    /// How long the machine had slept until then.
    slept_until_then: Millis,
    busy: bool,
    updates: Updates,
    /// Room for the next changes: fresh memory of megabytes is cleared by the kernel each time.
    spare: Vec<Update>,
    generation: u32,
    decided: Vec<Decided>,
}

impl Outbox {
    /// An empty one for this shard.
    pub fn new(
        (shard, owner): (usize, Addr<Shard>),
        registry: Arc<Registry>,
        rules: Rules,
        gaps: Gaps,
        clock: Clock,
        counters: Arc<FleetCounters>,
        warnings: Arc<Warnings>,
    ) -> Self {
        Self {
            rules,
            gaps,
            clock,
            counters,
            warnings,
            alarms: Alarms::default(),
            log: None,
            held: Vec::new(),
            parked: Vec::new(),
            pauses: Vec::new(),
            slept: false,
            fallen: Vec::new(),
            shard,
            owner,
            registry,
            horizon: clock.now(),
            ran_at: clock.now(),
            slept_until_then: clock.slept(),
            busy: false,
            updates: Updates::default(),
            spare: Vec::new(),
            generation: 1,
            decided: Vec::new(),
        }
    }

    /// Up to when everything that arrived has been handled; nothing is judged by the clock alone, so that a beat which
    /// waits in the lane is not overtaken by its vehicle's timer.
    pub fn horizon(&mut self) -> Millis {
        self.notice_pause();
        if !self.busy
            && let Some(now) = self.registry.horizon_if_empty(self.shard)
        {
            self.horizon = now;
        }
        self.horizon
    }

    /// Up to when deadlines may be judged: what came is handled, and it is proved that it came. While we are blind
    /// nothing needs a proof: nobody is called offline then.
    pub fn judged_until(&mut self) -> Millis {
        let proved = if self.gaps.listening() { self.registry.proof().until() } else { Millis::MAX };
        self.horizon().min(proved)
    }

    /// A vehicle whose deadline has passed by the clock, but not yet by what was heard: it is called again.
    pub fn hold(&mut self, local: u32, deadline: Millis) {
        self.held.push(local);
        self.registry.proof().want(deadline);
    }

    /// Before anything is judged: a long time in which this shard did not run is a blind interval.
    fn notice_pause(&mut self) {
        let gap = Gap { from: self.ran_at, to: self.clock.now() };
        self.ran_at = gap.to;
        self.slept |= self.clock.slept() - self.slept_until_then > PAUSE_MAX;
        self.slept_until_then = self.clock.slept();
        if gap.to - gap.from > PAUSE_MAX && self.gaps.listening() {
            self.gaps.open(gap.from);
            self.gaps.close(gap.to);
            self.pauses.push(gap);
        }
    }

    /// A batch is on its way to its vehicles.
    pub fn batch_begins(&mut self) {
        self.notice_pause();
        self.busy = true;
    }

    /// Every input of the batch has been handled; it held all that arrived until `horizon`.
    pub fn batch_done(&mut self, horizon: Millis) {
        self.busy = false;
        self.horizon = horizon;
    }

    /// A vehicle new to the board.
    pub fn join(&mut self, entry: &Entry, registered: Option<Box<Registered>>, state: Update) {
        self.updates.joined.push(Joined { key: Arc::clone(&entry.key), registered, state });
    }

    /// The newest state of a vehicle; the older one, if it is still here, is overwritten.
    pub fn update(&mut self, mark: &mut Mark, state: Update) {
        if mark.0 == self.generation {
            self.updates.changed[mark.1 as usize] = state;
        } else {
            *mark = (self.generation, self.updates.changed.len() as u32);
            self.updates.changed.push(state);
        }
    }

    /// What is registered of a vehicle that the board shows already.
    pub fn amend(&mut self, slot: Slot, registered: Box<Registered>) {
        self.updates.amended.push((slot, registered));
    }

    /// A vehicle that left for good; what was told of it before comes first.
    pub fn remove(&mut self, slot: Slot) {
        self.updates.removed.push(slot);
    }

    /// A heartbeat of the vehicle at this place, where any are kept.
    pub fn keep(&mut self, place: u32, row: impl FnOnce(&Rules) -> Logged) {
        if let Some(log) = &mut self.log {
            log.put(place, row(&self.rules));
        }
    }

    /// A decision. The first since the last flush tells the shard, so one message at most is under way.
    pub fn decide(&mut self, decided: Decided) {
        let change = &decided.transition.change;
        self.counters.transitions.fetch_add(1, Relaxed);
        if change.deadline == Some(change.at) && self.clock.instant(change.at) > self.clock.started_at() {
            self.counters.detection_lag.note(decided.transition.decided_at - change.at);
        }
        self.decided.push(decided);
        if self.decided.len() == 1 {
            self.owner.do_send(Flush);
        }
    }

    /// A vehicle wants to be looked at once this instant has passed, and not before; or not at all.
    pub fn wake_at(&mut self, local: u32, instant: Option<Millis>) {
        if self.alarms.want(local, instant) {
            // One at most is under way: the list says so once until the shard has set its timer.
            self.owner.do_send(Arm);
        }
    }

    /// A vehicle's actor panicked.
    pub fn fall(&mut self, entry: &Arc<Entry>) {
        self.fallen.push(Arc::clone(entry));
        self.owner.do_send(Flush);
    }

    /// Takes what the board has to be told; nothing when there is nothing.
    pub fn take_updates(&mut self) -> Option<Updates> {
        (!self.updates.is_empty()).then(|| {
            self.generation = self.generation.wrapping_add(1).max(1);
            let next = Updates { changed: std::mem::take(&mut self.spare), ..Updates::default() };
            std::mem::replace(&mut self.updates, next)
        })
    }

    /// A list of changes that was told.
    pub fn reuse(&mut self, told: Vec<Update>) {
        if told.capacity() <= SPARE_MAX {
            self.spare = told;
        }
    }

    /// Nothing is left to tell.
    pub fn is_empty(&self) -> bool {
        self.decided.is_empty() && self.updates.is_empty()
    }

    /// Takes the decisions.
    pub fn take_decided(&mut self) -> Vec<Decided> {
        std::mem::take(&mut self.decided)
    }
}
