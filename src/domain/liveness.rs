//! Whether one vehicle is there: the state machine of the status table, and nothing else.
//!
//! Fed by the vehicle actor with beats, hints and the passing of time; returns the changes of status and the next
//! deadline. Picture: a parking meter. Every heartbeat throws in a coin; at the deadline the meter runs out *to the
//! millisecond*, however late the warden looks. While the warden himself was locked in (a [`Gaps`] interval), nobody is
//! fined: a meter that ran out meanwhile is `unobserved`, and after he is back everyone gets one full coin.

use std::num::NonZeroU64;

use super::heartbeat::Heartbeat;
use super::observation::Gaps;
use super::perhaps::Perhaps;
use super::policy::{Policy, Rules};
use super::sleep::Announced;
use super::time::Millis;
use super::transition::{Cause, Change, Status};

/// What can happen to a vehicle. Time passes with every input; [`Input::Deadline`] is time alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Input<'a> {
    /// A heartbeat arrived.
    Heartbeat(&'a Heartbeat, Option<u64>),
    /// A heartbeat that waited in the broker's queue while we were deaf: the vehicle spoke then, and may be gone by now
    /// (R42).
    Waited(&'a Heartbeat),
    /// A heartbeat of which nothing is known but that it came: the vehicle spoke too often (R45).
    SignOfLife,
    /// A will, or an unclean disconnect, of the given MQTT session where it is known.
    Hint(Option<u64>),
    /// The vehicle says that it switches off.
    Goodbye,
    /// A timer fired, or we listen again: look at the clock.
    Deadline,
    /// Its timeout is another one from now on.
    Policy,
}

/// What holds around a vehicle while it is judged.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// What holds for all.
    pub rules: &'a Rules,
    /// This vehicle's timeout.
    pub policy: Policy,
    /// When we could not hear.
    pub gaps: &'a Gaps,
}

/// What one input did.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    /// The changes of status, in order; an input that finds an old deadline passed makes more than one.
    pub changes: Vec<Change>,
    /// The beat was heard before (same boot and seq): counted, and nothing else.
    pub duplicate: bool,
}

/// What is kept of a vehicle's liveness outside of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stored {
    /// Its status.
    pub status: Status,
    /// Since when.
    pub since: Option<Millis>,
    /// Number of its last change.
    pub seq: u64,
    /// Its last heartbeat.
    pub last_seen: Option<Millis>,
    /// The silence that it announced then ([`Liveness::announced`]).
    pub announced: Announced,
}

/// One vehicle's status with what is needed to judge it. Packed, because a million vehicles have one each.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Liveness {
    status: Status,
    since: Perhaps,
    seq: u64,
    last_seen: Perhaps,
    announced: Announced,
    /// Set while online or unobserved: the instant after which silence is offline.
    deadline: Perhaps,
    /// Blind intervals that end up to here have had their say about the deadline.
    judged_until: Millis,
    hinted: bool,
    usual_gap: Perhaps,
    /// One more than its number.
    session: Option<NonZeroU64>,
    heard: Heard,
}

/// The device's own numbering, to know a beat that comes twice.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Heard {
    /// One more than the fingerprint of the boot text.
    boot: Option<NonZeroU64>,
    ts: Perhaps,
    highest: u64,
    /// Bit i: `highest - i` was heard, so 0 while no number was. 64 beats back is far beyond what a broker redelivers
    /// out of order.
    window: u64,
}

impl Liveness {
    /// A vehicle as it was stored, and the instant from which on this run is blind before it listens. A deadline is set
    /// anew from the last heartbeat; one that was unobserved then has yet to get its full timeout of listening.
    pub fn restored(stored: Stored, policy: Policy, blind_from: Millis) -> Self {
        let Stored { status, since, seq, last_seen, announced } = stored;
        let heard = last_seen.or(since);
        let expected = heard.map(|heard| heard + announced.or(policy));
        let deadline = match status {
            Status::Online => expected,
            Status::Unobserved => expected.map(|deadline| deadline.max(blind_from)),
            Status::NeverSeen | Status::Offline => None,
        };
        let judged_until = heard.unwrap_or(0);
        let (since, last_seen, deadline) = (since.into(), last_seen.into(), deadline.into());
        Self { status, since, seq, last_seen, announced, deadline, judged_until, ..Self::default() }
    }

    /// The status as last decided.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Since when the status holds.
    pub fn since(&self) -> Option<Millis> {
        self.since.get()
    }

    /// Number of the last change; 0 when there was none.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Arrival of the last heartbeat.
    pub fn last_seen(&self) -> Option<Millis> {
        self.last_seen.get()
    }

    /// The silence that its last heartbeat announced.
    pub fn announced(&self) -> Announced {
        self.announced
    }

    /// When to look again at the latest; `None` while only an input can change the status.
    pub fn deadline(&self) -> Option<Millis> {
        self.deadline.get()
    }

