//! What only Postgres can get wrong: connections that end, passwords, its plans, its own SQL.
//! Fed by `cargo test`; what every store must do is in contract_tests.rs.

use sqlx::{AssertSqlSafe, Executor, SqlSafeStr};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::*;
use crate::store::contract_tests::{Database, samples, sql};

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
    let Some(database) = Database::postgres().await else { return };
    database.open().await.close().await;
    let mut connection = PgConnection::connect(&database.url()).await.unwrap();
    for (statements, source) in FILES {
        for statement in statements {
            connection.prepare((*statement).into_sql_str()).await.unwrap();
        }
        assert_eq!(source.matches(": &str = ").count(), statements.len());
    }
    Arc::new(database).drop().await;
}

#[test]
fn every_migration_in_the_folder_is_built_in() {
    let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/postgres")).unwrap();
    assert_eq!(MIGRATIONS.iter().count(), folder.count(), "touch src/store/postgres/mod.rs and build again");
}

#[tokio::test]
async fn lists_are_read_from_their_index_without_sorting() {
    let Some(database) = Database::postgres().await else { return };
    database.open().await.close().await;
    let fill = "
        INSERT INTO transition SELECT 'c' || n % 20, 'v' || n / 20 % 2, n, 'online',
            CASE n % 100 WHEN 0 THEN 'unobserved' ELSE 'offline' END, n / 50, n / 50, 'silence', '{}'
        FROM generate_series(1, 50000) AS n;
        SELECT add_heartbeat_days(ARRAY[0, 86400000]);
        INSERT INTO heartbeat SELECT 'c' || n % 20, 'v' || n / 20 % 2, n * 2000, n, n, false
        FROM generate_series(1, 50000) AS n;
        ANALYZE;";
    sql(&database.url(), fill.into()).await;
    let mut connection = PgConnection::connect(&database.url()).await.unwrap();
    let arguments = [
        "'c3', 'v1', 0, 900, 0, '{offline,online}', 50",
        "'c3', 0, 900, 'v1', 5, '{offline,online}', 50",
        "0, 900, 'c3', 'v1', 5, 50",
        "'unobserved', 0, 900, 'c3', 'v1', 5, 50",
        "'c3', 'v1', 0, 90000000, 7, 50",
        "'c3', 'v1', 0, 90000000",
        "'c3', 'v1', 0, 7, 90000000, 50",
    ];
    let log = heartbeats::LISTS.map(|statement| (statement, "heartbeat_19700101_pkey"));
    for (n, ((statement, index), arguments)) in read::LISTS.into_iter().chain(log).zip(arguments).enumerate() {
        let prepare = format!("SET plan_cache_mode = force_custom_plan; PREPARE list{n} AS {statement}");
        sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut connection).await.unwrap();
        let explain = AssertSqlSafe(format!("EXPLAIN EXECUTE list{n}({arguments})"));
        let plan: Vec<String> = sqlx::query_scalar(explain).persistent(false).fetch_all(&mut connection).await.unwrap();
        let plan = plan.join("\n");
        // A merge of sorted partitions has a sort key, and sorts nothing.
        assert!(plan.contains(index) && !plan.contains("Sort  ("), "{statement}\n{plan}");
    }
    Arc::new(database).drop().await;
}

/// Availability and as_of of many vehicles: their rows, with the evidence, lie all over the table.
#[tokio::test]
async fn the_past_of_vehicles_is_read_from_an_index_alone() {
    let Some(database) = Database::postgres().await else { return };
    database.open().await.close().await;
    let fill = "
        INSERT INTO transition SELECT 'c', 'v' || n % 2000, 1 + n / 2000, 'online', 'offline', n * 1000, n, 'silence',
            json_build_object('a', repeat('b', 300)) FROM generate_series(0, 59999) AS n;";
    sql(&database.url(), fill.into()).await;
    // Alone, as a vacuum stands in no transaction.
    sql(&database.url(), "VACUUM ANALYZE transition".into()).await;
    let mut connection = PgConnection::connect(&database.url()).await.unwrap();
    let (names, period) = ("'{c}', '{v7}'", "20000000, 50000000");
    for (n, statement, arguments) in
        [(1, history::TURNS, format!("{names}, {period}")), (2, history::STOOD, format!("{names}, 30000000"))]
    {
        let prepare = format!("SET plan_cache_mode = force_custom_plan; PREPARE past{n} AS {statement}");
        sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut connection).await.unwrap();
        let explain = AssertSqlSafe(format!("EXPLAIN EXECUTE past{n}({arguments})"));
        let plan: Vec<String> = sqlx::query_scalar(explain).persistent(false).fetch_all(&mut connection).await.unwrap();
        let plan = plan.join("\n");
        let alone = "Index Only Scan Backward using transition_first_customer_vehicle_at_ms";
        assert!(plan.contains(alone) && !plan.contains("Scan on transition"), "{statement}\n{plan}");
    }
    Arc::new(database).drop().await;
}

