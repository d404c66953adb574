//! Tests of the status table: every (state, input) pair, and random histories against a naive model.
//! Reads liveness.rs; R2 to R5, R8, R16, R20, R22, R28, R42 of the list of pitfalls.

use super::*;
use proptest::prelude::*;

const T: Millis = 90;

fn rules() -> Rules {
    Rules { offline_after: T, will_grace: 10, sleep_max: 1_000, sleep_grace: 10, ..Rules::default() }
}

struct Bench {
    rules: Rules,
    gaps: Gaps,
    offline_after: Millis,
    vehicle: Liveness,
}

impl Bench {
    fn new() -> Self {
        Self { rules: rules(), gaps: Gaps::default(), offline_after: T, vehicle: Liveness::default() }
    }

    /// A vehicle brought into each state at time 1,000 or before, by the front door.
    fn in_state(status: Status) -> Self {
        let mut bench = Self::new();
        match status {
            Status::NeverSeen => {}
            Status::Online => drop(bench.beat(1_000)),
            Status::Offline => {
                bench.beat(900);
                bench.look(1_000);
            }
            Status::Unobserved => {
                bench.beat(900);
                bench.gaps.open(950);
                bench.look(1_000);
            }
        }
        assert_eq!(bench.vehicle.status(), status);
        bench
    }

    fn step(&mut self, now: Millis, input: Input<'_>) -> Vec<(Status, Millis, Cause)> {
        self.full_step(now, input).changes.iter().map(|change| (change.to, change.at, change.cause)).collect()
    }

    fn full_step(&mut self, now: Millis, input: Input<'_>) -> Outcome {
        let policy = Policy { offline_after: self.offline_after, ..Policy::default() };
        self.vehicle.step(now, input, Setting { rules: &self.rules, policy, gaps: &self.gaps })
    }

    fn beat(&mut self, now: Millis) -> Vec<(Status, Millis, Cause)> {
        self.step(now, Input::Heartbeat(&Heartbeat::default(), None))
    }

    fn look(&mut self, now: Millis) -> Vec<(Status, Millis, Cause)> {
        self.step(now, Input::Deadline)
    }
}

use Cause::{Blind, Goodbye, LastWill, Silence};
use Status::{NeverSeen, Offline, Online, Unobserved};

/// R8: one row for each state, one column for each input; a state or input without a case does not compile or fails.
#[test]
fn every_state_answers_every_input() {
    for state in Status::ALL {
        for input in
            ["heartbeat", "sign of life", "deadline", "deadline while blind", "goodbye", "hint", "policy", "waited"]
        {
            let mut bench = Bench::in_state(state);
            let got = match input {
                "heartbeat" => bench.beat(1_010),
                "sign of life" => bench.step(1_010, Input::SignOfLife),
                "deadline" => {
                    bench.gaps.close(1_010);
                    bench.look(1_101)
                }
                "deadline while blind" => {
                    bench.gaps.open(1_010);
                    bench.look(1_200)
                }
                "goodbye" => bench.step(1_010, Input::Goodbye),
                "hint" => {
                    bench.gaps.close(1_005);
                    let mut got = bench.step(1_010, Input::Hint(None));
                    got.extend(bench.look(1_021));
                    got
                }
                "waited" => {
                    bench.gaps.open(1_005);
                    let mut got = bench.step(1_010, Input::Waited(&Heartbeat::default()));
                    bench.gaps.close(1_050);
                    got.extend(bench.look(1_141));
                    got
                }
                _ => {
                    bench.gaps.close(1_005);
                    bench.offline_after = 20;
                    let mut got = bench.step(1_030, Input::Policy);
                    got.extend(bench.look(1_031));
                    got
                }
            };
            let want = match (state, input) {
                (NeverSeen | Offline | Unobserved, "heartbeat" | "sign of life") => {
                    vec![(Online, 1_010, Cause::Heartbeat)]
                }
                (Online, "heartbeat" | "sign of life") => vec![],
                (Online, "deadline") => vec![(Offline, 1_090, Silence)],
                (Unobserved, "deadline") => vec![(Offline, 1_100, Silence)],
                (Online, "deadline while blind") => vec![(Unobserved, 1_090, Blind)],
                (Unobserved, "deadline while blind") => vec![],
                (Online | Unobserved, "goodbye") => vec![(Offline, 1_010, Goodbye)],
                (Online | Unobserved, "hint") => vec![(Offline, 1_020, LastWill)],
                (Online, "policy") => vec![(Offline, 1_030, Silence)],
                (Unobserved, "policy") => vec![(Offline, 1_025, Silence)],
                (NeverSeen | Offline, "waited") => vec![(Unobserved, 1_005, Blind), (Offline, 1_140, Silence)],
                (Online | Unobserved, "waited") => vec![(Offline, 1_140, Silence)],
                (NeverSeen | Offline, _) => vec![],
                other => panic!("no case for {other:?}"),
            };
            assert_eq!(got, want, "{state:?} and {input}");
        }
    }
}