    /// Usual gap between its heartbeats, milliseconds.
    pub fn usual_gap(&self) -> Option<Millis> {
        self.usual_gap.get()
    }

    /// The MQTT session of its last heartbeat, where known.
    pub fn session(&self) -> Option<u64> {
        self.session.map(|session| session.get() - 1)
    }

    /// Takes one input that arrived at `now` and says what it did. Every (state, input) pair has a case in the tests
    /// (R8).
    pub fn step(&mut self, now: Millis, input: Input<'_>, setting: Setting<'_>) -> Outcome {
        let mut outcome = Outcome::default();
        self.settle(now, setting, &mut outcome.changes);
        match input {
            Input::Heartbeat(beat, session) => self.hear(now, beat, session, setting, &mut outcome),
            Input::Waited(beat) => self.hear_late(now, beat, setting, &mut outcome),
            Input::SignOfLife => self.show_life(now, setting, &mut outcome.changes),
            Input::Hint(session) => self.shorten(now, session, setting.rules),
            Input::Goodbye => self.goodbye(now, &mut outcome.changes),
            Input::Policy => self.reset_deadline(now, setting),
            Input::Deadline => {}
        }
        debug_assert_eq!(self.deadline.get().is_some(), matches!(self.status, Status::Online | Status::Unobserved));
        outcome
    }

    /// Lets time pass up to `now`: walks over the blind intervals since the last heartbeat and finds what the silence
    /// means. A gap equal to the timeout is still online, so a deadline has passed only when `now` is after it.
    fn settle(&mut self, now: Millis, setting: Setting<'_>, changes: &mut Vec<Change>) {
        let Some(mut deadline) = self.deadline.get() else { return };
        let full_timeout = setting.policy.offline_after;
        for gap in setting.gaps.after(self.judged_until) {
            if deadline < gap.from || deadline >= now {
                break;
            }
            if deadline < gap.to {
                if self.status == Status::Online {
                    changes.push(self.change(Status::Unobserved, deadline, Cause::Blind));
                }
                if gap.to == Millis::MAX {
                    return;
                }
                deadline = gap.to + full_timeout;
            } else {
                deadline = deadline.max(gap.to + full_timeout);
            }
            self.hinted = false;
            self.judged_until = gap.to;
            self.deadline = deadline.into();
        }
        if now > deadline {
            let cause = if self.hinted { Cause::LastWill } else { Cause::Silence };
            changes.push(self.change(Status::Offline, deadline, cause));
        }
    }

    fn hear(
        &mut self,
        now: Millis,
        beat: &Heartbeat,
        session: Option<u64>,
        setting: Setting<'_>,
        outcome: &mut Outcome,
    ) {
        outcome.duplicate = self.heard.is_repeat(beat);
        let last_seen = self.last_seen.get().map_or(now, |seen| seen.max(now));
        if !outcome.duplicate {
            self.note_gap(now);
        }
        self.last_seen = last_seen.into();
        if outcome.duplicate {
            self.move_deadline(last_seen, beat, setting);
            return;
        }
        self.session = session.map(one_more).or(self.session);
        if self.status != Status::Online {
            outcome.changes.push(self.change(Status::Online, now, Cause::Heartbeat));
        }
        self.move_deadline(last_seen, beat, setting);
    }

    /// What waited proves that the vehicle lived at some instant of our blindness. So nobody becomes online by it; who
    /// was thought to be gone, or was never seen, is unobserved from that instant, and has a full timeout from hearing
    /// again, like all who were there when we went deaf.
    fn hear_late(&mut self, now: Millis, beat: &Heartbeat, setting: Setting<'_>, outcome: &mut Outcome) {
        outcome.duplicate = self.heard.is_repeat(beat);
        if outcome.duplicate {
            return;
        }
        let gap = setting.gaps.before(now);
        let spoken = gap.spoken_at(beat.ts, now);
        // Who was declared offline after we listened again was so by newer news.
        let older = self.since.get().is_some_and(|since| since >= gap.to);
        if matches!(self.status, Status::NeverSeen | Status::Offline) && older {
            return;
        }
        if matches!(self.status, Status::NeverSeen | Status::Offline) {
            let at = self.since.get().map_or(spoken, |since| since.max(spoken));
            outcome.changes.push(self.change(Status::Unobserved, at, Cause::Blind));
            self.judged_until = spoken;
        }
        let last_seen = self.last_seen.get().map_or(spoken, |seen| seen.max(spoken));
        self.last_seen = last_seen.into();
        self.hinted = false;
        if last_seen == spoken {
            self.announced = Announced::by(beat, setting.rules);
        }
        let from = last_seen.max(self.judged_until);
        self.deadline = self.deadline.max((from + self.announced.or(setting.policy)).into());
    }

