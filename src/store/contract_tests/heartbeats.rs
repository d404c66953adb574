//! The heartbeat log: what is read back, pages, order, and rows that come twice.
//! Fed by the suite; each runs on every store.

use std::sync::Arc;

use proptest::prelude::*;

use super::Database;
use super::histories::for_random;
use super::samples::{key, transition};
use crate::domain::calendar::DAY;
use crate::domain::logged::{Facts, Logged};
use crate::domain::time::Millis;
use crate::domain::transition::Status;
use crate::store::Store;
use crate::store::heartbeats::{HeartbeatQuery, HeartbeatSweep, Kept};
use crate::store::registry::Departure;

pub fn beat(customer: &str, vehicle: &str, at: Millis) -> Logged {
    Logged { key: key(customer, vehicle), at, arrived: at + 40, backlog: false, said: Facts::default() }
}

pub fn whole(at: Millis) -> Logged {
    let said = Facts {
        seq: Some(7),
        boot: Some(u64::MAX - 1),
        position: Some((53.25, -2.965_432_1)),
        speed_kmh: Some(48.3),
        heading_deg: Some(271.5),
        battery_pct: Some(81.4),
        odometer_km: Some(120_345.7),
        ignition: Some(false),
        metrics: Some(Box::new(vec![("oil \"hot\"".into(), 91.5), ("axle_1_t".into(), -0.25)])),
    };
    Logged { backlog: true, said, ..beat("acme", "bus", at) }
}

fn query(vehicle: &str, from: Millis, to: Millis) -> HeartbeatQuery {
    HeartbeatQuery { customer: "acme".into(), vehicle: vehicle.into(), from, to, before: None, limit: 1_000 }
}

fn sweep(from: Millis, to: Millis) -> HeartbeatSweep {
    HeartbeatSweep { customer: "acme".into(), vehicles: None, from, to, after: None, limit: 1_000 }
}

fn beats(rows: Vec<Kept>) -> Vec<Logged> {
    rows.into_iter().map(|row| row.beat).collect()
}

/// Every page of a vehicle, one after the other.
async fn all_pages(store: &dyn Store, mut query: HeartbeatQuery) -> Vec<Kept> {
    let mut all = Vec::new();
    loop {
        let page = store.heartbeats(&query).await.unwrap();
        assert!(page.len() <= query.limit as usize);
        let Some(oldest) = page.last() else { return all };
        query.before = Some(oldest.place());
        all.extend(page);
    }
}

/// Every page of a sweep, one after the other.
async fn swept(store: &dyn Store, mut sweep: HeartbeatSweep) -> Vec<Kept> {
    let mut all = Vec::new();
    loop {
        let page = store.heartbeats_in_order(&sweep).await.unwrap();
        let Some(last) = page.last() else { return all };
        sweep.after = Some((last.beat.key.vehicle.to_string(), last.place()));
        let short = page.len() < sweep.limit as usize;
        all.extend(page);
        if short {
            assert!(store.heartbeats_in_order(&sweep).await.unwrap().is_empty(), "a short page is the last");
        }
    }
}

pub async fn a_heartbeat_is_read_back_whole(database: Arc<Database>) {
    let store = database.open().await;
    let rows = [whole(5_000), beat("acme", "bus", 6_000)];
    store.log_heartbeats(1, &rows).await.unwrap();
    let read = beats(store.heartbeats(&query("bus", 0, 10_000)).await.unwrap());
    assert_eq!(read, [rows[1].clone(), rows[0].clone()]);
    assert_eq!(beats(store.heartbeats_in_order(&sweep(0, 10_000)).await.unwrap()), rows);
    let unreadable = Facts { seq: Some(u64::MAX), ..Facts::default() };
    store.log_heartbeats(3, &[Logged { said: unreadable, ..beat("acme", "van", 1) }]).await.unwrap();
    let van = beats(store.heartbeats(&query("van", 0, 2)).await.unwrap());
    assert_eq!(van, [beat("acme", "van", 1)], "a number that no column holds is none");
}

