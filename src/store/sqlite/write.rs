//! What is written to SQLite, each statement beside the function that binds it.
//! Fed by the persister through the trait, inside one transaction a call; every statement may be repeated.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use serde::Serialize;
use sqlx::sqlite::SqliteConnection;

use crate::domain::time::Millis;
use crate::domain::transition::Transition;
use crate::store::rows::{fact_row, fold, metrics_row, newest_gauges, newest_heard, newest_position, rank_row, signed};
use crate::store::{Checkpoint, ObservationGap, TakenOver};

/// Rows a statement. They travel as one JSON parameter: one statement a row costs a hop to SQLite's thread each.
const CHUNK: usize = 1_000;

/// A batch of transitions as the statements take it, so that the caller's slice need not live as long as the write.
#[derive(Debug)]
pub struct Batch {
    vehicles: Vec<String>,
    transitions: Vec<String>,
}

impl Batch {
    /// Folds and encodes a batch.
    pub fn of(transitions: &[Transition]) -> anyhow::Result<Self> {
        let vehicles = fold(transitions).into_iter().map(|vehicle| {
            let (last, position) = (vehicle.last, vehicle.position);
            let change = last.change;
            let place = position.map(|p| (p.lat, p.lon, p.at_ms, p.speed_kmh, p.heading_deg));
            let state = (change.to.word(), change.at, signed(change.seq)?, vehicle.last_seen);
            Ok((&*last.key.customer, &*last.key.vehicle, state, place))
        });
        let rows = transitions.iter().map(|transition| {
            let (key, change) = (&transition.key, transition.change);
            let times = (change.at, transition.decided_at);
            let words = (change.from.word(), change.to.word(), change.cause.word());
            Ok((&*key.customer, &*key.vehicle, signed(change.seq)?, times, words, &transition.evidence))
        });
        Ok(Self { vehicles: chunks(vehicles)?, transitions: chunks(rows)? })
    }
}

/// JSON arrays of at most [`CHUNK`] rows.
pub(super) fn chunks<R: Serialize>(rows: impl Iterator<Item = anyhow::Result<R>>) -> anyhow::Result<Vec<String>> {
    let rows = rows.collect::<anyhow::Result<Vec<R>>>()?;
    rows.chunks(CHUNK).map(|chunk| Ok(serde_json::to_string(chunk)?)).collect()
}

/// Writes a batch.
pub async fn commit(connection: &mut SqliteConnection, batch: Batch) -> anyhow::Result<()> {
    for rows in &batch.vehicles {
        add_customers(connection, rows).await?;
        move_vehicles(connection, rows).await?;
    }
    for rows in &batch.transitions {
        add_transitions(connection, rows).await?;
        sqlx::query(MARK).bind(rows).execute(&mut *connection).await?;
    }
    Ok(())
}

/// The minutes that statistics have to count anew (0008_statistics.sql).
const MARK: &str = "
    INSERT INTO rollup_mark (at_ms, customer)
    SELECT DISTINCT (value ->> '$[3][0]') / 60000 * 60000, value ->> 0 FROM json_each(?1) WHERE true
    ON CONFLICT DO NOTHING";

const ADD_CUSTOMERS: &str = "
    INSERT INTO customer (customer) SELECT DISTINCT value ->> 0 FROM json_each(?1) WHERE true
    ON CONFLICT DO NOTHING";

pub(super) async fn add_customers(connection: &mut SqliteConnection, rows: &str) -> anyhow::Result<()> {
    sqlx::query(ADD_CUSTOMERS).bind(rows).execute(connection).await?;
    Ok(())
}

