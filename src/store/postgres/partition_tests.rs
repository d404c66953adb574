//! History in partitions: a table that was there before becomes the first, old ones are dropped whole, and a replica is
//! asked where there is one.
//! Fed by `cargo test`, with a server for tests; what every store must do is in contract_tests.rs.

use sqlx::AssertSqlSafe;

use super::*;
use crate::domain::calendar::DAY;
use crate::store::contract_tests::samples::{everything, key, transition};
use crate::store::contract_tests::{Database, sql};
use crate::store::retention::Kind;
use crate::store::{HeartbeatStore, HistoryStore, RetentionStore};

async fn column_of(url: &str, question: &str) -> Vec<String> {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar(AssertSqlSafe(question.to_owned())).fetch_all(&mut connection).await.unwrap()
}

/// The partitions of a table, in the order of time.
async fn parts(url: &str, table: &str) -> Vec<String> {
    column_of(url, &format!("SELECT part FROM history_partitions('{table}') ORDER BY to_ms")).await
}

#[tokio::test]
async fn a_table_that_was_there_becomes_the_first_partition_and_no_row_is_copied() {
    let Some(database) = Database::postgres().await else { return };
    let url = database.url();
    let before = MIGRATIONS.iter().filter(|migration| migration.version < 14);
    for migration in before {
        sql(&url, migration.sql.as_str().to_owned()).await;
    }
    let fill = "
        INSERT INTO customer VALUES ('c');
        INSERT INTO vehicle (customer, vehicle, status, status_since_ms, seq)
        SELECT 'c', 'v' || n, 'offline', 86400000::bigint * 100 + n, 2 FROM generate_series(1, 50) AS n;
        INSERT INTO transition SELECT 'c', 'v' || n, seq, CASE seq WHEN 1 THEN 'never_seen' ELSE 'online' END,
            CASE seq WHEN 1 THEN 'online' ELSE 'offline' END, 86400000::bigint * 50 * seq + n, 0, 'silence',
            '{\"last_seen_ms\":null,\"deadline_ms\":null,\"offline_after_ms\":1,\"policy_source\":\"default\",
              \"position\":null,\"usual_gap_ms\":null,\"session\":null,\"clock_skew_ms\":null}'
        FROM generate_series(1, 50) AS n, generate_series(1, 2) AS seq;";
    sql(&url, fill.into()).await;
    let file = column_of(&url, "SELECT pg_relation_filenode('transition')::text").await;
    let retention = MIGRATIONS.iter().find(|migration| migration.version == 14).unwrap();
    sql(&url, retention.sql.as_str().to_owned()).await;
    assert_eq!(column_of(&url, "SELECT pg_relation_filenode('transition_first')::text").await, file);
    // 100 days: the tenth of April.
    let end = column_of(&url, "SELECT to_ms::text FROM history_partitions('transition')").await;
    assert_eq!(end, [(120 * DAY).to_string()]);
    sql(
        &url,
        "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL,
               installed_on TIMESTAMPTZ NOT NULL DEFAULT now(), success BOOLEAN NOT NULL, checksum BYTEA NOT NULL,
               execution_time BIGINT NOT NULL)"
            .into(),
    )
    .await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    for migration in MIGRATIONS.iter() {
        let done = sqlx::query("INSERT INTO _sqlx_migrations VALUES ($1, '', now(), true, $2, 0)");
        done.bind(migration.version).bind(&*migration.checksum).execute(&mut connection).await.unwrap();
    }
    // What was there is read, is there once, and goes on.
    let store = database.open().await;
    assert_eq!(store.transitions(&everything()).await.unwrap().len(), 100);
    assert_eq!(store.repair(None, 100).await.unwrap().mended, []);
    let bus = key("c", "v1");
    store.commit(&[transition(&bus, 2, 7), transition(&bus, 3, 130 * DAY)]).await.unwrap();
    assert_eq!(store.transitions(&everything()).await.unwrap().len(), 101);
    assert_eq!(parts(&url, "transition").await, ["transition_first", "transition_197005"]);
    store.close().await;
    Arc::new(database).drop().await;
}

