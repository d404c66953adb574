//! The heartbeat log in Postgres, each statement beside the function that binds it.
//! Fed by the store's trait: writes run on the writing connection, inside one transaction a call.

use std::sync::atomic::Ordering::Relaxed;

use async_trait::async_trait;
use sqlx::postgres::PgConnection;

use super::Postgres;
use super::write::{CHUNK, column};
use crate::domain::logged::Logged;
use crate::domain::time::Millis;
use crate::store::heartbeats::{
    HeartbeatQuery, HeartbeatRow, HeartbeatStore, HeartbeatSweep, Kept, Place, id, kept, metrics_column, next_name,
    seq_column,
};

#[async_trait]
impl HeartbeatStore for Postgres {
    async fn log_heartbeats(&self, number: i64, beats: &[Logged]) -> anyhow::Result<()> {
        let (first, beats) = (id(self.owner.load(Relaxed), number), beats.to_vec());
        self.write(move |connection| Box::pin(log(connection, first, beats))).await
    }

    async fn heartbeats(&self, query: &HeartbeatQuery) -> anyhow::Result<Vec<Kept>> {
        let query = query.clone();
        self.read_past(|connection| Box::pin(page(connection, query))).await
    }

    async fn heartbeats_in_order(&self, sweep: &HeartbeatSweep) -> anyhow::Result<Vec<Kept>> {
        let sweep = sweep.clone();
        self.read_past(|connection| Box::pin(in_order(connection, sweep))).await
    }
}

const ADD_DAYS: &str = "SELECT add_heartbeat_days($1)";

const LOG: &str = "
    INSERT INTO heartbeat (customer, vehicle, at_ms, id, arrived_ms, backlog, seq, boot, lat, lon, speed_kmh,
                           heading_deg, battery_pct, odometer_km, ignition, metrics)
    SELECT customer, vehicle, at_ms, id, arrived_ms, backlog, seq, boot, lat, lon, speed_kmh,
           heading_deg, battery_pct, odometer_km, ignition, metrics::json FROM unnest(
        $1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::boolean[], $7::bigint[], $8::bigint[],
        $9::double precision[], $10::double precision[], $11::real[], $12::real[], $13::real[],
        $14::double precision[], $15::boolean[], $16::text[]
    ) AS row (customer, vehicle, at_ms, id, arrived_ms, backlog, seq, boot, lat, lon, speed_kmh,
              heading_deg, battery_pct, odometer_km, ignition, metrics)
    WHERE NOT EXISTS (
        SELECT FROM departed
        WHERE departed.customer = row.customer AND departed.vehicle = row.vehicle AND departed.purged
          AND departed.at_ms >= row.arrived_ms)
    ON CONFLICT DO NOTHING";

/// Adds rows, numbered from `first`, and the days they need.
async fn log(connection: &mut PgConnection, first: i64, beats: Vec<Logged>) -> anyhow::Result<()> {
    for (rows, ids) in beats.chunks(CHUNK).zip((first..).step_by(CHUNK)) {
        sqlx::query(ADD_DAYS).bind(column(rows, |row| row.at)).execute(&mut *connection).await?;
        let metrics = rows.iter().map(|row| metrics_column(&row.said)).collect::<anyhow::Result<Vec<_>>>()?;
        let ids: Vec<i64> = (ids..).take(rows.len()).collect();
        let log = sqlx::query(LOG)
            .bind(column(rows, |row| row.key.customer.to_string()))
            .bind(column(rows, |row| row.key.vehicle.to_string()))
            .bind(column(rows, |row| row.at))
            .bind(ids)
            .bind(column(rows, |row| row.arrived))
            .bind(column(rows, |row| row.backlog))
            .bind(column(rows, |row| seq_column(&row.said)))
            .bind(column(rows, |row| row.said.boot.map(u64::cast_signed)))
            .bind(column(rows, |row| row.said.position.map(|position| position.0)))
            .bind(column(rows, |row| row.said.position.map(|position| position.1)))
            .bind(column(rows, |row| row.said.speed_kmh))
            .bind(column(rows, |row| row.said.heading_deg))
            .bind(column(rows, |row| row.said.battery_pct))
            .bind(column(rows, |row| row.said.odometer_km))
            .bind(column(rows, |row| row.said.ignition))
            .bind(metrics);
        log.execute(&mut *connection).await?;
    }
    Ok(())
}

const PAGE: &str = "
    SELECT customer, vehicle, at_ms, id, arrived_ms, backlog, seq, boot, lat, lon, speed_kmh, heading_deg, battery_pct,
           odometer_km, ignition, metrics::text
    FROM heartbeat WHERE customer = $1 AND vehicle = $2 AND at_ms >= $3 AND at_ms <= $4 AND (at_ms, id) < ($4, $5)
    ORDER BY at_ms DESC, id DESC LIMIT $6";

/// `at_ms <= $4` is in the bound after it; said by itself it leaves out the days after.
async fn page(connection: &mut PgConnection, query: HeartbeatQuery) -> anyhow::Result<Vec<Kept>> {
    let (at, id) = query.end();
    let rows = sqlx::query_as::<_, HeartbeatRow>(PAGE).bind(query.customer).bind(query.vehicle).bind(query.from);
    kept(rows.bind(at).bind(id).bind(i64::from(query.limit)).fetch_all(connection).await?)
}

const FIRST_FROM: &str = "
    SELECT vehicle FROM heartbeat WHERE customer = $1 AND vehicle >= $2 AND at_ms >= $3 AND at_ms < $4
    ORDER BY vehicle LIMIT 1";

const ONWARDS: &str = "
    SELECT customer, vehicle, at_ms, id, arrived_ms, backlog, seq, boot, lat, lon, speed_kmh, heading_deg, battery_pct,
           odometer_km, ignition, metrics::text
    FROM heartbeat
    WHERE customer = $1 AND vehicle = $2 AND at_ms >= $3 AND (at_ms, id) > ($3, $4) AND at_ms < $5
    ORDER BY at_ms, id LIMIT $6";

/// Vehicle by vehicle, so that a short period of a long history costs no more than its rows.
async fn in_order(connection: &mut PgConnection, sweep: HeartbeatSweep) -> anyhow::Result<Vec<Kept>> {
    let (mut name, mut place): (String, Place) = sweep.begin();
    let mut rows = Vec::new();
    while sweep.room(rows.len()) > 0 {
        let vehicle: Option<String> = match sweep.named_from(&name) {
            Some(named) => named,
            None => {
                let first = sqlx::query_scalar(FIRST_FROM).bind(sweep.customer.clone()).bind(name.clone());
                first.bind(sweep.from).bind(sweep.to).fetch_optional(&mut *connection).await?
            }
        };
        let Some(vehicle) = vehicle else { break };
        let (at, id): (Millis, i64) = if vehicle == name { place } else { sweep.start() };
        let more = sqlx::query_as::<_, HeartbeatRow>(ONWARDS).bind(sweep.customer.clone()).bind(vehicle.clone());
        let more = more.bind(at).bind(id).bind(sweep.to).bind(sweep.room(rows.len()));
        rows.extend(more.fetch_all(&mut *connection).await?);
        (name, place) = (next_name(&vehicle), sweep.start());
    }
    kept(rows)
}

/// Every statement of this file.
#[cfg(test)]
pub const STATEMENTS: &[&str] = &[ADD_DAYS, LOG, PAGE, FIRST_FROM, ONWARDS];

/// The statements that read the log, which its key must serve.
#[cfg(test)]
pub const LISTS: [&str; 3] = [PAGE, FIRST_FROM, ONWARDS];
