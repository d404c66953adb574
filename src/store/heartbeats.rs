//! The heartbeat log as the stores keep it. Fed by the fleet's log task in batches; read by REST a page at a time,
//! newest first, and by exports in the order of vehicles.

use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use sqlx::FromRow;

use crate::domain::ids::VehicleKey;
use crate::domain::logged::{Facts, Logged};
use crate::domain::time::Millis;

/// Bits of a row's id that count within one process: enough for a million a second over twelve days, and eight million
/// starts above them.
const OWN_BITS: u32 = 40;

/// A place in a vehicle's log: instants may be equal, ids are not.
pub type Place = (Millis, i64);

/// A row of the log with its number.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// Tells rows of one instant apart; ascends in the order of arrival.
    pub id: i64,
    /// The heartbeat.
    pub beat: Logged,
}

impl Kept {
    /// Its place in its vehicle's log.
    pub fn place(&self) -> Place {
        (self.beat.at, self.id)
    }
}

/// Which heartbeats of one vehicle are asked for, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatQuery {
    /// Whose.
    pub customer: String,
    /// Its vehicle.
    pub vehicle: String,
    /// `at` not before.
    pub from: Millis,
    /// `at` before.
    pub to: Millis,
    /// Only those strictly older than this one.
    pub before: Option<Place>,
    /// At most so many.
    pub limit: u32,
}

/// Which heartbeats of a customer are read in order: by vehicle, then `at`, then id, all ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatSweep {
    /// Whose.
    pub customer: String,
    /// Only of these vehicles, in ascending order, each once; none: of all that have any.
    pub vehicles: Option<Arc<[String]>>,
    /// `at` not before.
    pub from: Millis,
    /// `at` before.
    pub to: Millis,
    /// Go on after this row.
    pub after: Option<(String, Place)>,
    /// At most so many. Fewer come only at the end.
    pub limit: u32,
}

impl HeartbeatQuery {
    /// Every row of the page is strictly before this place.
    pub fn end(&self) -> Place {
        self.before.filter(|before| before.0 < self.to).unwrap_or((self.to, i64::MIN))
    }
}

impl HeartbeatSweep {
    /// Where the first vehicle begins: a name that may be none's, and the place within it.
    pub fn begin(&self) -> (String, Place) {
        let (vehicle, place) = self.after.clone().unwrap_or((String::new(), (Millis::MIN, i64::MAX)));
        (vehicle, place.max(self.start()))
    }

    /// Where each later vehicle begins: every row is strictly after it.
    pub fn start(&self) -> Place {
        (self.from.saturating_sub(1), i64::MAX)
    }

    /// Rows that are still wanted.
    pub fn room(&self, have: usize) -> i64 {
        i64::from(self.limit) - have as i64
    }

    /// The vehicle that is named first at or after this name, where vehicles are named at all.
    pub fn named_from(&self, vehicle: &str) -> Option<Option<String>> {
        let names = self.vehicles.as_ref()?;
        Some(names.iter().find(|name| name.as_str() >= vehicle).cloned())
    }
}

/// The first name after this one: no name holds a control character.
pub fn next_name(vehicle: &str) -> String {
    format!("{vehicle}\u{1}")
}

/// The heartbeat log of a store.
#[async_trait]
pub trait HeartbeatStore: Send + Sync {
    /// Adds heartbeats; one transaction. `number` is that of the first of them within the process, ascending from 1:
    /// the same again adds nothing. Those of a vehicle whose history was deleted after they arrived are left out.
    async fn log_heartbeats(&self, number: i64, beats: &[Logged]) -> anyhow::Result<()>;

    /// One page of a vehicle's, newest first.
    async fn heartbeats(&self, query: &HeartbeatQuery) -> anyhow::Result<Vec<Kept>>;

    /// The next of a customer's, in order. A page costs what it holds, and a step in the index for each vehicle passed.
    async fn heartbeats_in_order(&self, sweep: &HeartbeatSweep) -> anyhow::Result<Vec<Kept>>;
}

/// The id of a row: of the writer with this number, the row with this number.
pub fn id(owner: i64, number: i64) -> i64 {
    (owner << OWN_BITS) | number
}

/// `seq` as a column; one that no column holds is none.
pub fn seq_column(said: &Facts) -> Option<i64> {
    said.seq.and_then(|seq| seq.try_into().ok())
}

/// The metrics as a column.
pub fn metrics_column(said: &Facts) -> anyhow::Result<Option<String>> {
    Ok(said.metrics.as_deref().map(serde_json::to_string).transpose()?)
}

/// A row as both stores read it.
#[derive(Debug, FromRow)]
pub struct HeartbeatRow {
    customer: String,
    vehicle: String,
    at_ms: Millis,
    id: i64,
    arrived_ms: Millis,
    backlog: bool,
    seq: Option<i64>,
    boot: Option<i64>,
    lat: Option<f64>,
    lon: Option<f64>,
    speed_kmh: Option<f32>,
    heading_deg: Option<f32>,
    battery_pct: Option<f32>,
    odometer_km: Option<f64>,
    ignition: Option<bool>,
    metrics: Option<String>,
}

/// The rows of a read; those of one vehicle share its names.
pub fn kept(rows: Vec<HeartbeatRow>) -> anyhow::Result<Vec<Kept>> {
    let mut key: Option<Arc<VehicleKey>> = None;
    let mut all = Vec::with_capacity(rows.len());
    for row in rows {
        let same = key.take().filter(|key| *key.customer == *row.customer && *key.vehicle == *row.vehicle);
        let fresh = || Arc::new(VehicleKey { customer: row.customer.into(), vehicle: row.vehicle.into() });
        let own = same.unwrap_or_else(fresh);
        let metrics = row.metrics.as_deref().map(serde_json::from_str).transpose();
        let said = Facts {
            seq: row.seq.map(i64::unsigned_abs),
            boot: row.boot.map(i64::cast_unsigned),
            position: row.lat.zip(row.lon),
            speed_kmh: row.speed_kmh,
            heading_deg: row.heading_deg,
            battery_pct: row.battery_pct,
            odometer_km: row.odometer_km,
            ignition: row.ignition,
            metrics: metrics.with_context(|| format!("a stored heartbeat of {own}"))?.map(Box::new),
        };
        let (at, arrived, backlog) = (row.at_ms, row.arrived_ms, row.backlog);
        key = Some(Arc::clone(&own));
        all.push(Kept { id: row.id, beat: Logged { key: own, at, arrived, backlog, said } });
    }
    Ok(all)
}
