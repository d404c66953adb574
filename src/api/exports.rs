//! `/exports`: order a part of the past as a file, follow it, cancel it or remove it.
//! Feeds the exports station; the file itself is fetched at downloads.rs. A customer's key sees and makes its own only.

use std::sync::Arc;

use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::archived::still_kept;
use super::auth::Caller;
use super::error::Problem;
use super::params::{Params, cursor};
use super::registry::is_or_was_known;
use super::vehicles::{all_known, no_vehicle};
use super::{Service, audit, body};
use crate::domain::export::{ExportId, Format, Kind, Order, State, ZIP_VEHICLES_MAX};
use crate::domain::ids;
use crate::domain::query::Filter;
use crate::domain::time::{self, Millis};
use crate::store::exports::{ExportQuery, StoredExport};
use crate::store::retention;

/// An export as it is shown.
#[derive(Serialize)]
struct View {
    id: String,
    state: State,
    progress: f64,
    rows: u64,
    bytes: u64,
    attempts: u32,
    error: Option<String>,
    #[serde(rename = "exportUri")]
    export_uri: Option<String>,
    #[serde(serialize_with = "time::as_optional_text::serialize")]
    expires_at: Option<Millis>,
    kind: Kind,
    format: Format,
    customer: Option<String>,
    vehicles: Vec<String>,
    #[serde(serialize_with = "time::as_optional_text::serialize")]
    from: Option<Millis>,
    #[serde(serialize_with = "time::as_optional_text::serialize")]
    to: Option<Millis>,
    columns: Vec<String>,
    #[serde(serialize_with = "time::as_text::serialize")]
    made_at: Millis,
    made_by: String,
}

impl View {
    fn of(service: &Service, export: StoredExport) -> Result<Self, Problem> {
        let export = service.exports.live(export);
        let export_uri = service.exports.link(&export).map_err(|error| Problem::unlinked(&error))?;
        let StoredExport { id, made_by, made_at, order, state, attempts, done, error, expires_at, .. } = export;
        let Order { kind, customer, vehicles, from, to, columns, format } = order;
        Ok(Self {
            id: id.to_string(),
            state,
            progress: done.progress,
            rows: done.rows,
            bytes: done.bytes,
            attempts,
            error,
            export_uri,
            expires_at,
            kind,
            format,
            customer,
            vehicles,
            from,
            to,
            columns,
            made_at,
            made_by,
        })
    }
}

#[derive(Serialize)]
struct Page {
    items: Vec<View>,
    next_cursor: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    at: Millis,
    id: String,
}

/// What somebody orders.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    kind: String,
    format: String,
    customer: Option<String>,
    #[serde(default)]
    vehicles: Vec<String>,
    from: Option<Value>,
    to: Option<Value>,
    #[serde(default)]
    columns: Vec<String>,
}

impl Asked {
    /// The order, of what the caller may see, with everything in it that is possible.
    fn order(self, service: &Service, caller: &Caller) -> Result<Order, Problem> {
        let word = |field| move |problem: String| Problem::field(field, problem);
        let customer = self.customer.or_else(|| caller.customer.as_deref().map(str::to_owned));
        let order = Order {
            kind: Kind::parse(&self.kind).map_err(word("kind"))?,
            format: Format::parse(&self.format).map_err(word("format"))?,
            from: time_of("from", self.from)?,
            to: time_of("to", self.to)?,
            customer,
            vehicles: self.vehicles,
            columns: self.columns,
        };
        let order = order.check(service.clock.today(), service.exports.limits());
        let order = order.map_err(|(field, problem)| Problem::field(field, problem))?;
        check_vehicles(service, caller, &order)?;
        let log = match order.kind {
            Kind::Transitions | Kind::Availability => retention::Kind::Transitions,
            Kind::Heartbeats => retention::Kind::Heartbeats,
            Kind::Vehicles => return Ok(order),
        };
        still_kept(service, log, "from", order.period().0)?;
        Ok(order)
    }
}

/// RFC 3339, or epoch milliseconds as a number or a text.
fn time_of(field: &str, value: Option<Value>) -> Result<Option<Millis>, Problem> {
    let text = match value {
        None => return Ok(None),
        Some(Value::String(text)) => text,
        Some(other) => other.to_string(),
    };
    let wrong = || Problem::field(field, format!("'{text}' is neither RFC 3339 nor epoch milliseconds"));
    time::parse(&text).map(Some).ok_or_else(wrong)
}

