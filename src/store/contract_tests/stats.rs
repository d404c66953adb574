//! Rollups: a function of the stored transitions, however they came; heartbeats, added once.
//! Fed by the suite; each runs on every store.

use std::sync::Arc;

use proptest::prelude::*;

use super::Database;
use super::histories::for_random;
use super::samples::{key, transition};
use crate::domain::calendar::{HOUR, MINUTE, QUARTER};
use crate::domain::statistics::tests::rollup;
use crate::domain::statistics::{Levels, Rollup};
use crate::domain::time::Millis;
use crate::domain::transition::Status::{self, NeverSeen, Online};
use crate::domain::transition::Transition;
use crate::store::registry::Departure;
use crate::store::stats::{Beats, RollupQuery, SPANS};
use crate::store::{ObservationGap, Store};

const DAY: Millis = 24 * HOUR;

async fn all(store: &dyn Store, customer: Option<&str>, span: Millis, (from, to): (Millis, Millis)) -> Vec<Rollup> {
    let query = RollupQuery { customer: customer.map(str::to_owned), span, from, to };
    store.rollups(&query).await.unwrap().rollups
}

/// How a transition changes the levels.
fn change(transition: &Transition) -> Levels {
    [Status::Online, Status::Offline, Status::Unobserved]
        .map(|status| i64::from(transition.change.to == status) - i64::from(transition.change.from == status))
}

/// What the rollups of a span must be, from the transitions themselves.
fn counted(transitions: &[&Transition], span: Millis) -> Vec<Rollup> {
    let mut changes: Vec<_> = transitions.iter().map(|row| (row.change.at, change(row), row.change.to)).collect();
    changes.sort_by_key(|(at, ..)| *at);
    let rollups = changes.chunk_by(|a, b| a.0 / span == b.0 / span).map(|chunk| {
        let changes: Vec<_> = chunk.iter().map(|(at, change, _)| (*at, *change)).collect();
        let mut rollup = rollup(chunk[0].0 - chunk[0].0 % span, span, &changes);
        for (.., to) in chunk {
            let status = [Status::Online, Status::Offline, Status::Unobserved].iter().position(|status| status == to);
            rollup.went[status.unwrap()] += 1;
        }
        rollup
    });
    rollups.collect()
}

pub async fn rollups_are_a_function_of_the_stored_transitions(database: Arc<Database>) {
    let store = database.open().await;
    let steps = prop::collection::vec(prop::collection::vec(0..20 * MINUTE, 1..12), 1..6);
    let batches = prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..12), 0..8);
    let input = (steps, batches, 1..9_usize);
    for_random(input, |round, (steps, strays, size)| {
        // Each round has days of its own, and the fleet's rows with them.
        let (from, to) = (round * 10 * DAY, (round + 1) * 10 * DAY);
        let mut rows = Vec::new();
        for (name, steps) in (0..).zip(&steps) {
            let key = key(&format!("c{}-{round}", name % 2), &format!("v{name}"));
            let mut at = from;
            for (seq, later) in (1..).zip(steps) {
                at += later;
                rows.push(transition(&key, seq, at));
            }
        }
        let pick = |batch: Vec<prop::sample::Index>| batch.iter().map(|i| i.get(&rows).clone()).collect::<Vec<_>>();
        let mut batches: Vec<Vec<Transition>> = strays.into_iter().map(pick).collect();
        batches.extend(rows.rchunks(size).map(<[Transition]>::to_vec));
        let store = Arc::clone(&store);
        async move {
            for (n, batch) in batches.iter().enumerate() {
                store.commit(batch).await.unwrap();
                if n % 2 == 0 {
                    store.roll_up(3).await.unwrap();
                }
            }
            while store.roll_up(7).await.unwrap() {}
            for span in SPANS {
                for customer in [None, Some(format!("c0-{round}")), Some(format!("c1-{round}"))] {
                    let theirs = |row: &&Transition| customer.as_deref().is_none_or(|name| *row.key.customer == *name);
                    let expected = counted(&rows.iter().filter(theirs).collect::<Vec<_>>(), span);
                    prop_assert_eq!(all(&*store, customer.as_deref(), span, (from, to)).await, expected);
                }
            }
            Ok(())
        }
    });
}

