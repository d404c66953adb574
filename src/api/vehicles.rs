//! `GET /vehicles` and one vehicle: straight from the board; with `as_of` vehicles_at.rs answers.
//! Fed by the board; the same vehicle form as on the WebSocket.

use std::hash::BuildHasher;

use actix_web::{HttpRequest, HttpResponse, web};
use foldhash::quality::FixedState;
use serde::{Deserialize, Serialize};

use super::Service;
use super::error::Problem;
use super::params::{Params, cursor};
use super::registry::etag;
use super::vehicles_at;
use crate::domain::board::{Board, Counts, Slot};
use crate::domain::ids;
use crate::domain::query::{Filter, Query, Sort};
use crate::domain::transition::Status;
use crate::live::protocol::VehicleView;

/// Longest search text, bytes.
pub const TEXT_BYTES_MAX: usize = 200;

/// Where a list goes on. It holds a fingerprint of the question, so that it is not used for another one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
enum Place {
    After { customer: String, vehicle: String, question: u64 },
    Order { number: u64, from: usize, question: u64 },
}

/// Vehicles per status, as JSON.
#[derive(Debug, Serialize)]
pub struct CountsView {
    online: u32,
    offline: u32,
    unobserved: u32,
    never_seen: u32,
}

impl From<Counts> for CountsView {
    fn from(counts: Counts) -> Self {
        Self {
            online: counts.of(Status::Online),
            offline: counts.of(Status::Offline),
            unobserved: counts.of(Status::Unobserved),
            never_seen: counts.of(Status::NeverSeen),
        }
    }
}

/// One page.
#[derive(Serialize)]
pub struct Page<'a> {
    /// The vehicles.
    pub items: Vec<VehicleView<'a>>,
    /// Where the next page begins.
    pub next_cursor: Option<String>,
    /// Vehicles of the whole question.
    pub total: u32,
    /// The same by status.
    pub counts: CountsView,
}

/// A page of the fleet.
pub async fn list(request: HttpRequest, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &["customer", "status", "q", "tag", "sort", "limit", "cursor", "as_of"])?;
    if let Some(at) = params.time("as_of")? {
        return vehicles_at::list(&service, &params, at).await;
    }
    let (query, limit) = (read_query(&params)?, params.limit()?);
    let sort = params.parsed("sort", Sort::parse)?.unwrap_or_default();
    let question = FixedState::default().hash_one((&query, sort));
    let place = params.cursor::<Place>()?;
    let board = service.feed.board();
    all_known(&service, &board, &query.filter)?;
    let (slots, counts, next) = match (sort, place) {
        (Sort::Vehicle, None) => by_key(&board, &query, None, limit, question),
        (Sort::Vehicle, Some(Place::After { customer, vehicle, question: of })) if of == question => {
            by_key(&board, &query, Some((&customer, &vehicle)), limit, question)
        }
        (_, None) if sort != Sort::Vehicle => {
            let order = board.order(&query, sort).into();
            let number = service.orders.keep((query.clone(), sort), std::sync::Arc::clone(&order));
            by_order(&board, &order, (number, 0), limit, question)
        }
        (_, Some(Place::Order { number, from, question: of })) if of == question => {
            let kept = service.orders.get(number, &(query, sort));
            let order = kept.ok_or_else(|| Problem::field("cursor", "has expired; start again without it"))?;
            by_order(&board, &order, (number, from), limit, question)
        }
        _ => return Err(Problem::field("cursor", "belongs to another question")),
    };
    let items = slots.iter().filter_map(|slot| board.row(*slot)).map(VehicleView::whole).collect();
    let next_cursor = next.map(|place| cursor(&place));
    Ok(HttpResponse::Ok().json(Page { items, next_cursor, total: counts.total(), counts: counts.into() }))
}

/// One vehicle.
pub async fn one(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    service: web::Data<Service>,
) -> Result<HttpResponse, Problem> {
    Params::read(&request, &[])?;
    let board = service.feed.board();
    let row = board.find(&path.0, &path.1).ok_or_else(|| no_vehicle(&path.0, &path.1))?;
    Ok(HttpResponse::Ok().insert_header(etag(row.revision())).json(VehicleView::whole(row)))
}

