//! What only SQLite can get wrong: its files, its plans, its own SQL.
//! Fed by `cargo test`; what every store must do is in contract_tests.rs.

use sqlx::{AssertSqlSafe, Executor, Row, SqlSafeStr};
use tempfile::TempDir;

use super::*;
use crate::domain::board::Registered;
use crate::store::contract_tests::samples::{key, transition};

async fn memory() -> SqliteConnection {
    let connections = open_memory().await.unwrap();
    match connections.writer.into_inner() {
        Seat::Open(writer) => *writer,
        seat => panic!("{seat:?}"),
    }
}

/// The files with statements, and their sources.
const FILES: [(&[&str], &str); 14] = [
    (read::STATEMENTS, include_str!("read.rs")),
    (write::STATEMENTS, include_str!("write.rs")),
    (repair::STATEMENTS, include_str!("repair.rs")),
    (registry::STATEMENTS, include_str!("registry.rs")),
    (stats::STATEMENTS, include_str!("stats.rs")),
    (history::STATEMENTS, include_str!("history.rs")),
    (heartbeats::STATEMENTS, include_str!("heartbeats.rs")),
    (retention::STATEMENTS, include_str!("retention.rs")),
    (archive::STATEMENTS, include_str!("archive.rs")),
    (access::STATEMENTS, include_str!("access.rs")),
    (mosquitto::STATEMENTS, include_str!("mosquitto.rs")),
    (logins::STATEMENTS, include_str!("logins.rs")),
    (exports::STATEMENTS, include_str!("exports.rs")),
    (scan::STATEMENTS, include_str!("scan.rs")),
];

#[tokio::test]
async fn every_statement_is_sound() {
    let mut connection = memory().await;
    for (statements, source) in FILES {
        for statement in statements {
            connection.prepare((*statement).into_sql_str()).await.unwrap();
        }
        assert_eq!(source.matches(": &str = ").count(), statements.len());
    }
}

/// The history only grows: no statement may walk through all of it.
#[tokio::test]
async fn no_statement_reads_the_whole_history() {
    let mut connection = memory().await;
    for statement in FILES.iter().flat_map(|(statements, _)| *statements) {
        for step in plan(&mut connection, statement).await {
            assert!(!step.starts_with("SCAN transition") && !step.starts_with("SCAN heartbeat"), "{statement}\n{step}");
        }
    }
}

/// The steps of a statement's plan.
async fn plan(connection: &mut SqliteConnection, statement: &str) -> Vec<String> {
    let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
    let rows = sqlx::query(explain).fetch_all(connection).await.unwrap();
    rows.iter().map(|row| row.get("detail")).collect()
}

#[tokio::test]
async fn every_migration_in_the_folder_is_built_in() {
    let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/sqlite")).unwrap();
    assert_eq!(MIGRATIONS.iter().count(), folder.count(), "touch src/store/sqlite/mod.rs and build again");
}

#[tokio::test]
async fn lists_are_read_from_their_index_without_sorting() {
    let mut connection = memory().await;
    let keyed = [
        (read::VEHICLES, "PRIMARY KEY"),
        (scan::FORWARD, "transition_of_vehicle (customer=? AND vehicle=? AND (at_ms,seq)>(?,?) AND at_ms<?)"),
        (write::HEARD, "PRIMARY KEY (customer=? AND vehicle=?)"),
        (stats::ROLLUPS, "PRIMARY KEY (customer=? AND span_ms=? AND at_ms>? AND at_ms<?)"),
    ];
    let log = heartbeats::LISTS.map(|statement| (statement, "PRIMARY KEY (customer=? AND vehicle"));
    let old = retention::LISTS.into_iter().chain(archive::LISTS);
    for (statement, index) in read::LISTS.into_iter().chain(keyed).chain(log).chain(old) {
        let plan = plan(&mut connection, statement).await.join("; ");
        assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{statement}\n{plan}");
    }
}

/// Availability of many vehicles: a few turns of each are put in order, and no row with its evidence is read.
#[tokio::test]
async fn the_past_of_vehicles_is_read_from_an_index_alone() {
    let mut connection = memory().await;
    let plan = plan(&mut connection, history::TURNS).await;
    let reads: Vec<_> = plan.iter().filter(|step| step.contains(" transition ")).collect();
    assert!(
        reads.len() == 2 && reads.iter().all(|step| step.contains("COVERING INDEX transition_of_vehicle")),
        "{plan:?}"
    );
}

/// R1: what it costs grows with the slice, not with the history.
#[tokio::test]
async fn a_repair_looks_at_the_last_transition_only() {
    let mut connection = memory().await;
    let plan = plan(&mut connection, repair::FAULTY).await.join("; ");
    assert!(plan.contains("SEARCH last") && plan.contains("SEARCH transition"), "{plan}");
    assert!(!plan.contains("SCAN transition") && !plan.contains("SCAN last"), "{plan}");
}