pub async fn what_was_spent_before_any_instant_is_exact(database: Arc<Database>) {
    let store = database.open().await;
    let rows: Vec<_> = (0..60_i64)
        .map(|n| {
            let key = key(["acme", "birch"][n as usize % 2], &format!("v{}", n % 6));
            transition(&key, 1 + n as u64 / 6, n * 11 * MINUTE + n * 977)
        })
        .collect();
    store.commit(&rows).await.unwrap();
    while store.roll_up(100).await.unwrap() {}
    let instants: Vec<Millis> = [0, 1, 3 * HOUR, 3 * HOUR + 1, 700 * MINUTE + 123, DAY, 2 * HOUR - 1]
        .into_iter()
        .chain(rows.iter().flat_map(|row| [row.change.at, row.change.at + 1]))
        .collect();
    for customer in [None, Some("acme"), Some("nobody")] {
        let theirs = |row: &&Transition| customer.is_none_or(|name| *row.key.customer == *name);
        let by_hand = |instant: Millis| {
            let mut spent = Levels::default();
            for row in rows.iter().filter(theirs).filter(|row| row.change.at < instant) {
                for (status, change) in change(row).into_iter().enumerate() {
                    spent[status] += change * (instant - row.change.at);
                }
            }
            spent
        };
        let expected: Vec<Levels> = instants.iter().map(|instant| by_hand(*instant)).collect();
        assert_eq!(store.spent(customer, &instants).await.unwrap(), expected, "{customer:?}");
        assert_eq!(store.spent(customer, &instants[4..5]).await.unwrap(), expected[4..5]);
    }
    assert!(store.spent(None, &[]).await.unwrap().is_empty());
}

/// A deletion is a change away from the last status, also after the vehicle came back; a purge leaves nothing.
pub async fn who_left_is_in_no_level_and_a_purged_history_is_uncounted(database: Arc<Database>) {
    let store = database.open().await;
    let (bus, van) = (key("acme", "bus"), key("birch", "van"));
    let left = 30 * MINUTE + 5_000;
    let leave = |key: &Arc<_>, seq, at, purge| Departure { key: Arc::clone(key), seq, at, status: Online, purge };
    let back = |seq, at| {
        let mut row = transition(&bus, seq, at);
        (row.change.from, row.change.to) = (NeverSeen, Online);
        row
    };
    let count = async || while store.roll_up(100).await.unwrap() {};
    let online = async |customer: Option<&str>, at: Millis| {
        let query = RollupQuery { customer: customer.map(str::to_owned), span: MINUTE, from: at * MINUTE, to: DAY };
        store.rollups(&query).await.unwrap().levels[0]
    };
    store.commit(&[transition(&bus, 1, 10 * MINUTE), transition(&van, 1, 20 * MINUTE)]).await.unwrap();
    count().await;
    for _ in 0..2 {
        store.remove(&[leave(&bus, 1, left, false)]).await.unwrap();
        count().await;
        for (at, acme, fleet) in [(30, 1, 2), (31, 0, 1), (24 * 60, 0, 1)] {
            assert_eq!((online(Some("acme"), at).await, online(None, at).await), (acme, fleet), "{at}");
        }
    }
    // To the millisecond, in the minute of the departure and after it.
    let spent = store.spent(Some("acme"), &[left + 1_000, DAY]).await.unwrap();
    assert_eq!(spent, [[left - 10 * MINUTE, 0, 0]; 2]);
    store.commit(&[back(2, 40 * MINUTE)]).await.unwrap();
    store.remove(&[leave(&bus, 2, 50 * MINUTE, false)]).await.unwrap();
    // The minute of the first departure is counted anew.
    store.commit(&[transition(&key("acme", "late"), 1, 30 * MINUTE)]).await.unwrap();
    count().await;
    for (at, acme) in [(31, 1), (41, 2), (51, 1)] {
        assert_eq!(online(Some("acme"), at).await, acme, "{at}");
    }
    store.remove(&[leave(&bus, 2, 55 * MINUTE, true), leave(&van, 1, 55 * MINUTE, true)]).await.unwrap();
    count().await;
    let only = [&transition(&key("acme", "late"), 1, 30 * MINUTE)];
    for (customer, span) in [(None, MINUTE), (Some("acme"), QUARTER), (None, HOUR)] {
        let mut rollups = all(&*store, customer, span, (0, DAY)).await;
        rollups.retain(|row| row.went != [0; 3] || row.net != [0; 3] || row.within != [0; 3] || row.peak != 0);
        assert_eq!(rollups, counted(&only, span), "{customer:?} {span}");
    }
    assert_eq!(store.spent(Some("birch"), &[DAY]).await.unwrap(), [[0; 3]]);
}

