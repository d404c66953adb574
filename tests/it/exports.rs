//! Exports from outside: ordered, followed, fetched, cancelled, killed half way; each format, and files in S3.
//! What a format looks like is tested in src/exports/sink/tests.rs, the queue in the stores' contract tests.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection, raw_sql};

use crate::access::Keyed;
use crate::s3::{ACCESS_KEY, Bucket};
use crate::stacks::{CUSTOMER, Kind, Stack};
use crate::support::{PATIENCE, Reply, Service, rollcall, until};

pub const PATH: &str = "/api/v1/exports";
const JSON: &str = "application/json";
/// Enough to be still at it when the test looks, and not so much that it takes long: some seconds.
const MANY: u64 = 60_000;

async fn order(service: &Service, key: &str, body: &Value) -> Reply {
    service.send_as(key, "POST", PATH, JSON, body.to_string()).await
}

/// Orders, and gives back where it can be followed.
async fn ordered(service: &Service, key: &str, body: &Value) -> String {
    let reply = order(service, key, body).await;
    assert_eq!(reply.status, 202, "{body}: {}", reply.text);
    let (place, export) = (reply.header("location").to_owned(), reply.json());
    assert_eq!(place, format!("{PATH}/{}", export["id"].as_str().expect("text")));
    assert_eq!((&export["state"], &export["exportUri"]), (&json!("NOT_STARTED"), &Value::Null));
    place
}

pub async fn look(service: &Service, key: &str, place: &str) -> Value {
    service.send_as(key, "GET", place, "", "").await.json()
}

/// Waits until it is over, and says how it ended.
async fn ended(service: &Service, key: &str, place: &str) -> Value {
    let begun = Instant::now();
    loop {
        let export = look(service, key, place).await;
        if !matches!(export["state"].as_str(), Some("NOT_STARTED" | "STARTED")) {
            return export;
        }
        assert!(begun.elapsed() < 3 * PATIENCE, "{export}");
        tokio::time::sleep(Duration::from_millis(30)).await; // poll:
    }
}

/// The file of an export that finished.
pub async fn fetch(service: &Service, export: &Value) -> Reply {
    let link = export["exportUri"].as_str().unwrap_or_else(|| panic!("no link in {export}"));
    let reply = service.send("GET", link, "", "").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply
}

pub async fn written(service: &Service, key: &str, body: &Value) -> (Value, String) {
    let export = ended(service, key, &ordered(service, key, body).await).await;
    assert_eq!((&export["state"], &export["progress"]), (&json!("FINISHED"), &json!(1.0)), "{export}");
    let file = fetch(service, &export).await;
    assert_eq!(export["bytes"], file.header("content-length").parse::<u64>().expect("a number"), "{export}");
    (export, file.text)
}

fn since_ever(kind: &str, format: &str) -> Value {
    json!({"kind": kind, "format": format, "customer": CUSTOMER, "from": recently(), "to": "2999-01-01T00:00:00Z"})
}

/// A year ago, milliseconds: what an order may ask for.
fn recently() -> i64 {
    crate::stacks::wall_ms() - 365 * 86_400_000
}

