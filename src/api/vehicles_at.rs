//! `GET /vehicles?as_of=`: how the fleet stood at a past instant, a page at a time.
//! Fed by the board with who is known today, and by the store with the transition each was in at that instant. What
//! was offline while we could not hear is shown as unobserved, as in availability.

use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};

use super::Service;
use super::archived::still_kept;
use super::availability::blind_intervals;
use super::error::Problem;
use super::params::{Params, cursor};
use super::vehicles::{Page, all_known, read_filter};
use crate::domain::board::{Counts, Row, Update};
use crate::domain::latest::Latest;
use crate::domain::query::{Filter, Query, Statuses};
use crate::domain::sleep::Announced;
use crate::domain::time::Millis;
use crate::domain::transition::Status;
use crate::live::protocol::VehicleView;
use crate::store::history::{Name, Past};
use crate::store::retention::Kind;

/// Vehicles asked about at once.
const READ_NAMES: usize = 1_000;
/// Vehicles looked at for one page: a rare status ends it early, and the cursor goes on from there.
const LOOK_MAX: usize = 20_000;

/// Where a list goes on, and which it is.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    after: Name,
    filter: (Vec<String>, String),
    at: Millis,
}

/// A page of the fleet as it was.
pub async fn list(service: &Service, params: &Params, at: Millis) -> Result<HttpResponse, Problem> {
    if let Some(name) = ["q", "tag", "sort"].into_iter().find(|name| params.text(name).is_some()) {
        return Err(Problem::field(name, "cannot be asked together with as_of; customer and status can"));
    }
    if at > service.clock.today() {
        return Err(Problem::field("as_of", "is in the future"));
    }
    still_kept(service, Kind::Transitions, "as_of", at)?;
    let (filter, limit) = (read_filter(params)?, params.limit()?);
    all_known(service, &service.feed.board(), &filter)?;
    let asked = (filter.customers.clone(), params.text("status").unwrap_or_default().to_owned());
    let place = params.cursor::<Place>()?;
    if place.as_ref().is_some_and(|place| place.filter != asked || place.at != at) {
        return Err(Problem::field("cursor", "belongs to another question"));
    }
    let deaf = blind_intervals(service, at, at + 1).await?.iter().any(|(from, to)| (*from..*to).contains(&at));
    let (rows, after) = rows(service, &filter, place.map(|place| place.after), limit, at, deaf).await?;
    let counts = counts(service, &filter, at, deaf).await?;
    let items = rows.iter().map(VehicleView::whole).collect();
    let next_cursor = after.map(|after| cursor(&Place { after, filter: asked, at }));
    Ok(HttpResponse::Ok().json(Page { items, next_cursor, total: counts.total(), counts: counts.into() }))
}

/// At most so many vehicles of the filter, and after whom to go on.
async fn rows(
    service: &Service,
    filter: &Filter,
    mut after: Option<Name>,
    limit: usize,
    at: Millis,
    deaf: bool,
) -> Result<(Vec<Row>, Option<Name>), Problem> {
    let everybody = Filter { statuses: Statuses::default(), ..filter.clone() };
    let (mut found, mut looked) = (Vec::new(), 0);
    loop {
        let names = names(service, &everybody, after.as_ref());
        let stood = service.store.stood(&names, at).await.map_err(|error| Problem::store(&error))?;
        for (name, past) in names.iter().zip(stood) {
            if found.len() == limit {
                return Ok((found, after));
            }
            let status = shown(past.status, deaf);
            if filter.statuses.allows(status) {
                found.extend(row(service, name, Past { status, ..past }));
            }
            after = Some(name.clone());
        }
        looked += names.len();
        if names.len() < READ_NAMES {
            return Ok((found, None));
        }
        if looked >= LOOK_MAX {
            return Ok((found, after));
        }
    }
}

fn names(service: &Service, filter: &Filter, after: Option<&Name>) -> Vec<Name> {
    let board = service.feed.board();
    let query = Query { filter: filter.clone(), ..Query::default() };
    let after = after.map(|(customer, vehicle)| (customer.as_str(), vehicle.as_str()));
    let (slots, _) = board.page(&query, after, READ_NAMES);
    let rows = slots.into_iter().filter_map(|slot| board.row(slot));
    rows.map(|row| (row.key.customer.to_string(), row.key.vehicle.to_string())).collect()
}

/// Offline while we were deaf is not known.
fn shown(status: Status, deaf: bool) -> Status {
    if deaf && status == Status::Offline { Status::Unobserved } else { status }
}

/// The vehicle's row as it was; its names and timeout are those of today, and of its facts nothing is known.
fn row(service: &Service, (customer, vehicle): &Name, past: Past) -> Option<Row> {
    let board = service.feed.board();
    let row = board.find(customer, vehicle)?;
    let Past { status, since, seq } = past;
    let (slot, policy) = (row.state.slot, row.state.policy);
    let (announced, latest) = (Announced::NONE, Latest::default());
    Some(row.with(Update { slot, status, since, seq, last_seen: None, announced, latest, policy }))
}

/// How many of the filter were in each status; as far as transitions are counted (statistics, a few seconds ago).
async fn counts(service: &Service, filter: &Filter, at: Millis, deaf: bool) -> Result<Counts, Problem> {
    let known = service.feed.board().counts(&Filter { statuses: Statuses::default(), ..filter.clone() }).total();
    let mut levels = [0_i64; 3];
    for customer in filter.groups() {
        let spent = service.store.spent(customer, &[at, at + 1]).await.map_err(|error| Problem::store(&error))?;
        if let [before, after] = *spent {
            // What was spent in this one millisecond is how many there were.
            levels = [0, 1, 2].map(|status| levels[status] + after[status] - before[status]);
        }
    }
    let [online, offline, unobserved] = levels.map(|level| u32::try_from(level).unwrap_or_default());
    let mut counts = Counts::default();
    counts.0[Status::NeverSeen as usize] = known.saturating_sub(online + offline + unobserved);
    for (status, count) in [(Status::Online, online), (Status::Offline, offline), (Status::Unobserved, unobserved)] {
        counts.0[shown(status, deaf) as usize] += count;
    }
    for status in Status::ALL.into_iter().filter(|status| !filter.statuses.allows(*status)) {
        counts.0[status as usize] = 0;
    }
    Ok(counts)
}
