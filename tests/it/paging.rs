//! Lists by REST: pages in which every vehicle comes exactly once while the fleet moves, filters, totals, and the
//! transitions with their ranges.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::mqtt::Raw;
use crate::support::{Service, until};

fn service() -> Service {
    Service::start(&["--store", "sqlite::memory:", "--offline-after", "1h"])
}

async fn post(service: &Service, list: &[Value]) {
    for part in list.chunks(1_000) {
        let (status, answer) = service.post_heartbeats(&json!(part)).await;
        assert_eq!((status, &answer["accepted"]), (202, &part.len().into()), "{answer}");
    }
}

fn beat(customer: &str, vehicle: &str) -> Value {
    json!({"customer": customer, "vehicle": vehicle})
}

/// Every vehicle of a question, page by page; how many pages it took.
async fn pages(service: &Service, question: &str, limit: usize) -> (Vec<Value>, usize) {
    let (mut items, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = service.get(&format!("/api/v1/vehicles?{question}&limit={limit}{cursor}")).await;
        let list = page["items"].as_array().unwrap_or_else(|| panic!("a page, not {page}"));
        assert!(list.len() <= limit);
        items.extend(list.iter().cloned());
        pages += 1;
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return (items, pages),
        }
    }
}

fn vehicles(items: &[Value]) -> Vec<String> {
    let name = |item: &Value| {
        format!("{}/{}", item["customer"].as_str().expect("text"), item["vehicle"].as_str().expect("text"))
    };
    items.iter().map(name).collect()
}

/// Heartbeats and goodbyes of vehicles by chance, without end: the order of every moving list changes all the time.
async fn unrest(service: &Service) -> ! {
    let mut chance = StdRng::seed_from_u64(7);
    let mut connection = Raw::connect(service, "unrest").await;
    loop {
        let mut some = || (0..20).map(|_| chance.random_range(0..2_500)).collect::<Vec<u32>>();
        let list: Vec<Value> = some().into_iter().map(member).collect();
        post(service, &list).await;
        for n in some() {
            connection.publish(&format!("fleet/c{}/V{n:04}/goodbye", n % 3), b"").await;
        }
    }
}

fn member(n: u32) -> Value {
    beat(&format!("c{}", n % 3), &format!("V{n:04}"))
}

async fn every_vehicle_once(service: &Service, expected: &[String]) {
    for sort in ["vehicle", "status_since", "-status_since", "last_seen", "-last_seen"] {
        let (items, count) = pages(service, &format!("sort={sort}"), 1_000).await;
        let mut found = vehicles(&items);
        assert!(sort != "vehicle" || found.is_sorted(), "by customer, then vehicle");
        found.sort();
        assert!(found == expected, "{sort}: {} of {}, each once", found.len(), expected.len());
        assert_eq!(count, 3, "{sort}");
        let (items, count) = pages(service, &format!("sort={sort}&customer=c1&q=V00"), 7).await;
        let subset: Vec<&String> = expected.iter().filter(|name| name.starts_with("c1/V00")).collect();
        let mut found = vehicles(&items);
        found.sort();
        assert_eq!(found.iter().collect::<Vec<_>>(), subset, "{sort}");
        assert_eq!(count, subset.len().div_ceil(7), "{sort}");
    }
}

#[tokio::test]
async fn every_vehicle_comes_exactly_once_in_every_order_while_the_fleet_moves() {
    let service = service();
    let all: Vec<Value> = (0..2_500).map(member).collect();
    post(&service, &all).await;
    until("all are there", || async { service.get("/api/v1/vehicles").await["total"] == 2_500 }).await;
    let mut expected = vehicles(&all);
    expected.sort();
    let taken = || async { service.get("/api/v1/status").await["intake"]["total"].as_u64().expect("a number") };
    let before = taken().await;
    tokio::select! {
        () = every_vehicle_once(&service, &expected) => {}
        _ = unrest(&service) => {}
    }
    assert!(taken().await > before + 100, "the fleet moved all the time");
}