#[test]
fn a_gap_equal_to_the_timeout_is_still_online() {
    let mut bench = Bench::in_state(Online);
    assert_eq!(bench.look(1_090), []);
    assert_eq!(bench.beat(1_090), []);
    assert_eq!(bench.beat(1_181), [(Offline, 1_180, Silence), (Online, 1_181, Cause::Heartbeat)]);
}

/// R4: adjacent and equal times leave no stuck state.
#[test]
fn equal_timestamps_never_leave_a_vehicle_stuck() {
    let mut bench = Bench::in_state(Online);
    assert_eq!(bench.step(1_000, Input::Goodbye), [(Offline, 1_000, Goodbye)]);
    assert_eq!(bench.beat(1_000), [(Online, 1_000, Cause::Heartbeat)]);
    assert_eq!(bench.look(1_091), [(Offline, 1_090, Silence)]);
}

/// R20: however late we look, offline is told to the millisecond of the deadline.
#[test]
fn offline_is_dated_at_the_deadline_not_when_we_looked() {
    let mut bench = Bench::in_state(Online);
    assert_eq!(bench.look(999_999), [(Offline, 1_090, Silence)]);
}

#[test]
fn a_deadline_before_the_blindness_is_plain_silence() {
    let mut bench = Bench::in_state(Online);
    bench.gaps.open(1_091);
    assert_eq!(bench.look(2_000), [(Offline, 1_090, Silence)]);
}

/// R22: after blindness every vehicle has one full timeout to speak.
#[test]
fn a_vehicle_still_in_time_after_blindness_gets_one_full_timeout() {
    let mut bench = Bench::in_state(Online);
    bench.gaps.open(1_010);
    bench.gaps.close(1_080);
    assert_eq!(bench.look(1_170), []);
    assert_eq!(bench.look(1_171), [(Offline, 1_170, Silence)]);
}

#[test]
fn blindness_that_is_seen_only_afterwards_is_told_in_order() {
    let mut bench = Bench::in_state(Online);
    bench.gaps.open(1_010);
    bench.gaps.close(1_500);
    assert_eq!(bench.look(2_000), [(Unobserved, 1_090, Blind), (Offline, 1_590, Silence)]);
    let mut twice = Bench::in_state(Online);
    twice.gaps.open(1_010);
    twice.gaps.close(1_100);
    twice.gaps.open(1_150);
    twice.gaps.close(1_300);
    assert_eq!(twice.look(2_000), [(Unobserved, 1_090, Blind), (Offline, 1_390, Silence)]);
}

#[test]
fn an_unobserved_vehicle_that_speaks_is_online_again() {
    let mut bench = Bench::in_state(Unobserved);
    bench.gaps.close(1_050);
    assert_eq!(bench.look(1_140), []);
    assert_eq!(bench.beat(1_140), [(Online, 1_140, Cause::Heartbeat)]);
    assert_eq!(bench.look(1_231), [(Offline, 1_230, Silence)]);
}

/// Another timeout wakes nobody who announced to sleep, and takes back no deadline that was told.
#[test]
fn a_new_timeout_leaves_an_announced_sleep_alone() {
    let mut bench = Bench::new();
    bench.rules.sleep_grace = 0;
    bench.step(1_000, Input::Heartbeat(&Heartbeat { next_in: Some(500), ..Heartbeat::default() }, None));
    bench.offline_after = 20;
    assert_eq!(bench.step(1_010, Input::Policy), []);
    assert_eq!(bench.look(1_500), []);
    assert_eq!(bench.look(1_501), [(Offline, 1_500, Silence)]);
}

