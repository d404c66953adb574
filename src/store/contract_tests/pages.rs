//! Cases about lists of transitions: filters, order, pages.
//! Fed by the suite; each runs on every store.

use std::sync::Arc;

use proptest::prelude::*;

use super::Database;
use super::samples::{after, all_pages, everything, key, place, transition};
use crate::domain::time::Millis;
use crate::domain::transition::{Status, Transition};
use crate::store::{After, TransitionQuery};

/// What a query must find, the slow way.
fn model(all: &[Transition], query: &TransitionQuery) -> Vec<Transition> {
    let fits = |t: &&Transition| {
        query.customer.as_ref().is_none_or(|customer| **customer == *t.key.customer)
            && query.vehicle.as_ref().is_none_or(|vehicle| **vehicle == *t.key.vehicle)
            && (query.to_status.is_empty() || query.to_status.contains(&t.change.to))
            && query.from.is_none_or(|from| t.change.at >= from)
            && query.to.is_none_or(|to| t.change.at < to)
            && query.after.as_ref().is_none_or(|a| place(t) < (a.at, &a.customer, &a.vehicle, a.seq))
    };
    let mut found: Vec<Transition> = all.iter().filter(fits).cloned().collect();
    found.sort_by(|a, b| place(b).cmp(&place(a)));
    found.truncate(query.limit as usize);
    found
}

/// Names whose order by bytes is not the order of a dictionary.
const CUSTOMERS: [&str; 3] = ["Zeta", "acme", "acme-2"];
const VEHICLES: [&str; 4] = ["B 2", "a 1", "b 1", "Ü"];

pub async fn filters_are_exact(database: Arc<Database>) {
    let store = database.open().await;
    let mut all = Vec::new();
    for (customer, vehicle) in CUSTOMERS.iter().flat_map(|c| VEHICLES.map(|v| (c, v))) {
        all.extend((1..=6).map(|seq| transition(&key(customer, vehicle), seq, 1_000 + 100 * (seq as Millis / 2))));
    }
    store.commit(&all).await.unwrap();
    let (acme, bus) = (Some("acme".to_owned()), Some("B 2".to_owned()));
    let queries = [
        everything(),
        TransitionQuery { limit: 0, ..everything() },
        TransitionQuery { limit: 7, ..everything() },
        TransitionQuery { customer: acme.clone(), ..everything() },
        TransitionQuery { customer: Some("nobody".into()), ..everything() },
        TransitionQuery { customer: acme.clone(), vehicle: bus.clone(), ..everything() },
        TransitionQuery { from: Some(1_100), to: Some(1_200), ..everything() },
        TransitionQuery { customer: acme.clone(), from: Some(1_101), to: Some(1_201), ..everything() },
        TransitionQuery {
            customer: acme.clone(),
            vehicle: bus.clone(),
            from: Some(1_100),
            to: Some(1_300),
            ..everything()
        },
        TransitionQuery { from: Some(1_200), to: Some(1_200), ..everything() },
    ];
    let statuses = [
        vec![],
        vec![Status::Offline],
        vec![Status::Unobserved],
        vec![Status::Online, Status::Offline, Status::Online],
        Status::ALL.to_vec(),
    ];
    for (query, to_status) in queries.iter().flat_map(|query| statuses.iter().map(move |s| (query, s.clone()))) {
        let query = TransitionQuery { to_status, ..query.clone() };
        assert_eq!(store.transitions(&query).await.unwrap(), model(&all, &query), "{query:?}");
    }
    let lost = TransitionQuery { vehicle: bus, ..everything() };
    assert!(store.transitions(&lost).await.unwrap_err().to_string().contains("customer"));
}

/// Random transitions of a few vehicles with many equal `at`.
fn transitions() -> impl Strategy<Value = Vec<Transition>> {
    let keys = (0..CUSTOMERS.len(), 0..VEHICLES.len(), 1..20_u64);
    let make = |((c, v, seq), at)| transition(&key(CUSTOMERS[c], VEHICLES[v]), seq, at);
    prop::collection::btree_map(keys, 0..4 as Millis, 0..80).prop_map(move |all| all.into_iter().map(make).collect())
}

pub async fn pages_are_complete_and_without_repeats(database: Arc<Database>) {
    let store = database.open().await;
    let scope = (prop::option::of(0..CUSTOMERS.len()), prop::option::of(0..VEHICLES.len()));
    let input = (transitions(), scope, prop::sample::subsequence(Status::ALL.to_vec(), 0..=4), 1..15_u32);
    super::histories::for_random(input, |round, (mut all, (customer, vehicle), to_status, limit)| {
        // Each round lives in hours of its own, so that one database serves them all.
        let start = round * 10_000_000;
        for (transition, n) in all.iter_mut().zip(0..) {
            transition.change.at += start;
            transition.change.seq += (round as u64) * 1_000;
            transition.decided_at += start + n;
        }
        let customer = customer.map(|c| CUSTOMERS[c].to_owned());
        let vehicle = vehicle.filter(|_| customer.is_some()).map(|v| VEHICLES[v].to_owned());
        let (from, to) = (Some(start), Some(start + 10_000));
        let query = TransitionQuery { customer, vehicle, to_status, from, to, after: None, limit };
        let store = Arc::clone(&store);
        async move {
            store.commit(&all).await.unwrap();
            let whole = TransitionQuery { limit: u32::MAX, ..query.clone() };
            let paged = all_pages(&*store, query).await;
            prop_assert_eq!(paged, model(&all, &whole));
            Ok(())
        }
    });
}

pub async fn a_page_goes_on_after_a_name_outside_its_filter(database: Arc<Database>) {
    let store = database.open().await;
    let keys = [key("a", "1"), key("b", "1"), key("b", "2"), key("c", "1")];
    let all: Vec<Transition> = keys.iter().flat_map(|key| (1..4).map(|seq| transition(key, seq, 500))).collect();
    store.commit(&all).await.unwrap();
    let names = [("a", "1"), ("b", "0"), ("b", "1"), ("b", "15"), ("b", "2"), ("c", "1")];
    for (customer, vehicle) in names {
        for vehicle_of_query in [None, Some("1".to_owned()), Some("2".to_owned())] {
            let after = Some(After { customer: customer.into(), vehicle: vehicle.into(), ..after(&all[1]) });
            let query =
                TransitionQuery { customer: Some("b".into()), vehicle: vehicle_of_query, after, ..everything() };
            assert_eq!(store.transitions(&query).await.unwrap(), model(&all, &query), "{query:?}");
        }
    }
}