#[tokio::test]
async fn what_is_exported_is_what_rest_says_in_each_format() {
    let service = Service::with_settings(&[("ROLLCALL__FLEET__OFFLINE_AFTER", "500ms")]);
    let beat = |vehicle: &str, more: Value| {
        let mut beat = json!({"customer": CUSTOMER, "vehicle": vehicle});
        beat.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        beat
    };
    let speaks = json!({"lat": 53.5, "lon": -2.25, "speed_kmh": 48.3, "battery_pct": 0, "metrics": {"rpm": 0, "x": 1}});
    let beats = [beat("bus 1", speaks), beat("=2-3", json!({})), json!({"customer": "birch", "vehicle": "other"})];
    assert_eq!(service.post_heartbeats(&json!(beats)).await.0, 202);
    let path = format!("/api/v1/transitions?customer={CUSTOMER}");
    until("both are dark", || async { service.get(&path).await["items"].as_array().map(Vec::len) == Some(4) }).await;

    let (export, file) = written(&service, "", &since_ever("transitions", "ndjson")).await;
    assert_eq!(export["rows"], 4);
    let rows: Vec<Value> = file.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let mut told = service.get(&path).await["items"].as_array().expect("a list").clone();
    told.sort_by_key(|row| (row["vehicle"].to_string(), row["seq"].as_u64()));
    assert_eq!(rows.len(), told.len());
    for (row, told) in rows.iter().zip(&told) {
        for name in ["customer", "vehicle", "seq", "from", "to", "at", "decided_at", "cause"] {
            assert_eq!(row[name], told[name], "{row} {told}");
        }
        let evidence = &told["evidence"];
        for (name, value) in [
            ("last_seen", &evidence["last_seen"]),
            ("offline_after_ms", &evidence["offline_after_ms"]),
            ("lat", &evidence["position"]["lat"]),
        ] {
            assert_eq!(row[name], *value, "{row} {told}");
        }
    }

    let columns = json!(["vehicle", "status", "speed_kmh", "battery_pct", "metrics.rpm", "odometer_km", "name"]);
    let vehicles = json!({"kind": "vehicles", "format": "csv", "customer": CUSTOMER, "columns": columns});
    let (_, file) = written(&service, "", &vehicles).await;
    let expected = "vehicle,status,speed_kmh,battery_pct,metrics.rpm,odometer_km,name\n\
                    '=2-3,offline,,,,,\n\
                    bus 1,offline,48.3,0,0,,\n";
    assert_eq!(file, expected, "zero is 0, absent is empty, a formula is guarded");
    let mut one = since_ever("availability", "csv.zip");
    one["vehicles"] = json!(["bus 1"]);
    let (export, file) = written(&service, "", &one).await;
    assert_eq!((&export["rows"], &export["vehicles"]), (&json!(1), &json!(["bus 1"])));
    assert!(file.starts_with("PK") && file.contains("acme/bus 1.csv") && !file.contains("2-3"), "{file}");
    let (export, file) = written(&service, "", &since_ever("availability", "parquet")).await;
    assert!(file.starts_with("PAR1") && file.ends_with("PAR1") && export["rows"] == 2, "{export}");
    let everybody = json!({"kind": "vehicles", "format": "csv", "columns": ["customer", "vehicle"]});
    let (_, file) = written(&service, "", &everybody).await;
    assert_eq!(file, "customer,vehicle\nacme,'=2-3\nacme,bus 1\nbirch,other\n");
    let availability = service.get(&format!("/api/v1/availability?customer={CUSTOMER}")).await;
    let mut same = since_ever("availability", "ndjson");
    (same["from"], same["to"]) = (availability["items"][0]["from"].clone(), availability["items"][0]["to"].clone());
    let (_, file) = written(&service, "", &same).await;
    let rows: Vec<Value> = file.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(json!(rows), availability["items"]);
}

#[tokio::test]
async fn an_order_that_cannot_be_is_told_what_can() {
    let service = with_a_bus(&[("ROLLCALL__EXPORTS__KEPT_MAX", "2")]).await;
    let base = since_ever("transitions", "csv");
    for (field, value, says) in [
        ("kind", json!("invoices"), "none of transitions, availability"),
        ("format", json!("xlsx"), "none of csv, csv.zip, parquet, ndjson"),
        ("from", json!("2998-01-01T00:00:00Z"), "in the past"),
        ("from", json!("yesterday"), "neither RFC 3339 nor epoch"),
        ("from", Value::Null, "is needed for transitions"),
        ("from", json!(0), "at most 400.0 (exports.window_max)"),
        ("columns", json!(["vehicle", "colour"]), "known are customer, vehicle, at"),
        ("customer", json!("nobody"), "there is no customer 'nobody'"),
        ("customer", json!("no/body"), "customer"),
        ("vehicles", json!(["bus 2"]), "has no vehicle 'bus 2'"),
        ("colour", json!("red"), "colour"),
    ] {
        let mut body = base.clone();
        body[field] = value;
        let reply = order(&service, "", &body).await;
        assert_eq!(reply.status, 422, "{body}: {}", reply.text);
        assert!(reply.text.contains(says), "{body}: {}", reply.text);
    }
    assert_eq!(order(&service, "", &json!("csv")).await.status, 422);
    assert_eq!(service.send("POST", PATH, JSON, "{").await.status, 400);
    assert_eq!(service.send("POST", PATH, "text/csv", "").await.status, 415);
    assert_eq!(service.send("GET", &format!("{PATH}/0123456789abcdef"), "", "").await.status, 404);
    assert_eq!(service.send("GET", &format!("{PATH}?state=LOST"), "", "").await.status, 422);
    for status in [202, 202, 429] {
        assert_eq!(order(&service, "", &base).await.status, status);
    }
    let first = service.get(&format!("{PATH}?limit=1")).await;
    let second = service.get(&format!("{PATH}?limit=1&cursor={}", first["next_cursor"].as_str().expect("text"))).await;
    assert_ne!(first["items"][0]["id"], second["items"][0]["id"]);
    assert_eq!(second["next_cursor"], Value::Null);
}