/// R28, R33: a hint counts only for the session that is current.
#[test]
fn a_late_hint_of_an_older_session_is_ignored() {
    let mut bench = Bench::new();
    bench.step(1_000, Input::Heartbeat(&Heartbeat::default(), Some(1)));
    bench.step(1_001, Input::Heartbeat(&Heartbeat::default(), Some(2)));
    bench.step(1_002, Input::Hint(Some(1)));
    assert_eq!(bench.look(1_050), []);
    bench.step(1_050, Input::Hint(Some(2)));
    assert_eq!(bench.look(1_061), [(Offline, 1_060, LastWill)]);
}

#[test]
fn a_heartbeat_after_the_hint_takes_it_back() {
    let mut bench = Bench::in_state(Online);
    bench.step(1_010, Input::Hint(None));
    bench.beat(1_020);
    assert_eq!(bench.look(1_110), []);
    assert_eq!(bench.look(1_111), [(Offline, 1_110, Silence)]);
}

/// R45: a beat over the limit moves the deadline and takes a hint back, but an announced sleep it does not shorten.
#[test]
fn a_sign_of_life_keeps_a_vehicle_online_and_shortens_nothing() {
    let mut bench = Bench::in_state(Online);
    bench.beat(1_000);
    assert_eq!(bench.step(1_050, Input::SignOfLife), []);
    assert_eq!(bench.look(1_100), []);
    bench.step(1_100, Input::Hint(None));
    assert_eq!(bench.step(1_105, Input::SignOfLife), []);
    assert_eq!(bench.look(1_195), []);
    assert_eq!(bench.look(1_196), [(Offline, 1_195, Silence)]);
    let mut asleep = Bench::in_state(Online);
    let beat = Heartbeat { next_in: Some(300), ..Heartbeat::default() };
    asleep.step(1_000, Input::Heartbeat(&beat, None));
    let announced = asleep.vehicle.deadline();
    asleep.step(1_001, Input::SignOfLife);
    assert_eq!(asleep.vehicle.deadline(), announced);
}

#[test]
fn an_announced_sleep_moves_the_deadline_up_to_the_cap() {
    for (next_in, deadline) in [(20, 1_090), (500, 1_510), (1_000_000, 2_010)] {
        let mut bench = Bench::new();
        bench.step(1_000, Input::Heartbeat(&Heartbeat { next_in: Some(next_in), ..Heartbeat::default() }, None));
        assert_eq!(bench.vehicle.deadline(), Some(deadline), "next_in {next_in}");
    }
}

/// R18: a broker that delivers again is no news.
#[test]
fn a_repeated_beat_changes_nothing_but_last_seen() {
    let beat = |seq| Heartbeat { boot: Some(1), seq: Some(seq), ..Heartbeat::default() };
    let mut bench = Bench::new();
    for (now, seq, duplicate) in
        [(10, 5, false), (20, 5, true), (30, 7, false), (40, 6, false), (50, 6, true), (60, 7, true)]
    {
        let outcome = bench.full_step(now, Input::Heartbeat(&beat(seq), None));
        assert_eq!(outcome.duplicate, duplicate, "seq {seq} at {now}");
        assert_eq!(bench.vehicle.last_seen(), Some(now));
    }
    bench.look(500);
    assert!(bench.full_step(500, Input::Heartbeat(&beat(7), None)).changes.is_empty());
    assert_eq!(bench.vehicle.status(), Offline);
    let rebooted = Heartbeat { boot: Some(2), ..beat(7) };
    assert_eq!(bench.step(600, Input::Heartbeat(&rebooted, None)), [(Online, 600, Cause::Heartbeat)]);
}

#[test]
fn a_counter_that_starts_again_without_boot_is_no_repeat() {
    let beat = |seq, ts| Heartbeat { seq: Some(seq), ts: Some(ts), ..Heartbeat::default() };
    let mut bench = Bench::new();
    for (seq, ts, duplicate) in [(1, 1, false), (2, 2, false), (1, 3, false), (2, 4, false), (2, 4, true)] {
        assert_eq!(bench.full_step(ts, Input::Heartbeat(&beat(seq, ts), None)).duplicate, duplicate);
    }
}

