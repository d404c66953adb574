//! Who is known, and the bounded lane to each shard: one lock finds the vehicle, stamps the arrival and queues the
//! input. Fed by ingest and by start-up; emptied by the shards. Because arrivals are stamped under the lane's lock, a
//! shard that has emptied its lane knows that it has seen everything that arrived until then; deadlines are judged on
//! that.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};

use actix::{Message, Recipient};
use foldhash::quality::{FixedState, RandomState};
use hashbrown::HashTable;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::beats::Beats;
pub use super::entry::Entry;
use super::proof::Proof;
use super::token::Token;
use crate::clock::Clock;
use crate::domain::heartbeat::{Heartbeat, Refusal};
use crate::domain::ids::{self, BadId, VehicleKey};
use crate::domain::limit::Limit;
use crate::domain::time::Millis;

/// Inputs a lane holds before ingest has to wait (QoS 1) or drop (QoS 0): about 12 MB, a tenth of a second of the
/// fastest intake measured.
pub const LANE_INPUTS_MAX: usize = 65_536;

/// What arrived for a vehicle.
#[derive(Debug)]
pub enum Input {
    /// A heartbeat, and the MQTT session it came by.
    Heartbeat(Heartbeat, Option<u64>),
    /// A heartbeat that waited in the broker's queue while we were deaf.
    Waited(Heartbeat),
    /// A will or an unclean disconnect of that session.
    Hint(Option<u64>),
    /// A planned switch-off.
    Goodbye,
}

impl Input {
    /// Whether the vehicle itself speaks, now or earlier.
    pub fn is_beat(&self) -> bool {
        matches!(self, Self::Heartbeat(..) | Self::Waited(_))
    }
}

/// One input on its way to its vehicle.
#[derive(Debug)]
pub struct Envelope {
    /// Whose.
    pub entry: Arc<Entry>,
    /// When it arrived, on the steady timeline.
    pub arrival: Millis,
    /// What arrived.
    pub input: Input,
    /// The sender waits for this, where it waits at all.
    pub token: Option<Token>,
}

/// How an input was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivered {
    /// It changes no status: acknowledge at once. The token was not used.
    Steady,
    /// It may change the status: its token tells.
    Pending,
}

/// Why an input was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotTaken {
    /// It never will be.
    Refused(Refusal),
    /// No vehicle can have this name.
    BadIdentifier(BadId),
    /// The lane is full; there is room again after [`Registry::room`].
    Full,
}

/// Wakes a shard that has something in its lane and did not intend to look; at most one is under way.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Wake;

/// Bounds and rules for new vehicles.
#[derive(Debug, Clone, Copy)]
pub struct Admission {
    /// Most vehicles in all.
    pub vehicles_max: usize,
    /// Most vehicles of one customer.
    pub customer_vehicles_max: usize,
    /// Take vehicles that nobody registered.
    pub auto_register: bool,
    /// How often a vehicle may speak before only its being there is noted.
    pub limit: Limit,
}

/// Everybody who is known, in one lane a shard.
pub struct Registry {
    lanes: Box<[Lane]>,
    admission: Admission,
    clock: Clock,
    next_slot: AtomicU32,
    total: AtomicUsize,
    over_limit: AtomicU64,
    customers: Mutex<HashMap<Arc<str>, usize>>,
    hasher: RandomState,
    proof: Arc<Proof>,
}

#[derive(Default)]
struct Lane {
    inside: Mutex<Inside>,
    room: Notify,
    /// Everything that arrived until then is on the board.
    on_board_until: AtomicI64,
}

#[derive(Default)]
struct Inside {
    known: HashTable<Arc<Entry>>,
    /// Places given out; none is used twice, for something may still be under way to it.
    places: u32,
    /// Names that vehicles have left, and the number of each one's last transition: who comes back goes on from there.
    /// As many as were deleted and are not forgotten in the store.
    departed: HashMap<VehicleKey, u64>,
    queue: Vec<Envelope>,
    /// Vehicles with beats over the limit and how many, by place, since the shard last asked.
    flooding: HashMap<u32, (Arc<Entry>, u32)>,
    beats: Beats,
    /// The shard is woken, or looks by itself before long.
    awake: bool,
    shard: Option<Recipient<Wake>>,
}

impl Registry {
    /// Up to when it is proved that we hear.
    pub fn proof(&self) -> &Arc<Proof> {
        &self.proof
    }

    /// An empty registry with one lane a shard.
    pub fn new(shards: usize, admission: Admission, clock: Clock) -> Self {
        Self {
            lanes: (0..shards.max(1)).map(|_| Lane::default()).collect(),
            admission,
            clock,
            next_slot: AtomicU32::new(0),
            total: AtomicUsize::new(0),
            over_limit: AtomicU64::new(0),
            customers: Mutex::default(),
            hasher: RandomState::default(),
            proof: Arc::default(),
        }
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.lanes.len()
    }

