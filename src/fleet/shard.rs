//! One shard: the thread a part of the vehicles lives on, and the flow of inputs to them.
//!
//! Owns: the addresses of its vehicles, their outbox, and the timer over their alarms. Receives: `Wake` from its lane,
//! `BatchDone` when every input of a batch was dealt with, `Flush` and `Arm` from vehicles, `Restore`, `Observe` and
//! `Drain` from the supervisor, and what the desk changes (registered.rs). Sends: `Heard` and `Look` to vehicles,
//! `Paused` to the supervisor, `Updates` to the hub, decisions to the persister. Bound: one batch (a full lane) under
//! way; no new batch is taken while the persister has no room, so a store and spool that take nothing fill the lane,
//! and then ingest waits. On death: the process ends; a vehicle that panics is made anew here from the board.

mod registered;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix::prelude::*;

use super::customers::Customers;
use super::heartbeat_log::Hand;
use super::outbox::{FleetCounters, Outbox};
use super::persister::Persister;
use super::registry::{Entry, Envelope, Registry, Wake};
use super::seat::seat;
use super::vehicle::{Amend, Heard, Look, Origin, Standing, Vehicle};
use crate::clock::Clock;
use crate::domain::latest::Latest;
use crate::domain::liveness::{Liveness, Stored};
use crate::domain::observation::{Gap, Gaps};
use crate::domain::policy::{Policy, Rules};
use crate::domain::time::Millis;
use crate::live::feed::Feed;
use crate::live::hub::Hub;
use crate::telemetry::warnings::Warnings;

pub use registered::{AmendSome, RemoveSome, RetimeSome, RetireSome};

/// How often the board is told. Small against the dashboards' tick of 250 ms, large against the cost of a message.
const TELL_EVERY: Duration = Duration::from_millis(50);
/// How soon to ask again whether the persister has room.
const ROOM_AGAIN: Duration = Duration::from_millis(20);
/// After a small batch a shard looks again so much later, and is not woken meanwhile: a wake-up from another thread is
/// a system call on either side, which is more than a heartbeat costs.
const GATHER: Duration = Duration::from_millis(1);
/// A batch of so many inputs is not small: the shard hardly keeps up, and goes on at once.
const SMALL_BATCH: usize = 1_024;
/// Vehicles called at once when their alarms go off: a whole fleet that falls silent together must not keep heartbeats
/// waiting for longer than some milliseconds.
const CALLED_MAX: usize = 10_000;

/// Every input of a batch was dealt with.
#[derive(Message)]
#[rtype(result = "()")]
pub struct BatchDone;

/// There are decisions in the outbox, or vehicles that fell.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Flush;

/// There is an alarm before the one that the timer is set for.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Arm;

/// Vehicles as they were stored; answered when they live.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Restore(pub Vec<Origin>);

/// A blind interval that a shard found by itself: it did not run.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Paused(pub Gap);

/// Who wants to know of pauses.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Oversee(pub Recipient<Paused>);

/// When we could not hear, as of now.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub struct Observe(pub Gaps);

/// Tell what there is to tell; answers whether everything that was taken has been dealt with and told.
#[derive(Message)]
#[rtype(result = "bool")]
pub struct Drain;

/// Counts the inputs of a batch that are not dealt with yet.
struct Flight {
    outstanding: AtomicUsize,
    shard: Addr<Shard>,
}

/// Held by an input until it is dealt with, even if its vehicle dies over it.
pub struct Ticket {
    flight: Arc<Flight>,
    /// Whose beats are not steady until then.
    unsettled: Option<Arc<Entry>>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(entry) = &self.unsettled {
            entry.settled_one();
        }
        if self.flight.outstanding.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.flight.shard.do_send(BatchDone);
        }
    }
}

/// What a shard is made of.
#[derive(Clone)]
pub struct Parts {
    /// The lanes.
    pub registry: Arc<Registry>,
    /// What holds for all vehicles.
    pub rules: Rules,
    /// What holds for those of one customer.
    pub customers: Arc<Customers>,
    /// When we could not hear.
    pub gaps: Gaps,
    /// Since when this run was blind before it listened.
    pub blind_from: Millis,
    /// The clock.
    pub clock: Clock,
    /// Counters of all shards.
    pub counters: Arc<FleetCounters>,
    /// The board.
    pub feed: Arc<Feed>,
    /// Its writer.
    pub hub: Addr<Hub>,
    /// Where decisions go.
    pub persister: Persister,
    /// What operators are warned of.
    pub warnings: Arc<Warnings>,
    /// Where heartbeats go that are kept; none: they are not.
    pub log: Option<Hand>,
}