#[test]
fn a_restored_vehicle_is_judged_from_its_last_heartbeat() {
    let policy = Policy { offline_after: T, ..Policy::default() };
    let mut bench = Bench::new();
    let announced = Announced::NONE;
    let stored = Stored { status: Online, since: Some(500), seq: 3, last_seen: Some(1_000), announced };
    bench.vehicle = Liveness::restored(stored, policy, 1_020);
    bench.gaps.open(1_020);
    bench.gaps.close(5_000);
    assert_eq!(bench.look(5_001), [(Unobserved, 1_090, Blind)]);
    assert_eq!(bench.beat(5_050), [(Online, 5_050, Cause::Heartbeat)]);
    assert_eq!(bench.vehicle.seq(), 5);
}

/// R22: who said that it would sleep is asleep after our restart as well.
#[test]
fn an_announced_sleep_outlives_our_restart() {
    let policy = Policy { offline_after: T, ..Policy::default() };
    let mut bench = Bench::new();
    bench.step(1_000, Input::Heartbeat(&Heartbeat { next_in: Some(500), ..Heartbeat::default() }, None));
    assert_eq!(bench.vehicle.deadline(), Some(1_510));
    bench.step(1_100, Input::SignOfLife);
    assert_eq!((bench.vehicle.deadline(), bench.vehicle.announced()), (Some(1_510), Announced::of(410)));
    let stored = Stored {
        status: Online,
        since: Some(1_000),
        seq: 1,
        last_seen: bench.vehicle.last_seen(),
        announced: bench.vehicle.announced(),
    };
    bench.vehicle = Liveness::restored(stored, policy, 1_200);
    bench.gaps.open(1_200);
    bench.gaps.close(1_300);
    bench.step(1_301, Input::Policy);
    assert_eq!(bench.look(1_510), [], "the sleep holds, whatever the timeout became");
    assert_eq!(bench.look(1_511), [(Offline, 1_510, Silence)]);
}

/// R22, R25: crash upon crash, and still nobody is blamed before one full timeout of listening.
#[test]
fn an_unobserved_vehicle_that_is_restored_gets_its_full_timeout() {
    let policy = Policy { offline_after: T, ..Policy::default() };
    let mut bench = Bench::new();
    let announced = Announced::NONE;
    let stored = Stored { status: Unobserved, since: Some(1_090), seq: 4, last_seen: Some(1_000), announced };
    bench.vehicle = Liveness::restored(stored, policy, 5_020);
    bench.gaps.open(5_020);
    assert_eq!(bench.look(6_000), []);
    bench.gaps.close(7_000);
    assert_eq!(bench.look(7_090), []);
    assert_eq!(bench.look(7_091), [(Offline, 7_090, Silence)]);
}

/// R16, R42: what a broker kept for us proves that a vehicle lived, not that it is there now.
#[test]
fn a_beat_that_waited_is_dated_within_our_blindness_and_makes_nobody_online() {
    let late = |ts| Heartbeat { ts, ..Heartbeat::default() };
    let mut bench = Bench::in_state(Offline);
    bench.gaps.open(2_000);
    assert_eq!(bench.step(3_000, Input::Waited(&late(Some(2_500)))), [(Unobserved, 2_500, Blind)]);
    assert_eq!(bench.step(3_001, Input::Waited(&late(Some(2_400)))), []);
    assert_eq!(bench.vehicle.last_seen(), Some(2_500), "an older one moves nothing back");
    assert_eq!(bench.step(3_002, Input::Goodbye), [(Offline, 3_002, Goodbye)], "its word, until a later beat comes");
    assert_eq!(bench.step(3_003, Input::Waited(&late(Some(9_999_999)))), [(Unobserved, 3_003, Blind)]);
    bench.gaps.close(3_100);
    assert_eq!(bench.look(3_190), [], "one full timeout from listening again");
    assert_eq!(bench.look(3_191), [(Offline, 3_190, Silence)]);
    assert_eq!(bench.step(3_200, Input::Waited(&late(None))), [], "late news about who went offline since");
}

