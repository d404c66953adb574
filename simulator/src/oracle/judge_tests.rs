//! The judge on histories made by hand: right ones pass, and every kind of wrong one is found, once.

use super::{
    super::{
        incident::{Effect, Window},
        tally::Counts,
    },
    *,
};

const RULES: Rules = Rules {
    offline_after_ms: 10_000,
    will_grace_ms: 4_000,
    sleep_grace_ms: 2_000,
    tolerance_ms: 1_000,
    remember: true,
};
/// An instant long after 1970, as all are.
const BASE: u64 = 1_000_000;
const CUT: u64 = BASE + 200_000;

/// Beats every 2 s in each of these stretches, all acknowledged.
fn beats(stretches: &[(u32, u32)]) -> Vec<Entry> {
    let each = |&(from, to): &(u32, u32)| (from..=to).step_by(2);
    stretches.iter().flat_map(each).map(|second| entry(second, Act::Beat)).collect()
}

fn entry(second: u32, act: Act) -> Entry {
    Entry { at_ms: second * 1_000, act, acked: true }
}

/// `(to, second)` each, numbered from 1.
fn seen(steps: &[(Shown, u64)]) -> Vec<Seen> {
    let each = |(seq, &(to, second)): (u64, &(Shown, u64))| {
        let at_ms = BASE + second * 1_000;
        Seen { seq, to, at_ms, decided_at_ms: at_ms + 7 }
    };
    (1..).zip(steps).map(each).collect()
}

fn deaf(from: u64, to: u64) -> Window {
    let effect = Effect { deafens: true, ..Effect::default() };
    Window { from_ms: BASE + from * 1_000, to_ms: BASE + to * 1_000, back_ms: BASE + to * 1_000, effect }
}

fn tried(entries: &[Entry], seen: Vec<Seen>, windows: Vec<Window>) -> (Counts, Vec<String>) {
    let excuses = Excuses::new(windows);
    let court = Court { rules: RULES, excuses: &excuses, base_ms: BASE, cut_ms: CUT, acknowledges: true, fresh: true };
    let mut tallies = Tallies::new(&[], 0);
    judge(&court, Case { name: "v", entries, seen }, &mut tallies);
    let (counts, _, findings) = tallies.conclude();
    (counts, findings)
}

const ON: Shown = Shown::Online;
const OFF: Shown = Shown::Offline;
const UNKNOWN: Shown = Shown::Unobserved;

#[test]
fn right_history_has_no_error_and_known_lags() {
    let entries = beats(&[(0, 20), (50, 60)]);
    let right = seen(&[(ON, 0), (OFF, 30), (ON, 50), (OFF, 70)]);
    let (counts, findings) = tried(&entries, right, vec![]);
    assert_eq!(
        (counts.errors(), counts.detection_lag_ms.count, counts.detection_lag_ms.max),
        (0, 2, 7),
        "{findings:?}"
    );
}

#[test]
fn wrong_timeout_is_found_in_both_directions() {
    let entries = beats(&[(0, 20)]);
    let (long, findings) = tried(&entries, seen(&[(ON, 0), (OFF, 34)]), vec![]);
    assert_eq!((long.mistimed, long.missed_offline, long.errors()), (1, 1, 2), "{findings:?}");
    let (short, findings) = tried(&entries, seen(&[(ON, 0), (OFF, 26)]), vec![]);
    assert_eq!((short.false_offline, short.errors()), (1, 1), "{findings:?}");
}

#[test]
fn false_offline_of_a_vehicle_that_beats_is_one_error() {
    let entries = beats(&[(0, 60)]);
    let wrong = seen(&[(ON, 0), (OFF, 30), (ON, 32), (OFF, 70)]);
    let (counts, findings) = tried(&entries, wrong, vec![]);
    assert_eq!((counts.false_offline, counts.errors()), (1, 1), "{findings:?}");
}