/// The 404 of a vehicle nobody knows.
pub fn no_vehicle(customer: &str, vehicle: &str) -> Problem {
    Problem::not_found(format!("customer '{customer}' has no vehicle '{vehicle}'"))
}

/// Whether a customer is known: it has vehicles, or it was stored.
pub fn is_known(service: &Service, board: &Board, customer: &str) -> bool {
    board.knows_customer(customer) || service.customers.holds(customer)
}

/// Whether all customers that a filter names are known to its reader. One that is another's is as unknown as one that
/// never was.
///
/// # Errors
/// 422 naming the first that is not.
pub fn all_known(service: &Service, board: &Board, filter: &Filter) -> Result<(), Problem> {
    let unknown = |name: &&String| !filter.allows_customer(name) || !is_known(service, board, name);
    match filter.customers.iter().find(unknown) {
        Some(unknown) => Err(Problem::field("customer", format!("there is no customer '{unknown}'"))),
        None => Ok(()),
    }
}

/// The filter in `customer` and `status`, of what the caller may see.
///
/// # Errors
/// 422 naming the parameter.
pub fn read_filter(params: &Params) -> Result<Filter, Problem> {
    let (customers, statuses) = (params.text("customer"), params.text("status"));
    Filter::parse(customers.unwrap_or_default(), statuses.unwrap_or_default())
        .map(|filter| filter.within(params.caller().customer.clone()))
        .map_err(|(name, problem)| Problem::field(name, problem))
}

/// The one customer in `customer`, as far as the caller may see it; without one the caller's own, if it has one.
///
/// # Errors
/// 422 naming the parameter.
pub fn read_customer(params: &Params) -> Result<Option<String>, Problem> {
    let caller = params.caller();
    let named = params.parsed("customer", |name| {
        ids::check_customer(name).map_err(|bad| bad.to_string())?;
        if caller.sees(name) { Ok(name.to_owned()) } else { Err(format!("there is no customer '{name}'")) }
    })?;
    Ok(named.or_else(|| caller.customer.as_deref().map(str::to_owned)))
}

/// As [`read_customer`]; one that is named is known too.
///
/// # Errors
/// 422 naming the parameter.
pub fn read_known_customer(service: &Service, params: &Params) -> Result<Option<String>, Problem> {
    let customer = read_customer(params)?;
    let named = params.text("customer").map(str::to_owned).into_iter().collect();
    all_known(service, &service.feed.board(), &Filter { customers: named, ..Filter::default() })?;
    Ok(customer)
}

fn read_query(params: &Params) -> Result<Query, Problem> {
    let name_like = |text: &str| match text {
        text if text.len() > TEXT_BYTES_MAX => Err(format!("is longer than {TEXT_BYTES_MAX} bytes")),
        text if text.chars().any(char::is_control) => Err("holds a control character".to_owned()),
        text => Ok(text.to_owned()),
    };
    let text = params.parsed("q", name_like)?.map(|text| text.to_lowercase());
    Ok(Query { filter: read_filter(params)?, text, tag: params.parsed("tag", name_like)? })
}

type Found = (Vec<Slot>, Counts, Option<Place>);

fn by_key(board: &Board, query: &Query, after: Option<(&str, &str)>, limit: usize, question: u64) -> Found {
    let (mut slots, counts) = board.page(query, after, limit + 1);
    let more = slots.len() > limit;
    slots.truncate(limit);
    let last = slots.last().filter(|_| more).and_then(|slot| board.row(*slot));
    let next = last.map(|row| {
        let (customer, vehicle) = (row.key.customer.to_string(), row.key.vehicle.to_string());
        Place::After { customer, vehicle, question }
    });
    (slots, counts, next)
}

fn by_order(board: &Board, order: &[Slot], (number, from): (u64, usize), limit: usize, question: u64) -> Found {
    let from = from.min(order.len());
    let end = (from + limit).min(order.len());
    let next = (end < order.len()).then_some(Place::Order { number, from: end, question });
    (order[from..end].to_vec(), board.count(order), next)
}
