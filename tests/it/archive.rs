//! The archive from outside: what is dropped by age lies in files first, comes out of them as it went in, and whoever
//! asks for it is told where; while files cannot be written, nothing is dropped. The protocol of late rows is in the
//! stores' contract tests.

use std::process::Output;
use std::sync::atomic::Ordering::Relaxed;

use chrono::{DateTime, Datelike, NaiveDate};
use serde_json::Value;

use crate::healing::by_hand;
use crate::history::rows;
use crate::s3::{ACCESS_KEY, Bucket};
use crate::stacks::{CUSTOMER, Kind, Stack, wall_ms};
use crate::support::{PATIENCE, Service, rollcall, until};

const DAY: i64 = 86_400_000;
const SETTINGS: [(&str, &str); 4] = [
    ("HISTORY__ARCHIVE", "true"),
    ("HISTORY__KEEPER_INTERVAL", "1s"),
    ("HISTORY__RETENTION__TRANSITIONS", "31d"),
    ("HISTORY__RETENTION__HEARTBEATS", "2d"),
];
const EVIDENCE: &str =
    r#"{"last_seen_ms":1,"deadline_ms":null,"offline_after_ms":90000,"policy_source":"default","x":"ö, \"y\""}"#;
const TRANSITION: &str = "INSERT INTO transition (customer, vehicle, seq, at_ms, decided_at_ms, from_status, \
    to_status, cause, evidence) VALUES";
const HEARTBEAT: &str = "INSERT INTO heartbeat (customer, vehicle, at_ms, id, arrived_ms, backlog, seq, boot, lat, \
    lon, speed_kmh, ignition, metrics) VALUES";

/// A month and a day of long ago: where each begins.
fn long_ago() -> (i64, i64) {
    let date = DateTime::from_timestamp_millis(wall_ms() - 100 * DAY).expect("a date").date_naive();
    let month = NaiveDate::from_ymd_opt(date.year(), date.month(), 1).expect("a date");
    let month = month.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis();
    (month, (wall_ms() - 10 * DAY) / DAY * DAY)
}

/// Old rows with odd values in a store that no service uses at the moment: 41 transitions, of which two say how their
/// vehicles stand, and 30 heartbeats.
async fn fill(stack: &Stack) {
    let migrated = rollcall(&["migrate", "--store", &stack.store]).status().expect("runs");
    assert!(migrated.success());
    let (month, day) = long_ago();
    let mut sql = String::new();
    if !stack.store.starts_with("sqlite:") {
        sql += &format!("SELECT add_transition_months(ARRAY[{month}]::bigint[]);");
        sql += &format!("SELECT add_heartbeat_days(ARRAY[{day}]::bigint[]);");
    }
    sql += "INSERT INTO customer (customer) VALUES ('acme'), ('birch');";
    for (vehicle, count) in [("bus 1", 20), ("=ö, \"x\"", 20)] {
        let since = month + count * DAY;
        sql += "INSERT INTO vehicle (customer, vehicle, status, status_since_ms, seq) VALUES";
        sql += &format!("('acme', '{vehicle}', 'offline', {since}, {count});");
        for seq in 1..=count {
            let at = month + seq * DAY;
            let (from, to) = if seq % 2 == 0 { ("online", "offline") } else { ("offline", "online") };
            let changed = format!("{seq}, {at}, {at} + 3, '{from}', '{to}', 'silence'");
            sql += &format!("{TRANSITION} ('acme', '{vehicle}', {changed}, '{EVIDENCE}');");
        }
    }
    sql += &gone(month);
    for n in 0..30 {
        let (at, said) = (day + n * 60_000, ["NULL", "0.5", "-0.25", "48.5"][n as usize % 4]);
        let (lat, metrics) = if n % 3 == 0 { ("NULL", "NULL") } else { ("53.25", "'[[\"oil \\\"hot\\\"\",0.1]]'") };
        let (bus, backlog, boot) = (n % 2, n % 5 == 0, i64::MIN + n);
        let device = format!("{at}, {n}, {at} + 9, {backlog}, {n}, {boot}");
        sql += &format!("{HEARTBEAT} ('acme', 'bus {bus}', {device}, {lat}, {lat}, {said}, NULL, {metrics});");
    }
    by_hand(stack, &sql).await;
}

/// The one transition of a vehicle that is there no more, in the middle of a month.
fn gone(month: i64) -> String {
    let at = month + 5 * DAY;
    format!("{TRANSITION} ('birch', 'gone', 1, {at}, {at}, 'never_seen', 'online', 'heartbeat', '{EVIDENCE}');")
}