#[test]
fn false_online_missed_offline_and_lost_return_are_found() {
    let entries = beats(&[(0, 20), (50, 60)]);
    let (counts, _) = tried(&entries, seen(&[(ON, 0), (OFF, 30), (ON, 40), (OFF, 70)]), vec![]);
    assert_eq!((counts.false_online, counts.errors()), (1, 1));
    let (counts, findings) = tried(&entries, seen(&[(ON, 0), (OFF, 70)]), vec![]);
    assert_eq!((counts.missed_offline, counts.errors()), (1, 1), "{findings:?}");
    let (counts, findings) = tried(&entries, seen(&[(ON, 0), (OFF, 30)]), vec![]);
    assert_eq!((counts.lost, counts.errors()), (1, 1), "{findings:?}");
    assert_eq!(tried(&entries, vec![], vec![]).0.lost, 1, "never told at all");
}

#[test]
fn hole_double_and_disorder_are_found() {
    let entries = beats(&[(0, 20), (50, 60)]);
    let mut hole = seen(&[(ON, 0), (OFF, 30), (ON, 50), (OFF, 70)]);
    hole.remove(1);
    assert!(tried(&entries, hole, vec![]).0.lost >= 1);
    let mut double = seen(&[(ON, 0), (OFF, 30), (ON, 50), (OFF, 70)]);
    double.insert(2, double[1]);
    assert_eq!(tried(&entries, double, vec![]).0.doubled, 1);
    let mut back = seen(&[(ON, 0), (OFF, 30), (ON, 50), (OFF, 70)]);
    back[2].at_ms = back[1].at_ms - 1;
    assert!(tried(&entries, back, vec![]).0.mistimed >= 1);
}

#[test]
fn deafness_explains_unobserved_and_a_verdict_put_off_but_nothing_else() {
    let entries = beats(&[(0, 20)]);
    let put_off = seen(&[(ON, 0), (UNKNOWN, 30), (OFF, 50)]);
    assert_eq!(tried(&entries, put_off.clone(), vec![deaf(15, 40)]).0.errors(), 0);
    let (counts, findings) = tried(&entries, put_off, vec![]);
    assert!(counts.unexplained_blind == 1 && counts.missed_offline == 1, "{findings:?}");
    let (counts, _) = tried(&entries, seen(&[(ON, 0), (UNKNOWN, 30), (OFF, 60)]), vec![deaf(15, 40)]);
    assert_eq!((counts.missed_offline, counts.mistimed), (1, 1), "one timeout after it hears again, not two");
    let (counts, _) = tried(&entries, seen(&[(ON, 0), (UNKNOWN, 30)]), vec![deaf(15, 40)]);
    assert_eq!(counts.missed_offline, 1, "unobserved for ever is not an answer");
}

#[test]
fn vehicle_that_went_on_sending_through_deafness_is_never_offline() {
    let entries = beats(&[(0, 100)]);
    let right = seen(&[(ON, 0), (UNKNOWN, 24), (ON, 40), (OFF, 110)]);
    let (counts, findings) = tried(&entries, right, vec![deaf(15, 40)]);
    assert_eq!((counts.errors(), counts.unobserved), (0, 1), "{findings:?}");
    let wrong = seen(&[(ON, 0), (OFF, 25), (ON, 40), (OFF, 110)]);
    assert_eq!(tried(&entries, wrong, vec![deaf(15, 40)]).0.false_offline, 1);
    let stuck = seen(&[(ON, 0), (UNKNOWN, 24), (ON, 60), (OFF, 110)]);
    assert_eq!(tried(&entries, stuck, vec![deaf(15, 40)]).0.mistimed, 1, "it has to see it again at once");
}

#[test]
fn what_waited_in_the_brokers_queue_makes_nobody_online() {
    let entries = beats(&[(0, 20), (34, 36)]);
    let replayed = |to| seen(&[(ON, 0), (OFF, 30), (to, 40), (OFF, 50)]);
    let (counts, findings) = tried(&entries, replayed(UNKNOWN), vec![deaf(32, 40)]);
    assert_eq!(counts.errors(), 0, "{findings:?}");
    assert_eq!(tried(&entries, replayed(ON), vec![deaf(32, 40)]).0.false_online, 1);
    let suspended = Window { effect: Effect { revives: true, ..deaf(32, 40).effect }, ..deaf(32, 40) };
    assert_eq!(tried(&entries, replayed(ON), vec![suspended]).0.errors(), 0, "a socket's buffer tells no age");
}

