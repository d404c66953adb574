//! One vehicle: an actor around its `Liveness`, with its own alarm.
//!
//! Owns: the vehicle's status and newest facts. Receives: `Heard` and what the desk changes (`Amend`, `Retime`,
//! `Retire`) from its shard, `Look` when its alarm goes off or the shard asks. Sends: updates and decisions into the
//! shard's outbox. Bound: its mailbox holds part of one batch; the shard takes no second batch before the first is
//! handled. On death by panic: its shard makes it anew from the board.
//!
//! The alarm is lazy: a heartbeat only moves the deadline, and the vehicle is woken once it has passed (alarms.rs).

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use actix::prelude::*;

use super::outbox::{Mark, Outbox};
use super::persister::Decided;
use super::registry::{Entry, Input};
use super::seat::Seat;
use super::shard::Ticket;
use super::token::Token;
use crate::clock::Clock;
use crate::domain::board::{Registered, Update};
use crate::domain::boots::Boots;
use crate::domain::heartbeat::Heartbeat;
use crate::domain::latest::{self, Fact, Latest};
use crate::domain::liveness::{self, Liveness, Outcome, Setting};
use crate::domain::logged::Logged;
use crate::domain::policy::{Policy, PolicySource, Rules};
use crate::domain::time::Millis;
use crate::domain::transition::{Change, Evidence, Status, Transition};
use crate::telemetry::warnings::Kind;

/// What the operator is told of two devices with one name.
const TWO_BOOTS: &str = "speaks with two boot texts in turn: two devices seem to have the same vehicle name";

/// An input that arrived for this vehicle.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Heard {
    /// When it arrived.
    pub arrival: Millis,
    /// What arrived.
    pub input: Input,
    /// The sender waits for this, where it waits at all.
    pub token: Option<Token>,
    /// Tells the shard that this input was dealt with.
    pub ticket: Ticket,
}

/// Time has passed: look whether the deadline has.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Look;

/// Its timeout is another one from now on.
#[derive(Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Retime {
    /// The new one.
    pub policy: Policy,
    /// Only if it has none of its own.
    pub unless_own: bool,
}

/// An operator wrote down something else about it.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Amend {
    /// Names, tags and revision.
    pub registered: Box<Registered>,
    /// Its timeout from now on.
    pub policy: Policy,
}

/// Its days are over: what it would start from again is answered, and it hears nothing more.
#[derive(Message)]
#[rtype(result = "Origin")]
pub struct Retire;

/// What a vehicle starts from.
#[derive(MessageResponse)]
pub struct Origin {
    /// Who it is.
    pub entry: Arc<Entry>,
    /// Names and tags, where there are any.
    pub registered: Option<Box<Registered>>,
    /// Its status as last known.
    pub liveness: Liveness,
    /// Its facts as last known.
    pub latest: Latest,
    /// Its timeout.
    pub policy: Policy,
    /// What the board knows of it.
    pub standing: Standing,
}

/// What the board knows of a vehicle when its actor starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing, and its first input is about to come.
    New,
    /// Nothing yet: it comes from the store.
    Stored,
    /// Its row: the actor is made anew.
    OnBoard,
}

/// One vehicle.
pub struct Vehicle {
    entry: Arc<Entry>,
    registered: Option<Box<Registered>>,
    liveness: Liveness,
    latest: Latest,
    boots: Boots,
    policy: Policy,
    standing: Standing,
    mark: Mark,
    outbox: Rc<RefCell<Outbox>>,
}

impl Vehicle {
    /// A vehicle of this shard.
    pub fn new(origin: Origin, outbox: Rc<RefCell<Outbox>>) -> Self {
        let Origin { entry, registered, liveness, latest, policy, standing } = origin;
        let (boots, mark) = (Boots::default(), Mark::default());
        outbox.borrow().counters.shortest_timeout.note(policy.offline_after);
        Self { entry, registered, liveness, latest, boots, policy, standing, mark, outbox }
    }

    fn step(&mut self, now: Millis, input: liveness::Input<'_>) -> Outcome {
        let outbox = self.outbox.borrow();
        self.liveness.step(now, input, Setting { rules: &outbox.rules, policy: self.policy, gaps: &outbox.gaps })
    }

