//! What is written to Postgres, each statement beside the function that binds it.
//! Fed by the persister through the trait, inside one transaction a call; every statement may be repeated.

use sqlx::postgres::PgConnection;

use crate::domain::board::Registered;
use crate::domain::latest::Position;
use crate::domain::time::Millis;
use crate::domain::transition::Transition;
use crate::store::rows::{Folded, fold, newest_heard, signed};
use crate::store::{Checkpoint, NewVehicle, ObservationGap};

/// Rows a statement: a few megabytes of arrays, and well below the time limit of a statement.
const CHUNK: usize = 5_000;

/// Writes a batch.
pub async fn commit(connection: &mut PgConnection, transitions: Vec<Transition>) -> anyhow::Result<()> {
    for rows in fold(&transitions).chunks(CHUNK) {
        add_customers(connection, column(rows, |row| row.last.key.customer.to_string())).await?;
        move_vehicles(connection, rows).await?;
    }
    for rows in transitions.chunks(CHUNK) {
        add_transitions(connection, rows).await?;
    }
    Ok(())
}

/// One column of the rows, as an array to bind.
fn column<'a, R, C>(rows: &'a [R], of: impl Fn(&'a R) -> C) -> Vec<C> {
    rows.iter().map(of).collect()
}

const ADD_CUSTOMERS: &str = "
    INSERT INTO customer (customer) SELECT DISTINCT * FROM unnest($1::text[]) ORDER BY 1
    ON CONFLICT DO NOTHING";

async fn add_customers(connection: &mut PgConnection, customers: Vec<String>) -> anyhow::Result<()> {
    sqlx::query(ADD_CUSTOMERS).bind(customers).execute(connection).await?;
    Ok(())
}

const MOVE_VEHICLES: &str = "
    INSERT INTO vehicle (customer, vehicle, status, status_since_ms, seq, last_seen_ms,
                         lat, lon, position_at_ms, speed_kmh, heading_deg, as_of_ms)
    SELECT *, coalesce(position_at_ms, 0) FROM unnest(
        $1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[],
        $7::double precision[], $8::double precision[], $9::bigint[], $10::real[], $11::real[]
    ) AS row (customer, vehicle, status, at_ms, seq, last_seen_ms, lat, lon, position_at_ms, speed_kmh, heading_deg)
    ON CONFLICT (customer, vehicle) DO UPDATE SET
        status = excluded.status,
        status_since_ms = excluded.status_since_ms,
        seq = excluded.seq,
        last_seen_ms = greatest(vehicle.last_seen_ms, excluded.last_seen_ms),
        (lat, lon, position_at_ms, speed_kmh, heading_deg) = (
            SELECT excluded.lat, excluded.lon, excluded.position_at_ms, excluded.speed_kmh, excluded.heading_deg
            WHERE (excluded.position_at_ms >= coalesce(vehicle.position_at_ms, excluded.position_at_ms)) IS TRUE
            UNION ALL
            SELECT vehicle.lat, vehicle.lon, vehicle.position_at_ms, vehicle.speed_kmh, vehicle.heading_deg
            WHERE (excluded.position_at_ms >= coalesce(vehicle.position_at_ms, excluded.position_at_ms)) IS NOT TRUE),
        as_of_ms = greatest(vehicle.as_of_ms, excluded.as_of_ms)
    WHERE vehicle.seq < excluded.seq";

