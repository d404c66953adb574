//! Facts by device time: any order of the same beats ends in the same facts (R17), and no clock, however wrong, hides
//! what its vehicle says now (R16, R19). Fed by `cargo test`.

use proptest::prelude::*;

use super::*;

fn beat(ts: Millis, lat: f64) -> Heartbeat {
    Heartbeat { ts: Some(ts), position: Some((lat, 0.0)), battery_pct: Some(lat as f32), ..Heartbeat::default() }
}

fn lat(latest: &Latest) -> Option<f64> {
    latest.position.map(|position| position.lat)
}

/// R16: what waited moves history only.
#[test]
fn a_late_beat_does_not_move_the_vehicle_backwards() {
    let (rules, mut latest) = (Rules::default(), Latest::default());
    latest.apply(&mut beat(1_000_000, 2.0), 1_000_000, &rules);
    latest.apply(&mut beat(900_000, 1.0), 1_000_500, &rules);
    assert_eq!(lat(&latest), Some(2.0));
    assert_eq!(latest.clock_skew.map(Fact::value), Some(0), "a beat that waited says nothing about the clock");
    assert!(is_backlog(&beat(900_000, 1.0), 1_000_500, &rules));
}

#[test]
fn a_late_beat_brings_what_no_newer_one_said() {
    let (rules, mut latest) = (Rules::default(), Latest::default());
    let mut newer = Heartbeat { battery_pct: None, ..beat(1_000_000, 2.0) };
    latest.apply(&mut newer, 1_000_000, &rules);
    latest.apply(&mut beat(900_000, 1.0), 1_000_500, &rules);
    assert_eq!((lat(&latest), latest.battery_pct.map(Fact::value)), (Some(2.0), Some(1.0)));
}

/// R19.
#[test]
fn a_clock_in_the_future_is_clamped_and_its_skew_kept() {
    let (rules, mut latest) = (Rules::default(), Latest::default());
    latest.apply(&mut beat(90_000_000, 1.0), 1_000_000, &rules);
    assert_eq!(latest.position.map(|position| position.at_ms), Some(1_000_000));
    assert_eq!(latest.clock_skew.map(Fact::value), Some(89_000_000));
    assert!(latest.clock_is_off(&rules));
    latest.apply(&mut beat(90_000_010, 2.0), 1_000_010, &rules);
    assert_eq!(lat(&latest), Some(2.0));
    latest.apply(&mut beat(1_000_020, 3.0), 1_000_020, &rules);
    assert_eq!((lat(&latest), latest.clock_is_off(&rules)), (Some(3.0), false), "its clock was put right");
}

/// A clock that stands at 1970, and one that fell back by 1,024 weeks as GPS receivers do, show where they are.
#[test]
fn a_clock_that_is_years_behind_still_shows_the_newest_position() {
    let (rules, now) = (Rules::default(), 1_769_847_300_000);
    for wrong in [0, now - 1_024 * 7 * 86_400_000] {
        let mut latest = Latest::default();
        latest.apply(&mut beat(now - 1_000, 1.0), now, &rules);
        for (later, lat_now) in [(1_000, 2.0), (2_000, 3.0)] {
            latest.apply(&mut beat(wrong, lat_now), now + later, &rules);
            assert_eq!(latest.position.map(|p| (p.lat, p.at_ms)), Some((lat_now, now + later)));
            assert!(!is_backlog(&beat(wrong, lat_now), now + later, &rules), "it did not wait, its clock is wrong");
        }
        assert!(latest.clock_is_off(&rules));
    }
    let mut latest = Latest::default();
    latest.apply(&mut beat(now, 1.0), now, &rules);
    latest.apply(&mut beat(now - rules.past_max, 2.0), now, &rules);
    assert_eq!(lat(&latest), Some(1.0), "exactly as old as may be: it waited");
}

#[test]
fn fixes_of_one_second_end_at_the_last_by_seq() {
    let rules = Rules::default();
    let fix = |seq, lat| Heartbeat { seq, ..beat(5_000, lat) };
    let fixes = [fix(None, 9.0), fix(Some(0), 3.0), fix(Some(70_000), 2.0), fix(Some(5_000_000_000), 1.0)];
    for start in 0..4 {
        let mut latest = Latest::default();
        for i in 0..4 {
            latest.apply(&mut fixes[(start + i) % 4].clone(), 6_000, &rules);
        }
        assert_eq!((lat(&latest), latest.position_rank.seq()), (Some(1.0), Some(5_000_000_000)));
    }
}