#[test]
fn goodbye_will_and_nap_move_the_deadline() {
    let mut entries = beats(&[(0, 20)]);
    entries.push(entry(21, Act::Goodbye));
    assert_eq!(tried(&entries, seen(&[(ON, 0), (OFF, 21)]), vec![]).0.errors(), 0);
    entries[11] = entry(21, Act::Broke);
    assert_eq!(tried(&entries, seen(&[(ON, 0), (OFF, 25)]), vec![]).0.errors(), 0);
    assert_eq!(tried(&entries, seen(&[(ON, 0), (OFF, 30)]), vec![]).0.missed_offline, 1, "the will was not heeded");
    entries[11] = entry(21, Act::MayHint);
    for second in [25, 30] {
        assert_eq!(tried(&entries, seen(&[(ON, 0), (OFF, second)]), vec![]).0.errors(), 0, "either is right");
    }
    entries[11] = entry(21, Act::Nap(300));
    assert_eq!(tried(&entries, seen(&[(ON, 0), (OFF, 53)]), vec![]).0.errors(), 0);
    assert_eq!(tried(&entries, seen(&[(ON, 0), (OFF, 31)]), vec![]).0.errors(), 1, "it had announced its sleep");
}

/// A suspended product takes what its sockets kept for live, so an announced sleep may count from its waking.
#[test]
fn a_nap_announced_to_a_suspended_product_counts_from_its_waking_at_the_latest() {
    let mut entries = beats(&[(0, 20)]);
    entries.push(entry(35, Act::Nap(300)));
    let suspended = Window { effect: Effect { revives: true, ..deaf(22, 60).effect }, ..deaf(22, 60) };
    let told = |second| seen(&[(ON, 0), (UNKNOWN, 30), (ON, 60), (OFF, second)]);
    for (second, errors) in [(67, 0), (80, 0), (92, 0), (94, 1)] {
        let (counts, findings) = tried(&entries, told(second), vec![suspended]);
        assert_eq!(counts.errors().min(1), errors, "{second}: {findings:?}");
    }
    assert!(tried(&entries, told(80), vec![deaf(22, 60)]).0.errors() > 0, "a broker's queue tells what waited");
}

/// A product that is back may have a queue to read before it comes to what is sent now: the same holds for that.
#[test]
fn a_nap_announced_to_a_product_that_catches_up_counts_from_then_at_the_latest() {
    let nap_at = |second| [beats(&[(0, 20)]), vec![entry(second, Act::Nap(300))]].concat();
    let catching_up = Window { back_ms: BASE + 55_000, ..deaf(22, 60) };
    let told = |second| seen(&[(ON, 0), (UNKNOWN, 30), (ON, 60), (OFF, second)]);
    for (second, errors) in [(86, 1), (89, 0), (92, 0), (94, 1)] {
        let (counts, findings) = tried(&nap_at(57), told(second), vec![catching_up]);
        assert_eq!(counts.errors().min(1), errors, "{second}: {findings:?}");
    }
    assert!(tried(&nap_at(50), told(92), vec![catching_up]).0.errors() > 0, "that one waited in the broker's queue");
}

#[test]
fn swallowed_beats_are_silence() {
    let mut entries = beats(&[(0, 60)]);
    entries.iter_mut().filter(|entry| (21_000..45_000).contains(&entry.at_ms)).for_each(|entry| entry.acked = false);
    let swallow = Window { effect: Effect { swallows: true, ..Effect::default() }, ..deaf(21, 45) };
    let right = seen(&[(ON, 0), (OFF, 30), (ON, 46), (OFF, 70)]);
    assert_eq!(tried(&entries, right, vec![swallow]).0.errors(), 0);
    assert_eq!(tried(&entries, seen(&[(ON, 0), (OFF, 70)]), vec![swallow]).0.missed_offline, 1);
}