    fn hear(&mut self, arrival: Millis, input: Input) -> Vec<Change> {
        match input {
            Input::Heartbeat(mut beat, session) => {
                let outcome = self.step(arrival, liveness::Input::Heartbeat(&beat, session));
                let mut outbox = self.outbox.borrow_mut();
                if outcome.duplicate {
                    outbox.counters.duplicates.fetch_add(1, Relaxed);
                } else {
                    if outbox.log.is_some() {
                        let arrived = outbox.clock.date(arrival);
                        outbox.keep(self.entry.local, |rules| Logged::of(&self.entry.key, &beat, arrived, rules));
                    }
                    let backlog = latest::is_backlog(&beat, outbox.clock.date(arrival), &outbox.rules);
                    outbox.counters.backlog.fetch_add(u64::from(backlog), Relaxed);
                    // What was buffered before a start carries the old boot text, and that is in order.
                    if !backlog && self.boots.note(beat.boot) {
                        let today = outbox.clock.date(arrival);
                        outbox.warnings.note(today, &self.entry.key, Kind::DuplicateId, 1, TWO_BOOTS);
                    }
                    let was_off = self.latest.clock_is_off(&outbox.rules);
                    self.latest.apply(&mut beat, outbox.clock.date(arrival), &outbox.rules);
                    let is_off = self.latest.clock_is_off(&outbox.rules);
                    outbox.counters.clocks_off.fetch_add(i64::from(is_off) - i64::from(was_off), Relaxed);
                }
                outcome.changes
            }
            Input::Waited(beat) => self.hear_late(arrival, beat),
            Input::Hint(session) => self.step(arrival, liveness::Input::Hint(session)).changes,
            Input::Goodbye => self.step(arrival, liveness::Input::Goodbye).changes,
        }
    }

    /// What waited in a broker's queue while we were deaf is always backlog; its facts are as old as the beat.
    fn hear_late(&mut self, arrival: Millis, mut beat: Heartbeat) -> Vec<Change> {
        let outcome = self.step(arrival, liveness::Input::Waited(&beat));
        let mut outbox = self.outbox.borrow_mut();
        if outcome.duplicate {
            outbox.counters.duplicates.fetch_add(1, Relaxed);
        } else {
            outbox.counters.backlog.fetch_add(1, Relaxed);
            let spoken = outbox.gaps.before(arrival).spoken_at(beat.ts, arrival);
            if outbox.log.is_some() {
                let (spoken, arrived) = (outbox.clock.date(spoken), outbox.clock.date(arrival));
                let row = |rules: &Rules| Logged::of_waited(&self.entry.key, &beat, spoken, arrived, rules);
                outbox.keep(self.entry.local, row);
            }
            // How long it waited says nothing about its clock.
            let skew = self.latest.clock_skew;
            self.latest.apply(&mut beat, outbox.clock.date(spoken), &outbox.rules);
            self.latest.clock_skew = skew;
        }
        outcome.changes
    }

    /// A beat over the limit was noted in the entry, so that it costs nothing; it counts before anything is judged.
    fn show_life(&mut self, sign: Option<Millis>) -> Vec<Change> {
        sign.map_or_else(Vec::new, |sign| self.step(sign, liveness::Input::SignOfLife).changes)
    }

    /// Tells the board, hands over the decisions, and the sender's token with the last of them.
    fn tell(&mut self, changes: Vec<Change>, mut token: Option<Token>) {
        let mut outbox = self.outbox.borrow_mut();
        let clock = outbox.clock;
        let mut state = Update::of(self.entry.slot, &self.liveness, &self.latest, self.policy);
        (state.since, state.last_seen) = (dated(clock, state.since), dated(clock, state.last_seen));
        if self.standing == Standing::OnBoard {
            outbox.update(&mut self.mark, state);
        } else {
            outbox.join(&self.entry, self.registered.take(), state);
            self.standing = Standing::OnBoard;
        }
        let last = changes.len().wrapping_sub(1);
        for (i, change) in changes.into_iter().enumerate() {
            let transition = Arc::new(self.transition(change, clock));
            let token = if i == last { token.take() } else { None };
            outbox.decide(Decided { transition, token });
        }
        if let Some(token) = token {
            token.accept();
        }
    }

    /// What is written down is dated; what is decided by are instants.
    fn transition(&self, change: Change, clock: Clock) -> Transition {
        let (last_seen, deadline) = (dated(clock, change.last_seen), dated(clock, change.deadline));
        let change = Change { at: clock.date(change.at), last_seen, deadline, ..change };
        let evidence = Evidence {
            last_seen_ms: change.last_seen,
            deadline_ms: change.deadline,
            offline_after_ms: self.policy.offline_after,
            policy_source: self.policy.source,
            position: self.latest.position,
            usual_gap_ms: self.liveness.usual_gap(),
            session: self.liveness.session(),
            clock_skew_ms: self.latest.clock_skew.map(Fact::value),
        };
        Transition { key: Arc::clone(&self.entry.key), change, decided_at: clock.today(), evidence }
    }

    /// A vehicle whose clock is off counts while its actor lives.
    fn count_clock(&self, change: i64) {
        if let Ok(outbox) = self.outbox.try_borrow()
            && self.latest.clock_is_off(&outbox.rules)
        {
            outbox.counters.clocks_off.fetch_add(change, Relaxed);
        }
    }