#[tokio::test]
async fn a_path_that_cannot_be_used_is_one_clear_sentence() {
    let folder = TempDir::new().unwrap();
    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "this is no database, though it is long enough to have a header of its own".repeat(99))
        .unwrap();
    let (folder, text) = (folder.path().display().to_string(), text.display().to_string());
    let paths = [(&folder, "unable to open"), (&text, "not a database"), (&format!("{text}/x/fleet.db"), "no folder")];
    for (path, problem) in paths {
        let error = crate::store::open(&format!("sqlite:{path}")).await.err().unwrap().to_string();
        assert!(error.starts_with(&format!("cannot open the store at {path} (")), "{error}");
        assert!(error.contains(problem) && error.contains("check") && !error.contains('\n'), "{error}");
    }
    let error = crate::store::open("sqlite:").await.err().unwrap().to_string();
    assert!(error.contains("names no file"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_open_a_fresh_file_at_once_wait_for_each_other() {
    for _ in 0..10 {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("fleet.db").display().to_string();
        let opened = futures_util::future::join_all((0..6).map(|_| Sqlite::open(&path))).await;
        for store in opened {
            store.unwrap().close().await;
        }
    }
}

#[tokio::test]
async fn a_file_is_named_as_a_path_or_as_a_url() {
    let folder = TempDir::new().unwrap();
    for (n, start) in ["sqlite:", "sqlite://"].iter().enumerate() {
        let path = folder.path().join(format!("{n}.db"));
        crate::store::open(&format!("{start}{}", path.display())).await.unwrap().close().await;
        assert!(path.is_file());
        assert!(!path.with_extension("db-wal").exists(), "closing leaves one file behind");
    }
}

#[tokio::test]
async fn what_the_registry_knows_is_loaded() {
    let store = Sqlite::open(":memory:").await.unwrap();
    let fill = "
        INSERT INTO customer (customer, name, offline_after_ms) VALUES ('acme', 'Acme Ltd', 60000);
        INSERT INTO vehicle (customer, vehicle, name, registration, vin, tags, offline_after_ms)
        VALUES ('acme', '1', 'Long Tom', 'AB-12', NULL, '[\"reefer\",\"north\"]', 5000),
               ('acme', '2', NULL, NULL, NULL, '[]', NULL);";
    store
        .write(move |connection| {
            Box::pin(async move {
                sqlx::raw_sql(fill).execute(connection).await?;
                Ok(())
            })
        })
        .await
        .unwrap();
    let mut all = Vec::new();
    store.load_vehicles(&mut |vehicle| all.push(vehicle)).await.unwrap();
    let tags: Arc<[Box<str>]> = ["reefer".into(), "north".into()].into();
    let known =
        Registered { name: Some("Long Tom".into()), registration: Some("AB-12".into()), vin: None, tags, revision: 0 };
    assert_eq!((all[0].registered.as_deref(), all[0].offline_after), (Some(&known), Some(5_000)));
    assert_eq!((&all[1].registered, all[1].seq, all[1].since), (&None, 0, None));
    let customer = &store.load_customers().await.unwrap()[0];
    assert_eq!((customer.name.as_deref(), customer.offline_after), (Some("Acme Ltd"), Some(60_000)));
}

/// SQLite ends the transaction by itself then; the connection must not go on as if it were inside one.
#[tokio::test]
async fn a_write_that_failed_on_a_full_disk_is_written_when_there_is_room() {
    let folder = TempDir::new().unwrap();
    let store = Sqlite::open(&folder.path().join("r.db").display().to_string()).await.unwrap();
    let key = key("acme", "TRK-1");
    let many: Vec<Transition> = (1..=5_000).map(|seq| transition(&key, seq, 1_000 * seq as Millis)).collect();
    // As many pages as there are: no room for another one.
    const FULL: &str = "PRAGMA max_page_count = 1";
    let limit =
        store.write(|connection| Box::pin(async { Ok(sqlx::query(FULL).execute(connection).await.map(drop)?) }));
    limit.await.unwrap();
    let error = store.commit(&many).await.unwrap_err().to_string();
    assert!(error.contains("full"), "{error}");
    for _ in 0..2 {
        store.commit(&many).await.unwrap();
    }
    let mut seqs = Vec::new();
    store.load_vehicles(&mut |vehicle| seqs.push(vehicle.seq)).await.unwrap();
    assert_eq!(seqs, [5_000]);
    store.close().await;
    assert!(store.commit(&many).await.unwrap_err().to_string().contains("closed"));
}
