//! `GET /customers/{customer}/vehicles/{vehicle}/heartbeats`: what a vehicle said, newest first by its own time.
//! Fed by the store's heartbeat log; read by the trail on the map and by whoever asks. Pages stay stable: a row is
//! never changed, and one that comes late lies where its time says.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::Service;
use super::archived::{ArchivedView, archived};
use super::error::Problem;
use super::params::{Params, cursor};
use super::registry::is_or_was_known;
use super::vehicles::no_vehicle;
use crate::domain::logged::Logged;
use crate::domain::time::{self, Millis};
use crate::live::protocol::MetricsView;
use crate::store::heartbeats::{HeartbeatQuery, Kept};
use crate::store::retention::Kind;

#[derive(Serialize)]
struct Page<'a> {
    items: Vec<Item<'a>>,
    next_cursor: Option<String>,
    /// Which heartbeats are kept now; what came under another setting is shown all the same.
    kept: &'static str,
    /// Older ones were dropped.
    #[serde(serialize_with = "time::as_optional_text::serialize")]
    kept_from: Option<Millis>,
    /// Where those of the period lie.
    archived: Vec<ArchivedView>,
}

#[derive(Serialize)]
struct Item<'a> {
    #[serde(serialize_with = "time::as_text::serialize")]
    at: Millis,
    #[serde(serialize_with = "time::as_text::serialize")]
    arrived_at: Millis,
    backlog: bool,
    seq: Option<u64>,
    /// Fingerprint: the text itself is not kept.
    boot: Option<String>,
    lat: Option<f64>,
    lon: Option<f64>,
    speed_kmh: Option<f32>,
    heading_deg: Option<f32>,
    battery_pct: Option<f32>,
    odometer_km: Option<f64>,
    ignition: Option<bool>,
    metrics: MetricsView<'a>,
}

impl<'a> Item<'a> {
    fn of(row: &'a Kept) -> Self {
        let Logged { at, arrived, backlog, said, .. } = &row.beat;
        Self {
            at: *at,
            arrived_at: *arrived,
            backlog: *backlog,
            seq: said.seq,
            boot: said.boot.map(|mark| format!("{mark:016x}")),
            lat: said.position.map(|(lat, _)| lat),
            lon: said.position.map(|(_, lon)| lon),
            speed_kmh: said.speed_kmh,
            heading_deg: said.heading_deg,
            battery_pct: said.battery_pct,
            odometer_km: said.odometer_km,
            ignition: said.ignition,
            metrics: MetricsView(said.metrics.as_deref()),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    at: Millis,
    id: i64,
}

/// A page of one vehicle's.
pub async fn of_vehicle(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    service: web::Data<Service>,
) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &["from", "to", "limit", "cursor"])?;
    let (customer, vehicle) = path.into_inner();
    if !is_or_was_known(&service, &customer, &vehicle) {
        return Err(no_vehicle(&customer, &vehicle));
    }
    let (from, to) = params.range()?;
    let limit = params.limit()?;
    let before = params.cursor::<Place>()?.map(|Place { at, id }| (at, id));
    let (from, to) = (from.unwrap_or(0), to.unwrap_or(time::LATEST));
    let query = HeartbeatQuery { customer, vehicle, from, to, before, limit: limit as u32 + 1 };
    let mut found = service.store.heartbeats(&query).await.map_err(|error| Problem::store(&error))?;
    let more = found.len() > limit;
    found.truncate(limit);
    let place = |row: &Kept| Place { at: row.beat.at, id: row.id };
    let next_cursor = found.last().filter(|_| more).map(|last| cursor(&place(last)));
    let (kept, kept_from) = (service.heartbeats_kept.word(), service.horizons.of(Kind::Heartbeats));
    let archived = archived(&service, Kind::Heartbeats, Some(from), Some(to));
    let items = found.iter().map(Item::of).collect();
    Ok(HttpResponse::Ok().json(Page { items, next_cursor, kept, kept_from, archived }))
}
