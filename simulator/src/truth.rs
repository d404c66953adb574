//! The truth about one vehicle: which transitions a perfect monitor would report. Fed by the ledger with what was
//! really sent and when, feeds the verification. Pure: no clock, `now_ms` is an argument and never runs backwards by
//! more than the jitter between two devices of one identity. It is deliberately naive and shares no code with the
//! service.

use serde::Serialize;

/// What a vehicle is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    NeverSeen,
    Online,
    Offline,
}

/// Why an expected transition happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    Heartbeat,
    Silence,
    Goodbye,
    LastWill,
}

/// The rules of the monitor, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    pub offline_after_ms: u64,
    pub will_grace_ms: u64,
    /// How much later than announced a sleeping vehicle may return.
    pub sleep_grace_ms: u64,
    /// Closer to the deadline than this nobody can tell which side a beat fell on: either verdict is right.
    pub tolerance_ms: u64,
    /// Keep every expected transition, for a verification; otherwise only the latest few.
    pub remember: bool,
}

/// One transition that should be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    pub to: Status,
    /// Right from this instant on: earlier than `at_ms` where buffered beats came before the first live one.
    pub earliest_ms: u64,
    pub at_ms: u64,
    pub cause: Cause,
    /// Too close to call: may be seen, need not.
    pub optional: bool,
}

/// Transitions that truly happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct TruthCounts {
    pub online: u64,
    pub offline_silence: u64,
    pub offline_goodbye: u64,
    pub offline_last_will: u64,
    /// Of all these, too close to the deadline to say.
    pub too_close_to_call: u64,
}

/// What is kept of the past when nobody will ask for it.
const FORGETFUL_LOG_MAX: usize = 8;

/// The truth about one vehicle so far.
#[derive(Debug, Clone)]
pub struct Truth {
    rules: Rules,
    status: Status,
    deadline_ms: u64,
    deadline_cause: Cause,
    /// Buffered beats were heard from this instant on, while offline.
    backlog_from_ms: Option<u64>,
    log: Vec<Expected>,
    counts: TruthCounts,
}

impl Truth {
    pub fn new(rules: Rules) -> Self {
        let (status, deadline_cause) = (Status::NeverSeen, Cause::Silence);
        let (log, counts) = (Vec::new(), TruthCounts::default());
        Self { rules, status, deadline_ms: u64::MAX, deadline_cause, backlog_from_ms: None, log, counts }
    }

    /// A live beat was sent.
    pub fn beat(&mut self, now_ms: u64) {
        self.speak(now_ms, self.rules.offline_after_ms);
    }

    /// A beat was sent that announced the next one in `next_in_ms`: longer patience, never shorter.
    pub fn nap(&mut self, now_ms: u64, next_in_ms: u64) {
        self.speak(now_ms, self.rules.offline_after_ms.max(next_in_ms + self.rules.sleep_grace_ms));
    }

    fn speak(&mut self, now_ms: u64, patience_ms: u64) {
        self.settle(now_ms);
        match self.status {
            Status::Online => self.note_near_miss(now_ms),
            Status::NeverSeen | Status::Offline => self.come_online(now_ms),
        }
        self.deadline_ms = now_ms + patience_ms;
        self.deadline_cause = Cause::Silence;
    }

    /// A buffered beat was sent: it proves the vehicle alive, but whether it alone brings it online is the monitor's
    /// choice.
    pub fn backlog(&mut self, now_ms: u64) {
        self.settle(now_ms);
        if self.status != Status::Online {
            self.backlog_from_ms.get_or_insert(now_ms);
        }
    }

    /// A goodbye was sent: offline at once.
    pub fn goodbye(&mut self, now_ms: u64) {
        self.settle(now_ms);
        if self.status == Status::Online {
            self.go_offline(now_ms, Cause::Goodbye);
        }
    }

    /// The connection was lost without a goodbye: the deadline is shortened.
    pub fn will(&mut self, now_ms: u64) {
        self.settle(now_ms);
        let deadline_ms = now_ms + self.rules.will_grace_ms;
        if self.status == Status::Online && deadline_ms < self.deadline_ms {
            self.deadline_ms = deadline_ms;
            self.deadline_cause = Cause::LastWill;
        }
    }