#[test]
fn a_rank_keeps_its_seq() {
    for seq in [None, Some(0), Some(1), Some(i64::MAX as u64)] {
        assert_eq!(Rank::of(seq).seq(), seq);
    }
    assert!(Rank::of(None) < Rank::of(Some(0)) && Rank::of(Some(0)) < Rank::of(Some(1)));
    assert_eq!(Rank::of(Some(u64::MAX)), Rank::of(Some(i64::MAX as u64)));
}

#[test]
fn the_clock_is_shown_in_whole_seconds() {
    let mut latest = Latest::default();
    assert_eq!(latest.clock_skew_shown(), None);
    for (skew, shown) in [(999, 0), (-999, 0), (-61_234, -61_000), (3_600_001, 3_600_000)] {
        latest.clock_skew = Some(Fact { value: skew, at: 0, rank: Rank::NONE });
        assert_eq!(latest.clock_skew_shown(), Some(shown));
    }
}

/// It exists twice a vehicle: 48 bytes more than with one time for all facts.
#[test]
fn the_facts_of_a_vehicle_are_small() {
    assert_eq!(size_of::<Latest>(), 152);
    assert_eq!(size_of::<Option<Fact<bool>>>(), 24);
}

/// Beats with any of the fields, times that are often equal, and now and then a clock that is far off.
pub fn any_beat() -> impl Strategy<Value = (Heartbeat, Millis)> {
    let time = prop_oneof![
        4 => (0..4i64).prop_map(Some),
        1 => Just(None),
        1 => Just(Some(10_000_000)),
        1 => Just(Some(-5_000_000_000)),
    ];
    let small = || prop::option::of((0..3i32).prop_map(f64::from));
    let metrics = prop::option::of(prop::collection::vec((0..2u8, 0..2i32), 0..3));
    let seq = prop::option::of(prop_oneof![0..3u64, Just(1 << 40)]);
    let fields = (small(), small(), small(), small(), prop::option::of(any::<bool>()), metrics);
    (time, seq, fields, 0..3i64).prop_map(|(ts, seq, (lat, speed, battery, odometer, ignition, metrics), late)| {
        let named = |list: Vec<(u8, i32)>| list.iter().map(|(n, v)| (n.to_string().into(), f64::from(*v))).collect();
        let beat = Heartbeat {
            ts: ts.map(|ts| 1_000_000 + ts),
            seq,
            position: lat.map(|lat| (lat, 1.0)),
            speed_kmh: speed.map(|speed| speed as f32),
            battery_pct: battery.map(|battery| battery as f32),
            odometer_km: odometer,
            ignition,
            metrics: metrics.map(|list| Box::new(named(list))),
            ..Heartbeat::default()
        };
        (beat, 1_000_010 + late)
    })
}

/// Beats with their arrivals.
pub type Beats = Vec<(Heartbeat, Millis)>;

/// Some beats, and the same ones in another order.
pub fn beats_in_two_orders() -> impl Strategy<Value = (Beats, Beats)> {
    let beats = prop::collection::vec(any_beat(), 1..12);
    beats.prop_flat_map(|beats| (Just(beats.clone()), Just(beats).prop_shuffle()))
}

/// What a vehicle knows after these beats.
pub fn after(beats: &[(Heartbeat, Millis)]) -> Latest {
    let mut latest = Latest::default();
    for (beat, arrival) in beats {
        latest.apply(&mut beat.clone(), *arrival, &Rules::default());
    }
    latest
}

/// R14: our clock was two years ahead, and somebody put it right.
#[test]
fn facts_from_before_our_clock_was_put_right_give_way() {
    let (rules, mut latest, year) = (Rules::default(), Latest::default(), 365 * 86_400_000);
    let beat = |lat: f64| Heartbeat {
        position: Some((lat, 0.0)),
        battery_pct: Some(lat as f32),
        metrics: Some(Box::new(vec![("oil".into(), lat)])),
        ..Heartbeat::default()
    };
    latest.apply(&mut beat(1.0), 4 * year, &rules);
    latest.apply(&mut beat(2.0), 2 * year, &rules);
    assert_eq!(latest.position.map(|p| (p.lat, p.at_ms)), Some((2.0, 2 * year)));
    assert_eq!(latest.battery_pct.map(Fact::value), Some(2.0));
    assert_eq!(latest.metrics.map(|metrics| metrics.value[0].1), Some(2.0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// R17: any order of the same beats, with any fields and equal times, ends in the same facts.
    #[test]
    fn every_permutation_ends_in_the_same_facts((one, other) in beats_in_two_orders()) {
        prop_assert_eq!(after(&one), after(&other));
    }
}
