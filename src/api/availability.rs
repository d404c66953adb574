//! `GET .../availability`: how long vehicles were there, dark, or unknown to us, beside their customer and the fleet.
//! Fed by the store's transitions and blind intervals, and by its rollups for the means. Only what is in the store
//! counts: while it is away, this path says so instead of guessing.

use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use super::Service;
use super::archived::still_kept;
use super::error::Problem;
use super::params::{Params, cursor};
use super::vehicles::{all_known, no_vehicle, read_filter};
use crate::domain::availability::{Availability, Blind, Mean, Outage};
use crate::domain::query::{Filter, Query};
use crate::domain::time::{self, Millis};
use crate::domain::transition::Cause;
use crate::store::availability;
use crate::store::history::Name;
use crate::store::retention::Kind;

/// The period when nobody says: the last day.
const PERIOD_DEFAULT: Millis = 86_400_000;
/// Vehicles read at once.
const READ_NAMES: usize = 250;
/// And so many times that at the same time: as many as the store has readers.
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
struct OneView {
    #[serde(flatten)]
    vehicle: View,
    customer_mean: MeanView,
    /// Of all customers; not for a caller who may see one only.
    fleet_mean: Option<MeanView>,
    outage_list: Vec<OutageView>,
}

/// Many vehicles together.
#[derive(Serialize)]
struct MeanView {
    online_ms: Millis,
    offline_ms: Millis,
    unobserved_ms: Millis,
    availability: Option<f64>,
}

#[derive(Serialize)]
struct OutageView {
    #[serde(serialize_with = "time::as_text::serialize")]
    from: Millis,
    #[serde(serialize_with = "time::as_text::serialize")]
    to: Millis,
    dark_ms: Millis,
    cause: Cause,
}

#[derive(Serialize)]
struct Page {
    items: Vec<View>,
    /// All vehicles of the question, whatever the page.
    mean: MeanView,
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
    let name = (customer, vehicle);
    let (sum, outages) = sums(&service, &period, std::slice::from_ref(&name)).await?.pop().unwrap_or_default();
    let customer_mean = mean(&service, &period, Some(&name.0)).await?.into();
    let fleet_mean = match params.caller().customer {
        Some(_) => None,
        None => Some(mean(&service, &period, None).await?.into()),
    };
    let outage_list = outages.into_iter().map(Into::into).collect();
    let vehicle = view(&period, name, sum);
    Ok(HttpResponse::Ok().json(OneView { vehicle, customer_mean, fleet_mean, outage_list }))
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
    let parts = names.chunks(READ_NAMES).map(|names| sums(&service, &period, names));
    let parts: Vec<_> = stream::iter(parts).buffered(READ_TOGETHER).try_collect().await?;
    let sums = parts.into_iter().flatten();
    let items = names.iter().cloned().zip(sums).map(|(name, (sum, _))| view(&period, name, sum)).collect();
    let mean = mean_of_all(&service, &period, &query.filter).await?.into();
    Ok(HttpResponse::Ok().json(Page { items, mean, next_cursor }))
}

/// The vehicles of a page, and whether there are more.
fn names(service: &Service, query: &Query, after: Option<&Place>, limit: usize) -> Result<(Vec<Name>, bool), Problem> {
    let board = service.feed.board();
    all_known(service, &board, &query.filter)?;
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
        still_kept(service, Kind::Transitions, "from", from)?;
        Ok(Self { from, to, blind: Blind::union(blind_intervals(service, from, to).await?) })
    }
}

/// All blind intervals of a period.
pub async fn blind_intervals(service: &Service, from: Millis, to: Millis) -> Result<Vec<(Millis, Millis)>, Problem> {
    availability::blind_intervals(&*service.store, from, to).await.map_err(|error| Problem::store(&error))
}

/// The time of all vehicles of a customer, or of the fleet, as far as it is counted (a few seconds ago).
async fn mean(service: &Service, period: &Period, customer: Option<&str>) -> Result<Mean, Problem> {
    let instants = Mean::instants(period.from, period.to, &period.blind);
    let spent = service.store.spent(customer, &instants).await.map_err(|error| Problem::store(&error))?;
    Ok(Mean::between(&spent))
}

/// That of all whom a filter is about, together.
async fn mean_of_all(service: &Service, period: &Period, filter: &Filter) -> Result<Mean, Problem> {
    let mut all = Mean::default();
    for customer in filter.groups() {
        all = all.and(mean(service, period, customer).await?);
    }
    Ok(all)
}

impl From<Mean> for MeanView {
    fn from(mean: Mean) -> Self {
        let Mean { online, offline, unobserved } = mean;
        Self { online_ms: online, offline_ms: offline, unobserved_ms: unobserved, availability: mean.share() }
    }
}

impl From<Outage> for OutageView {
    fn from(outage: Outage) -> Self {
        Self { from: outage.from, to: outage.to, dark_ms: outage.dark, cause: outage.cause }
    }
}

fn view(period: &Period, (customer, vehicle): Name, sum: Availability) -> View {
    View {
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
    }
}

/// The sums of these vehicles, and their outages.
async fn sums(service: &Service, period: &Period, names: &[Name]) -> Result<Vec<(Availability, Vec<Outage>)>, Problem> {
    let all = availability::sums(&*service.store, (period.from, period.to), &period.blind, names).await;
    all.map_err(|error| Problem::store(&error))
}
