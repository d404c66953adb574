//! `GET /audit`: what administrators did; and how a handler says that it did something.
//! Fed by the handlers that change something; kept in the store.

use std::sync::Arc;

use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::Service;
use super::auth::Caller;
use super::error::Problem;
use super::params::{Params, cursor};
use super::porter::Address;
use super::vehicles::read_customer;
use crate::domain::time::{self, Millis};
use crate::store::audit::AuditEntry;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    before: i64,
}

#[derive(Serialize)]
struct Item {
    #[serde(serialize_with = "time::as_text::serialize")]
    at: Millis,
    who: String,
    customer: Option<Arc<str>>,
    what: String,
    subject: String,
    address: String,
    result: String,
}

#[derive(Serialize)]
struct Page {
    items: Vec<Item>,
    next_cursor: Option<String>,
}

/// A page of what was done, newest first.
pub async fn list(request: HttpRequest, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &["customer", "limit", "cursor"])?;
    let (customer, limit) = (read_customer(&params)?, params.limit()?);
    let before = params.cursor::<Place>()?.map(|place| place.before);
    let found = service.store.audit(customer.as_deref(), before, limit as u32 + 1).await;
    let mut found = found.map_err(|error| Problem::store(&error))?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next_cursor = found.last().filter(|_| more).map(|(number, _)| cursor(&Place { before: *number }));
    let items = found.into_iter().map(|(_, entry)| {
        let AuditEntry { at, who, customer, what, subject, address, result } = entry;
        Item { at, who, customer, what, subject, address, result }
    });
    Ok(HttpResponse::Ok().json(Page { items: items.collect(), next_cursor }))
}

/// Keeps that the caller did something. It is done by then, so a store that does not take the entry is logged, with
/// the entry, and does not undo it.
pub async fn note(
    service: &Service,
    request: &HttpRequest,
    what: &str,
    customer: Option<Arc<str>>,
    subject: impl Into<String>,
) {
    let who = Caller::of(request).map_or_else(|_| "nobody".to_owned(), |caller| caller.who.to_string());
    let address = request.extensions().get::<Address>().map(|address| address.0.to_string()).unwrap_or_default();
    let (what, subject, result) = (what.to_owned(), subject.into(), "ok".to_owned());
    let entry = AuditEntry { at: service.clock.today(), who, customer, what, subject, address, result };
    if let Err(error) = service.store.record(&entry).await {
        tracing::error!(?entry, "the audit could not be written: {error:#}");
    }
}