#[test]
fn a_beat_that_waited_takes_a_will_back_and_a_repeat_does_nothing() {
    let beat = |seq| Heartbeat { boot: Some(1), seq: Some(seq), ..Heartbeat::default() };
    let mut bench = Bench::new();
    bench.step(1_000, Input::Heartbeat(&beat(1), None));
    bench.gaps.open(1_010);
    bench.step(1_020, Input::Hint(None));
    assert!(bench.full_step(1_021, Input::Waited(&beat(1))).duplicate, "redelivered, and heard before");
    assert_eq!(bench.vehicle.deadline(), Some(1_030));
    assert!(!bench.full_step(1_022, Input::Waited(&beat(2))).duplicate);
    assert_eq!(bench.vehicle.deadline(), Some(1_110));
    assert_eq!(bench.vehicle.last_seen(), Some(1_010));
}

/// The rule of the recorded traces, written naively: no state, only the list of beats.
fn naive(beats: &[Millis], end: Millis) -> Vec<(Status, Millis)> {
    let mut list = Vec::new();
    for (i, &beat) in beats.iter().enumerate() {
        if i == 0 || beat - beats[i - 1] > T {
            list.push((Online, beat));
        }
        let next = beats.get(i + 1).copied().unwrap_or(end);
        if next - beat > T {
            list.push((Offline, beat + T));
        }
    }
    list
}

proptest! {
    /// Random histories, looked at as often as chance has it, equal the naive model.
    #[test]
    fn random_histories_equal_the_naive_model(
        gaps in proptest::collection::vec(0..200i64, 1..60),
        looks in proptest::collection::vec(0..200i64, 0..200),
    ) {
        let beats: Vec<Millis> = gaps.iter().scan(1_000, |at, gap| { *at += gap; Some(*at) }).collect();
        let end = beats.last().copied().unwrap_or_default() + 1_000;
        let mut moments: Vec<(Millis, bool)> = beats.iter().map(|&at| (at, true)).collect();
        let looks = looks.iter().scan(1_000, |at, gap| { *at += gap; Some((*at, false)) });
        moments.extend(looks.filter(|look| look.0 < end));
        moments.push((end, false));
        moments.sort_by_key(|&(at, beat)| (at, !beat));
        let mut bench = Bench::new();
        let mut got = Vec::new();
        for (at, beat) in moments {
            let changes = if beat { bench.beat(at) } else { bench.look(at) };
            got.extend(changes.into_iter().map(|(to, at, _)| (to, at)));
        }
        prop_assert_eq!(got, naive(&beats, end));
    }

    /// Invariants 1 and 3 under every input in any order: transitions alternate, seq has no gap, times never go back,
    /// and no vehicle goes offline by silence before it had one full timeout in which we listened.
    #[test]
    fn the_invariants_hold_for_every_history(inputs in proptest::collection::vec((0..8u8, 0..120i64), 1..120)) {
        let mut bench = Bench::new();
        let (mut now, mut seq, mut status, mut at, mut listening_since) = (1_000, 0, NeverSeen, 0, 0);
        for (kind, wait) in inputs {
            now += wait;
            let beat = Heartbeat::default();
            let input = match kind {
                0 | 1 => Input::Heartbeat(&beat, None),
                2 => Input::Hint(None),
                3 => Input::Goodbye,
                7 => Input::SignOfLife,
                4 => { bench.gaps.open(now); Input::Deadline }
                5 => { bench.gaps.close(now); Input::Deadline }
                6 => Input::Waited(&beat),
                _ => Input::Deadline,
            };
            if bench.gaps.listening() && kind == 5 { listening_since = bench.gaps.since().unwrap_or(0); }
            for change in bench.full_step(now, input).changes {
                seq += 1;
                prop_assert_eq!((change.seq, change.from), (seq, status));
                prop_assert!(change.to != status && change.at >= at && change.at <= now);
                if change.cause == Silence && change.at >= listening_since {
                    let heard_or_listening = listening_since.max(change.last_seen.unwrap_or(0));
                    prop_assert!(change.at >= heard_or_listening + T);
                }
                (status, at) = (change.to, change.at);
            }
        }
    }
}
