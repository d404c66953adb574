//! Availability of recorded vehicles, to the millisecond: the transitions of `rollcall replay` are laid into a store
//! with blind intervals of our own, and REST must answer what scripts/availability.py adds up from heartbeats alone.
//! Both stores. The recordings are not part of the repository (traces.rs); absent: skipped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection, raw_sql};

use crate::stacks::{Kind, Stack};
use crate::support::{Service, rollcall, until};

const TIMEOUT_MS: i64 = 60_000;
const HOUR: i64 = 3_600_000;

/// What a command prints, as rows by column.
fn rows(command: &mut Command) -> Vec<BTreeMap<String, String>> {
    let output = command.output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    csv::Reader::from_reader(&*output.stdout).deserialize().map(|row| row.expect("a row")).collect()
}

fn number(row: &BTreeMap<String, String>, name: &str) -> i64 {
    row[name].parse().expect("a number")
}

async fn sql(store: &str, statements: String) {
    if let Some(path) = store.strip_prefix("sqlite:") {
        let mut connection = SqliteConnection::connect(path).await.expect("opens");
        raw_sql(AssertSqlSafe(statements)).execute(&mut connection).await.expect("is written");
        connection.close().await.expect("closes");
    } else {
        let mut connection = PgConnection::connect(store).await.expect("opens");
        raw_sql(AssertSqlSafe(statements)).execute(&mut connection).await.expect("is written");
        connection.close().await.expect("closes");
    }
}

/// Lays the transitions of a recording into a store, and blind intervals.
async fn lay(stack: &Stack, recording: &Path, blind: &[(i64, i64)]) -> (i64, i64) {
    assert!(rollcall(&["migrate", "--store", &stack.store]).status().expect("runs").success());
    let timeout = format!("{TIMEOUT_MS}ms");
    let file = recording.to_str().expect("text");
    let transitions = rows(&mut rollcall(&["replay", file, "--offline-after", &timeout]));
    let mut statements = String::from("BEGIN; INSERT INTO customer (customer) VALUES ('acme');");
    if !stack.store.starts_with("sqlite:") {
        // What the service does before it writes: the months that the rows lie in.
        let times: Vec<&str> = transitions.iter().map(|row| row["t_ms"].as_str()).collect();
        statements += &format!("SELECT add_transition_months(ARRAY[{}]::bigint[]);", times.join(","));
    }
    let vehicles: BTreeMap<_, _> = transitions.iter().map(|row| (&row["vehicle_id"], ())).collect();
    for vehicle in vehicles.keys() {
        statements += &format!("INSERT INTO vehicle (customer, vehicle) VALUES ('acme', '{vehicle}');");
    }
    let mut status = BTreeMap::new();
    for row in &transitions {
        let (vehicle, to, at) = (&row["vehicle_id"], &row["state"], number(row, "t_ms"));
        let from = status.insert(vehicle, to).map_or("never_seen", String::as_str);
        let (seq, cause) = (&row["seq"], &row["cause"]);
        let evidence = r#"{"last_seen_ms":null,"deadline_ms":null,"offline_after_ms":60000,"policy_source":"default"}"#;
        statements += &format!(
            "INSERT INTO transition VALUES ('acme', '{vehicle}', {seq}, '{from}', '{to}', {at}, {at}, '{cause}', \
             '{evidence}');"
        );
    }
    for (from, to) in blind {
        statements += &format!("INSERT INTO observation_gap VALUES ('link', {from}, {to}, 'made up');");
    }
    statements += "INSERT INTO rollup_mark SELECT DISTINCT at_ms / 60000 * 60000, customer FROM transition; COMMIT;";
    sql(&stack.store, statements).await;
    let times = || transitions.iter().map(|row| number(row, "t_ms"));
    (times().min().expect("a row"), times().max().expect("a row"))
}

fn parts(value: &Value) -> [i64; 3] {
    ["online_ms", "offline_ms", "unobserved_ms"].map(|name| value[name].as_i64().expect("a number"))
}