#[tokio::test]
async fn partitions_are_made_ahead_and_dropped_whole() {
    let Some(database) = Database::postgres().await else { return };
    let url = database.url();
    let store = Postgres::open(&url, None).await.unwrap();
    let today = 400 * DAY;
    for _ in 0..2 {
        store.prepare(today).await.unwrap();
    }
    assert_eq!(parts(&url, "heartbeat").await.len(), 8, "a week ahead");
    let months = ["transition_first", "transition_197102", "transition_197103"];
    assert_eq!(parts(&url, "transition").await, months);
    let bus = key("acme", "bus");
    let rows: Vec<_> = (1..).zip([0, 5, 56]).map(|(seq, day)| transition(&bus, seq, today + day * DAY)).collect();
    store.commit(&rows).await.unwrap();
    while store.roll_up(100).await.unwrap() {}
    let march = 424 * DAY;
    // Nothing ends by then but the first, which is empty.
    store.drop_some(Kind::Transitions, march - 1, None).await.unwrap();
    assert_eq!(parts(&url, "transition").await[0], format!("transition_kept_{}", 31 * DAY));
    let step = store.drop_some(Kind::Transitions, march, None).await.unwrap();
    assert_eq!((step.horizon, step.next), (Some(march), None));
    let kept = format!("transition_kept_{march}");
    assert_eq!(parts(&url, "transition").await, [kept.as_str(), "transition_197103", "transition_197104"]);
    let left = store.transitions(&everything()).await.unwrap();
    assert_eq!(left.iter().map(|row| row.change.seq).collect::<Vec<_>>(), [3, 2]);
    // A day at a time, and only those that are over.
    let mut steps = 0;
    let mut next = store.drop_some(Kind::Heartbeats, today + 5 * DAY, None).await.unwrap().next;
    while next.is_some() {
        next = store.drop_some(Kind::Heartbeats, today + 5 * DAY, next.as_ref()).await.unwrap().next;
        steps += 1;
    }
    assert_eq!((steps, parts(&url, "heartbeat").await.len()), (4, 3));
    store.close().await;
    Arc::new(database).drop().await;
}

#[tokio::test]
async fn history_is_read_at_the_replica_while_that_answers() {
    let (Some(database), Some(replica)) = (Database::postgres().await, Database::postgres().await) else { return };
    // Other rows there, so that it is seen who answers.
    let there = replica.open().await;
    there.commit(&[transition(&key("acme", "bus"), 1, 50), transition(&key("acme", "bus"), 2, 60)]).await.unwrap();
    there.close().await;
    let store = Postgres::open(&database.url(), Some(&replica.url())).await.unwrap();
    store.commit(&[transition(&key("acme", "bus"), 1, 50)]).await.unwrap();
    let names = [("acme".to_owned(), "bus".to_owned())];
    assert_eq!(store.transitions(&everything()).await.unwrap().len(), 2);
    assert_eq!(store.turns(&names, 0, 99).await.unwrap()[0].len(), 2);
    assert_eq!(store.stood(&names, 99).await.unwrap()[0].seq, 2);
    let query = crate::store::heartbeats::HeartbeatQuery {
        customer: "acme".into(),
        vehicle: "bus".into(),
        from: 0,
        to: 99,
        before: None,
        limit: 9,
    };
    assert_eq!(store.heartbeats(&query).await.unwrap(), []);
    // What is live is not: it would start from old statuses.
    let mut seqs = Vec::new();
    store.load_vehicles(&mut |vehicle| seqs.push(vehicle.seq)).await.unwrap();
    assert_eq!(seqs, [1]);
    Arc::new(replica).drop().await;
    assert_eq!(store.transitions(&everything()).await.unwrap().len(), 1, "read here meanwhile");
    assert_eq!(store.turns(&names, 0, 99).await.unwrap()[0].len(), 1);
    store.close().await;
    Arc::new(database).drop().await;
}