pub async fn heartbeats_that_come_twice_count_once_and_equal_ones_do_not(database: Arc<Database>) {
    let store = database.open().await;
    store.take_over().await.unwrap();
    // Two that nothing but their number tells apart.
    let rows = [beat("acme", "bus", 5_000), beat("acme", "bus", 5_000), beat("acme", "van", 5_000)];
    for _ in 0..2 {
        store.log_heartbeats(1, &rows).await.unwrap();
    }
    assert_eq!(store.heartbeats(&query("bus", 0, 9_000)).await.unwrap().len(), 2);
    store.log_heartbeats(4, &rows[..1]).await.unwrap();
    // The next process counts from 1 again.
    store.take_over().await.unwrap();
    store.log_heartbeats(1, &rows[..1]).await.unwrap();
    let rows = store.heartbeats(&query("bus", 0, 9_000)).await.unwrap();
    assert_eq!(rows.len(), 4);
    assert!(rows.windows(2).all(|pair| pair[0].place() > pair[1].place()), "{rows:?}");
}

pub async fn pages_of_heartbeats_are_complete_in_either_order(database: Arc<Database>) {
    let store = database.open().await;
    store.take_over().await.unwrap();
    let rows = prop::collection::vec((0..4_usize, 0..5 as Millis, 0..3 as Millis), 0..60);
    let number = std::sync::atomic::AtomicI64::new(1);
    for_random((rows, 1..9_u32, any::<bool>()), |round, (rows, limit, some)| {
        const VEHICLES: [&str; 4] = ["B 2", "a 1", "b 1", "Ü"];
        // A few days for each round, so that partitions are crossed.
        let (from, to) = (round * 10 * DAY, round * 10 * DAY + 4 * DAY);
        let make = |(v, day, at): &(usize, _, _)| beat("acme", VEHICLES[*v], from + day * DAY + at);
        let all: Vec<Logged> = rows.iter().map(make).collect();
        let others: Vec<Logged> = rows.iter().map(|(v, ..)| beat("birch", VEHICLES[*v], from)).collect();
        let first = number.fetch_add(1_000, std::sync::atomic::Ordering::Relaxed);
        let store = Arc::clone(&store);
        async move {
            store.log_heartbeats(first, &all).await.unwrap();
            store.log_heartbeats(first + 500, &others).await.unwrap();
            let mut expected: Vec<_> = all.iter().zip(first..).filter(|(beat, _)| beat.at < to).collect();
            expected.sort_by_key(|(beat, number)| (beat.key.vehicle.clone(), beat.at, *number));
            let named = ["B 2", "b 1", "c"].map(str::to_owned);
            let wanted = |beat: &Logged| !some || named.iter().any(|name| **name == *beat.key.vehicle);
            let of_all: Vec<_> = expected.iter().map(|(beat, _)| (*beat).clone()).filter(wanted).collect();
            let vehicles = some.then(|| named.into());
            let in_order = swept(&*store, HeartbeatSweep { limit, vehicles, ..sweep(from, to) }).await;
            prop_assert_eq!(beats(in_order), of_all);
            for vehicle in VEHICLES {
                let pages = all_pages(&*store, HeartbeatQuery { limit, ..query(vehicle, from, to) }).await;
                let of_one = expected.iter().rev().map(|(beat, _)| (*beat).clone());
                let of_one: Vec<_> = of_one.filter(|beat| *beat.key.vehicle == *vehicle).collect();
                prop_assert_eq!(beats(pages), of_one);
            }
            Ok(())
        }
    });
}

pub async fn heartbeats_go_with_a_purged_history_and_stay_otherwise(database: Arc<Database>) {
    let store = database.open().await;
    let leave =
        |vehicle: &str, at, purge| Departure { key: key("acme", vehicle), seq: 1, at, status: Status::Online, purge };
    for vehicle in ["bus", "van"] {
        store.commit(&[transition(&key("acme", vehicle), 1, 1_000)]).await.unwrap();
        store.log_heartbeats(if vehicle == "bus" { 1 } else { 2 }, &[beat("acme", vehicle, 1_000)]).await.unwrap();
    }
    store.remove(&[leave("bus", 2_000, true), leave("van", 2_000, false)]).await.unwrap();
    // What was still on its way, and what the next vehicle of that name says.
    store.log_heartbeats(3, &[beat("acme", "bus", 1_500), beat("acme", "bus", 2_500)]).await.unwrap();
    let left = beats(store.heartbeats_in_order(&sweep(0, 9_000)).await.unwrap());
    assert_eq!(left, [beat("acme", "bus", 2_500), beat("acme", "van", 1_000)]);
}