    /// How many vehicles are known.
    pub fn total(&self) -> usize {
        self.total.load(Relaxed)
    }

    /// Beats over the limit of their vehicle since start.
    pub fn over_limit(&self) -> u64 {
        self.over_limit.load(Relaxed)
    }

    /// Whether a vehicle is known.
    pub fn knows(&self, customer: &str, vehicle: &str) -> bool {
        let hash = hash(&self.hasher, customer, vehicle);
        let inside = self.lanes[self.shard_of(customer, vehicle)].inside.lock();
        inside.find(hash, customer, vehicle).is_some()
    }

    /// Inputs that wait in the lanes at this moment.
    pub fn waiting(&self) -> usize {
        self.lanes.iter().map(|lane| lane.inside.lock().queue.len()).sum()
    }

    /// The shard takes its lane: from now on it is woken when something arrives.
    pub fn attach(&self, shard: usize, wake: Recipient<Wake>) {
        let mut inside = self.lanes[shard].inside.lock();
        inside.awake = false;
        inside.shard = Some(wake);
        inside.wake();
    }

    /// Which shard a vehicle belongs to: a pure function of its names, the same in every run.
    pub fn shard_of(&self, customer: &str, vehicle: &str) -> usize {
        if self.lanes.len() == 1 {
            return 0;
        }
        (hash(&FixedState::default(), customer, vehicle) >> 16) as usize % self.lanes.len()
    }

    /// A vehicle that was stored. Caps do not apply: it is ours already.
    pub fn restore(&self, key: Arc<VehicleKey>) -> Arc<Entry> {
        let hash = hash(&self.hasher, &key.customer, &key.vehicle);
        let lane = &self.lanes[self.shard_of(&key.customer, &key.vehicle)];
        *self.customers.lock().entry(Arc::clone(&key.customer)).or_default() += 1;
        self.total.fetch_add(1, Relaxed);
        lane.inside.lock().insert(hash, key, &self.next_slot, &self.hasher)
    }

    /// A vehicle that an operator registered; nothing when it is known already.
    ///
    /// # Errors
    /// The cap that leaves no room for it.
    pub fn enroll(&self, key: Arc<VehicleKey>) -> Result<Option<Arc<Entry>>, Refusal> {
        let hash = hash(&self.hasher, &key.customer, &key.vehicle);
        let mut inside = self.lanes[self.shard_of(&key.customer, &key.vehicle)].inside.lock();
        if inside.find(hash, &key.customer, &key.vehicle).is_some() {
            return Ok(None);
        }
        let key = self.count_in(&key.customer, &key.vehicle)?;
        Ok(Some(inside.insert(hash, Arc::new(key), &self.next_slot, &self.hasher)))
    }

    /// Whether the caps leave room for so many more vehicles, all in all and of this customer.
    ///
    /// # Errors
    /// The cap that does not.
    pub fn has_room_for(&self, customer: &str, all: usize, of_customer: usize) -> Result<(), Refusal> {
        let customers = self.customers.lock();
        if self.total.load(Relaxed) + all > self.admission.vehicles_max {
            return Err(Refusal::FleetFull);
        }
        let count = customers.get(customer).copied().unwrap_or(0);
        let full = count + of_customer > self.admission.customer_vehicles_max;
        if full { Err(Refusal::CustomerFull) } else { Ok(()) }
    }

    /// A known vehicle.
    pub fn find(&self, customer: &str, vehicle: &str) -> Option<Arc<Entry>> {
        let hash = hash(&self.hasher, customer, vehicle);
        let inside = self.lanes[self.shard_of(customer, vehicle)].inside.lock();
        inside.find(hash, customer, vehicle).cloned()
    }

    /// The vehicles of one customer that live in this shard.
    pub fn of_customer(&self, shard: usize, customer: &str) -> Vec<Arc<Entry>> {
        let inside = self.lanes[shard].inside.lock();
        inside.known.iter().filter(|entry| *entry.key.customer == *customer).cloned().collect()
    }

    /// From now on what arrives for this vehicle is heard and forgotten, until it is [forgotten](Self::forget) itself,
    /// or stays after all.
    pub fn set_leaving(&self, entry: &Entry, leaving: bool) {
        // Under the lane's lock: what was queued before is before it.
        let _inside = self.lanes[self.shard_of(&entry.key.customer, &entry.key.vehicle)].inside.lock();
        entry.set_leaving(leaving);
    }