const VEHICLES: &str = r#"{"kind":"vehicles","format":"csv","columns":["vehicle"]}"#;

/// A service with one vehicle.
pub async fn with_a_bus(settings: &[(&str, &str)]) -> Service {
    let service = Service::with_settings(settings);
    service.post_heartbeats(&json!({"customer": CUSTOMER, "vehicle": "bus 1"})).await;
    until("it is there", || async { service.status_of(CUSTOMER, "bus 1").await.is_some() }).await;
    service
}

#[tokio::test]
async fn a_link_opens_its_file_whole_or_in_parts_and_no_other_does() {
    let service = with_a_bus(&[]).await;
    let (export, file) = written(&service, "", &serde_json::from_str(VEHICLES).expect("JSON")).await;
    assert_eq!(file, "vehicle\nbus 1\n");
    let link = export["exportUri"].as_str().expect("a link").to_owned();
    let part = async |range: &str| service.send_with(&[("range", range)], "GET", &link, "").await;
    let (some, all) = (part("bytes=8-10").await, fetch(&service, &export).await);
    assert_eq!((some.status, some.text.as_str(), some.header("content-range")), (206, "bus", "bytes 8-10/14"));
    assert_eq!((all.header("content-type"), all.header("accept-ranges")), ("text/csv; charset=utf-8", "bytes"));
    let id = export["id"].as_str().expect("text");
    assert_eq!(all.header("content-disposition"), format!("attachment; filename=\"vehicles-all-{id}.csv\""));
    let beyond = part("bytes=14-").await;
    assert_eq!((beyond.status, beyond.header("content-range")), (416, "bytes */14"));
    let head = service.send("HEAD", &link, "", "").await;
    assert_eq!((head.status, head.header("content-length"), head.text.as_str()), (200, "14", ""));
    for forged in [link.replace("expires=", "expires=1"), link.replace("seal=", "seal=0"), format!("{PATH}/{id}/file")]
    {
        assert_eq!(service.send("GET", &forged, "", "").await.status, 403, "{forged}");
    }
    assert_eq!(service.send("DELETE", &format!("{PATH}/{id}"), "", "").await.status, 204);
    assert_eq!(service.send("GET", &link, "", "").await.status, 410, "the file is gone");
}

#[tokio::test]
async fn a_link_expires_and_the_file_goes() {
    let settings = [("ROLLCALL__EXPORTS__LINK_LIFETIME", "1s"), ("ROLLCALL__EXPORTS__RETENTION", "3s")];
    let service = with_a_bus(&settings).await;
    let place = ordered(&service, "", &serde_json::from_str(VEHICLES).expect("JSON")).await;
    let link = || async { look(&service, "", &place).await["exportUri"].as_str().map(str::to_owned) };
    until("there is a link", || async { link().await.is_some() }).await;
    let link = link().await.expect("a link");
    until("it expires", || async { service.send("GET", &link, "", "").await.status == 410 }).await;
    until("the file goes", || async { look(&service, "", &place).await["state"] == "EXPIRED" }).await;
    assert_eq!(look(&service, "", &place).await["exportUri"], Value::Null);
    assert_eq!(service.send("DELETE", &place, "", "").await.status, 204);
    assert_eq!(service.send("GET", &place, "", "").await.status, 404);
}