    /// Lets time run on to `now_ms`: a gap *longer* than the timeout means offline at the deadline itself.
    pub fn settle(&mut self, now_ms: u64) {
        if self.status == Status::Online && now_ms > self.deadline_ms {
            self.go_offline(self.deadline_ms, self.deadline_cause);
        }
    }

    pub fn counts(&self) -> TruthCounts {
        self.counts
    }

    /// The transitions expected so far, in order.
    pub fn expected(&self) -> &[Expected] {
        &self.log
    }

    /// The status throughout [from, to], or nothing when it changed or may have changed in between.
    pub fn steady_status(&mut self, from_ms: u64, to_ms: u64) -> Option<Status> {
        self.settle(to_ms);
        let doubtful = |e: &&Expected| e.earliest_ms <= to_ms && e.at_ms >= from_ms;
        if self.log.iter().rev().any(|e| doubtful(&e)) || self.backlog_from_ms.is_some() {
            return None;
        }
        let last = self.log.iter().rev().find(|e| e.at_ms < from_ms);
        Some(last.map_or(Status::NeverSeen, |e| e.to))
    }

    fn come_online(&mut self, now_ms: u64) {
        let earliest_ms = self.backlog_from_ms.take().unwrap_or(now_ms);
        let optional = self.last_outage_was_doubtful(now_ms);
        if optional && let Some(offline) = self.log.last_mut() {
            offline.optional = true;
            self.counts.too_close_to_call += 1;
        }
        self.push(Status::Online, earliest_ms, now_ms, Cause::Heartbeat, optional);
    }

    /// An outage shorter than the tolerance may not have been one for a monitor that heard the beat a moment earlier.
    fn last_outage_was_doubtful(&self, now_ms: u64) -> bool {
        self.log.last().is_some_and(|offline| {
            offline.cause != Cause::Goodbye && now_ms.saturating_sub(offline.at_ms) <= self.rules.tolerance_ms
        })
    }

    /// A beat just before the deadline may have been heard just after it.
    fn note_near_miss(&mut self, now_ms: u64) {
        if now_ms + self.rules.tolerance_ms >= self.deadline_ms {
            self.push(Status::Offline, self.deadline_ms, self.deadline_ms, self.deadline_cause, true);
            self.push(Status::Online, now_ms, self.deadline_ms, Cause::Heartbeat, true);
        }
    }

    fn go_offline(&mut self, at_ms: u64, cause: Cause) {
        self.push(Status::Offline, at_ms, at_ms, cause, false);
        self.deadline_ms = u64::MAX;
        self.backlog_from_ms = None;
    }

    fn push(&mut self, to: Status, earliest_ms: u64, at_ms: u64, cause: Cause, optional: bool) {
        debug_assert!(self.log.last().is_none_or(|last| last.to != to), "expected transitions alternate");
        if !self.rules.remember && self.log.len() == FORGETFUL_LOG_MAX {
            self.log.drain(..FORGETFUL_LOG_MAX / 2);
        }
        self.counts.note(to, cause, optional);
        self.log.push(Expected { to, earliest_ms, at_ms, cause, optional });
        self.status = to;
    }
}

impl TruthCounts {
    fn note(&mut self, to: Status, cause: Cause, optional: bool) {
        self.too_close_to_call += u64::from(optional);
        match (to, cause) {
            (Status::Offline, Cause::Goodbye) => self.offline_goodbye += 1,
            (Status::Offline, Cause::LastWill) => self.offline_last_will += 1,
            (Status::Offline, _) => self.offline_silence += 1,
            _ => self.online += 1,
        }
    }