const MOVE_VEHICLES: &str = concat!(
    "
    INSERT INTO vehicle (customer, vehicle, status, status_since_ms, seq, last_seen_ms,
                         lat, lon, position_at_ms, speed_kmh, heading_deg)
    SELECT value ->> 0, value ->> 1, value ->> '$[2][0]', value ->> '$[2][1]', value ->> '$[2][2]', value ->> '$[2][3]',
           value ->> '$[3][0]', value ->> '$[3][1]', value ->> '$[3][2]', value ->> '$[3][3]', value ->> '$[3][4]'
    FROM json_each(?1) WHERE NOT EXISTS (
        SELECT 1 FROM departed
        WHERE customer = value ->> 0 AND vehicle = value ->> 1 AND seq >= value ->> '$[2][2]')
    ON CONFLICT (customer, vehicle) DO UPDATE SET
        status = excluded.status,
        status_since_ms = excluded.status_since_ms,
        seq = excluded.seq, ",
    newest_position!("excluded"),
    "
        announced_ms = CASE WHEN excluded.last_seen_ms > coalesce(last_seen_ms, 0) THEN 0 ELSE announced_ms END,
        last_seen_ms = coalesce(max(excluded.last_seen_ms, last_seen_ms), excluded.last_seen_ms, last_seen_ms)
    WHERE vehicle.seq < excluded.seq"
);

/// A vehicle's row moves forward only: in seq as a whole, and in time where a checkpoint may have come first.
async fn move_vehicles(connection: &mut SqliteConnection, rows: &str) -> anyhow::Result<()> {
    sqlx::query(MOVE_VEHICLES).bind(rows).execute(connection).await?;
    Ok(())
}

const ADD_TRANSITIONS: &str = "
    INSERT INTO transition (customer, vehicle, seq, at_ms, decided_at_ms, from_status, to_status, cause, evidence)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> '$[3][0]', value ->> '$[3][1]',
           value ->> '$[4][0]', value ->> '$[4][1]', value ->> '$[4][2]', value -> 5
    FROM json_each(?1) WHERE NOT EXISTS (
        SELECT 1 FROM departed
        WHERE customer = value ->> 0 AND vehicle = value ->> 1 AND seq >= value ->> 2 AND purged)
    ON CONFLICT DO NOTHING";

async fn add_transitions(connection: &mut SqliteConnection, rows: &str) -> anyhow::Result<()> {
    sqlx::query(ADD_TRANSITIONS).bind(rows).execute(connection).await?;
    Ok(())
}

/// A checkpoint as its statement takes it: chunks of JSON arrays.
pub fn heard(rows: &[Checkpoint]) -> anyhow::Result<Vec<String>> {
    let rows = newest_heard(rows).into_iter().map(|row| {
        let latest = &row.latest;
        let seq = rank_row(latest.position_rank);
        let place = latest.position.map(|p| (p.lat, p.lon, p.at_ms, p.speed_kmh, p.heading_deg, seq));
        let (battery, odometer) = (fact_row(latest.battery_pct), fact_row(latest.odometer_km));
        let (ignition, metrics) = (fact_row(latest.ignition), metrics_row(latest)?);
        let gauges = (battery, odometer, ignition, metrics, fact_row(latest.clock_skew));
        Ok((&*row.key.customer, &*row.key.vehicle, row.last_seen, place, gauges, row.announced.millis()))
    });
    chunks(rows)
}