/// R1: what it costs grows with the slice, not with the history.
#[tokio::test]
async fn a_repair_looks_at_the_last_transition_only() {
    let Some(database) = Database::postgres().await else { return };
    database.open().await.close().await;
    let fill = "
        INSERT INTO customer VALUES ('c');
        INSERT INTO vehicle (customer, vehicle) SELECT 'c', 'v' || n FROM generate_series(1, 5000) AS n;
        INSERT INTO transition SELECT 'c', 'v' || n % 5000, 1 + n / 5000, 'online', 'offline', n, n, 'silence', '{}'
        FROM generate_series(1, 50000) AS n;
        ANALYZE;";
    sql(&database.url(), fill.into()).await;
    let mut connection = PgConnection::connect(&database.url()).await.unwrap();
    let statement = repair::FAULTY.replace("$1", "'c'").replace("$2", "''").replace("$3", "1000");
    let explain = AssertSqlSafe(format!("EXPLAIN {statement}"));
    let plan: Vec<String> = sqlx::query_scalar(explain).fetch_all(&mut connection).await.unwrap();
    let plan = plan.join("\n");
    assert!(plan.contains("transition_first_pkey") && !plan.contains("Seq Scan on transition"), "{plan}");
    Arc::new(database).drop().await;
}

#[tokio::test]
async fn a_store_whose_connections_were_ended_goes_on() {
    let Some(database) = Database::postgres().await else { return };
    let store = database.open().await;
    let key = samples::key("acme", "1");
    for seq in 1..4 {
        store.commit(&[samples::transition(&key, seq, 50)]).await.unwrap();
        assert_eq!(store.transitions(&samples::everything()).await.unwrap().len(), seq as usize);
        let own = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                   WHERE application_name = 'rollcall' AND datname = current_database()";
        sql(&database.url(), own.into()).await;
    }
    Arc::new(database).drop().await;
}

#[tokio::test]
async fn connections_that_die_silently_are_replaced() {
    let Some(database) = Database::postgres().await else { return };
    let target: PgConnectOptions = database.url().parse().unwrap();
    let (dead, proxy) = (watch::Sender::new(false), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let through = target.clone().host("127.0.0.1").port(proxy.local_addr().unwrap().port());
    let death = dead.subscribe();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = proxy.accept().await {
            let mut far = TcpStream::connect((target.get_host(), target.get_port())).await.unwrap();
            // Who connects after the death is served; who was connected before keeps a line on which nothing comes.
            let (mut death, born_after) = (death.clone(), *death.borrow());
            tokio::spawn(async move {
                let died = async { drop(death.wait_for(|dead| *dead && !born_after).await) };
                tokio::select! {
                    _ = copy_bidirectional(&mut near, &mut far) => return,
                    () = died => {}
                }
                std::future::pending().await
            });
        }
    });
    let store = Postgres::open(through.to_url_lossy().as_str(), None).await.unwrap();
    let store = Arc::new(store);
    let at_once = |store: &Arc<Postgres>| {
        let pages = (0..2 * READERS)
            .map(|_| Arc::clone(store))
            .map(|store| async move { store.transitions(&samples::everything()).await.map(|page| page.len()) });
        futures_util::future::join_all(pages)
    };
    let batch = [samples::transition(&samples::key("acme", "1"), 1, 50)];
    store.commit(&batch).await.unwrap();
    assert!(at_once(&store).await.into_iter().all(|read| read.unwrap() == 1));
    dead.send_replace(true);
    store.commit(&batch).await.unwrap();
    assert!(at_once(&store).await.into_iter().all(|read| read.unwrap() == 1));
    store.close().await;
    Arc::new(database).drop().await;
}

/// Answers like a server that does not like the password.
async fn refuse_password(listener: TcpListener) -> std::io::Result<()> {
    let (mut client, _) = listener.accept().await?;
    let mut received = [0; 1024];
    if client.read(&mut received).await? == 8 {
        client.write_all(b"N").await?; // no TLS here
        let _login = client.read(&mut received).await?;
    }
    client.write_all(&[b'R', 0, 0, 0, 8, 0, 0, 0, 3]).await?; // the password, please
    let _password = client.read(&mut received).await?;
    let refusal = b"SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user \"fleet\"\0\0";
    client.write_all(b"E").await?;
    client.write_all(&(refusal.len() as u32 + 4).to_be_bytes()).await?;
    client.write_all(refusal).await?;
    client.read(&mut received).await.map(drop)
}

#[tokio::test]
async fn what_cannot_be_opened_is_one_sentence_without_the_password() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let strict = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (refusing, waiting) = (strict.local_addr().unwrap(), silent.local_addr().unwrap());
    tokio::spawn(refuse_password(strict));
    let cases = [
        (format!("{closed}/fleet"), "refused"),
        (format!("{refusing}/fleet"), "password authentication failed"),
        (format!("{waiting}/fleet"), "no answer within 5s"),
        ("127.0.0.1:port/fleet".into(), "cannot be read"),
        ("127.0.0.1/fleet?sslmode=maybe".into(), "cannot be read"),
    ];
    for (rest, problem) in cases {
        let error = crate::store::open(&format!("postgres://fleet:hunter2@{rest}")).await.err().unwrap();
        for text in [format!("{error}"), format!("{error:#}"), format!("{error:?}")] {
            assert!(text.contains(problem) && text.contains("store"), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
        assert!(!format!("{error:#}").contains('\n'));
    }
}
