//! Files of vehicles: taken whole or not at all, named line by line, written out again, and 100,000 of them in time.

use std::fmt::Write;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::stacks::{Kind, Stack};
use crate::support::{Reply, Service};

const IMPORT: &str = "/api/v1/vehicles/import";
const NDJSON: &str = "application/x-ndjson";
const VEHICLES: usize = 100_000;
/// A service that is built for debugging, on a busy machine, beside other tests. Alone it takes about ten seconds.
const LIMIT: Duration = Duration::from_secs(180);

async fn import(service: &Service, query: &str, kind: &str, file: impl Into<reqwest::Body>) -> Reply {
    service.send("POST", &format!("{IMPORT}{query}"), kind, file).await
}

fn counts(reply: &Reply) -> [u64; 3] {
    let answer = reply.json();
    ["created", "updated", "unchanged"].map(|name| answer[name].as_u64().unwrap_or_else(|| panic!("{reply:?}")))
}

fn lines(reply: &Reply) -> Vec<u64> {
    let answer = reply.json();
    let errors = answer["errors"].as_array().expect("a list").iter();
    errors.map(|error| error["line"].as_u64().expect("a number")).collect()
}

async fn total(service: &Service) -> Value {
    service.get("/api/v1/vehicles?limit=1").await["total"].clone()
}

fn service() -> Service {
    Service::start(&["--store", "sqlite::memory:"])
}

#[tokio::test]
async fn a_file_with_bad_lines_changes_nothing_and_names_them() {
    let service = service();
    let file = "vehicle,customer,name,offline_after_ms\n\
                v1,acme,One,\n\
                v2,-bad,Two,\n\
                v3,acme,\"Thr\nee\",\n\
                v4,acme,Four,soon\n\
                v1,acme,again,\n\
                v5,acme\n\
                v6,acme,Six,5000\n";
    let refused = import(&service, "", "text/csv", file).await;
    assert_eq!((refused.status, counts(&refused)), (422, [0; 3]), "{refused:?}");
    assert_eq!(lines(&refused), [3, 4, 6, 7, 8]);
    assert!(refused.text.contains("on line 2 already"), "{refused:?}");
    assert_eq!(total(&service).await, 0);
    let dry = import(&service, "?dry_run=true", "text/csv", file).await;
    assert_eq!((dry.status, counts(&dry), lines(&dry).len()), (200, [2, 0, 0], 5), "{dry:?}");
    assert_eq!(total(&service).await, 0);
    let partial = import(&service, "?partial=true", "text/csv; charset=utf-8", file).await;
    assert_eq!((partial.status, counts(&partial)), (200, [2, 0, 0]), "{partial:?}");
    assert_eq!(total(&service).await, 2);
    let again = import(&service, "?partial=true", "text/csv", file).await;
    assert_eq!(counts(&again), [0, 0, 2], "{again:?}");
    let vehicle = service.get("/api/v1/customers/acme/vehicles/v6").await;
    assert_eq!((&vehicle["status"], &vehicle["offline_after_ms"]), (&json!("never_seen"), &json!(5_000)));
}

#[tokio::test]
async fn files_that_are_no_such_files_are_refused() {
    let service = service();
    assert_eq!(import(&service, "", "application/json", "{}").await.status, 415);
    assert_eq!(import(&service, "?dry_run=perhaps", "text/csv", "").await.status, 422);
    for file in ["", "vehicle\n", "customer,vehicle,colour\n", "customer,vehicle,vehicle\n"] {
        let refused = import(&service, "", "text/csv", file).await;
        assert_eq!((refused.status, lines(&refused)), (422, vec![1]), "{file:?}: {refused:?}");
    }
    let unclosed = format!("customer,vehicle,name\nacme,v1,\"{}\nacme,v2,x\n", "x".repeat(1 << 20));
    let refused = import(&service, "", "text/csv", unclosed).await;
    assert_eq!((refused.status, lines(&refused)), (422, vec![2]), "{refused:?}");
    let long = format!("{{\"customer\":\"acme\",\"vehicle\":\"v1\"}}\n\n{}\nnonsense\n[]\n{{}}\n", "x".repeat(1 << 20));
    let refused = import(&service, "", NDJSON, long).await;
    assert_eq!((refused.status, lines(&refused)), (422, vec![3, 4, 5, 6]), "{refused:?}");
    assert_eq!(total(&service).await, 0);
    let small = Service::with_settings(&[("ROLLCALL__HTTP__IMPORT_BYTES_MAX", "1000")]);
    assert_eq!(import(&small, "", NDJSON, "x".repeat(2_000)).await.status, 413);
    let capped = Service::with_settings(&[("ROLLCALL__FLEET__MAX_VEHICLES", "1")]);
    let two = "{\"customer\":\"a\",\"vehicle\":\"1\"}\n{\"customer\":\"a\",\"vehicle\":\"2\"}\n";
    let refused = import(&capped, "", NDJSON, two).await;
    assert!(lines(&refused) == [2] && refused.text.contains("fleet_full"), "{refused:?}");
}