/// One shard.
pub struct Shard {
    index: usize,
    parts: Parts,
    outbox: Rc<RefCell<Outbox>>,
    vehicles: Vec<Option<Addr<Vehicle>>>,
    /// The one timer over all alarms.
    timer: Option<SpawnHandle>,
    batch: Vec<Envelope>,
    batch_size: usize,
    batch_until: Millis,
    flight: Arc<Flight>,
    /// Inputs for vehicles that are being made anew.
    waiting: Vec<(Envelope, Ticket)>,
    supervisor: Option<Recipient<Paused>>,
    telling: bool,
    /// The horizon of the last time the board was told.
    told_until: Millis,
}

impl Shard {
    /// Starts a shard on a thread of its own.
    pub fn start_on(arbiter: &ArbiterHandle, index: usize, parts: Parts) -> Addr<Self> {
        Self::start_in_arbiter(arbiter, move |context| {
            let Parts { registry, rules, gaps, clock, counters, warnings, log, .. } = parts.clone();
            let owner = context.address();
            let mut outbox = Outbox::new((index, owner), registry, rules, gaps, clock, counters, warnings);
            outbox.log = log;
            let flight = Flight { outstanding: AtomicUsize::new(0), shard: context.address() };
            Self {
                index,
                outbox: Rc::new(RefCell::new(outbox)),
                vehicles: Vec::new(),
                timer: None,
                batch: Vec::new(),
                batch_size: 0,
                batch_until: parts.clock.now(),
                flight: Arc::new(flight),
                waiting: Vec::new(),
                supervisor: None,
                telling: false,
                told_until: parts.clock.now(),
                parts,
            }
        })
    }

    fn is_busy(&self) -> bool {
        self.flight.outstanding.load(Ordering::Acquire) > 0
    }

    /// Takes the next batch, if the last one is done and what it decides can be kept.
    fn work(&mut self, context: &mut Context<Self>) {
        if self.is_busy() {
            return;
        }
        if !self.parts.persister.has_room() {
            context.notify_later(Wake, ROOM_AGAIN);
            return;
        }
        let mut batch = std::mem::take(&mut self.batch);
        self.batch_until = self.parts.registry.take(self.index, &mut batch);
        self.batch_size = batch.len();
        if !batch.is_empty() {
            self.outbox.borrow_mut().batch_begins();
            self.flight.outstanding.store(batch.len(), Ordering::Release);
            for envelope in batch.drain(..) {
                let unsettled = (!envelope.input.is_beat()).then(|| Arc::clone(&envelope.entry));
                self.hand_over(envelope, Ticket { flight: Arc::clone(&self.flight), unsettled });
            }
        }
        self.batch = batch;
    }

    fn hand_over(&mut self, envelope: Envelope, ticket: Ticket) {
        let local = envelope.entry.local as usize;
        if self.vehicles.len() <= local {
            self.vehicles.resize(local + 1, None);
        }
        if self.vehicles[local].is_none() {
            if envelope.entry.is_leaving() {
                if let Some(token) = envelope.token {
                    token.accept();
                }
                return;
            }
            if self.is_fallen(&envelope.entry) {
                self.waiting.push((envelope, ticket));
                return;
            }
            self.welcome(newcomer(Arc::clone(&envelope.entry), &self.parts));
        }
        let Envelope { arrival, input, token, .. } = envelope;
        if let Some(vehicle) = &self.vehicles[local] {
            // Not bounded by the mailbox: a batch is bounded, and there is one under way.
            vehicle.do_send(Heard { arrival, input, token, ticket });
        }
    }

    fn welcome(&mut self, origin: Origin) {
        let local = origin.entry.local as usize;
        if self.vehicles.len() <= local {
            self.vehicles.resize(local + 1, None);
        }
        let vehicle = Vehicle::new(origin, Rc::clone(&self.outbox));
        self.vehicles[local] = Some(seat(vehicle));
    }