#[tokio::test]
async fn orders_are_what_they_say_when_nothing_moves() {
    let service = service();
    for n in 0..30 {
        post(&service, &[beat("acme", &format!("V{:02}", n * 7 % 30))]).await;
    }
    until("all are there", || async { service.get("/api/v1/vehicles").await["total"] == 30 }).await;
    for (sort, field, down) in [
        ("status_since", "status_since", false),
        ("-status_since", "status_since", true),
        ("last_seen", "last_seen", false),
        ("-last_seen", "last_seen", true),
    ] {
        let (items, _) = pages(&service, &format!("sort={sort}"), 4).await;
        let times: Vec<&str> = items.iter().map(|item| item[field].as_str().expect("a time")).collect();
        let in_order = if down { times.iter().rev().is_sorted() } else { times.is_sorted() };
        assert!(in_order && times.len() == 30, "{sort}: {times:?}");
    }
}

#[tokio::test]
async fn filters_totals_and_counts_are_right() {
    let service = service();
    let names = ["MTA NYCT_7326", "MTA NYCT_7327", "Über-Bus 4", "trk-1", "TRK-2", "50%_off"];
    for customer in ["acme", "beta"] {
        post(&service, &names.map(|name| beat(customer, name))).await;
    }
    let mut connection = Raw::connect(&service, "unit").await;
    for vehicle in ["TRK-2", "trk-1"] {
        connection.publish(&format!("fleet/acme/{vehicle}/goodbye"), b"").await;
    }
    until("two are offline", || async { service.get("/api/v1/vehicles").await["counts"]["offline"] == 2 }).await;
    for (question, online, offline) in [
        ("", 10, 2),
        ("customer=acme", 4, 2),
        ("customer=acme,beta", 10, 2),
        ("customer=beta", 6, 0),
        ("status=offline", 0, 2),
        ("status=online,offline", 10, 2),
        ("status=unobserved", 0, 0),
        ("customer=beta&status=offline", 0, 0),
        ("q=TRK", 2, 2),
        ("q=trk-1", 1, 1),
        ("q=nyct_732", 4, 0),
        ("q=7326", 2, 0),
        ("q=mta%20nyct", 4, 0),
        ("q=%C3%9CBER", 2, 0),
        ("q=%C3%BCber-b", 2, 0),
        ("q=%25_", 2, 0),
        ("q=nowhere", 0, 0),
        ("q=k-&customer=acme&status=offline", 0, 2),
    ] {
        let page = service.get(&format!("/api/v1/vehicles?limit=3&{question}")).await;
        let counts = json!({"online": online, "offline": offline, "unobserved": 0, "never_seen": 0});
        assert_eq!((&page["counts"], &page["total"]), (&counts, &(online + offline).into()), "{question}");
        let (items, _) = pages(&service, question, 3).await;
        assert_eq!(items.len(), online + offline, "{question}");
    }
    let customers = service.get("/api/v1/customers?limit=1").await;
    let first = &customers["items"][0];
    let expected = json!({
        "customer": "acme", "name": null, "offline_after_ms": 3_600_000,
        "counts": {"online": 4, "offline": 2, "unobserved": 0, "never_seen": 0}
    });
    assert_eq!(first, &expected);
    let next = customers["next_cursor"].as_str().expect("another page");
    let rest = service.get(&format!("/api/v1/customers?limit=1&cursor={next}")).await;
    assert_eq!((&rest["items"][0]["customer"], &rest["next_cursor"]), (&"beta".into(), &Value::Null));
    assert_eq!(rest["items"].as_array().map(Vec::len), Some(1));
}

/// Ten vehicles of two customers go online and offline, four times each.
async fn with_a_past() -> Service {
    let service = service();
    let mut connection = Raw::connect(&service, "unit").await;
    for _ in 0..4 {
        for n in 0..10 {
            connection.publish(&format!("fleet/c{}/V{n}/heartbeat", n % 2), b"").await;
            connection.publish(&format!("fleet/c{}/V{n}/goodbye", n % 2), b"").await;
        }
    }
    until("all is stored", || async { service.all("/api/v1/transitions?").await.len() == 80 }).await;
    until("all are on the board", || async { service.get("/api/v1/vehicles").await["counts"]["offline"] == 10 }).await;
    service
}