    /// A vehicle is gone. Whoever comes under its name is a new one, and goes on with the numbers after `seq`.
    pub fn forget(&self, entry: &Entry, seq: u64) {
        let (customer, vehicle) = (&entry.key.customer, &entry.key.vehicle);
        let mut inside = self.lanes[self.shard_of(customer, vehicle)].inside.lock();
        let known =
            inside.known.find_entry(hash(&self.hasher, customer, vehicle), |known| std::ptr::eq(&**known, entry));
        let Ok(known) = known else { return };
        known.remove();
        inside.departed.insert(VehicleKey::clone(&entry.key), seq);
        self.total.fetch_sub(1, Relaxed);
        let mut customers = self.customers.lock();
        if let Some(count) = customers.get_mut(customer) {
            *count -= 1;
            if *count == 0 {
                customers.remove(customer);
            }
        }
    }

    /// A name that a vehicle had left before this run.
    pub fn note_departed(&self, key: VehicleKey, seq: u64) {
        let shard = self.shard_of(&key.customer, &key.vehicle);
        self.lanes[shard].inside.lock().departed.insert(key, seq);
    }

    /// The number of the last transition under a name that a vehicle has left; nothing when none has.
    pub fn last_seq(&self, key: &VehicleKey) -> Option<u64> {
        self.lanes[self.shard_of(&key.customer, &key.vehicle)].inside.lock().departed.get(key).copied()
    }

    /// The names of this customer that vehicles have left, each with the number of its last transition.
    pub fn departed_of(&self, customer: &str) -> Vec<(Arc<VehicleKey>, u64)> {
        let of = |lane: &Lane| {
            let inside = lane.inside.lock();
            let own = inside.departed.iter().filter(|(key, _)| *key.customer == *customer);
            own.map(|(key, seq)| (Arc::new(key.clone()), *seq)).collect::<Vec<_>>()
        };
        self.lanes.iter().flat_map(of).collect()
    }

    /// Queues an input for its vehicle, registering it when it is new and may come. `token` is called only when the
    /// sender has to wait.
    ///
    /// # Errors
    /// [`NotTaken`], with the input given back to nobody: it was refused or there is no room.
    pub fn deliver(
        &self,
        customer: &str,
        vehicle: &str,
        input: Input,
        token: impl FnOnce() -> Option<Token>,
    ) -> Result<Delivered, NotTaken> {
        let hash = hash(&self.hasher, customer, vehicle);
        let mut inside = self.lanes[self.shard_of(customer, vehicle)].inside.lock();
        let full = inside.queue.len() >= LANE_INPUTS_MAX;
        let entry = match inside.find(hash, customer, vehicle) {
            Some(entry) => Arc::clone(entry),
            None => {
                // Names that are known were checked when they came.
                ids::check_customer(customer).map_err(NotTaken::BadIdentifier)?;
                ids::check_vehicle(vehicle).map_err(NotTaken::BadIdentifier)?;
                if full {
                    return Err(NotTaken::Full);
                }
                // Only who spoke is registered: a broken connection is told of all it named, even in bad messages.
                if !input.is_beat() {
                    return Err(NotTaken::Refused(Refusal::UnknownVehicle));
                }
                let key = self.admit(customer, vehicle).map_err(NotTaken::Refused)?;
                inside.insert(hash, Arc::new(key), &self.next_slot, &self.hasher)
            }
        };
        if entry.is_leaving() {
            return Ok(Delivered::Steady);
        }
        let arrival = self.clock.now();
        let mut steady = false;
        let input = match input {
            Input::Heartbeat(beat, session) => {
                steady = entry.is_steady_at(arrival);
                match self.admission.limit.after(entry.full_at.load(Relaxed), arrival) {
                    Some(_) if full => return Err(NotTaken::Full),
                    Some(full_at) => {
                        entry.full_at.store(full_at, Relaxed);
                        Input::Heartbeat(beat, session)
                    }
                    // An announced sleep moves the deadline, so it has to reach the actor.
                    None if steady && beat.next_in.is_none() => {
                        entry.sign_of_life.store(arrival, Relaxed);
                        inside.beats.count(entry.tally);
                        self.note_over_limit(&mut inside, &entry);
                        return Ok(Delivered::Steady);
                    }
                    None if full => return Err(NotTaken::Full),
                    None => {
                        self.note_over_limit(&mut inside, &entry);
                        Input::Heartbeat(beat.without_facts(), session)
                    }
                }
            }
            _ if full => return Err(NotTaken::Full),
            Input::Waited(beat) => {
                steady = entry.is_steady_at(arrival);
                Input::Waited(beat)
            }
            other => {
                entry.unsteady_inputs.fetch_add(1, Relaxed);
                other
            }
        };
        if input.is_beat() {
            inside.beats.count(entry.tally);
        }
        let token = if steady { None } else { token() };
        inside.queue.push(Envelope { entry, arrival, input, token });
        inside.wake();
        Ok(if steady { Delivered::Steady } else { Delivered::Pending })
    }

