//! A whole fleet that falls silent at once: how long after the last deadline every vehicle is shown offline on a
//! dashboard and every transition is in the store. On both stores.

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use sqlx::Connection;

use super::traffic::{beside, online};
use crate::dashboards::Dashboards;
use crate::now_ms;
use crate::packets::Packets;
use crate::pipe::Pipe;
use crate::stage::{Product, Stage};
use crate::table::Line;

/// Heartbeats a second while the fleet still speaks: the last round is over in a few seconds.
const LAST_ROUND_PER_S: f64 = 150_000.0;
/// The whole of it, from the last heartbeat on.
const LIMIT: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_millis(50);
/// The fleet that has three seconds; a larger one has thirty.
const SMALL: usize = 100_000;

/// On SQLite.
pub fn sqlite(stage: &Stage, tell: &mut dyn FnMut(Line)) -> anyhow::Result<()> {
    for vehicles in sizes(stage) {
        let folder = format!("silence-sqlite-{vehicles}");
        let store = format!("sqlite:{}/rollcall.db", stage.folder().join(&folder).display());
        silence(stage, "silence-sqlite", &folder, &store, vehicles, tell)?;
    }
    Ok(())
}

/// On Postgres.
pub fn postgres(stage: &Stage, tell: &mut dyn FnMut(Line)) -> anyhow::Result<()> {
    let mut server = stage.postgres()?;
    for vehicles in sizes(stage) {
        let store = format!("postgres://rollcall@{}/fleet_{vehicles}", server.addr);
        stage.wait(async {
            let admin = format!("postgres://rollcall@{}/postgres", server.addr);
            let mut admin = sqlx::PgConnection::connect(&admin).await?;
            let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE fleet_{vehicles}"));
            sqlx::raw_sql(create).execute(&mut admin).await
        })?;
        silence(stage, "silence-postgres", &format!("silence-postgres-{vehicles}"), &store, vehicles, tell)?;
    }
    stage.wait(server.stop())
}

/// Two in a full run: each has its own target.
fn sizes(stage: &Stage) -> Vec<usize> {
    let large = stage.vehicles();
    if stage.full && large > SMALL { vec![SMALL, large] } else { vec![large] }
}

/// Transitions to offline in the store from `since_ms` on, counted there.
fn stored(stage: &Stage, store: &str, since_ms: i64) -> anyhow::Result<i64> {
    const COUNT: &str = "SELECT count(*) FROM transition WHERE to_status = 'offline' AND at_ms >= $1";
    stage.wait(async {
        if store.starts_with("sqlite:") {
            let mut connection = sqlx::SqliteConnection::connect(store).await?;
            Ok(sqlx::query_scalar(COUNT).bind(since_ms).fetch_one(&mut connection).await?)
        } else {
            let mut connection = sqlx::PgConnection::connect(store).await?;
            Ok(sqlx::query_scalar(COUNT).bind(since_ms).fetch_one(&mut connection).await?)
        }
    })
}

/// Vehicles that a frame of JSON shows as offline: each falls once.
fn offline_in(text: &[u8]) -> usize {
    let wanted: &[u8] = br#""status":"offline""#;
    match text.starts_with(br#"{"type":"delta""#) {
        true => memchr::memmem::find_iter(text, wanted).count(),
        false => 0,
    }
}

fn silence(
    stage: &Stage,
    row: &'static str,
    folder: &str,
    store: &str,
    vehicles: usize,
    tell: &mut dyn FnMut(Line),
) -> anyhow::Result<()> {
    let timeout_s = if vehicles > SMALL { 40 } else { 8 };
    let timeout = format!("fleet.offline_after={timeout_s}s");
    let mut product = stage.product(folder, &["--store", store], &[&timeout])?;
    let mut packets = Packets::new(0..vehicles, false);
    // The fleet speaks on while it is filled and stored, and for one more round.
    beside(&mut product, &mut packets, LAST_ROUND_PER_S.min(vehicles as f64 / 4.0), |product, _| {
        online(product, vehicles)?;
        product.settle(LIMIT)
    })?;
    let mut dashboards = Dashboards::new()?;
    dashboards.open(product.http, None, true)?;
    let since_ms = now_ms() + timeout_s * 1_000;
    // Open until the end: a broken connection is a hint, and who has one may be called offline before the deadline.
    let _pipe = last_round(&product, &mut packets)?;
    let last_deadline_ms = now_ms() + timeout_s * 1_000;
    // The fence of the last round is a vehicle too.
    let all = vehicles + 1;

    let from = product.usage();
    let (began, mut shown, mut shown_ms, mut stored_ms) = (Instant::now(), 0, None, None);
    while shown_ms.is_none() || stored_ms.is_none() {
        ensure!(
            began.elapsed() < LIMIT,
            "{shown} of {all} were shown offline, {} stored",
            stored(stage, store, since_ms)?
        );
        dashboards.read(LOOK, |_, _, payload, _| shown += offline_in(payload))?;
        if shown >= all {
            shown_ms = shown_ms.or(Some(now_ms() - last_deadline_ms));
        }
        let waits = |product: &mut Product| anyhow::Ok(product.number("/store/spool_rows")? > 0);
        if stored_ms.is_none() && now_ms() > last_deadline_ms && !waits(&mut product)? {
            let at = now_ms();
            stored_ms = (stored(stage, store, since_ms)? == all as i64).then_some(at - last_deadline_ms);
        }
    }
    let usage = product.usage();
    let limit_s = if vehicles > SMALL { 30.0 } else { 3.0 };
    let unit_s = |ms: Option<i64>| ms.map(|ms| ms.max(0) as f64 / 1e3).context("measured above");
    let line = |what, seconds| Line::new(row, format!("{vehicles} silent at once, {what}"), seconds, "s");
    tell(line("shown", unit_s(shown_ms)?).at_most(limit_s));
    let line = line("stored", unit_s(stored_ms)?).at_most(limit_s);
    tell(line.using(usage.rss_bytes, usage.share_since(&from)).noted("seconds after the last vehicle's deadline"));
    stage.end(product)
}

/// One last heartbeat of everybody, as fast as the service takes them without refusing any.
fn last_round(product: &Product, packets: &mut Packets) -> anyhow::Result<Pipe> {
    let mut pipe = Pipe::open(product.mqtt, "bench-last")?;
    packets.rewind();
    let (count, done) = (packets.count(), Cell::new(false));
    pipe.pace(packets, LAST_ROUND_PER_S, || count, || done.get(), |_, sent| done.set(sent.end == count))?;
    pipe.fence()?;
    Ok(pipe)
}