    /// Judged by the old timeout up to everything that was heard, and by the new one from then on.
    fn retime(&mut self, policy: Policy) {
        if self.policy == policy {
            return;
        }
        let horizon = self.outbox.borrow_mut().judged_until();
        let sign = self.entry.take_sign_of_life();
        let mut changes = self.show_life(sign);
        self.policy = policy;
        self.outbox.borrow().counters.shortest_timeout.note(policy.offline_after);
        changes.extend(self.step(horizon, liveness::Input::Policy).changes);
        self.tell(changes, None);
        self.watch();
    }

    /// Sees to it that the deadline is looked at when it passes, and tells ingest until when nothing can happen.
    fn watch(&mut self) {
        let deadline = self.liveness.deadline();
        let steady_until = deadline.filter(|_| self.liveness.status() == Status::Online);
        self.entry.set_steady_until(steady_until.unwrap_or(Millis::MIN));
        let (local, mut outbox) = (self.entry.local, self.outbox.borrow_mut());
        match deadline.filter(|at| !outbox.alarms.will_call(local, *at) && *at < outbox.clock.now()) {
            None => outbox.wake_at(local, deadline),
            // Passed by the clock, but we are blind, or it has not passed by what was heard. The shard calls back.
            Some(_) if !outbox.gaps.listening() => outbox.parked.push(local),
            Some(passed) => outbox.hold(local, passed),
        }
    }
}

fn dated(clock: Clock, instant: Option<Millis>) -> Option<Millis> {
    instant.map(|instant| clock.date(instant))
}

impl Actor for Vehicle {
    type Context = Seat;

    fn started(&mut self, _: &mut Self::Context) {
        self.count_clock(1);
        if self.standing == Standing::Stored {
            let horizon = self.outbox.borrow_mut().judged_until();
            let changes = self.step(horizon, liveness::Input::Deadline).changes;
            self.tell(changes, None);
        }
        self.watch();
    }
}

impl Handler<Heard> for Vehicle {
    type Result = ();

    fn handle(&mut self, heard: Heard, _: &mut Self::Context) {
        let Heard { arrival, input, token, ticket } = heard;
        let sign = self.entry.take_sign_of_life();
        let mut changes = self.show_life(sign.filter(|sign| *sign <= arrival));
        changes.extend(self.hear(arrival, input));
        changes.extend(self.show_life(sign.filter(|sign| *sign > arrival)));
        self.tell(changes, token);
        self.watch();
        drop(ticket);
    }
}

impl Handler<Look> for Vehicle {
    type Result = ();

    fn handle(&mut self, _: Look, _: &mut Self::Context) {
        // The horizon first: every sign of life up to it can be seen then.
        let horizon = self.outbox.borrow_mut().judged_until();
        let sign = self.entry.take_sign_of_life();
        let mut changes = self.show_life(sign);
        changes.extend(self.step(horizon, liveness::Input::Deadline).changes);
        if sign.is_some() || !changes.is_empty() {
            self.tell(changes, None);
        }
        self.watch();
    }
}

impl Handler<Retime> for Vehicle {
    type Result = ();

    fn handle(&mut self, Retime { policy, unless_own }: Retime, _: &mut Self::Context) {
        if !(unless_own && self.policy.source == PolicySource::Vehicle) {
            self.retime(policy);
        }
    }
}

impl Handler<Amend> for Vehicle {
    type Result = ();

    fn handle(&mut self, Amend { registered, policy }: Amend, _: &mut Self::Context) {
        if self.standing == Standing::OnBoard {
            self.outbox.borrow_mut().amend(self.entry.slot, registered);
        } else {
            self.registered = Some(registered);
        }
        self.retime(policy);
    }
}

impl Handler<Retire> for Vehicle {
    type Result = Origin;

    fn handle(&mut self, _: Retire, context: &mut Self::Context) -> Origin {
        context.stop();
        Origin {
            entry: Arc::clone(&self.entry),
            registered: self.registered.take(),
            liveness: self.liveness.clone(),
            latest: self.latest.clone(),
            policy: self.policy,
            standing: self.standing,
        }
    }
}

impl Drop for Vehicle {
    /// A panic in a handler ends here: the shard is told who has to be made anew.
    fn drop(&mut self) {
        self.count_clock(-1);
        let Ok(mut outbox) = self.outbox.try_borrow_mut() else { return };
        outbox.alarms.want(self.entry.local, None);
        if std::thread::panicking() {
            outbox.fall(&self.entry);
        }
    }
}

/// A message that makes the handler panic, to prove what happens then.
#[cfg(test)]
#[derive(Message)]
#[rtype(result = "()")]
pub struct Sabotage;

#[cfg(test)]
impl Handler<Sabotage> for Vehicle {
    type Result = ();

    fn handle(&mut self, _: Sabotage, _: &mut Self::Context) {
        panic!("sabotage");
    }
}