    /// Never shortens: a sleep that was announced before still holds.
    fn show_life(&mut self, now: Millis, setting: Setting<'_>, changes: &mut Vec<Change>) {
        let last_seen = self.last_seen.get().map_or(now, |seen| seen.max(now));
        let asleep = self.status == Status::Online && !self.hinted;
        let elapsed = self.last_seen.get().map_or(0, |seen| last_seen - seen);
        self.announced = if asleep { self.announced.after(elapsed) } else { Announced::NONE };
        self.last_seen = last_seen.into();
        if self.status != Status::Online {
            changes.push(self.change(Status::Online, now, Cause::Heartbeat));
        }
        self.count_from(last_seen, setting.policy);
    }

    /// A live heartbeat moves the deadline of who is online.
    fn move_deadline(&mut self, last_seen: Millis, beat: &Heartbeat, setting: Setting<'_>) {
        if self.status == Status::Online {
            self.announced = Announced::by(beat, setting.rules);
            self.count_from(last_seen, setting.policy);
        }
    }

    fn count_from(&mut self, last_seen: Millis, policy: Policy) {
        self.hinted = false;
        self.judged_until = last_seen;
        self.deadline = (last_seen + self.announced.or(policy)).into();
    }

    /// Moving average over about eight beats: enough to say "usually every 20 s" beside a silence.
    fn note_gap(&mut self, now: Millis) {
        if let (Status::Online, Some(seen)) = (self.status, self.last_seen.get()) {
            let gap = (now - seen).max(0);
            self.usual_gap = self.usual_gap.get().map_or(gap, |usual| usual + (gap - usual) / 8).into();
        }
    }

    /// A hint of an older session is late news and says nothing about the present one (R28, R33).
    fn shorten(&mut self, now: Millis, session: Option<u64>, rules: &Rules) {
        let Some(deadline) = self.deadline.get() else { return };
        if matches!((session, self.session()), (Some(hinted), Some(current)) if hinted != current) {
            return;
        }
        if now + rules.will_grace < deadline {
            self.deadline = (now + rules.will_grace).into();
            self.judged_until = self.judged_until.max(now);
            self.hinted = true;
        }
    }

    fn goodbye(&mut self, now: Millis, changes: &mut Vec<Change>) {
        if matches!(self.status, Status::Online | Status::Unobserved) {
            changes.push(self.change(Status::Offline, now, Cause::Goodbye));
        }
    }

    /// The new timeout counts from where the old one did, but the past stays as it was told: never before `now`. An
    /// announced sleep holds under every timeout.
    fn reset_deadline(&mut self, now: Millis, setting: Setting<'_>) {
        if self.deadline.get().is_some() {
            self.hinted = false;
            let awake = self.last_seen.get().map_or(now, |seen| seen + self.announced.millis());
            self.deadline = (self.judged_until + setting.policy.offline_after).max(awake).max(now).into();
        }
    }

    fn change(&mut self, to: Status, at: Millis, cause: Cause) -> Change {
        debug_assert_ne!(self.status, to, "transitions alternate");
        self.seq += 1;
        let (last_seen, deadline) = (self.last_seen.get(), self.deadline.get());
        let change = Change { seq: self.seq, from: self.status, to, at, cause, last_seen, deadline };
        self.status = to;
        self.since = at.into();
        self.deadline = deadline.filter(|_| to == Status::Unobserved).into();
        self.hinted = false;
        change
    }
}

/// Leaves 0 for none, which then needs no room of its own.
fn one_more(number: u64) -> NonZeroU64 {
    NonZeroU64::MIN.saturating_add(number)
}

impl Heard {
    /// Notes the beat's number and says whether it was heard before. Without a boot text a counter that starts again
    /// would look like a repeat, so then only an exact repeat (same seq and same device time) counts as one.
    fn is_repeat(&mut self, beat: &Heartbeat) -> bool {
        let Some(seq) = beat.seq else { return false };
        let (boot, ts) = (beat.boot.map(one_more), Perhaps::from(beat.ts));
        let same_boot = self.window != 0 && self.boot == boot;
        if !same_boot {
            *self = Self { boot, ts, highest: seq, window: 1 };
            return false;
        }
        if boot.is_none() {
            let repeat = self.highest == seq && ts != Perhaps::NONE && self.ts == ts;
            *self = Self { boot, ts, highest: seq, window: 1 };
            return repeat;
        }
        self.seen_in_window(seq)
    }

    fn seen_in_window(&mut self, seq: u64) -> bool {
        if seq > self.highest {
            let ahead = seq - self.highest;
            self.window = if ahead < 64 { self.window << ahead | 1 } else { 1 };
            self.highest = seq;
            return false;
        }
        let behind = self.highest - seq;
        if behind >= 64 {
            return false;
        }
        let repeat = self.window & (1 << behind) != 0;
        self.window |= 1 << behind;
        repeat
    }
}

#[cfg(test)]
#[path = "liveness_tests.rs"]
mod tests;