#[tokio::test]
async fn a_customer_exports_its_own_vehicles_and_sees_its_own_exports() {
    let keyed = Keyed::start(&[]);
    keyed.beat(&[("acme", "bus 1"), ("birch", "secret 2")]).await;
    let acme = keyed.key(json!({"name": "acme", "customer": "acme", "scopes": ["read"]})).await;
    let birch = keyed.key(json!({"name": "birch", "customer": "birch", "scopes": ["read"]})).await;
    let ingest = keyed.key(json!({"name": "gate", "customer": "acme", "scopes": ["ingest"]})).await;
    let (service, admin) = (&keyed.service, keyed.admin.as_str());
    let body = json!({"kind": "vehicles", "format": "csv", "columns": ["customer", "vehicle"]});
    let (export, file) = written(service, &acme, &body).await;
    assert_eq!((file.as_str(), &export["customer"]), ("customer,vehicle\nacme,bus 1\n", &json!("acme")));
    let place = format!("{PATH}/{}", export["id"].as_str().expect("text"));
    for (field, value, as_never) in
        [("customer", json!("birch"), json!("nobd0")), ("vehicles", json!(["secret 2"]), json!(["secret 9"]))]
    {
        let ask = async |value: Value| {
            let mut body = body.clone();
            body[field] = value;
            order(service, &acme, &body).await
        };
        let (foreign, never) = (ask(value).await, ask(as_never).await);
        let told = foreign.text.replace("birch", "nobd0").replace("secret 2", "secret 9");
        assert_eq!((foreign.status, told), (422, never.text));
    }
    let all = ordered(service, admin, &body).await;
    let of_acme = json!({"kind": "vehicles", "format": "csv", "customer": "acme"});
    let others = [all, ordered(service, admin, &of_acme).await, ordered(service, &birch, &body).await];
    for other in &others {
        ended(service, admin, other).await;
        for method in ["GET", "DELETE"] {
            assert_eq!(service.send_as(&acme, method, other, "", "").await.status, 404, "{method} {other}");
        }
    }
    let list = look(service, &acme, PATH).await;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1), "{list}");
    assert_eq!(look(service, admin, PATH).await["items"].as_array().map(Vec::len), Some(4));
    assert_eq!(order(service, &ingest, &body).await.status, 403);
    assert_eq!(service.send("POST", PATH, JSON, body.to_string()).await.status, 401);
    assert_eq!(service.send_as(&acme, "DELETE", &place, "", "").await.status, 204);
    assert_eq!(service.send("GET", export["exportUri"].as_str().expect("a link"), "", "").await.status, 410);
    let audit = look(service, admin, "/api/v1/audit?limit=100").await.to_string();
    assert!(audit.contains("export.ordered") && audit.contains("export.removed"), "{audit}");
}

#[tokio::test]
async fn heartbeats_are_rows_aligned_by_the_vehicles_own_time() {
    let service = Service::with_settings(&[("ROLLCALL__HISTORY__HEARTBEATS", "all")]);
    let now = crate::stacks::wall_ms() - 10_000;
    let at = |after: i64| now + after;
    let beat = |vehicle: &str, more: Value| {
        let mut beat = json!({"customer": CUSTOMER, "vehicle": vehicle});
        beat.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        beat
    };
    // Out of order; and two messages of one instant, which say different things.
    let beats = json!([
        beat("bus 2", json!({"ts": at(7), "speed_kmh": 0, "ignition": false})),
        beat("bus 1", json!({"ts": at(2_000), "speed_kmh": 48.3, "seq": 3})),
        beat("bus 1", json!({"ts": at(0), "lat": 53.5, "lon": -2.25, "seq": 1, "metrics": {"rpm": 900, "oil": 1}})),
        beat("bus 1", json!({"ts": at(0), "battery_pct": 81, "seq": 2, "metrics": {"rpm": 950}})),
    ]);
    assert_eq!(service.post_heartbeats(&beats).await.0, 202);
    let path = |vehicle: &str| format!("/api/v1/customers/{CUSTOMER}/vehicles/{vehicle}/heartbeats");
    let kept = async |vehicle: &str| service.get(&path(vehicle)).await["items"].as_array().map(Vec::len);
    until("they are kept", || async { kept("bus%201").await == Some(3) && kept("bus%202").await == Some(1) }).await;
    let columns =
        json!(["vehicle", "at", "seq", "lat", "speed_kmh", "battery_pct", "ignition", "metrics.rpm", "metrics.oil"]);
    let mut body = since_ever("heartbeats", "csv");
    (body["columns"], body["from"]) = (columns, json!(at(-3_600_000)));
    let (export, file) = written(&service, "", &body).await;
    let text = |after: i64| chrono::DateTime::from_timestamp_millis(at(after)).expect("a time").format("%FT%T%.3fZ");
    let expected = format!(
        "vehicle,at,seq,lat,speed_kmh,battery_pct,ignition,metrics.rpm,metrics.oil\n\
         bus 1,{},2,53.5,,81,,950,1\n\
         bus 1,{},3,,48.3,,,,\n\
         bus 2,{},,,0,,false,,\n",
        text(0),
        text(2_000),
        text(7)
    );
    assert_eq!(file, expected);
    assert_eq!(export["rows"], 3);
    body["vehicles"] = json!(["bus 2"]);
    let (_, file) = written(&service, "", &body).await;
    assert_eq!(file.lines().count(), 2);
    let everybody = json!({"kind": "heartbeats", "format": "parquet", "from": at(-3_600_000), "to": at(60_000)});
    let (export, _) = written(&service, "", &everybody).await;
    assert_eq!(export["rows"], 3);
}