pub async fn levels_at_any_border_are_the_sum_of_what_changed_before(database: Arc<Database>) {
    let store = database.open().await;
    let rows: Vec<_> = (0..50).map(|n| transition(&key("acme", &format!("v{n}")), 1, n * 7 * MINUTE)).collect();
    store.commit(&rows).await.unwrap();
    while store.roll_up(100).await.unwrap() {}
    for (span, from) in [(MINUTE, 127 * MINUTE), (QUARTER, 135 * MINUTE), (HOUR, 2 * HOUR), (MINUTE, 0)] {
        let query = |customer| RollupQuery { customer, span, from, to: DAY };
        let expected = rows.iter().filter(|row| row.change.at < from).count() as i64;
        for customer in [None, Some("acme".to_owned())] {
            assert_eq!(store.rollups(&query(customer)).await.unwrap().levels, [expected, 0, 0], "{span} {from}");
        }
        assert_eq!(store.rollups(&query(Some("birch".into()))).await.unwrap().levels, [0; 3]);
    }
}

pub async fn heartbeats_are_added_once(database: Arc<Database>) {
    let store = database.open().await;
    store.take_over().await.unwrap();
    let beats =
        |customer: &str, minute: i64, count| Beats { customer: customer.into(), minute: minute * MINUTE, count };
    let first = [beats("acme", 14, 10), beats("birch", 14, 1), beats("acme", 15, 5)];
    let second = [beats("acme", 15, 2)];
    store.add_beats(1, &first).await.unwrap();
    store.add_beats(1, &first).await.unwrap();
    store.add_beats(2, &second).await.unwrap();
    store.add_beats(1, &first).await.unwrap();
    let counts = async |customer, span| -> Vec<_> {
        let rollups = all(&*store, customer, span, (0, DAY)).await.into_iter();
        rollups.map(|rollup| (rollup.at / MINUTE, rollup.heartbeats)).collect()
    };
    assert_eq!(counts(Some("acme"), MINUTE).await, [(14, 10), (15, 7)]);
    assert_eq!(counts(None, MINUTE).await, [(14, 11), (15, 7)]);
    assert_eq!(counts(None, QUARTER).await, [(0, 11), (15, 7)]);
    assert_eq!(counts(Some("acme"), HOUR).await, [(0, 17)]);

    // The next process begins at 1 again.
    store.take_over().await.unwrap();
    store.add_beats(1, &second).await.unwrap();
    assert_eq!(counts(Some("acme"), HOUR).await, [(0, 19)]);
    store.commit(&[transition(&key("acme", "1"), 1, 14 * MINUTE)]).await.unwrap();
    assert!(!store.roll_up(9).await.unwrap());
    assert_eq!(counts(Some("acme"), HOUR).await, [(0, 19)], "counting transitions leaves them alone");
}

pub async fn nothing_is_known_of_the_time_before_the_first_start(database: Arc<Database>) {
    let store = database.open().await;
    let query = RollupQuery { customer: None, span: HOUR, from: 0, to: DAY };
    assert_eq!(store.rollups(&query).await.unwrap().began, None);
    let gap = |from, to| ObservationGap { scope: "process".into(), from, to: Some(to), cause: "start".into() };
    store.record_gap(&gap(9_000, 9_500)).await.unwrap();
    store.record_gap(&gap(5_000, 5_100)).await.unwrap();
    assert_eq!(store.rollups(&query).await.unwrap().began, Some(5_000));
}