/// Whether the caller may see whom an order is about, and whether there are such; the answer is the same.
fn check_vehicles(service: &Service, caller: &Caller, order: &Order) -> Result<(), Problem> {
    if let Some(customer) = &order.customer {
        ids::check_customer(customer).map_err(|bad| Problem::field("customer", bad.to_string()))?;
    }
    let filter = Filter { customers: order.customer.iter().cloned().collect(), ..Filter::default() };
    let filter = filter.within(caller.customer.clone());
    let customer = order.customer.as_deref().unwrap_or_default();
    let count = {
        let board = service.feed.board();
        all_known(service, &board, &filter)?;
        u64::from(board.counts(&filter).total())
    };
    if order.format == Format::CsvZip && order.vehicles.is_empty() && count > ZIP_VEHICLES_MAX {
        let problem =
            format!("csv.zip has a file a vehicle, {ZIP_VEHICLES_MAX} at most, and these are {count}; use csv");
        return Err(Problem::field("format", problem));
    }
    let unknown = order.vehicles.iter().find(|vehicle| !is_or_was_known(service, customer, vehicle));
    match unknown {
        Some(vehicle) => Err(Problem::field("vehicles", no_vehicle(customer, vehicle).to_string())),
        None => Ok(()),
    }
}

/// Takes an order: 202, with where it can be followed.
pub async fn create(
    request: HttpRequest,
    payload: web::Payload,
    service: web::Data<Service>,
) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &[])?;
    let caller = params.caller();
    let asked: Asked = body::json(&request, payload).await?;
    let order = asked.order(&service, caller)?;
    let tenant = caller.customer.as_deref().map(str::to_owned);
    let customer = order.customer.as_deref().map(Arc::from);
    let made = service.exports.order(order, tenant, caller.who.to_string()).await;
    let made = made.map_err(|error| Problem::store(&error))?;
    let export = made.ok_or_else(|| {
        let most = service.exports.kept_max();
        Problem::busy(format!("{most} exports wait, are worked on or are there; remove some (exports.kept_max)"))
    })?;
    let subject = format!("export {} ({})", export.id, export.order.kind.word());
    audit::note(&service, &request, "export.ordered", customer, subject).await;
    let place = format!("/api/v1/exports/{}", export.id);
    Ok(HttpResponse::Accepted().insert_header((LOCATION, place)).json(View::of(&service, export)?))
}

/// A page of the caller's exports, newest first.
pub async fn list(request: HttpRequest, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &["state", "limit", "cursor"])?;
    let limit = params.limit()?;
    let before = params.cursor::<Place>()?.and_then(|place| Some((place.at, ExportId::parse(&place.id)?)));
    let tenant = params.caller().customer.as_deref().map(str::to_owned);
    let query = ExportQuery { tenant, state: params.parsed("state", State::parse)?, before, limit: limit as u32 + 1 };
    let mut found = service.store.exports(&query).await.map_err(|error| Problem::store(&error))?;
    let more = found.len() > limit;
    found.truncate(limit);
    let last = found.last().filter(|_| more);
    let next_cursor = last.map(|last| cursor(&Place { at: last.made_at, id: last.id.to_string() }));
    let items = found.into_iter().map(|export| View::of(&service, export)).collect::<Result<_, _>>()?;
    Ok(HttpResponse::Ok().json(Page { items, next_cursor }))
}

/// One export.
pub async fn one(
    request: HttpRequest,
    path: web::Path<String>,
    service: web::Data<Service>,
) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &[])?;
    let export = find(&service, params.caller(), &path).await?;
    Ok(HttpResponse::Ok().json(View::of(&service, export)?))
}

/// Cancels one that is not over yet, which stays in the list; removes any other, with its file.
pub async fn remove(
    request: HttpRequest,
    path: web::Path<String>,
    service: web::Data<Service>,
) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &[])?;
    let export = find(&service, params.caller(), &path).await?;
    let away = |error: anyhow::Error| Problem::store(&error);
    let cancelled = !export.state.is_over() && service.exports.cancel(export.id).await.map_err(away)?;
    if !cancelled {
        // It may have come to its end meanwhile: what is removed is what there is now.
        let now = find(&service, params.caller(), &path).await?;
        service.exports.remove(&now).await.map_err(away)?;
    }
    let what = if cancelled { "export.cancelled" } else { "export.removed" };
    let customer = export.order.customer.as_deref().map(Arc::from);
    audit::note(&service, &request, what, customer, format!("export {}", export.id)).await;
    Ok(HttpResponse::NoContent().finish())
}

/// An export that the caller may see.
async fn find(service: &Service, caller: &Caller, id: &str) -> Result<StoredExport, Problem> {
    let none = || Problem::not_found(format!("there is no export '{id}'"));
    let number = ExportId::parse(id).ok_or_else(none)?;
    let found = service.store.export(number).await.map_err(|error| Problem::store(&error))?;
    let is_own =
        |export: &StoredExport| caller.customer.is_none() || export.tenant.as_deref() == caller.customer.as_deref();
    found.filter(is_own).ok_or_else(none)
}