    fn is_fallen(&self, entry: &Arc<Entry>) -> bool {
        self.outbox.borrow().fallen.iter().any(|fallen| Arc::ptr_eq(fallen, entry))
    }

    /// Hands the decisions over and looks after vehicles that fell.
    fn flush(&mut self, context: &mut Context<Self>) {
        let decided = self.outbox.borrow_mut().take_decided();
        if !decided.is_empty() {
            self.parts.persister.submit(decided);
        }
        let fallen = self.outbox.borrow().fallen.clone();
        if !fallen.is_empty() {
            fallen.iter().for_each(|entry| self.vehicles[entry.local as usize] = None);
            self.tell(context);
        }
    }

    /// Tells the board what is new; when it is there, vehicles that fell are made anew from it.
    fn tell(&mut self, context: &mut Context<Self>) {
        if self.telling {
            return;
        }
        let horizon = self.settled_horizon();
        let updates = self.outbox.borrow_mut().take_updates();
        if updates.is_none() && self.outbox.borrow().fallen.is_empty() {
            self.parts.registry.report_on_board(self.index, horizon);
            return;
        }
        self.telling = true;
        let told = self.parts.hub.send(updates.unwrap_or_default()).into_actor(self);
        context.spawn(told.map(move |told, shard, _| {
            shard.telling = false;
            told.into_iter().for_each(|told| shard.outbox.borrow_mut().reuse(told));
            shard.parts.registry.report_on_board(shard.index, horizon);
            shard.raise_fallen();
        }));
    }

    /// Up to when everything that arrived is in the outbox or on the board. Vehicles over their limit are told to look
    /// at what was only noted for them; until they have, the horizon is that of the last time.
    fn settled_horizon(&mut self) -> Millis {
        let horizon = self.outbox.borrow_mut().horizon();
        let before = std::mem::replace(&mut self.told_until, horizon);
        let flooding = self.parts.registry.take_flooding(self.index);
        for (entry, beats) in &flooding {
            self.parts.warnings.flooding(self.parts.clock.now(), &entry.key, *beats);
        }
        self.call(flooding.iter().map(|(entry, _)| entry.local));
        if flooding.is_empty() { horizon } else { before }
    }

    fn raise_fallen(&mut self) {
        let fallen = std::mem::take(&mut self.outbox.borrow_mut().fallen);
        for entry in fallen.into_iter().filter(|entry| !entry.is_leaving()) {
            tracing::error!(vehicle = %entry.key, "the vehicle's actor panicked; it is made anew from the board");
            self.parts.counters.restarts.fetch_add(1, Ordering::Relaxed);
            self.welcome(from_board(&self.parts, &entry).unwrap_or_else(|| newcomer(entry, &self.parts)));
        }
        for (envelope, ticket) in std::mem::take(&mut self.waiting) {
            self.hand_over(envelope, ticket);
        }
    }

    /// Sets the timer for the next alarm, if it is not set for that.
    fn arm(&mut self, context: &mut Context<Self>) {
        let Some(next) = self.outbox.borrow_mut().alarms.arm() else { return };
        if let Some(timer) = self.timer.take() {
            context.cancel_future(timer);
        }
        // A gap equal to the timeout is still online: look one millisecond after.
        let wait = (next - self.parts.clock.now()).max(0) as u64 + 1;
        self.timer = Some(context.run_later(Duration::from_millis(wait), Self::ring));
    }

    /// Calls those whose alarm goes off.
    fn ring(&mut self, context: &mut Context<Self>) {
        self.timer = None;
        let due = {
            let mut outbox = self.outbox.borrow_mut();
            outbox.alarms.disarm();
            outbox.alarms.take_before(self.parts.clock.now(), CALLED_MAX)
        };
        self.call(due);
        self.arm(context);
    }

    fn report_pauses(&mut self, context: &mut Context<Self>) {
        if std::mem::take(&mut self.outbox.borrow_mut().slept) {
            // The timer slept too.
            self.outbox.borrow_mut().alarms.disarm();
            self.arm(context);
        }
        let Some(supervisor) = &self.supervisor else { return };
        for gap in std::mem::take(&mut self.outbox.borrow_mut().pauses) {
            supervisor.do_send(Paused(gap));
        }
    }

    /// Vehicles that could not be judged look again.
    fn release_held(&mut self) {
        let held = std::mem::take(&mut self.outbox.borrow_mut().held);
        self.call(held);
    }