    fn note_over_limit(&self, inside: &mut Inside, entry: &Arc<Entry>) {
        self.over_limit.fetch_add(1, Relaxed);
        inside.flooding.entry(entry.local).or_insert_with(|| (Arc::clone(entry), 0)).1 += 1;
    }

    /// The vehicles of a lane that were over their limit since the last time, each with how many beats were.
    pub fn take_flooding(&self, shard: usize) -> Vec<(Arc<Entry>, u32)> {
        std::mem::take(&mut self.lanes[shard].inside.lock().flooding).into_values().collect()
    }

    /// Heartbeats taken since the last time, by customer; those that came twice too.
    pub fn take_beats(&self) -> HashMap<Arc<str>, u64> {
        let mut sums = HashMap::new();
        self.lanes.iter().for_each(|lane| lane.inside.lock().beats.take(&mut sums));
        sums
    }

    /// Empties a lane into `batch` and says up to when everything that arrived is in it or was before. A shard that
    /// gets something looks again by itself; one that finds nothing is woken for the next input.
    pub fn take(&self, shard: usize, batch: &mut Vec<Envelope>) -> Millis {
        debug_assert!(batch.is_empty());
        let mut inside = self.lanes[shard].inside.lock();
        let was_full = inside.queue.len() >= LANE_INPUTS_MAX;
        std::mem::swap(&mut inside.queue, batch);
        inside.awake = !batch.is_empty();
        let until = self.clock.now();
        drop(inside);
        if was_full {
            self.lanes[shard].room.notify_waiters();
        }
        until
    }

    /// The present instant if nothing waits in the lane: then everything that arrived before it was taken.
    pub fn horizon_if_empty(&self, shard: usize) -> Option<Millis> {
        let inside = self.lanes[shard].inside.lock();
        inside.queue.is_empty().then(|| self.clock.now())
    }

    /// Returns when the lane of this vehicle has room (or at once when it has).
    pub async fn room(&self, customer: &str, vehicle: &str) {
        let lane = &self.lanes[self.shard_of(customer, vehicle)];
        let room = lane.room.notified();
        if lane.inside.lock().queue.len() >= LANE_INPUTS_MAX {
            room.await;
        }
    }

    /// The shard tells that everything that arrived until then is on the board.
    pub fn report_on_board(&self, shard: usize, until: Millis) {
        self.lanes[shard].on_board_until.store(until, Relaxed);
    }

    /// Everything that arrived until then, in any lane, is on the board.
    pub fn on_board_until(&self) -> Millis {
        self.lanes.iter().map(|lane| lane.on_board_until.load(Relaxed)).min().unwrap_or(0)
    }

    fn admit(&self, customer: &str, vehicle: &str) -> Result<VehicleKey, Refusal> {
        if !self.admission.auto_register {
            return Err(Refusal::UnknownVehicle);
        }
        self.count_in(customer, vehicle)
    }

    fn count_in(&self, customer: &str, vehicle: &str) -> Result<VehicleKey, Refusal> {
        let mut customers = self.customers.lock();
        if self.total.load(Relaxed) >= self.admission.vehicles_max {
            return Err(Refusal::FleetFull);
        }
        let (name, count) = match customers.get_key_value(customer) {
            Some((name, count)) => (Arc::clone(name), *count),
            None => (Arc::from(customer), 0),
        };
        if count >= self.admission.customer_vehicles_max {
            return Err(Refusal::CustomerFull);
        }
        let key = VehicleKey { customer: Arc::clone(&name), vehicle: vehicle.into() };
        customers.insert(name, count + 1);
        self.total.fetch_add(1, Relaxed);
        Ok(key)
    }
}

impl Inside {
    fn find(&self, hash: u64, customer: &str, vehicle: &str) -> Option<&Arc<Entry>> {
        self.known.find(hash, |entry| *entry.key.vehicle == *vehicle && *entry.key.customer == *customer)
    }

    fn insert(&mut self, hash: u64, key: Arc<VehicleKey>, next_slot: &AtomicU32, hasher: &RandomState) -> Arc<Entry> {
        let tally = self.beats.of(&key.customer);
        let entry = Arc::new(Entry::new(key, next_slot.fetch_add(1, Relaxed), self.places, tally));
        self.places += 1;
        let rehash = |known: &Arc<Entry>| self::hash(hasher, &known.key.customer, &known.key.vehicle);
        self.known.insert_unique(hash, Arc::clone(&entry), rehash);
        entry
    }

    fn wake(&mut self) {
        if !self.awake
            && let Some(shard) = &self.shard
        {
            // One message at most is under way, so the mailbox needs no bound of its own.
            shard.do_send(Wake);
            self.awake = true;
        }
    }
}

fn hash(state: &impl BuildHasher, customer: &str, vehicle: &str) -> u64 {
    let mut hasher = state.build_hasher();
    customer.hash(&mut hasher);
    vehicle.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