/// Writes what was last heard of vehicles.
pub async fn hear(connection: &mut SqliteConnection, heard: Vec<String>) -> anyhow::Result<()> {
    for rows in &heard {
        sqlx::query(HEARD).bind(rows).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Writes what was last heard of vehicles, and until when we listened.
pub async fn checkpoint(connection: &mut SqliteConnection, heard: Vec<String>, until: Millis) -> anyhow::Result<()> {
    hear(connection, heard).await?;
    sqlx::query(LISTENED).bind(until).execute(connection).await?;
    Ok(())
}

pub(super) const HEARD: &str = concat!(
    "
    UPDATE vehicle SET ",
    newest_position!("heard"),
    newest_gauges!("heard"),
    "
        announced_ms = heard.announced_ms,
        last_seen_ms = heard.last_seen_ms
    FROM (
        SELECT value ->> 0 AS customer, value ->> 1 AS vehicle, value ->> 2 AS last_seen_ms,
               value ->> 5 AS announced_ms,
               value ->> '$[3][0]' AS lat, value ->> '$[3][1]' AS lon, value ->> '$[3][2]' AS position_at_ms,
               value ->> '$[3][3]' AS speed_kmh, value ->> '$[3][4]' AS heading_deg,
               value ->> '$[3][5]' AS position_seq,
               value ->> '$[4][0][0]' AS battery_pct, value ->> '$[4][0][1]' AS battery_at_ms,
               value ->> '$[4][0][2]' AS battery_seq,
               value ->> '$[4][1][0]' AS odometer_km, value ->> '$[4][1][1]' AS odometer_at_ms,
               value ->> '$[4][1][2]' AS odometer_seq,
               value ->> '$[4][2][0]' AS ignition, value ->> '$[4][2][1]' AS ignition_at_ms,
               value ->> '$[4][2][2]' AS ignition_seq,
               value ->> '$[4][3][0]' AS metrics, value ->> '$[4][3][1]' AS metrics_at_ms,
               value ->> '$[4][3][2]' AS metrics_seq,
               value ->> '$[4][4][0]' AS clock_skew_ms, value ->> '$[4][4][1]' AS clock_skew_at_ms,
               value ->> '$[4][4][2]' AS clock_skew_seq
        FROM json_each(?1)
    ) AS heard
    WHERE vehicle.customer = heard.customer AND vehicle.vehicle = heard.vehicle
      AND coalesce(vehicle.last_seen_ms, heard.last_seen_ms) <= heard.last_seen_ms"
);

const LISTENED: &str = "
    INSERT INTO listening (alive_until_ms) VALUES (?1)
    ON CONFLICT (one) DO UPDATE SET alive_until_ms = max(alive_until_ms, excluded.alive_until_ms)";

const RECORD_GAP: &str = "
    INSERT INTO observation_gap (scope, from_ms, to_ms, cause) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (scope, from_ms) DO UPDATE SET to_ms = coalesce(excluded.to_ms, to_ms), cause = excluded.cause";

/// Writes one blind interval. Its end is never before its start, though a clock may have been set back in between.
pub async fn record_gap(connection: &mut SqliteConnection, gap: ObservationGap) -> anyhow::Result<()> {
    let end = gap.to.map(|to| to.max(gap.from));
    sqlx::query(RECORD_GAP).bind(gap.scope).bind(gap.from).bind(end).bind(gap.cause).execute(connection).await?;
    Ok(())
}

const CLOSE_OPEN_GAPS: &str = "UPDATE observation_gap SET to_ms = max(from_ms, ?1) WHERE to_ms IS NULL";

/// Ends what is still open.
pub async fn close_open_gaps(connection: &mut SqliteConnection, to: Millis) -> anyhow::Result<()> {
    sqlx::query(CLOSE_OPEN_GAPS).bind(to).execute(connection).await?;
    Ok(())
}

const TAKE_OVER: &str = "UPDATE identity SET owner = owner + 1 RETURNING owner";

/// Makes this process the writer, and notes its number.
pub async fn take_over(connection: &mut SqliteConnection, owner: Arc<AtomicI64>) -> anyhow::Result<()> {
    owner.store(sqlx::query_scalar(TAKE_OVER).fetch_one(connection).await?, Relaxed);
    Ok(())
}

const OWNER: &str = "SELECT owner FROM identity";

/// Fails when another process has taken over since we did; who never did may write what belongs to no run.
pub async fn check_owner(connection: &mut SqliteConnection, owner: i64) -> anyhow::Result<()> {
    if owner > 0 && sqlx::query_scalar::<_, i64>(OWNER).fetch_one(connection).await? != owner {
        return Err(TakenOver.into());
    }
    Ok(())
}

/// Every statement of this file.
#[cfg(test)]
pub const STATEMENTS: &[&str] = &[
    ADD_CUSTOMERS,
    MOVE_VEHICLES,
    ADD_TRANSITIONS,
    MARK,
    HEARD,
    LISTENED,
    RECORD_GAP,
    CLOSE_OPEN_GAPS,
    TAKE_OVER,
    OWNER,
];
