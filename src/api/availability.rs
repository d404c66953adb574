//! `GET .../availability`: how long vehicles were there, dark, or unknown to us.
//! Fed by the store's transitions and blind intervals. Only what is in the store counts: while it is away, this path
//! says so instead of guessing.

use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use super::Service;
use super::error::Problem;
use super::params::{Params, cursor};
use super::vehicles::{is_known, no_vehicle, read_filter};
use crate::domain::availability::{Availability, Blind, Tally};
use crate::domain::query::Query;
use crate::domain::time::{self, Millis};
use crate::store::{After, GAPS_MAX, TransitionQuery};

/// The period when nobody says: the last day.
const PERIOD_DEFAULT: Millis = 86_400_000;
/// Transitions read at once.
const READ_ROWS: u32 = 1_000;
/// Vehicles of a page that are read at the same time: as many as the store has readers.
const READ_TOGETHER: usize = 4;

#[derive(Serialize)]
struct View {
    customer: String,
    vehicle: String,
    #[serde(serialize_with = "time::as_text::serialize")]
    from: Millis,
    #[serde(serialize_with = "time::as_text::serialize")]
    to: Millis,
    online_ms: Millis,
    offline_ms: Millis,
    unobserved_ms: Millis,
    never_seen_ms: Millis,
    availability: Option<f64>,
    outages: u64,
    longest_outage_ms: Millis,
}

#[derive(Serialize)]
struct Page {
    items: Vec<View>,
    next_cursor: Option<String>,
}

/// The place after this vehicle, and the end of the period that the first page had.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    customer: String,
    vehicle: String,
    to: Millis,
}

/// A period of the past with our own blindness in it.
struct Period {
    from: Millis,
    to: Millis,
    blind: Blind,
}

/// One vehicle's.
pub async fn of_vehicle(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    service: web::Data<Service>,
) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &["from", "to"])?;
    let (customer, vehicle) = path.into_inner();
    if service.feed.board().find(&customer, &vehicle).is_none() {
        return Err(no_vehicle(&customer, &vehicle));
    }
    let period = Period::read(&service, &params, None).await?;
    Ok(HttpResponse::Ok().json(view(&service, &period, (customer, vehicle)).await?))
}

/// A page of vehicles, ordered by customer and vehicle.
pub async fn of_fleet(request: HttpRequest, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &["customer", "from", "to", "limit", "cursor"])?;
    let (query, limit) = (Query { filter: read_filter(&params)?, ..Query::default() }, params.limit()?);
    let place = params.cursor::<Place>()?;
    let (names, more) = names(&service, &query, place.as_ref(), limit)?;
    // All pages have the end of the first one, so that they can be added up.
    let period = Period::read(&service, &params, place.map(|place| place.to)).await?;
    let last = names.last().filter(|_| more).cloned();
    let next_cursor = last.map(|(customer, vehicle)| cursor(&Place { customer, vehicle, to: period.to }));
    let views = names.into_iter().map(|name| view(&service, &period, name));
    let items = stream::iter(views).buffered(READ_TOGETHER).try_collect().await?;
    Ok(HttpResponse::Ok().json(Page { items, next_cursor }))
}

type Name = (String, String);

/// The vehicles of a page, and whether there are more.
fn names(service: &Service, query: &Query, after: Option<&Place>, limit: usize) -> Result<(Vec<Name>, bool), Problem> {
    let board = service.feed.board();
    if let Some(unknown) = query.filter.customers.iter().find(|name| !is_known(service, &board, name)) {
        return Err(Problem::field("customer", format!("there is no customer '{unknown}'")));
    }
    let after = after.map(|place| (&*place.customer, &*place.vehicle));
    let (slots, _) = board.page(query, after, limit + 1);
    let rows = slots.iter().take(limit).filter_map(|slot| board.row(*slot));
    let name = |row: &crate::domain::board::Row| (row.key.customer.to_string(), row.key.vehicle.to_string());
    Ok((rows.map(name).collect(), slots.len() > limit))
}

impl Period {
    async fn read(service: &Service, params: &Params, end: Option<Millis>) -> Result<Self, Problem> {
        let today = service.clock.today();
        let (from, to) = params.range()?;
        // Nothing is known of the future.
        let to = end.or(to).unwrap_or(today).min(today);
        let from = from.unwrap_or(to - PERIOD_DEFAULT);
        if from > to {
            return Err(Problem::field("from", "is in the future, or after to"));
        }
        Ok(Self { from, to, blind: Blind::union(blind_intervals(service, from, to).await?) })
    }
}

/// All blind intervals of a period, as they overlap it; the store gives them a part at a time.
pub async fn blind_intervals(service: &Service, from: Millis, to: Millis) -> Result<Vec<(Millis, Millis)>, Problem> {
    let (mut intervals, mut begin) = (Vec::new(), from);
    loop {
        let gaps = service.store.gaps(begin, to).await.map_err(|error| Problem::store(&error))?;
        intervals.extend(gaps.iter().map(|gap| (gap.from, gap.to.unwrap_or(to))));
        match gaps.last() {
            Some(last) if gaps.len() as i64 == GAPS_MAX && last.from > begin => begin = last.from,
            _ => return Ok(intervals),
        }
    }
}

async fn view(service: &Service, period: &Period, (customer, vehicle): Name) -> Result<View, Problem> {
    let sum = sum(service, period, &customer, &vehicle).await?;
    Ok(View {
        customer,
        vehicle,
        from: period.from,
        to: period.to,
        online_ms: sum.online,
        offline_ms: sum.offline,
        unobserved_ms: sum.unobserved,
        never_seen_ms: sum.never_seen,
        availability: sum.share(),
        outages: sum.outages,
        longest_outage_ms: sum.longest_outage,
    })
}

/// Reads the vehicle's transitions from the period's end back to the one that was in force at its beginning.
async fn sum(service: &Service, period: &Period, customer: &str, vehicle: &str) -> Result<Availability, Problem> {
    let mut tally = Tally::over(period.from, period.to, &period.blind);
    let mut query = TransitionQuery {
        customer: Some(customer.to_owned()),
        vehicle: Some(vehicle.to_owned()),
        to: Some(period.to),
        limit: READ_ROWS,
        ..TransitionQuery::default()
    };
    loop {
        let rows = service.store.transitions(&query).await.map_err(|error| Problem::store(&error))?;
        let older = rows.iter().all(|row| tally.since(row.change.at, row.change.to));
        let Some(last) = rows.last().filter(|_| older && rows.len() == READ_ROWS as usize) else {
            return Ok(tally.end());
        };
        let (customer, vehicle) = (customer.to_owned(), vehicle.to_owned());
        query.after = Some(After { at: last.change.at, customer, vehicle, seq: last.change.seq });
    }
}
