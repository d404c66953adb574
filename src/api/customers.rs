//! `GET /customers`: who has vehicles here, and how many in which status.
//! Fed by the board, and by the store for names.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::Service;
use super::error::Problem;
use super::params::{Params, cursor};
use super::vehicles::CountsView;
use crate::domain::time::Millis;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    after: String,
}

#[derive(Serialize)]
struct Customer<'a> {
    customer: &'a str,
    name: Option<&'a str>,
    offline_after_ms: Millis,
    counts: CountsView,
}

#[derive(Serialize)]
struct Page<'a> {
    items: Vec<Customer<'a>>,
    next_cursor: Option<String>,
}

/// A page of the customers, by identifier.
pub async fn list(request: HttpRequest, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &["limit", "cursor"])?;
    let limit = params.limit()?;
    let place = params.cursor::<Place>()?;
    let board = service.feed.board();
    let found = board.customers(place.as_ref().map(|place| place.after.as_str()));
    let mut items: Vec<Customer<'_>> = found
        .filter(|(customer, _)| params.caller().sees(customer))
        .take(limit + 1)
        .map(|(customer, counts)| {
            let stored = service.customers.get(&**customer);
            let name = stored.and_then(|stored| stored.name.as_deref());
            let own = stored.and_then(|stored| stored.offline_after);
            let offline_after_ms = own.unwrap_or(service.rules.offline_after);
            Customer { customer, name, offline_after_ms, counts: counts.into() }
        })
        .collect();
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|last| cursor(&Place { after: last.customer.to_owned() }));
    Ok(HttpResponse::Ok().json(Page { items, next_cursor: next }))
}