/// Puts many transitions of a few vehicles into a store that no service uses at the moment.
async fn fill(stack: &Stack) {
    let migrated = rollcall(&["migrate", "--store", &stack.store]).status().expect("runs");
    assert!(migrated.success());
    let recent = recently() + 86_400_000;
    let evidence = r#"{"last_seen_ms":1,"deadline_ms":2,"offline_after_ms":90000,"policy_source":"default"}"#;
    let at = format!("{recent} + n");
    let row =
        format!("'{CUSTOMER}', 'bus ' || (n % 5), 1 + n / 5, 'online', 'offline', {at}, {at}, 'silence', '{evidence}'");
    let vehicles = format!(
        "INSERT INTO customer (customer) VALUES ('{CUSTOMER}'); INSERT INTO vehicle (customer, vehicle, status, seq)"
    );
    match stack.store.strip_prefix("sqlite:") {
        Some(_) => {
            let series = |last: u64| {
                format!("WITH RECURSIVE s (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n < {last})")
            };
            let sql = format!(
                "BEGIN; INSERT INTO transition {} SELECT {row} FROM s; {vehicles} {} SELECT '{CUSTOMER}', 'bus ' || n, \
                 'offline', {} FROM s; COMMIT;",
                series(MANY - 1),
                series(4),
                MANY / 5
            );
            let mut connection = SqliteConnection::connect(&stack.store).await.expect("opens");
            raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("fills");
            connection.close().await.expect("closes");
        }
        None => {
            let sql = format!(
                "SELECT add_transition_months(ARRAY[{recent}]::bigint[]); \
                 INSERT INTO transition SELECT {row} FROM generate_series(0, {}) AS n; {vehicles} SELECT '{CUSTOMER}', \
                 'bus ' || n, 'offline', {} FROM generate_series(0, 4) AS n; ANALYZE;",
                MANY - 1,
                MANY / 5
            );
            let mut connection = PgConnection::connect(&stack.store).await.expect("opens");
            raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("fills");
            connection.close().await.expect("closes");
        }
    }
}

/// All of them, in columns enough to tell them apart: what is written costs little, however low its priority.
fn everything(format: &str) -> Value {
    let mut order = since_ever("transitions", format);
    order["columns"] = json!(["customer", "vehicle", "seq", "at", "decided_at"]);
    order
}

/// Every file below the folder of exports.
fn files(folder: &Path) -> Vec<PathBuf> {
    let inner = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    let entries = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.expect("readable").path());
    entries.flat_map(inner).collect()
}

async fn half_way(service: &Service, place: &str) {
    until("it is half way", || async {
        let export = look(service, "", place).await;
        assert_ne!(export["state"], "FINISHED", "too few rows to look half way: {export}");
        let progress = export["progress"].as_f64().unwrap_or_default();
        export["state"] == "STARTED" && export["rows"].as_u64() >= Some(6_000) && progress > 0.0 && progress < 1.0
    })
    .await;
}

