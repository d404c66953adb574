//! The heartbeat log in SQLite, each statement beside the function that binds it.
//! Fed by the store's trait: writes run on the writing connection, inside one transaction a call.

use std::sync::atomic::Ordering::Relaxed;

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;

use super::Sqlite;
use super::write::chunks;
use crate::domain::logged::Logged;
use crate::domain::time::Millis;
use crate::store::heartbeats::{
    HeartbeatQuery, HeartbeatRow, HeartbeatStore, HeartbeatSweep, Kept, Place, id, kept, metrics_column, next_name,
    seq_column,
};

#[async_trait]
impl HeartbeatStore for Sqlite {
    async fn log_heartbeats(&self, number: i64, beats: &[Logged]) -> anyhow::Result<()> {
        let rows = rows(id(self.owner.load(Relaxed), number), beats)?;
        self.write(|connection| Box::pin(log(connection, rows))).await
    }

    async fn heartbeats(&self, query: &HeartbeatQuery) -> anyhow::Result<Vec<Kept>> {
        let query = query.clone();
        self.read(|connection| Box::pin(page(connection, query))).await
    }

    async fn heartbeats_in_order(&self, sweep: &HeartbeatSweep) -> anyhow::Result<Vec<Kept>> {
        let sweep = sweep.clone();
        self.read_last(|connection| Box::pin(in_order(connection, sweep))).await
    }
}

/// Rows as the statement takes them, numbered from `first`.
fn rows(first: i64, beats: &[Logged]) -> anyhow::Result<Vec<String>> {
    chunks((first..).zip(beats).map(|(id, beat)| {
        let Logged { key, at, arrived, backlog, said } = beat;
        let device = (seq_column(said), said.boot.map(u64::cast_signed));
        let gauges = (said.battery_pct, said.odometer_km, said.ignition, metrics_column(said)?);
        let place = (said.position, said.speed_kmh, said.heading_deg);
        Ok((&*key.customer, &*key.vehicle, (at, id, arrived, backlog), device, place, gauges))
    }))
}

const LOG: &str = "
    INSERT INTO heartbeat (customer, vehicle, at_ms, id, arrived_ms, backlog, seq, boot, lat, lon, speed_kmh,
                           heading_deg, battery_pct, odometer_km, ignition, metrics)
    SELECT value ->> 0, value ->> 1, value ->> '$[2][0]', value ->> '$[2][1]', value ->> '$[2][2]', value ->> '$[2][3]',
           value ->> '$[3][0]', value ->> '$[3][1]', value ->> '$[4][0][0]', value ->> '$[4][0][1]',
           value ->> '$[4][1]', value ->> '$[4][2]',
           value ->> '$[5][0]', value ->> '$[5][1]', value ->> '$[5][2]', value ->> '$[5][3]'
    FROM json_each(?1) WHERE NOT EXISTS (
        SELECT 1 FROM departed
        WHERE customer = value ->> 0 AND vehicle = value ->> 1 AND purged AND departed.at_ms >= value ->> '$[2][2]')
    ORDER BY 1, 2, 3, 4
    ON CONFLICT DO NOTHING";

/// Adds rows; in the order of the key, so that each vehicle's page of the tree is found once.
async fn log(connection: &mut SqliteConnection, rows: Vec<String>) -> anyhow::Result<()> {
    for rows in &rows {
        sqlx::query(LOG).bind(rows).execute(&mut *connection).await?;
    }
    Ok(())
}

const PAGE: &str = "
    SELECT customer, vehicle, at_ms, id, arrived_ms, backlog, seq, boot, lat, lon, speed_kmh, heading_deg, battery_pct,
           odometer_km, ignition, metrics
    FROM heartbeat WHERE customer = ?1 AND vehicle = ?2 AND at_ms >= ?3 AND (at_ms, id) < (?4, ?5)
    ORDER BY at_ms DESC, id DESC LIMIT ?6";

async fn page(connection: &mut SqliteConnection, query: HeartbeatQuery) -> anyhow::Result<Vec<Kept>> {
    let (at, id) = query.end();
    let rows = sqlx::query_as::<_, HeartbeatRow>(PAGE).bind(query.customer).bind(query.vehicle).bind(query.from);
    kept(rows.bind(at).bind(id).bind(query.limit).fetch_all(connection).await?)
}

const FIRST_FROM: &str = "SELECT vehicle FROM heartbeat WHERE customer = ?1 AND vehicle >= ?2 ORDER BY vehicle LIMIT 1";

const ONWARDS: &str = "
    SELECT customer, vehicle, at_ms, id, arrived_ms, backlog, seq, boot, lat, lon, speed_kmh, heading_deg, battery_pct,
           odometer_km, ignition, metrics
    FROM heartbeat WHERE customer = ?1 AND vehicle = ?2 AND (at_ms, id) > (?3, ?4) AND at_ms < ?5
    ORDER BY at_ms, id LIMIT ?6";

/// Vehicle by vehicle, so that a short period of a long history costs no more than its rows.
async fn in_order(connection: &mut SqliteConnection, sweep: HeartbeatSweep) -> anyhow::Result<Vec<Kept>> {
    let (mut name, mut place): (String, Place) = sweep.begin();
    let mut rows = Vec::new();
    while sweep.room(rows.len()) > 0 {
        let vehicle: Option<String> = match sweep.named_from(&name) {
            Some(named) => named,
            None => {
                let first = sqlx::query_scalar(FIRST_FROM).bind(sweep.customer.clone()).bind(name.clone());
                first.fetch_optional(&mut *connection).await?
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
pub const STATEMENTS: &[&str] = &[LOG, PAGE, FIRST_FROM, ONWARDS];

/// The statements that read the log, which its key must serve.
#[cfg(test)]
pub const LISTS: [&str; 3] = [PAGE, FIRST_FROM, ONWARDS];