/// A vehicle's row moves forward only: in seq as a whole, and in time where a checkpoint may have come first.
async fn move_vehicles(connection: &mut PgConnection, rows: &[Folded<'_>]) -> anyhow::Result<()> {
    let seqs = rows.iter().map(|row| signed(row.last.change.seq)).collect::<anyhow::Result<Vec<_>>>()?;
    sqlx::query(MOVE_VEHICLES)
        .bind(column(rows, |row| row.last.key.customer.to_string()))
        .bind(column(rows, |row| row.last.key.vehicle.to_string()))
        .bind(column(rows, |row| row.last.change.to.word()))
        .bind(column(rows, |row| row.last.change.at))
        .bind(seqs)
        .bind(column(rows, |row| row.last_seen))
        .bind(column(rows, |row| row.position.map(|position| position.lat)))
        .bind(column(rows, |row| row.position.map(|position| position.lon)))
        .bind(column(rows, |row| row.position.map(|position| position.at_ms)))
        .bind(column(rows, |row| row.position.and_then(|position| position.speed_kmh)))
        .bind(column(rows, |row| row.position.and_then(|position| position.heading_deg)))
        .execute(connection)
        .await?;
    Ok(())
}

const ADD_TRANSITIONS: &str = "
    INSERT INTO transition (customer, vehicle, seq, from_status, to_status, at_ms, decided_at_ms, cause, evidence)
    SELECT customer, vehicle, seq, from_status, to_status, at_ms, decided_at_ms, cause, evidence::json FROM unnest(
        $1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::text[], $9::text[]
    ) AS row (customer, vehicle, seq, from_status, to_status, at_ms, decided_at_ms, cause, evidence)
    ON CONFLICT DO NOTHING";

async fn add_transitions(connection: &mut PgConnection, rows: &[Transition]) -> anyhow::Result<()> {
    let seqs = rows.iter().map(|row| signed(row.change.seq)).collect::<anyhow::Result<Vec<_>>>()?;
    let evidence = rows.iter().map(|row| serde_json::to_string(&row.evidence)).collect::<Result<Vec<_>, _>>()?;
    sqlx::query(ADD_TRANSITIONS)
        .bind(column(rows, |row| row.key.customer.to_string()))
        .bind(column(rows, |row| row.key.vehicle.to_string()))
        .bind(seqs)
        .bind(column(rows, |row| row.change.from.word()))
        .bind(column(rows, |row| row.change.to.word()))
        .bind(column(rows, |row| row.change.at))
        .bind(column(rows, |row| row.decided_at))
        .bind(column(rows, |row| row.change.cause.word()))
        .bind(evidence)
        .execute(connection)
        .await?;
    Ok(())
}

const REGISTER: &str = "
    INSERT INTO vehicle (customer, vehicle, name, registration, vin, tags, offline_after_ms)
    SELECT customer, vehicle, name, registration, vin, tags::json, offline_after_ms FROM unnest(
        $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[]
    ) AS row (customer, vehicle, name, registration, vin, tags, offline_after_ms)
    ON CONFLICT DO NOTHING";

/// Registers vehicles that are not stored yet.
pub async fn register(connection: &mut PgConnection, vehicles: Vec<NewVehicle>) -> anyhow::Result<()> {
    for rows in vehicles.chunks(CHUNK) {
        add_customers(connection, column(rows, |row| row.key.customer.to_string())).await?;
        let text = |of: fn(&Registered) -> &Option<Box<str>>| {
            column(rows, |row| row.registered.as_deref().and_then(|names| of(names).as_deref().map(str::to_owned)))
        };
        let tags = rows
            .iter()
            .map(|row| serde_json::to_string(row.registered.as_deref().map_or(&[][..], |names| &names.tags)));
        let tags = tags.collect::<Result<Vec<_>, _>>()?;
        sqlx::query(REGISTER)
            .bind(column(rows, |row| row.key.customer.to_string()))
            .bind(column(rows, |row| row.key.vehicle.to_string()))
            .bind(text(|names| &names.name))
            .bind(text(|names| &names.registration))
            .bind(text(|names| &names.vin))
            .bind(tags)
            .bind(column(rows, |row| row.offline_after))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Writes what was last heard of vehicles, and until when we listened.
pub async fn checkpoint(connection: &mut PgConnection, rows: Vec<Checkpoint>, until: Millis) -> anyhow::Result<()> {
    for rows in newest_heard(&rows).chunks(CHUNK) {
        hear(connection, rows).await?;
    }
    sqlx::query(LISTENED).bind(until).execute(connection).await?;
    Ok(())
}

const HEARD: &str = "
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
        metrics = coalesce(heard.metrics::json, vehicle.metrics),
        as_of_ms = greatest(heard.as_of_ms, vehicle.as_of_ms),
        clock_skew_ms = coalesce(heard.clock_skew_ms, vehicle.clock_skew_ms)
    FROM unnest(
        $1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[],
        $6::double precision[], $7::double precision[], $8::bigint[], $9::real[], $10::real[],
        $11::real[], $12::double precision[], $13::boolean[], $14::text[]
    ) AS heard (customer, vehicle, last_seen_ms, as_of_ms, clock_skew_ms, lat, lon, position_at_ms, speed_kmh,
                heading_deg, battery_pct, odometer_km, ignition, metrics)
    WHERE vehicle.customer = heard.customer AND vehicle.vehicle = heard.vehicle
      AND coalesce(vehicle.last_seen_ms, heard.last_seen_ms) <= heard.last_seen_ms";

async fn hear(connection: &mut PgConnection, rows: &[&Checkpoint]) -> anyhow::Result<()> {
    let place = |row: &&Checkpoint| -> Option<Position> { row.latest.position };
    let metrics = rows.iter().map(|row| row.latest.metrics.as_deref().map(serde_json::to_string).transpose());
    let metrics = metrics.collect::<Result<Vec<_>, _>>()?;
    sqlx::query(HEARD)
        .bind(column(rows, |row| row.key.customer.to_string()))
        .bind(column(rows, |row| row.key.vehicle.to_string()))
        .bind(column(rows, |row| row.last_seen))
        .bind(column(rows, |row| row.latest.as_of))
        .bind(column(rows, |row| row.latest.clock_skew))
        .bind(column(rows, |row| place(row).map(|position| position.lat)))
        .bind(column(rows, |row| place(row).map(|position| position.lon)))
        .bind(column(rows, |row| place(row).map(|position| position.at_ms)))
        .bind(column(rows, |row| place(row).and_then(|position| position.speed_kmh)))
        .bind(column(rows, |row| place(row).and_then(|position| position.heading_deg)))
        .bind(column(rows, |row| row.latest.battery_pct))
        .bind(column(rows, |row| row.latest.odometer_km))
        .bind(column(rows, |row| row.latest.ignition))
        .bind(metrics)
        .execute(connection)
        .await?;
    Ok(())
}

const LISTENED: &str = "
    INSERT INTO listening (alive_until_ms) VALUES ($1)
    ON CONFLICT (one) DO UPDATE SET alive_until_ms = greatest(listening.alive_until_ms, excluded.alive_until_ms)";

const RECORD_GAP: &str = "
    INSERT INTO observation_gap AS gap (scope, from_ms, to_ms, cause) VALUES ($1, $2, $3, $4)
    ON CONFLICT (scope, from_ms) DO UPDATE SET to_ms = coalesce(excluded.to_ms, gap.to_ms), cause = excluded.cause";

/// Writes one blind interval. Its end is never before its start, though a clock may have been set back in between.
pub async fn record_gap(connection: &mut PgConnection, gap: ObservationGap) -> anyhow::Result<()> {
    let end = gap.to.map(|to| to.max(gap.from));
    sqlx::query(RECORD_GAP).bind(gap.scope).bind(gap.from).bind(end).bind(gap.cause).execute(connection).await?;
    Ok(())
}

const CLOSE_OPEN_GAPS: &str = "UPDATE observation_gap SET to_ms = greatest(from_ms, $1) WHERE to_ms IS NULL";

/// Ends what is still open.
pub async fn close_open_gaps(connection: &mut PgConnection, to: Millis) -> anyhow::Result<()> {
    sqlx::query(CLOSE_OPEN_GAPS).bind(to).execute(connection).await?;
    Ok(())
}

/// Every statement of this file.
#[cfg(test)]
pub const STATEMENTS: &[&str] =
    &[ADD_CUSTOMERS, MOVE_VEHICLES, ADD_TRANSITIONS, REGISTER, HEARD, LISTENED, RECORD_GAP, CLOSE_OPEN_GAPS];
