//! Random histories of a few vehicles, written in random batches, against the plain fold of each.
//! Fed by the suite; each runs on every store.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::samples::{key, position, transition};
use super::{Database, vehicles};
use crate::domain::latest::Latest;
use crate::domain::latest::tests::{after, beats_in_two_orders};
use crate::domain::policy::Rules;
use crate::domain::sleep::Announced;
use crate::domain::time::Millis;
use crate::domain::transition::Transition;
use crate::store::{Checkpoint, StoredVehicle};

/// Runs a case on random input, telling it the number of the round; a failing input is made small and printed.
pub fn for_random<S, F>(input: S, case: impl Fn(Millis, S::Value) -> F)
where
    S: Strategy,
    F: Future<Output = Result<(), TestCaseError>>,
{
    let round = std::cell::Cell::new(0);
    let config = Config { cases: 40, failure_persistence: None, ..Config::default() };
    let run = || {
        TestRunner::new(config).run(&input, |value| {
            round.set(round.get() + 1);
            tokio::runtime::Handle::current().block_on(case(round.get(), value))
        })
    };
    tokio::task::block_in_place(run).unwrap();
}

/// One change: how much later, and whether the vehicle moved, and its clock with it.
type Step = (Millis, Option<(Millis, f64)>);

/// A history as the fleet makes it: numbers without gaps, times and positions that do not go back, and equal ones.
fn history(name: usize, steps: &[Step], round: Millis) -> Vec<Transition> {
    let key = key(&format!("c{}-{round}", name % 2), &format!("v{name}"));
    let (mut at, mut place) = (1_000, None);
    let mut make = |(seq, (later, moved)): (u64, &Step)| {
        at += later;
        if let Some((ahead, lat)) = moved {
            let newest = place.map_or(at, |old: crate::domain::latest::Position| old.at_ms + ahead);
            place = Some(position(newest, *lat));
        }
        let mut transition = transition(&key, seq, at);
        transition.evidence.position = place;
        transition.evidence.last_seen_ms = (seq > 1).then_some(at - 5);
        transition.change.last_seen = transition.evidence.last_seen_ms;
        transition
    };
    (1..).zip(steps).map(&mut make).collect()
}

/// What the vehicle's row must be: its transitions, one after the other.
fn fold(history: &[Transition]) -> StoredVehicle {
    let last = history.last().unwrap();
    let position = last.evidence.position;
    StoredVehicle {
        key: Arc::clone(&last.key),
        registered: None,
        offline_after: None,
        status: last.change.to,
        since: Some(last.change.at),
        seq: last.change.seq,
        last_seen: last.change.last_seen,
        announced: Announced::NONE,
        latest: Latest { position, ..Latest::default() },
    }
}

pub async fn a_vehicle_is_the_fold_of_its_transitions(database: Arc<Database>) {
    let store = database.open().await;
    let step = (0..3 as Millis, prop::option::of((0..2 as Millis, (-800..800).prop_map(|lat| f64::from(lat) / 10.0))));
    let steps = prop::collection::vec(prop::collection::vec(step, 1..12), 1..5);
    let batches = prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..12), 0..12);
    let input = (steps, batches, 1..9_usize, any::<bool>());
    for_random(input, |round, (steps, strays, size, backwards)| {
        let histories: Vec<_> = (0..).zip(&steps).map(|(name, steps)| history(name, steps, round)).collect();
        let all: Vec<Transition> = histories.iter().flatten().cloned().collect();
        // Stray batches hold anything, in any order, and repeat; then everything comes once more, cut evenly.
        let pick = |batch: Vec<prop::sample::Index>| batch.iter().map(|i| i.get(&all).clone()).collect::<Vec<_>>();
        let mut batches: Vec<Vec<Transition>> = strays.into_iter().map(pick).collect();
        batches.extend(all.chunks(size).map(<[Transition]>::to_vec));
        if backwards {
            batches.reverse();
        }
        let expected: BTreeMap<_, _> = histories.iter().map(|h| (Arc::clone(&h[0].key), fold(h))).collect();
        let store = Arc::clone(&store);
        async move {
            for batch in &batches {
                store.commit(batch).await.unwrap();
            }
            let mut stored = vehicles(&*store).await;
            stored.retain(|vehicle| expected.contains_key(&vehicle.key));
            prop_assert_eq!(stored, expected.into_values().collect::<Vec<_>>());
            Ok(())
        }
    });
}

/// R17 through a restart: beats in any order, with a checkpoint after each and a vehicle that goes on from what was
/// stored, end in the same facts as the same beats in another order without any of it.
pub async fn facts_end_the_same_in_any_order_through_checkpoints(database: Arc<Database>) {
    let store = database.open().await;
    for_random(beats_in_two_orders(), |round, (one, other)| {
        let (store, key) = (Arc::clone(&store), key("acme", &format!("v{round}")));
        let rounds_vehicle = Arc::clone(&key);
        async move {
            let mut first = transition(&key, 1, 1_000);
            first.evidence.position = None;
            store.commit(&[first]).await.unwrap();
            let mut latest = Latest::default();
            for (beat, arrival) in &one {
                latest.apply(&mut beat.clone(), *arrival, &Rules::default());
                let last_seen = 2_000_000;
                let announced = Announced::NONE;
                let heard = Checkpoint { key: Arc::clone(&key), last_seen, announced, latest };
                store.checkpoint(&[heard], last_seen).await.unwrap();
                let mut stored = vehicles(&*store).await;
                stored.retain(|vehicle| vehicle.key == rounds_vehicle);
                latest = stored.remove(0).latest;
            }
            prop_assert_eq!(latest, after(&other));
            Ok(())
        }
    });
}
