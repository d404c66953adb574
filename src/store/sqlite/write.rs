//! What is written to SQLite, each statement beside the function that binds it.
//! Fed by the persister through the trait, inside one transaction a call; every statement may be repeated.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};

use serde::Serialize;
use sqlx::error::BoxDynError;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteConnection};
use sqlx::{Arguments, Encode, Type};

use super::many::{Groups, Many};
use crate::domain::latest::Position;
use crate::domain::time::Millis;
use crate::domain::transition::Transition;
use crate::store::rows::{
    FactRow, Folded, customers_of, fact_row, fold, marks_of, metrics_row, newest_gauges, newest_heard, newest_position,
    ordered, rank_row, signed,
};
use crate::store::{Checkpoint, ObservationGap, TakenOver};

/// Rows of a statement that takes them as one JSON parameter: one statement a row costs a hop to SQLite's thread each.
const CHUNK: usize = 1_000;

/// A batch of transitions as the statements take it, so that the caller's slice need not live as long as the write.
#[derive(Debug)]
pub struct Batch {
    customers: Vec<String>,
    vehicles: Groups,
    transitions: Groups,
    marks: Vec<String>,
}

impl Batch {
    /// Folds and encodes a batch.
    pub fn of(transitions: &[Transition]) -> anyhow::Result<Self> {
        let folded = fold(transitions);
        Ok(Self {
            customers: chunks(customers_of(&folded).into_iter().map(|customer| Ok((customer,))))?,
            vehicles: Groups::of(&folded, bind_vehicle)?,
            transitions: Groups::of(&ordered(transitions), bind_transition)?,
            marks: chunks(marks_of(transitions).into_iter().map(Ok))?,
        })
    }
}

/// JSON arrays of at most [`CHUNK`] rows.
pub(super) fn chunks<R: Serialize>(rows: impl Iterator<Item = anyhow::Result<R>>) -> anyhow::Result<Vec<String>> {
    let rows = rows.collect::<anyhow::Result<Vec<R>>>()?;
    rows.chunks(CHUNK).map(|chunk| Ok(serde_json::to_string(chunk)?)).collect()
}

/// Writes a batch.
pub async fn commit(connection: &mut SqliteConnection, batch: Batch) -> anyhow::Result<()> {
    for rows in &batch.customers {
        add_customers(connection, rows).await?;
    }
    MOVE_MANY.execute(connection, batch.vehicles).await?;
    ADD_MANY.execute(connection, batch.transitions).await?;
    for rows in &batch.marks {
        sqlx::query(MARK).bind(rows).execute(&mut *connection).await?;
    }
    Ok(())
}

/// The minutes that statistics have to count anew (0008_statistics.sql).
const MARK: &str = "
    INSERT INTO rollup_mark (customer, at_ms) SELECT value ->> 0, value ->> 1 FROM json_each(?1) WHERE true
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
    SELECT * FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)) WHERE NOT EXISTS (
        SELECT 1 FROM departed WHERE customer = column1 AND vehicle = column2 AND seq >= column5)
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
static MOVE_MANY: LazyLock<Many> = LazyLock::new(|| Many::of(MOVE_VEHICLES));

fn bind_vehicle(values: &mut SqliteArguments, vehicle: &Folded<'_>) -> Result<(), BoxDynError> {
    let (key, change) = (&vehicle.last.key, vehicle.last.change);
    values.add(&key.customer)?;
    values.add(&*key.vehicle)?;
    values.add(change.to.word())?;
    values.add(change.at)?;
    values.add(signed(change.seq)?)?;
    values.add(vehicle.last_seen)?;
    bind_position(values, vehicle.position)
}

/// The five columns of a position.
fn bind_position(values: &mut SqliteArguments, position: Option<Position>) -> Result<(), BoxDynError> {
    values.add(position.map(|position| position.lat))?;
    values.add(position.map(|position| position.lon))?;
    values.add(position.map(|position| position.at_ms))?;
    values.add(position.and_then(|position| position.speed_kmh))?;
    values.add(position.and_then(|position| position.heading_deg))
}