async fn by_pages(service: &Service, path: &str, limit: usize) -> Vec<Value> {
    let (mut items, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = service.get(&format!("{path}&limit={limit}{cursor}")).await;
        items.extend(page["items"].as_array().unwrap_or_else(|| panic!("a page, not {page}")).iter().cloned());
        let Some(next) = page["next_cursor"].as_str() else { return items };
        cursor = format!("&cursor={next}");
    }
}

#[tokio::test]
async fn transitions_come_newest_first_complete_and_with_their_evidence() {
    let service = with_a_past().await;
    let all = by_pages(&service, "/api/v1/transitions?", 7).await;
    assert_eq!(all, by_pages(&service, "/api/v1/transitions?", 1_000).await, "pages of any size say the same");
    assert!(all.iter().rev().map(|item| item["at"].as_str()).is_sorted(), "newest first");
    let mut of_each: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for (name, item) in vehicles(&all).into_iter().zip(&all) {
        of_each.entry(name).or_default().insert(0, item);
    }
    assert_eq!(of_each.len(), 10);
    for (name, items) in &of_each {
        let mut status = "never_seen";
        for (index, item) in items.iter().enumerate() {
            assert_eq!((&item["seq"], &item["from"]), (&(index + 1).into(), &status.into()), "{name}");
            status = item["to"].as_str().expect("text");
            let expected = if index % 2 == 0 { ("online", "heartbeat") } else { ("offline", "goodbye") };
            assert_eq!((status, item["cause"].as_str().expect("text")), expected, "{name}");
            assert!(item["decided_at"].as_str() >= item["at"].as_str(), "{item}");
            assert_eq!(item["evidence"]["offline_after_ms"], 3_600_000, "{item}");
            assert!(item["evidence"]["last_seen"].is_string() || index == 0, "{item}");
        }
    }
    let own = by_pages(&service, "/api/v1/customers/c1/vehicles/V3/transitions?", 3).await;
    assert_eq!(own.iter().rev().collect::<Vec<_>>(), of_each["c1/V3"]);
    let offline = by_pages(&service, "/api/v1/transitions?customer=c0&to_status=offline", 3).await;
    let expected: Vec<&Value> = all.iter().filter(|item| item["customer"] == "c0" && item["to"] == "offline").collect();
    assert_eq!(offline.iter().collect::<Vec<_>>(), expected);
    let both = by_pages(&service, "/api/v1/transitions?to_status=offline,online", 1_000).await;
    assert_eq!(both.len(), 80);
}

#[tokio::test]
async fn ranges_hold_their_beginning_and_not_their_end() {
    let service = with_a_past().await;
    let all = by_pages(&service, "/api/v1/transitions?", 1_000).await;
    let at = |index: usize| all[index]["at"].as_str().expect("text");
    let (to, from) = (at(20), at(60));
    let millis = |text: &str| chrono::DateTime::parse_from_rfc3339(text).expect("RFC 3339").timestamp_millis();
    let expected: Vec<&Value> =
        all.iter().filter(|item| (from..to).contains(&item["at"].as_str().expect("text"))).collect();
    assert!(!expected.is_empty(), "the times differ");
    for range in [
        format!("from={from}&to={to}"),
        format!("from={}&to={}", millis(from), millis(to)),
        format!("from={}&to={to}", from.replace('Z', "%2B00:00")),
    ] {
        let found = by_pages(&service, &format!("/api/v1/transitions?{range}"), 6).await;
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{range}");
    }
    let empty = by_pages(&service, &format!("/api/v1/transitions?from={from}&to={from}"), 6).await;
    assert!(empty.is_empty(), "[t, t) holds nothing: {empty:?}");
}
