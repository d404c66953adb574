//! Cases about history that is read from its beginning. Fed by the suite; each runs on every store.

use std::sync::Arc;

use super::Database;
use super::samples::{all_pages, key, transition};
use crate::domain::logged::{Facts, Logged};
use crate::domain::transition::{Status, Transition};
use crate::store::registry::Departure;
use crate::store::scan::{Log, Span};
use crate::store::{Store, TransitionQuery};

const ALL: Span = Span { from: i64::MIN, to: i64::MAX, limit: 3 };

async fn forward(store: &dyn Store, vehicle: &str, span: Span) -> Vec<Transition> {
    let name = ("acme".to_owned(), vehicle.to_owned());
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = store.transitions_forward(&name, span, after).await.unwrap();
        assert!(page.len() <= span.limit as usize);
        let Some(last) = page.last() else { return all };
        after = Some((last.change.at, last.change.seq));
        all.extend(page);
    }
}

pub async fn a_vehicles_history_is_read_from_its_beginning(database: Arc<Database>) {
    let store = database.open().await;
    // Several of one instant, and a clock that was set back.
    let times = [10, 20, 20, 20, 30, 25, 40];
    let rows: Vec<_> = times.iter().zip(1..).map(|(at, seq)| transition(&key("acme", "1"), seq, *at)).collect();
    store.commit(&rows).await.unwrap();
    store.commit(&[transition(&key("acme", "10"), 1, 15), transition(&key("acm", "1"), 1, 15)]).await.unwrap();
    let own = TransitionQuery {
        customer: Some("acme".into()),
        vehicle: Some("1".into()),
        limit: 100,
        ..TransitionQuery::default()
    };
    let mut expected = all_pages(&*store, own).await;
    expected.reverse();
    assert_eq!(forward(&*store, "1", ALL).await, expected);
    let some = forward(&*store, "1", Span { from: 20, to: 30, ..ALL }).await;
    assert_eq!(some.iter().map(|row| row.change.seq).collect::<Vec<_>>(), [2, 3, 4, 6]);
}

pub async fn whoever_has_history_is_found_in_order_also_who_has_left(database: Arc<Database>) {
    let store = database.open().await;
    for (customer, vehicle) in [("acme", "b"), ("acme", "B"), ("acme", "a b"), ("Acme", "z"), ("birch", "1")] {
        for seq in 1..4 {
            store.commit(&[transition(&key(customer, vehicle), seq, 10 * seq as i64)]).await.unwrap();
        }
    }
    let departure = Departure { key: key("acme", "B"), seq: 3, at: 50, status: Status::Online, purge: false };
    store.remove(&[departure]).await.unwrap();
    let names =
        async |log, after: &str, limit| store.vehicles_in(log, &("acme".into(), after.into()), limit).await.unwrap();
    assert_eq!(names(Log::Transitions, "", 9).await, ["B", "a b", "b"]);
    assert_eq!(names(Log::Registry, "", 9).await, ["a b", "b"]);
    assert_eq!(names(Log::Transitions, "B", 1).await, ["a b"]);
    assert_eq!(names(Log::Transitions, "b", 9).await, [""; 0]);
    let beat = |customer: &str, vehicle: &str| Logged {
        key: key(customer, vehicle),
        at: 5,
        arrived: 6,
        backlog: false,
        said: Facts::default(),
    };
    store
        .log_heartbeats(1, &[beat("acme", "b"), beat("acme", "new"), beat("acme", "b"), beat("acne", "1")])
        .await
        .unwrap();
    assert_eq!(names(Log::Heartbeats, "", 9).await, ["b", "new"]);
    assert_eq!(store.customers_in(Log::Heartbeats, "", 9).await.unwrap(), ["acme", "acne"]);
    for log in [Log::Transitions, Log::Registry] {
        assert_eq!(store.customers_in(log, "", 9).await.unwrap(), ["Acme", "acme", "birch"]);
        assert_eq!(store.customers_in(log, "Acme", 1).await.unwrap(), ["acme"]);
    }
}