const ADD_TRANSITIONS: &str = "
    INSERT INTO transition (customer, vehicle, seq, at_ms, decided_at_ms, from_status, to_status, cause, evidence)
    SELECT * FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)) WHERE NOT EXISTS (
        SELECT 1 FROM departed WHERE customer = column1 AND vehicle = column2 AND seq >= column3 AND purged)
    ON CONFLICT DO NOTHING";

static ADD_MANY: LazyLock<Many> = LazyLock::new(|| Many::of(ADD_TRANSITIONS));

fn bind_transition(values: &mut SqliteArguments, row: &&Transition) -> Result<(), BoxDynError> {
    let (key, change) = (&row.key, row.change);
    values.add(&key.customer)?;
    values.add(&*key.vehicle)?;
    values.add(signed(change.seq)?)?;
    values.add(change.at)?;
    values.add(row.decided_at)?;
    values.add(change.from.word())?;
    values.add(change.to.word())?;
    values.add(change.cause.word())?;
    values.add(serde_json::to_string(&row.evidence)?)
}

/// A checkpoint as its statement takes it.
pub fn heard(rows: &[Checkpoint]) -> anyhow::Result<Groups> {
    Groups::of(&newest_heard(rows), |values, row| {
        let Checkpoint { key, last_seen, announced, latest } = *row;
        values.add(&key.customer)?;
        values.add(&*key.vehicle)?;
        values.add(*last_seen)?;
        values.add(announced.millis())?;
        bind_position(values, latest.position)?;
        values.add(latest.position.and(rank_row(latest.position_rank)))?;
        bind_fact(values, fact_row(latest.battery_pct))?;
        bind_fact(values, fact_row(latest.odometer_km))?;
        bind_fact(values, fact_row(latest.ignition))?;
        bind_fact(values, metrics_row(latest)?)?;
        bind_fact(values, fact_row(latest.clock_skew))
    })
}

/// The three columns of a fact.
fn bind_fact<T>(values: &mut SqliteArguments, (value, at, seq): FactRow<T>) -> Result<(), BoxDynError>
where
    T: for<'v> Encode<'v, Sqlite> + Type<Sqlite>,
{
    values.add(value)?;
    values.add(at)?;
    values.add(seq)
}

/// Writes what was last heard of vehicles.
pub async fn hear(connection: &mut SqliteConnection, heard: Groups) -> anyhow::Result<()> {
    HEAR_MANY.execute(connection, heard).await
}

/// Writes what was last heard of vehicles, and until when we listened.
pub async fn checkpoint(connection: &mut SqliteConnection, heard: Groups, until: Millis) -> anyhow::Result<()> {
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
        SELECT column1 AS customer, column2 AS vehicle, column3 AS last_seen_ms, column4 AS announced_ms,
               column5 AS lat, column6 AS lon, column7 AS position_at_ms,
               column8 AS speed_kmh, column9 AS heading_deg, column10 AS position_seq,
               column11 AS battery_pct, column12 AS battery_at_ms, column13 AS battery_seq,
               column14 AS odometer_km, column15 AS odometer_at_ms, column16 AS odometer_seq,
               column17 AS ignition, column18 AS ignition_at_ms, column19 AS ignition_seq,
               column20 AS metrics, column21 AS metrics_at_ms, column22 AS metrics_seq,
               column23 AS clock_skew_ms, column24 AS clock_skew_at_ms, column25 AS clock_skew_seq
        FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?))
    ) AS heard
    WHERE vehicle.customer = heard.customer AND vehicle.vehicle = heard.vehicle
      AND coalesce(vehicle.last_seen_ms, heard.last_seen_ms) <= heard.last_seen_ms"
);

static HEAR_MANY: LazyLock<Many> = LazyLock::new(|| Many::of(HEARD));

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
