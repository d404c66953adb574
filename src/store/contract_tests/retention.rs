//! Old history is dropped, and what is left tells the same as before.
//! Fed by the suite; each runs on every store.

use std::sync::Arc;

use super::heartbeats::beat;
use super::samples::{everything, key, transition};
use super::{Database, vehicles};
use crate::domain::calendar::{DAY, HOUR, MINUTE, QUARTER};
use crate::domain::time::Millis;
use crate::domain::transition::Transition;
use crate::store::Store;
use crate::store::heartbeats::HeartbeatSweep;
use crate::store::retention::Kind;
use crate::store::stats::RollupQuery;

/// Every step; answers the horizon.
pub async fn drop_all(store: &dyn Store, kind: Kind, before: Millis) -> Option<Millis> {
    let mut mark = None;
    for _ in 0..1_000 {
        let step = store.drop_some(kind, before, mark.as_ref()).await.unwrap();
        mark = step.next;
        if mark.is_none() {
            return step.horizon;
        }
    }
    panic!("it never ends");
}

pub async fn count_all(store: &dyn Store) {
    while store.roll_up(100).await.unwrap() {}
}

/// The beginnings of the first months of 1970.
pub const MONTHS: [Millis; 4] = [0, 31 * DAY, 59 * DAY, 90 * DAY];

pub async fn old_transitions_go_but_for_the_last_of_each_vehicle(database: Arc<Database>) {
    let store = database.open().await;
    // One that changes every ten days, one that never did again, one that is gone, and one that is new.
    let (busy, still, gone, new) =
        (key("acme", "busy"), key("acme", "still"), key("birch", "gone"), key("birch", "new"));
    let mut all: Vec<Transition> = (1..=12).map(|seq| transition(&busy, seq, seq as Millis * 10 * DAY)).collect();
    all.push(transition(&still, 1, 5 * DAY));
    all.push(transition(&gone, 1, 5 * DAY));
    all.push(transition(&new, 1, 100 * DAY));
    store.commit(&all).await.unwrap();
    let departure = crate::store::registry::Departure {
        key: Arc::clone(&gone),
        seq: 1,
        at: 6 * DAY,
        status: crate::domain::transition::Status::Online,
        purge: false,
    };
    store.remove(&[departure]).await.unwrap();
    count_all(&*store).await;
    let names = [&busy, &still, &new].map(|key| (key.customer.to_string(), key.vehicle.to_string()));
    let (from, to) = (MONTHS[2], 130 * DAY);
    let (turns, rows) = (store.turns(&names, from, to).await.unwrap(), vehicles(&*store).await);
    for _ in 0..2 {
        assert_eq!(drop_all(&*store, Kind::Transitions, MONTHS[2]).await, Some(MONTHS[2]));
        let left = store.transitions(&everything()).await.unwrap();
        let mut left: Vec<(&str, u64)> = left.iter().map(|row| (&*row.key.vehicle, row.change.seq)).collect();
        left.sort_unstable();
        // 59 days: the fifth is the last before.
        let busy: Vec<(&str, u64)> = (5..=12).map(|seq| ("busy", seq)).collect();
        assert_eq!(left, [busy, vec![("new", 1), ("still", 1)]].concat());
    }
    assert_eq!(store.turns(&names, from, to).await.unwrap(), turns, "availability is the same");
    assert_eq!(vehicles(&*store).await, rows);
    assert_eq!(store.repair(None, 100).await.unwrap().mended, []);
    assert_eq!(store.load_horizons().await.unwrap(), [(Kind::Transitions, MONTHS[2])]);
    // What is left is there once, and what comes after goes on.
    store.commit(&all[4..]).await.unwrap();
    store.commit(&[transition(&busy, 13, 131 * DAY)]).await.unwrap();
    let later = store.transitions(&everything()).await.unwrap();
    assert_eq!(later.iter().filter(|row| row.key == busy).count(), 9);
    // The next time the one that was left goes too, for there is a newer one.
    count_all(&*store).await;
    assert_eq!(drop_all(&*store, Kind::Transitions, MONTHS[3]).await, Some(MONTHS[3]));
    let left = store.transitions(&everything()).await.unwrap();
    let left = left.iter().filter(|row| row.change.at < MONTHS[3]);
    let left: Vec<(&str, u64)> = left.map(|row| (&*row.key.vehicle, row.change.seq)).collect();
    assert_eq!(left, [("busy", 8), ("still", 1)]);
}

pub async fn what_is_not_counted_yet_stays(database: Arc<Database>) {
    let store = database.open().await;
    let bus = key("acme", "bus");
    store.commit(&[transition(&bus, 1, DAY), transition(&bus, 2, 2 * DAY)]).await.unwrap();
    assert_eq!(drop_all(&*store, Kind::Transitions, MONTHS[1]).await, None);
    assert_eq!(drop_all(&*store, Kind::Minutes, MONTHS[1]).await, None);
    assert_eq!(store.transitions(&everything()).await.unwrap().len(), 2);
    assert_eq!(store.load_horizons().await.unwrap(), []);
}