/// What a column or a field does not say stays; what it says to be nothing goes.
#[tokio::test]
async fn an_import_changes_what_it_names_and_what_is_odd_is_noted() {
    let service = service();
    let first = json!({"customer": "acme", "vehicle": "v1", "name": "One", "vin": "W1", "tags": ["a"]});
    assert_eq!(counts(&import(&service, "", NDJSON, first.to_string()).await), [1, 0, 0]);
    let second = "customer,vehicle,name,registration\nacme,v1,,AB-1\nbirch,v1,x,AB-1\n";
    let reply = import(&service, "", "text/csv", second).await;
    assert_eq!((counts(&reply), &reply.json()["notes"][0]["line"]), ([1, 1, 0], &json!(3)), "{reply:?}");
    let vehicle = service.get("/api/v1/customers/acme/vehicles/v1").await;
    assert_eq!((&vehicle["name"], &vehicle["vin"]), (&Value::Null, &json!("W1")), "{vehicle}");
    assert_eq!((&vehicle["registration"], &vehicle["tags"]), (&json!("AB-1"), &json!(["a"])), "{vehicle}");
    let third = json!({"customer": "cedar", "vehicle": "x", "vin": "W1"});
    let reply = import(&service, "", NDJSON, third.to_string()).await;
    assert!(counts(&reply) == [1, 0, 0] && reply.text.contains("acme/v1"), "{reply:?}");
}

#[tokio::test]
async fn an_export_is_the_same_fleet_when_it_is_imported_elsewhere() {
    let (from, csv, ndjson) = (service(), service(), service());
    let mut file = String::new();
    for n in 0..2_345 {
        let name = ["=1+1", "O'Neill", "a \"b\", c", "'-x", "\u{fc}ber"][n % 5];
        let tags = [vec![], vec!["a;b", "\\"], vec!["-1"]][n % 3].clone();
        let after = [Value::Null, json!(5_000)][n % 2].clone();
        let row = json!({"customer": format!("c{}", n % 3), "vehicle": format!("-v {n}"), "name": name,
                         "tags": tags, "offline_after_ms": after, "vin": format!("@{n}")});
        writeln!(file, "{row}").expect("text");
    }
    assert_eq!(counts(&import(&from, "", NDJSON, file).await), [2_345, 0, 0]);
    for (to, format, kind) in [(&csv, "csv", "text/csv"), (&ndjson, "ndjson", NDJSON)] {
        let export = from.send("GET", &format!("/api/v1/vehicles/export?format={format}"), "", "").await;
        assert!(export.status == 200 && export.header("content-type").starts_with(kind), "{}", export.status);
        assert!(format != "csv" || !export.text.contains(",=1+1"), "guarded");
        assert_eq!(counts(&import(to, "", kind, export.text.clone()).await), [2_345, 0, 0]);
        let again = to.send("GET", &format!("/api/v1/vehicles/export?format={format}"), "", "").await;
        assert!(again.text == export.text, "{format} is not the same after a round");
        assert_eq!(counts(&import(&from, "", kind, export.text).await), [0, 0, 2_345]);
    }
    let one = from.send("GET", "/api/v1/vehicles/export?customer=c1&format=ndjson", "", "").await;
    assert_eq!(one.text.lines().count(), 782);
    assert_eq!(from.send("GET", "/api/v1/vehicles/export?format=xml", "", "").await.status, 422);
}

async fn takes_many_in_time(kind: Kind) {
    let Some(stack) = Stack::of(kind).await else { return };
    let service = stack.start(&[("FLEET__OFFLINE_AFTER", "1h")]).await;
    let mut file = String::from("customer,vehicle,name,registration,vin,tags,offline_after_ms\n");
    for n in 0..VEHICLES {
        writeln!(file, "c{},TRK-{n:06},Truck {n},AB-{n},VIN{n:014},long haul;north,", n % 20).expect("text");
    }
    let bad = file.replacen("c7,TRK-000007", "c7,TRK/000007", 1).replacen("c0,TRK-050000", "c19,TRK-049999", 1);
    let bad = bad.replacen(",AB-99999,", &format!(",{},", "x".repeat(65)), 1);
    let refused = import(&service, "", "text/csv", bad).await;
    assert_eq!((refused.status, lines(&refused)), (422, vec![9, 50_002, 100_001]), "{:?}", refused.json()["errors"]);
    assert_eq!(total(&service).await, 0);
    let before = service.rss_kib();
    let begun = Instant::now();
    let reply = import(&service, "", "text/csv", file.clone()).await;
    let took = begun.elapsed();
    assert_eq!((reply.status, counts(&reply)), (200, [VEHICLES as u64, 0, 0]), "{reply:?}");
    eprintln!("{VEHICLES} vehicles on {kind:?} in {took:?}, {} KiB more", service.rss_kib().saturating_sub(before));
    assert!(took < LIMIT, "{took:?}");
    crate::support::until("all are there", || async { total(&service).await == VEHICLES }).await;
    let settled = service.rss_kib();
    let again = import(&service, "", "text/csv", file).await;
    assert_eq!(counts(&again), [0, 0, VEHICLES as u64]);
    let grown = service.rss_kib().saturating_sub(settled);
    assert!(grown < 64 * 1_024, "a file of 8 MB costs {grown} KiB");
}

#[tokio::test]
async fn a_hundred_thousand_vehicles_are_imported_in_time_on_sqlite() {
    takes_many_in_time(Kind::Embedded).await;
}

#[tokio::test]
async fn a_hundred_thousand_vehicles_are_imported_in_time_on_postgres() {
    takes_many_in_time(Kind::External).await;
}
