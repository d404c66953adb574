//! `/quarantine`: vehicles that nobody registered and that send heartbeats: see them, take them in, or dismiss them.
//! Fed by the door's list; feeds the desk, which stores a vehicle before it lives.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::error::Problem;
use super::params::{Params, cursor};
use super::vehicles::read_customer;
use super::{Service, audit, registry};
use crate::domain::ids::VehicleKey;
use crate::domain::time::{self, Millis};

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    customer: String,
    vehicle: String,
}

#[derive(Serialize)]
struct Item {
    customer: Arc<str>,
    vehicle: CompactString,
    #[serde(serialize_with = "time::as_text::serialize")]
    first_seen: Millis,
    #[serde(serialize_with = "time::as_text::serialize")]
    last_seen: Millis,
    heartbeats: u64,
}

#[derive(Serialize)]
struct Page {
    items: Vec<Item>,
    next_cursor: Option<String>,
    total: usize,
    /// Of all customers, so only for whoever may see them.
    dropped: Option<u64>,
}

/// A page of the strangers, by customer and vehicle.
pub async fn list(request: HttpRequest, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &["customer", "limit", "cursor"])?;
    let customer = read_customer(&params)?;
    let place = params.cursor::<Place>()?;
    let after = place.map(|place| VehicleKey { customer: place.customer.into(), vehicle: place.vehicle.into() });
    let found = service.door.quarantine().page(customer.as_deref(), after, params.limit()?);
    let last = found.items.last().filter(|_| found.more);
    let next_cursor =
        last.map(|(key, _)| cursor(&Place { customer: key.customer.to_string(), vehicle: key.vehicle.to_string() }));
    let items = found.items.iter().map(|(key, stranger)| Item {
        customer: Arc::clone(&key.customer),
        vehicle: key.vehicle.clone(),
        first_seen: stranger.first_seen,
        last_seen: stranger.last_seen,
        heartbeats: stranger.heartbeats,
    });
    let (total, dropped) = (found.total, params.caller().customer.is_none().then_some(found.dropped));
    Ok(HttpResponse::Ok().json(Page { items: items.collect(), next_cursor, total, dropped }))
}

/// Registers a stranger: durable first, then on the board as never seen, so that its next heartbeat brings it online.
pub async fn accept(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    service: web::Data<Service>,
) -> Result<HttpResponse, Problem> {
    Params::read(&request, &[])?;
    let key = Arc::new(stranger(&path)?);
    let known = || Problem::conflict(format!("{key} is registered already"));
    let list = service.door.quarantine();
    if service.registry.knows(&key.customer, &key.vehicle) {
        list.remove(&key);
        return Err(known());
    }
    if !list.holds(&key) {
        return Err(nobody(&path));
    }
    let new = registry::enroll(&service, &key).await?;
    list.remove(&key);
    if !new {
        return Err(known());
    }
    audit::note(&service, &request, "quarantine.accepted", Some(Arc::clone(&key.customer)), key.to_string()).await;
    registry::shown(&service, &key, 0, true).await
}

/// Takes a stranger from the list; it comes back with its next heartbeat.
pub async fn dismiss(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    service: web::Data<Service>,
) -> Result<HttpResponse, Problem> {
    Params::read(&request, &[])?;
    let key = stranger(&path)?;
    if !service.door.quarantine().remove(&key) {
        return Err(nobody(&path));
    }
    audit::note(&service, &request, "quarantine.dismissed", Some(Arc::clone(&key.customer)), key.to_string()).await;
    Ok(HttpResponse::NoContent().finish())
}

fn stranger(path: &(String, String)) -> Result<VehicleKey, Problem> {
    VehicleKey::parse(&path.0, &path.1).map_err(|_| nobody(path))
}

fn nobody(path: &(String, String)) -> Problem {
    Problem::not_found(format!("no vehicle '{}' of customer '{}' is in quarantine", path.1, path.0))
}
