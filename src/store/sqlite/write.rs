//! What is written to SQLite, each statement beside the function that binds it.
//! Fed by the persister through the trait, inside one transaction a call; every statement may be repeated.

use serde::Serialize;
use sqlx::sqlite::SqliteConnection;

use crate::domain::time::Millis;
use crate::domain::transition::Transition;
use crate::store::rows::{fold, newest_heard, signed};
use crate::store::{Checkpoint, NewVehicle, ObservationGap};

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
fn chunks<R: Serialize>(rows: impl Iterator<Item = anyhow::Result<R>>) -> anyhow::Result<Vec<String>> {
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
    }
    Ok(())
}

const ADD_CUSTOMERS: &str = "
    INSERT INTO customer (customer) SELECT DISTINCT value ->> 0 FROM json_each(?1) WHERE true
    ON CONFLICT DO NOTHING";

async fn add_customers(connection: &mut SqliteConnection, rows: &str) -> anyhow::Result<()> {
    sqlx::query(ADD_CUSTOMERS).bind(rows).execute(connection).await?;
    Ok(())
}

const MOVE_VEHICLES: &str = "
    INSERT INTO vehicle (customer, vehicle, status, status_since_ms, seq, last_seen_ms,
                         lat, lon, position_at_ms, speed_kmh, heading_deg, as_of_ms)
    SELECT value ->> 0, value ->> 1, value ->> '$[2][0]', value ->> '$[2][1]', value ->> '$[2][2]', value ->> '$[2][3]',
           value ->> '$[3][0]', value ->> '$[3][1]', value ->> '$[3][2]', value ->> '$[3][3]', value ->> '$[3][4]',
           coalesce(value ->> '$[3][2]', 0)
    FROM json_each(?1) WHERE true
    ON CONFLICT (customer, vehicle) DO UPDATE SET
        status = excluded.status,
        status_since_ms = excluded.status_since_ms,
        seq = excluded.seq,
        last_seen_ms = coalesce(max(excluded.last_seen_ms, last_seen_ms), excluded.last_seen_ms, last_seen_ms),
        (lat, lon, position_at_ms, speed_kmh, heading_deg) = (
            SELECT excluded.lat, excluded.lon, excluded.position_at_ms, excluded.speed_kmh, excluded.heading_deg
            WHERE (excluded.position_at_ms >= coalesce(vehicle.position_at_ms, excluded.position_at_ms)) IS TRUE
            UNION ALL
            SELECT vehicle.lat, vehicle.lon, vehicle.position_at_ms, vehicle.speed_kmh, vehicle.heading_deg
            WHERE (excluded.position_at_ms >= coalesce(vehicle.position_at_ms, excluded.position_at_ms)) IS NOT TRUE),
        as_of_ms = max(excluded.as_of_ms, as_of_ms)
    WHERE vehicle.seq < excluded.seq";

/// A vehicle's row moves forward only: in seq as a whole, and in time where a checkpoint may have come first.
async fn move_vehicles(connection: &mut SqliteConnection, rows: &str) -> anyhow::Result<()> {
    sqlx::query(MOVE_VEHICLES).bind(rows).execute(connection).await?;
    Ok(())
}

const ADD_TRANSITIONS: &str = "
    INSERT INTO transition (customer, vehicle, seq, at_ms, decided_at_ms, from_status, to_status, cause, evidence)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> '$[3][0]', value ->> '$[3][1]',
           value ->> '$[4][0]', value ->> '$[4][1]', value ->> '$[4][2]', value -> 5
    FROM json_each(?1) WHERE true
    ON CONFLICT DO NOTHING";

async fn add_transitions(connection: &mut SqliteConnection, rows: &str) -> anyhow::Result<()> {
    sqlx::query(ADD_TRANSITIONS).bind(rows).execute(connection).await?;
    Ok(())
}

/// New vehicles as their statement takes them: chunks of JSON arrays.
pub fn newcomers(vehicles: &[NewVehicle]) -> anyhow::Result<Vec<String>> {
    chunks(vehicles.iter().map(|vehicle| {
        let names = vehicle.registered.as_deref();
        let tags = serde_json::to_string(names.map_or(&[][..], |names| &names.tags))?;
        let texts = names.map(|names| (&names.name, &names.registration, &names.vin));
        Ok((&*vehicle.key.customer, &*vehicle.key.vehicle, texts, tags, vehicle.offline_after))
    }))
}