pub async fn old_heartbeats_go_by_the_day(database: Arc<Database>) {
    let store = database.open().await;
    let day = |day: Millis| (0..30).map(move |n| beat("acme", &format!("v{}", n % 3), day * DAY + n));
    let all: Vec<_> = (0..5).flat_map(day).collect();
    store.log_heartbeats(1, &all).await.unwrap();
    for _ in 0..2 {
        assert_eq!(drop_all(&*store, Kind::Heartbeats, 3 * DAY).await, Some(3 * DAY));
    }
    let customer = "acme".to_owned();
    let sweep = HeartbeatSweep { customer, vehicles: None, from: 0, to: 9 * DAY, after: None, limit: 1_000 };
    let left = store.heartbeats_in_order(&sweep).await.unwrap();
    assert_eq!(left.len(), 60);
    assert!(left.iter().all(|row| row.beat.at >= 3 * DAY));
    // One that comes late is taken, and goes the next time.
    store.log_heartbeats(1_000, &all[..1]).await.unwrap();
    assert_eq!(store.heartbeats_in_order(&sweep).await.unwrap().len(), 61);
    assert_eq!(drop_all(&*store, Kind::Heartbeats, 4 * DAY).await, Some(4 * DAY));
    assert_eq!(store.heartbeats_in_order(&sweep).await.unwrap().len(), 30);
}

pub async fn old_minutes_go_and_what_was_spent_stays_exact(database: Arc<Database>) {
    let store = database.open().await;
    let keys = [key("acme", "a"), key("acme", "b"), key("birch", "c")];
    let at = |seq: u64, n: Millis| seq as Millis * (37 * MINUTE + 1_234) + n * 777;
    let rows = (1..=40).flat_map(|seq| keys.iter().zip(0..).map(move |(key, n)| transition(key, seq, at(seq, n))));
    store.commit(&rows.collect::<Vec<_>>()).await.unwrap();
    count_all(&*store).await;
    let instants: Vec<Millis> = (0..80).map(|n| n * 19 * MINUTE + n * 111).collect();
    let spent = async |customer: Option<&str>| store.spent(customer, &instants).await.unwrap();
    let rollups = async |span, customer: Option<&str>| {
        let query = RollupQuery { customer: customer.map(str::to_owned), span, from: 0, to: 3 * DAY };
        store.rollups(&query).await.unwrap().rollups
    };
    let whole = (spent(None).await, spent(Some("acme")).await, rollups(QUARTER, None).await);
    let before = 12 * HOUR;
    assert_eq!(drop_all(&*store, Kind::Minutes, before).await, Some(before));
    assert_eq!((spent(None).await, spent(Some("acme")).await, rollups(QUARTER, None).await), whole);
    for customer in [None, Some("acme"), Some("birch")] {
        let left = rollups(MINUTE, customer).await;
        assert!(!left.is_empty() && left.iter().all(|row| row.at >= before), "{customer:?}");
    }
    // One that is decided back into that time: its quarter is counted from the transitions.
    let late = transition(&key("acme", "late"), 1, 3 * HOUR + 7 * MINUTE + 5);
    store.commit(std::slice::from_ref(&late)).await.unwrap();
    count_all(&*store).await;
    let extra = |instant: Millis| (instant - late.change.at).max(0);
    let more: Vec<_> = whole.1.iter().zip(&instants).map(|(was, at)| [was[0] + extra(*at), was[1], was[2]]).collect();
    assert_eq!(spent(Some("acme")).await, more);
    assert!(rollups(MINUTE, Some("acme")).await.iter().all(|row| row.at >= before));
}

pub async fn a_number_is_there_once_though_it_comes_with_another_time(database: Arc<Database>) {
    let store = database.open().await;
    let bus = key("acme", "bus");
    let rows: Vec<_> = (1..=3).map(|seq| transition(&bus, seq, 40 * DAY * seq as Millis)).collect();
    store.commit(&rows).await.unwrap();
    for (seq, at) in [(2, 5), (2, 200 * DAY), (3, 3), (1, 40 * DAY + 1)] {
        store.commit(&[transition(&bus, seq, at)]).await.unwrap();
    }
    let twice = [transition(&bus, 4, 300 * DAY), transition(&bus, 4, 301 * DAY)];
    store.commit(&twice).await.unwrap();
    let left = store.transitions(&everything()).await.unwrap();
    let left: Vec<_> = left.iter().map(|row| (row.change.seq, row.change.at)).collect();
    assert_eq!(left, [(4, 300 * DAY), (3, 120 * DAY), (2, 80 * DAY), (1, 40 * DAY)]);
}