/// Stopped half way, then killed half way, then cancelled half way, on a stack.
async fn scenario(kind: Kind) {
    let Some(stack) = Stack::of(kind).await else { return };
    fill(&stack).await;
    let folder = stack.local.join("exports");
    let mut service = stack.start(&[]).await;
    let place = ordered(&service, "", &everything("csv")).await;
    half_way(&service, &place).await;
    service.signal("TERM");
    let stopped = tokio::task::block_in_place(|| service.wait(PATIENCE));
    assert!(stopped.success(), "{stopped}");
    assert_eq!(files(&folder).len(), 0, "what it had written is of no use");

    let mut service = stack.start(&[]).await;
    half_way(&service, &place).await;
    assert_eq!(look(&service, "", &place).await["attempts"], 1, "a clean stop is not its fault");
    service.kill();
    tokio::task::block_in_place(|| service.wait(PATIENCE));
    assert_eq!(files(&folder).len(), 1, "it was writing");

    let service = stack.start(&[]).await;
    let export = ended(&service, "", &place).await;
    assert_eq!((&export["state"], &export["attempts"]), (&json!("FINISHED"), &json!(2)), "{export}");
    assert_eq!(export["rows"], MANY);
    let file = fetch(&service, &export).await.text;
    let mut lines: Vec<&str> = file.lines().skip(1).collect();
    assert_eq!(lines.len() as u64, MANY);
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len() as u64, MANY, "no row twice");
    assert_eq!(files(&folder).len(), 1, "one file: {:?}", files(&folder));

    let place = ordered(&service, "", &everything("ndjson")).await;
    half_way(&service, &place).await;
    let told = Instant::now();
    assert_eq!(service.send("DELETE", &place, "", "").await.status, 204);
    assert_eq!(look(&service, "", &place).await["state"], "CANCELLED");
    until("nobody works on it", || async {
        service.send("GET", "/metrics", "", "").await.text.contains("rollcall_exports_running 0")
    })
    .await;
    assert!(told.elapsed() < Duration::from_secs(2), "{:?}", told.elapsed());
    assert_eq!(files(&folder).len(), 1, "nothing is left of it");
    assert_eq!(service.send("DELETE", &place, "", "").await.status, 204);
    assert_eq!(service.send("GET", &place, "", "").await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_is_stopped_killed_and_cancelled_half_way_embedded() {
    scenario(Kind::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_is_stopped_killed_and_cancelled_half_way_external() {
    scenario(Kind::External).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_lie_in_a_store_that_speaks_s3_and_wait_while_it_is_away() {
    let (bucket, endpoint) = Bucket::start();
    let stack = Stack::embedded();
    fill(&stack).await;
    let settings = [
        ("EXPORTS__S3_URL", "s3://fleet/some/exports"),
        ("EXPORTS__S3_ENDPOINT", endpoint.as_str()),
        ("EXPORTS__S3_ACCESS_KEY", ACCESS_KEY),
        ("EXPORTS__S3_SECRET_KEY", "kept in a file"),
        ("EXPORTS__RETRY_DELAY", "100ms"),
        ("EXPORTS__ATTEMPTS_MAX", "2"),
    ];
    let service = stack.start(&settings).await;
    let many = everything("ndjson");
    let (export, file) = written(&service, "", &many).await;
    assert_eq!((file.lines().count() as u64, &export["rows"]), (MANY, &json!(MANY)));
    assert!(bucket.pieces.load(Relaxed) >= 2, "a long file goes there in pieces");
    let names = bucket.names();
    assert!(names.len() == 1 && names[0].starts_with("fleet/some/exports/"), "{names:?}");
    assert_eq!(files(&stack.local.join("exports")).len(), 0, "it is in the bucket only");
    let link = export["exportUri"].as_str().expect("a link");
    let part = service.send_with(&[("range", "bytes=2000000-2999999")], "GET", link, "").await;
    assert_eq!((part.status, part.text.as_str()), (206, &file[2_000_000..3_000_000]));

    bucket.fails.store(true, Relaxed);
    let few = json!({"kind": "vehicles", "format": "csv"});
    let place = ordered(&service, "", &few).await;
    until("a try failed", || async { look(&service, "", &place).await["error"].is_string() }).await;
    bucket.fails.store(false, Relaxed);
    let late = ended(&service, "", &place).await;
    assert_eq!((&late["state"], &late["attempts"], &late["error"]), (&json!("FINISHED"), &json!(2), &Value::Null));
    bucket.fails.store(true, Relaxed);
    let lost = ordered(&service, "", &few).await;
    let lost = ended(&service, "", &lost).await;
    assert_eq!((&lost["state"], &lost["attempts"]), (&json!("FAILED"), &json!(2)), "{lost}");
    let given_up = service.get(&format!("{PATH}?state=FAILED")).await;
    assert_eq!(given_up["items"][0]["id"], lost["id"], "{given_up}");
    let place = format!("{PATH}/{}", export["id"].as_str().expect("text"));
    assert_eq!(service.send("DELETE", &place, "", "").await.status, 503, "the file cannot be taken away");
    bucket.fails.store(false, Relaxed);
    assert_eq!(service.send("DELETE", &place, "", "").await.status, 204);
    assert_eq!(bucket.names().len(), 1, "that of the late one is there");
    assert_eq!(bucket.open_uploads(), 0);
}