/// What lies in the two tables, in the order of the files.
async fn stored(stack: &Stack) -> [Vec<Value>; 2] {
    let transitions = "'customer', customer, 'vehicle', vehicle, 'at_ms', at_ms, 'seq', seq, 'from_status', \
        from_status, 'to_status', to_status, 'decided_at_ms', decided_at_ms, 'cause', cause, \
        'evidence', CAST(evidence AS TEXT)";
    let heartbeats = "'customer', customer, 'vehicle', vehicle, 'at_ms', at_ms, 'id', id, 'arrived_ms', arrived_ms, \
        'seq', seq, 'boot', boot, 'lat', lat, 'lon', lon, 'speed_kmh', speed_kmh, 'heading_deg', heading_deg, \
        'battery_pct', battery_pct, 'odometer_km', odometer_km, 'metrics', CAST(metrics AS TEXT)";
    [
        rows(&stack.store, transitions, "transition ORDER BY at_ms, customer, vehicle, seq").await,
        rows(&stack.store, heartbeats, "heartbeat ORDER BY customer, vehicle, at_ms, id").await,
    ]
}

/// `rollcall archive` beside the service.
fn archive(stack: &Stack, settings: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = rollcall(&["archive"]);
    command.args(arguments).args(["--store", &stack.store]).env("ROLLCALL__STORE__LOCAL_DIR", &stack.local);
    command.envs(settings.iter().map(|(name, value)| (format!("ROLLCALL__{name}"), value)));
    tokio::task::block_in_place(|| command.output()).expect("runs")
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// The names of the files, by kind, oldest first.
fn listed(stack: &Stack, settings: &[(&str, &str)], kind: &str) -> Vec<String> {
    let list = text(&archive(stack, settings, &["list"]));
    let rows = list.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let mut names: Vec<String> = rows.filter(|row| row[1] == kind).map(|row| row[0].to_owned()).collect();
    names.reverse();
    names
}

async fn files(service: &Service) -> u64 {
    service.get("/api/v1/status").await["archive"]["files"].as_u64().expect("a number")
}

async fn transitions(service: &Service) -> usize {
    service.all("/api/v1/transitions?").await.len()
}

/// The rows of a file, without what JSON of SQL and of the file write in different ways.
fn read(stack: &Stack, settings: &[(&str, &str)], file: &str) -> Vec<Value> {
    let lines = text(&archive(stack, settings, &["read", file]));
    let row = |line: &str| {
        let mut row: Value = serde_json::from_str(line).expect("JSON");
        let object = row.as_object_mut().expect("an object");
        let truths = [object.remove("backlog"), object.remove("ignition")];
        if let [Some(backlog), Some(ignition)] = truths {
            assert_eq!((backlog, ignition), (Value::Bool(object["id"].as_i64().expect("id") % 5 == 0), Value::Null));
        }
        row
    };
    lines.lines().map(row).collect()
}

async fn scenario(kind: Kind) {
    let Some(stack) = Stack::of(kind).await else { return };
    fill(&stack).await;
    let before = stored(&stack).await;
    assert_eq!((before[0].len(), before[1].len()), (41, 30));
    let service = stack.start(&SETTINGS).await;
    until("what is old lies in files", || async { files(&service).await == 2 }).await;
    until("and is dropped", || async { transitions(&service).await == 2 && stored(&stack).await[1].is_empty() }).await;
    let (month, day) = (listed(&stack, &[], "transitions"), listed(&stack, &[], "heartbeats"));
    assert_eq!((month.len(), day.len()), (1, 1));
    assert_eq!(read(&stack, &[], &month[0]), before[0]);
    assert_eq!(read(&stack, &[], &day[0]), before[1]);
    let verified = text(&archive(&stack, &[], &["verify"]));
    assert_eq!(verified.matches("\tok\t").count(), 2, "{verified}");

    let (from, _) = long_ago();
    let bus = format!("/api/v1/customers/{CUSTOMER}/vehicles/bus%201");
    for (path, file) in [
        ("/api/v1/transitions".to_owned(), &month[0]),
        (format!("{bus}/transitions"), &month[0]),
        (format!("{bus}/heartbeats"), &day[0]),
    ] {
        let page = service.get(&path).await;
        assert_eq!(page["archived"][0]["file"], **file, "{page}");
        let recent = service.get(&format!("{path}?from={}", wall_ms() - DAY / 2)).await;
        assert_eq!(recent["archived"], serde_json::json!([]), "{recent}");
    }
    for path in [format!("{bus}/availability?from={from}"), format!("/api/v1/vehicles?as_of={}", from + DAY)] {
        let (status, problem) = service.answer(&path).await;
        assert!(status == 422 && problem.to_string().contains(&month[0]), "{problem}");
    }

    // Deleting a history says where it may still lie.
    let removed = service.send("DELETE", &format!("{bus}?history=delete"), "", "").await.json();
    let named: Vec<&Value> = removed["archived"].as_array().expect("a list").iter().map(|file| &file["file"]).collect();
    assert_eq!(named, [&month[0], &day[0]], "{removed}");

    let forgotten = text(&archive(&stack, &[], &["forget", "--customer", "acme", "--vehicle", "bus 1"]));
    assert_eq!(forgotten.matches(" rows taken out").count(), 2, "{forgotten}");
    let left = |rows: &[Value]| rows.iter().filter(|row| row["vehicle"] != "bus 1").cloned().collect::<Vec<_>>();
    for (kind, before) in [("transitions", &before[0]), ("heartbeats", &before[1])] {
        let files = listed(&stack, &[], kind);
        assert_eq!(read(&stack, &[], &files[0]), left(before));
        assert!(walk(&stack.local.join("exports"), if kind == "transitions" { &month[0] } else { &day[0] }).is_none());
    }
    text(&archive(&stack, &[], &["verify"]));

    // One that comes late gets a file of its own.
    by_hand(&stack, &gone(from).replace("'gone'", "'late'")).await;
    until("it lies in a file", || async { files(&service).await == 3 }).await;
    let late = listed(&stack, &[], "transitions").into_iter().find(|name| name.contains("-late-")).expect("one");
    let rows = read(&stack, &[], &late);
    assert!(rows.len() == 1 && rows[0]["vehicle"] == "late", "{rows:?}");

    // A copy is checked and read wherever it lies; one that was damaged is told.
    let copies = tempfile::tempdir().expect("folder");
    let name = listed(&stack, &[], "transitions").into_iter().find(|name| !name.contains("-late-")).expect("one");
    let copy = copies.path().join(&name);
    let original = walk(&stack.local.join("exports"), &name).expect("it is there");
    std::fs::copy(original, &copy).expect("copied");
    let path = copy.display().to_string();
    text(&archive(&stack, &[], &["verify", &path]));
    let nowhere = ["archive", "read", &path, "--format", "csv", "--store", "sqlite::memory:"];
    let csv = text(&rollcall(&nowhere).output().expect("runs"));
    assert_eq!(csv.lines().count(), 22);
    let mut bytes = std::fs::read(&copy).expect("reads");
    let middle = bytes.len() / 3;
    bytes[middle] ^= 0x55;
    std::fs::write(&copy, bytes).expect("writes");
    let damaged = archive(&stack, &[], &["verify", &path]);
    assert!(!damaged.status.success() && String::from_utf8_lossy(&damaged.stdout).contains("\tBAD\t"), "{damaged:?}");
    assert!(!archive(&stack, &[], &["read", "archive-none.parquet"]).status.success());
}

/// A file of this name below a folder.
fn walk(folder: &std::path::Path, name: &str) -> Option<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?.map(|entry| entry.expect("readable").path());
    let found = |path: std::path::PathBuf| match path.is_dir() {
        true => walk(&path, name),
        false => path.ends_with(name).then_some(path),
    };
    entries.into_iter().find_map(found)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_dropped_lies_in_files_and_comes_out_as_it_went_in_embedded() {
    scenario(Kind::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_dropped_lies_in_files_and_comes_out_as_it_went_in_external() {
    scenario(Kind::External).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_dropped_while_files_cannot_be_written_and_nothing_twice_after_a_kill() {
    let (bucket, endpoint) = Bucket::start();
    let s3 = [
        ("EXPORTS__S3_URL", "s3://fleet/old"),
        ("EXPORTS__S3_ENDPOINT", endpoint.as_str()),
        ("EXPORTS__S3_ACCESS_KEY", ACCESS_KEY),
        ("EXPORTS__S3_SECRET_KEY", "kept in a file"),
    ];
    let settings: Vec<(&str, &str)> = SETTINGS.into_iter().chain(s3).collect();
    let stack = Stack::embedded();
    fill(&stack).await;
    let before = stored(&stack).await;
    bucket.fails.store(true, Relaxed);
    let mut service = stack.start(&settings).await;
    let status = || async { service.get("/api/v1/status").await["archive"].clone() };
    until("it is told", || async { status().await["failed"].as_u64() >= Some(2) }).await;
    let fault = status().await["fault"].as_str().expect("why").to_owned();
    assert!(fault.contains("cannot be made"), "{fault}");
    assert_eq!(stored(&stack).await, before, "nothing is dropped");
    let page = service.get("/api/v1/transitions").await;
    assert_eq!((&page["kept_from"], &page["archived"]), (&Value::Null, &serde_json::json!([])), "nothing is gone");
    service.kill();
    tokio::task::block_in_place(|| service.wait(PATIENCE));
    bucket.fails.store(false, Relaxed);
    let service = stack.start(&settings).await;
    until("what is old lies in files", || async { files(&service).await == 2 }).await;
    until("and is dropped", || async { transitions(&service).await == 2 && stored(&stack).await[1].is_empty() }).await;
    let files: Vec<String> = [listed(&stack, &s3, "transitions"), listed(&stack, &s3, "heartbeats")].concat();
    let mut there = bucket.names();
    there.iter_mut().for_each(|name| *name = name.rsplit('/').next().expect("a name").to_owned());
    there.sort_by_key(|name| !name.contains("transitions"));
    assert_eq!(there, files, "one file each, and nothing beside them");
    assert_eq!(files.iter().map(|file| read(&stack, &s3, file)).collect::<Vec<_>>(), before);
    text(&archive(&stack, &s3, &["verify"]));
    assert_eq!(service.get("/api/v1/status").await["archive"]["fault"], Value::Null);
}