    fn call(&self, locals: impl IntoIterator<Item = u32>) {
        for vehicle in locals.into_iter().filter_map(|local| self.vehicles.get(local as usize)?.as_ref()) {
            vehicle.do_send(Look);
        }
    }
}

/// A vehicle that nobody registered, or that was never heard in this life.
fn newcomer(entry: Arc<Entry>, parts: &Parts) -> Origin {
    let policy = Policy::resolve(&parts.rules, parts.customers.timeout(&entry.key.customer), None);
    let unheard = Stored { seq: parts.registry.last_seq(&entry.key).unwrap_or(0), ..Stored::default() };
    let (liveness, latest) = (Liveness::restored(unheard, policy, parts.blind_from), Latest::default());
    Origin { entry, registered: None, liveness, latest, policy, standing: Standing::New }
}

fn from_board(parts: &Parts, entry: &Arc<Entry>) -> Option<Origin> {
    let board = parts.feed.board();
    let state = &board.row(entry.slot)?.state;
    let instant = |date: Option<Millis>| date.map(|date| parts.clock.instant(date));
    let (since, last_seen) = (instant(state.since), instant(state.last_seen));
    let stored = Stored { status: state.status, since, seq: state.seq, last_seen, announced: state.announced };
    let liveness = Liveness::restored(stored, state.policy, parts.blind_from);
    Some(Origin {
        entry: Arc::clone(entry),
        registered: None,
        liveness,
        latest: state.latest.clone(),
        policy: state.policy,
        standing: Standing::OnBoard,
    })
}

impl Actor for Shard {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.parts.registry.attach(self.index, context.address().recipient());
        context.run_interval(TELL_EVERY, |shard, context| {
            shard.tell(context);
            shard.report_pauses(context);
            shard.release_held();
        });
    }
}

impl Handler<Wake> for Shard {
    type Result = ();

    fn handle(&mut self, _: Wake, context: &mut Self::Context) {
        self.work(context);
    }
}

impl Handler<BatchDone> for Shard {
    type Result = ();

    fn handle(&mut self, _: BatchDone, context: &mut Self::Context) {
        self.outbox.borrow_mut().batch_done(self.batch_until);
        self.flush(context);
        self.release_held();
        if self.batch_size < SMALL_BATCH {
            context.notify_later(Wake, GATHER);
        } else {
            self.work(context);
        }
    }
}

impl Handler<Flush> for Shard {
    type Result = ();

    fn handle(&mut self, _: Flush, context: &mut Self::Context) {
        self.flush(context);
    }
}

impl Handler<Arm> for Shard {
    type Result = ();

    fn handle(&mut self, _: Arm, context: &mut Self::Context) {
        self.arm(context);
    }
}

impl Handler<Restore> for Shard {
    type Result = ();

    fn handle(&mut self, Restore(origins): Restore, _: &mut Self::Context) {
        for origin in origins {
            match self.vehicles.get(origin.entry.local as usize).and_then(Option::as_ref) {
                // It spoke before we heard of it from the desk.
                Some(vehicle) => {
                    let (registered, policy) = (origin.registered.unwrap_or_default(), origin.policy);
                    vehicle.do_send(Amend { registered, policy });
                }
                None => self.welcome(origin),
            }
        }
    }
}

impl Handler<Oversee> for Shard {
    type Result = ();

    fn handle(&mut self, Oversee(supervisor): Oversee, _: &mut Self::Context) {
        self.supervisor = Some(supervisor);
    }
}

impl Handler<Observe> for Shard {
    type Result = ();

    fn handle(&mut self, Observe(gaps): Observe, _: &mut Self::Context) {
        self.outbox.borrow_mut().gaps = gaps;
        let parked = std::mem::take(&mut self.outbox.borrow_mut().parked);
        self.call(parked);
        self.release_held();
    }
}

impl Handler<Drain> for Shard {
    type Result = bool;

    fn handle(&mut self, _: Drain, context: &mut Self::Context) -> bool {
        self.flush(context);
        self.tell(context);
        let lane_empty = self.parts.registry.horizon_if_empty(self.index).is_some();
        lane_empty && !self.is_busy() && !self.telling && self.outbox.borrow().is_empty()
    }
}

#[cfg(test)]
#[path = "shard_tests.rs"]
mod tests;