const REGISTER: &str = "
    INSERT INTO vehicle (customer, vehicle, name, registration, vin, tags, offline_after_ms)
    SELECT value ->> 0, value ->> 1, value ->> '$[2][0]', value ->> '$[2][1]', value ->> '$[2][2]', value ->> 3,
           value ->> 4
    FROM json_each(?1) WHERE true
    ON CONFLICT DO NOTHING";

/// Registers vehicles that are not stored yet.
pub async fn register(connection: &mut SqliteConnection, newcomers: Vec<String>) -> anyhow::Result<()> {
    for rows in &newcomers {
        add_customers(connection, rows).await?;
        sqlx::query(REGISTER).bind(rows).execute(&mut *connection).await?;
    }
    Ok(())
}

/// A checkpoint as its statement takes it: chunks of JSON arrays.
pub fn heard(rows: &[Checkpoint]) -> anyhow::Result<Vec<String>> {
    let rows = newest_heard(rows).into_iter().map(|row| {
        let latest = &row.latest;
        let place = latest.position.map(|p| (p.lat, p.lon, p.at_ms, p.speed_kmh, p.heading_deg));
        let metrics = latest.metrics.as_deref().map(serde_json::to_string).transpose()?;
        let gauges = (latest.battery_pct, latest.odometer_km, latest.ignition, metrics);
        let times = (row.last_seen, latest.as_of, latest.clock_skew);
        Ok((&*row.key.customer, &*row.key.vehicle, times, place, gauges))
    });
    chunks(rows)
}

/// Writes what was last heard of vehicles, and until when we listened.
pub async fn checkpoint(connection: &mut SqliteConnection, heard: Vec<String>, until: Millis) -> anyhow::Result<()> {
    for rows in &heard {
        sqlx::query(HEARD).bind(rows).execute(&mut *connection).await?;
    }
    sqlx::query(LISTENED).bind(until).execute(connection).await?;
    Ok(())
}

pub(super) const HEARD: &str = "
    UPDATE vehicle SET
        last_seen_ms = heard.last_seen_ms,
        (lat, lon, position_at_ms, speed_kmh, heading_deg) = (
            SELECT heard.lat, heard.lon, heard.position_at_ms, heard.speed_kmh, heard.heading_deg
            WHERE (heard.position_at_ms >= coalesce(vehicle.position_at_ms, heard.position_at_ms)) IS TRUE
            UNION ALL
            SELECT vehicle.lat, vehicle.lon, vehicle.position_at_ms, vehicle.speed_kmh, vehicle.heading_deg
            WHERE (heard.position_at_ms >= coalesce(vehicle.position_at_ms, heard.position_at_ms)) IS NOT TRUE),
        battery_pct = coalesce(heard.battery_pct, vehicle.battery_pct),
        odometer_km = coalesce(heard.odometer_km, vehicle.odometer_km),
        ignition = coalesce(heard.ignition, vehicle.ignition),
        metrics = coalesce(heard.metrics, vehicle.metrics),
        as_of_ms = max(heard.as_of_ms, vehicle.as_of_ms),
        clock_skew_ms = coalesce(heard.clock_skew_ms, vehicle.clock_skew_ms)
    FROM (
        SELECT value ->> 0 AS customer, value ->> 1 AS vehicle, value ->> '$[2][0]' AS last_seen_ms,
               value ->> '$[2][1]' AS as_of_ms, value ->> '$[2][2]' AS clock_skew_ms,
               value ->> '$[3][0]' AS lat, value ->> '$[3][1]' AS lon, value ->> '$[3][2]' AS position_at_ms,
               value ->> '$[3][3]' AS speed_kmh, value ->> '$[3][4]' AS heading_deg,
               value ->> '$[4][0]' AS battery_pct, value ->> '$[4][1]' AS odometer_km,
               value ->> '$[4][2]' AS ignition, value ->> '$[4][3]' AS metrics
        FROM json_each(?1)
    ) AS heard
    WHERE vehicle.customer = heard.customer AND vehicle.vehicle = heard.vehicle
      AND coalesce(vehicle.last_seen_ms, heard.last_seen_ms) <= heard.last_seen_ms";

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

/// Every statement of this file.
#[cfg(test)]
pub const STATEMENTS: &[&str] =
    &[ADD_CUSTOMERS, MOVE_VEHICLES, ADD_TRANSITIONS, REGISTER, HEARD, LISTENED, RECORD_GAP, CLOSE_OPEN_GAPS];
