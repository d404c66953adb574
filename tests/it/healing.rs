//! Somebody writes into the store's tables by hand: the status of a vehicle is derived from its transitions and stays
//! it (R1). Mended within one checkpoint while the service runs, and at start before anybody relies on it; on both
//! stacks.

use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection, raw_sql};

use crate::history::{History, until_all_offline};
use crate::radio::Radio;
use crate::stacks::{Kind, Stack};
use crate::support::{Service, until};

const SETTINGS: [(&str, &str); 2] = [("FLEET__OFFLINE_AFTER", "2s"), ("STORE__CHECKPOINT_INTERVAL", "200ms")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_written_by_hand_is_mended_embedded() {
    scenario(Kind::Embedded, "gone fishing").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_written_by_hand_is_mended_external() {
    scenario(Kind::External, "never_seen").await;
}

/// SQL by hand, with the checks of the table off where that is possible.
pub async fn by_hand(stack: &Stack, statement: &str) {
    if stack.store.starts_with("sqlite:") {
        let mut connection = SqliteConnection::connect(&stack.store).await.expect("the file opens");
        let statement = format!("PRAGMA ignore_check_constraints = on; {statement}");
        raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.expect("written");
        connection.close().await.expect("closes");
    } else {
        let mut connection = PgConnection::connect(&stack.store).await.expect("Postgres answers");
        raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await.expect("written");
    }
}

async fn repaired(service: &Service, rows: u64) -> bool {
    service.get("/api/v1/status").await["store"]["repaired_rows"] == rows
}

async fn scenario(kind: Kind, word: &str) {
    let Some(stack) = Stack::of(kind).await else { return };
    let mut service = stack.start(&SETTINGS).await;
    let radio = Radio::connect(&stack, "fleet").await;
    for vehicle in ["one", "two", "three"] {
        radio.beat_acked(vehicle).await;
    }
    until_all_offline(&service).await;
    let truth = History::read(&stack).await;
    truth.check();

    by_hand(&stack, "UPDATE vehicle SET status = 'online', seq = 99 WHERE vehicle = 'one'").await;
    by_hand(&stack, "UPDATE vehicle SET status_since_ms = 1 WHERE vehicle = 'two'").await;
    until("both rows are mended", || repaired(&service, 2)).await;
    assert_eq!(History::read(&stack).await.vehicles, truth.vehicles);
    assert_eq!(service.status_of("acme", "one").await.as_deref(), Some("offline"), "nobody was misled meanwhile");
    let metrics = reqwest::get(service.url("/metrics")).await.expect("answers").text().await.expect("text");
    assert!(metrics.contains("rollcall_store_repairs_total 2\n"), "{metrics}");

    service.kill();
    tokio::task::block_in_place(|| service.wait(std::time::Duration::from_secs(10)));
    by_hand(&stack, &format!("UPDATE vehicle SET status = '{word}', seq = 0 WHERE vehicle = 'three'")).await;
    by_hand(&stack, "UPDATE vehicle SET status = 'unobserved', status_since_ms = NULL WHERE vehicle = 'one'").await;
    let service = stack.start(&SETTINGS).await;
    assert!(repaired(&service, 2).await, "mended before the fleet came to life");
    assert_eq!(History::read(&stack).await.vehicles, truth.vehicles);
    let radio = Radio::connect(&stack, "again").await;
    radio.beat_acked("three").await;
    until("it is online", || async { service.status_of("acme", "three").await.as_deref() == Some("online") }).await;
    until_all_offline(&service).await;
    let history = History::read(&stack).await;
    history.check();
    history.check_rest(&service).await;
    assert!(repaired(&service, 2).await, "and nothing else was wrong");
}