    /// Adds another vehicle's.
    pub fn add(&mut self, other: TruthCounts) {
        self.online += other.online;
        self.offline_silence += other.offline_silence;
        self.offline_goodbye += other.offline_goodbye;
        self.offline_last_will += other.offline_last_will;
        self.too_close_to_call += other.too_close_to_call;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULES: Rules = Rules {
        offline_after_ms: 10_000,
        will_grace_ms: 4_000,
        sleep_grace_ms: 3_000,
        tolerance_ms: 500,
        remember: true,
    };

    fn story(tell: impl Fn(&mut Truth)) -> Vec<(Status, u64, bool)> {
        let mut truth = Truth::new(RULES);
        tell(&mut truth);
        truth.expected().iter().map(|e| (e.to, e.at_ms, e.optional)).collect()
    }

    #[test]
    fn vehicle_goes_offline_at_its_deadline_not_when_somebody_looks() {
        let seen = story(|t| {
            t.beat(1_000);
            t.settle(50_000);
            t.beat(60_000);
        });
        assert_eq!(
            seen,
            [(Status::Online, 1_000, false), (Status::Offline, 11_000, false), (Status::Online, 60_000, false)]
        );
    }

    #[test]
    fn gap_equal_to_the_timeout_is_too_close_to_call() {
        let seen = story(|t| {
            t.beat(0);
            t.beat(10_000);
            t.beat(12_000);
        });
        assert_eq!(seen, [(Status::Online, 0, false), (Status::Offline, 10_000, true), (Status::Online, 10_000, true)]);
    }

    #[test]
    fn outage_shorter_than_the_tolerance_is_optional() {
        let seen = story(|t| {
            t.beat(0);
            t.beat(10_300);
        });
        assert_eq!(seen[1..], [(Status::Offline, 10_000, true), (Status::Online, 10_300, true)]);
    }

    #[test]
    fn goodbye_is_offline_at_once_and_a_will_only_shortens_the_deadline() {
        let seen = story(|t| {
            t.beat(0);
            t.goodbye(500);
            t.goodbye(600);
            t.beat(20_000);
            t.will(21_000);
            t.settle(26_000);
        });
        assert_eq!(seen[1], (Status::Offline, 500, false));
        assert_eq!(seen[3], (Status::Offline, 25_000, false));
        assert_eq!(seen.len(), 4);
    }

    #[test]
    fn beat_after_a_will_restores_the_full_timeout() {
        let seen = story(|t| {
            t.beat(0);
            t.will(1_000);
            t.beat(2_000);
            t.settle(11_000);
        });
        assert_eq!(seen.len(), 1);
    }

    #[test]
    fn announced_sleep_lengthens_the_timeout_and_never_shortens_it() {
        let seen = story(|t| {
            t.nap(0, 20_000);
            t.beat(22_000);
            t.nap(23_000, 1_000);
            t.beat(32_000);
            t.nap(33_000, 20_000);
            t.settle(90_000);
        });
        assert_eq!(seen, [(Status::Online, 0, false), (Status::Offline, 56_000, false)]);
    }

    #[test]
    fn buffered_beats_allow_an_earlier_return() {
        let mut truth = Truth::new(RULES);
        truth.beat(0);
        truth.backlog(30_000);
        assert_eq!(truth.steady_status(29_000, 30_500), None);
        truth.beat(30_200);
        let back = truth.expected()[2];
        assert_eq!((back.to, back.earliest_ms, back.at_ms), (Status::Online, 30_000, 30_200));
    }

    #[test]
    fn forgetful_truth_stays_small_and_still_counts() {
        let mut truth = Truth::new(Rules { remember: false, ..RULES });
        (1..=1_000).for_each(|round| truth.beat(round * 20_000));
        assert!(truth.expected().len() <= FORGETFUL_LOG_MAX);
        assert_eq!((truth.counts().online, truth.counts().offline_silence), (1_000, 999));
    }

    proptest! {
        #[test]
        fn transitions_alternate_in_order_and_match_a_naive_walk(
            gaps in proptest::collection::vec(1u64..25_000, 1..60),
        ) {
            let mut truth = Truth::new(Rules { tolerance_ms: 0, ..RULES });
            let (mut now, mut naive) = (0, Vec::new());
            for gap in gaps {
                if gap > RULES.offline_after_ms && now > 0 {
                    naive.push((Status::Offline, now + RULES.offline_after_ms));
                }
                if naive.last().is_none_or(|last| last.0 == Status::Offline) {
                    naive.push((Status::Online, now + gap));
                }
                now += gap;
                truth.beat(now);
            }
            let told: Vec<_> = truth.expected().iter().filter(|e| !e.optional).map(|e| (e.to, e.at_ms)).collect();
            prop_assert_eq!(told, naive);
        }
    }
}