async fn compare(service: &Service, recording: &Path, (from, to): (i64, i64), blind: &[(i64, i64)]) {
    let mut script = Command::new("python3");
    script.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/availability.py")).arg(recording);
    script.args(["--timeout-ms", &TIMEOUT_MS.to_string(), "--from-ms", &from.to_string(), "--to-ms", &to.to_string()]);
    script.args(blind.iter().map(|(from, to)| format!("--blind-ms={from}-{to}")));
    let expected = rows(&mut script);
    let answer = service.get(&format!("/api/v1/availability?from={from}&to={to}&limit=1000")).await;
    let told = answer["items"].as_array().expect("a list");
    assert_eq!(told.len(), expected.len());
    let mut sums = [0; 3];
    for (item, row) in told.iter().zip(&expected) {
        assert_eq!(item["vehicle"], row["vehicle_id"]);
        let hand = ["online_ms", "offline_ms", "unobserved_ms"].map(|name| number(row, name));
        assert_eq!((parts(item), item["never_seen_ms"].as_i64()), (hand, Some(number(row, "never_seen_ms"))), "{item}");
        assert_eq!(parts(item).iter().sum::<i64>() + number(row, "never_seen_ms"), to - from, "{item}");
        sums = [0, 1, 2].map(|part| sums[part] + hand[part]);

        let path = format!("/api/v1/customers/acme/vehicles/{}/availability", row["vehicle_id"]);
        let one = service.get(&format!("{path}?from={from}&to={to}")).await;
        assert_eq!(parts(&one), hand, "{one}");
        assert_eq!(one["customer_mean"], answer["mean"]);
        let listed = one["outage_list"].as_array().expect("a list");
        assert_eq!(listed.len() as u64, one["outages"].as_u64().expect("a number").min(100), "{one}");
        if listed.len() < 100 {
            let dark: i64 = listed.iter().map(|outage| outage["dark_ms"].as_i64().expect("a number")).sum();
            assert_eq!(dark, hand[1], "{one}");
        }
    }
    assert_eq!(parts(&answer["mean"]), sums, "the mean is of all vehicles together");
    let filtered = service.get(&format!("/api/v1/availability?customer=acme&from={from}&to={to}&limit=1")).await;
    assert_eq!(filtered["mean"], answer["mean"]);
}

async fn scenario(kind: Kind, name: &str) {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let folder = std::env::var_os("ROLLCALL_DATA").map_or_else(beside, PathBuf::from);
    let recording = folder.join(name).join("replay.csv");
    if !recording.exists() {
        eprintln!("skipped: no recording {}; ROLLCALL_DATA names its folder", recording.display());
        return;
    }
    let Some(stack) = Stack::of(kind).await else { return };
    // Where the recording begins is known from its first row.
    let mut reader = csv::Reader::from_path(&recording).expect("readable");
    let first: BTreeMap<String, String> = reader.deserialize().next().expect("a row").expect("a row");
    let first = number(&first, "arrival_ms");
    let blind =
        [(first + 7_001, first + 1_300_003), (first + 1_200_000, first + 1_500_000), (first + HOUR, first + 2 * HOUR)];
    let (begin, end) = lay(&stack, &recording, &blind).await;
    assert_eq!(begin, first);
    let service = stack.start(&[("HISTORY__ROLLUP_INTERVAL", "100ms")]).await;
    let counted = || async {
        let answer = service.get(&format!("/api/v1/stats?resolution=month&from={begin}&to={end}")).await;
        answer["items"].as_array().is_some_and(|items| items.iter().all(|bucket| bucket["complete"] == true))
    };
    until("all is counted", counted).await;
    for period in [
        (begin - HOUR, end + HOUR),
        (begin + 1, begin + 1_234_567),
        (begin + 1_250_001, begin + HOUR + 59_999),
        (begin + HOUR + 1, begin + 2 * HOUR + 3),
        (end - 12_345, end + 1),
    ] {
        compare(&service, &recording, period, &blind).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn availability_of_recorded_buses_is_what_a_script_says_on_sqlite() {
    scenario(Kind::Embedded, "liverpool-bus").await;
    scenario(Kind::Embedded, "nyc-bus").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn availability_of_recorded_buses_is_what_a_script_says_on_postgres() {
    scenario(Kind::External, "liverpool-bus").await;
    scenario(Kind::External, "nyc-bus").await;
}
