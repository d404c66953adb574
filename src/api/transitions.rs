//! `GET /transitions` and those of one vehicle: what happened, newest first, with the evidence.
//! Fed by the store; pages stay stable because new transitions only come before the first one.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::Service;
use super::archived::{ArchivedView, archived};
use super::error::Problem;
use super::params::{Params, cursor};
use super::registry::is_or_was_known;
use super::vehicles::{no_vehicle, read_known_customer};
use crate::domain::time::{self, Millis};
use crate::domain::transition::{Evidence, Status, Transition, TransitionView};
use crate::live::protocol::PositionView;
use crate::store::retention::Kind;
use crate::store::{After, TransitionQuery};

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    at: Millis,
    customer: String,
    vehicle: String,
    seq: u64,
}

#[derive(Serialize)]
struct Item<'a> {
    #[serde(flatten)]
    transition: TransitionView<'a>,
    evidence: EvidenceView<'a>,
}

#[derive(Serialize)]
struct EvidenceView<'a> {
    #[serde(serialize_with = "time::as_optional_text::serialize")]
    last_seen: Option<Millis>,
    #[serde(serialize_with = "time::as_optional_text::serialize")]
    deadline: Option<Millis>,
    offline_after_ms: Millis,
    policy_source: &'a str,
    position: Option<PositionView>,
    usual_gap_ms: Option<Millis>,
    session: Option<String>,
    clock_skew_ms: Option<Millis>,
}

impl<'a> EvidenceView<'a> {
    fn of(evidence: &'a Evidence) -> Self {
        Self {
            last_seen: evidence.last_seen_ms,
            deadline: evidence.deadline_ms,
            offline_after_ms: evidence.offline_after_ms,
            policy_source: evidence.policy_source.word(),
            position: evidence.position.as_ref().map(PositionView::of),
            usual_gap_ms: evidence.usual_gap_ms,
            session: evidence.session.map(|number| format!("{number:x}")),
            clock_skew_ms: evidence.clock_skew_ms,
        }
    }
}

#[derive(Serialize)]
struct Page<'a> {
    items: Vec<Item<'a>>,
    next_cursor: Option<String>,
    /// Older ones were dropped, all but the last of each vehicle.
    #[serde(serialize_with = "time::as_optional_text::serialize")]
    kept_from: Option<Millis>,
    /// Where those of the period lie.
    archived: Vec<ArchivedView>,
}

/// The transitions of one vehicle.
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
    let query = TransitionQuery { customer: Some(customer), vehicle: Some(vehicle), ..TransitionQuery::default() };
    answer(&service, &params, query).await
}

/// The transitions of the whole fleet.
pub async fn of_fleet(request: HttpRequest, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &["customer", "to_status", "from", "to", "limit", "cursor"])?;
    let customer = read_known_customer(&service, &params)?;
    let to_status = params.parsed("to_status", |list| {
        let words = list.split(',').filter(|word| !word.is_empty());
        words.map(|word| Status::from_word(word).ok_or_else(|| format!("'{word}' is no status"))).collect()
    })?;
    let query = TransitionQuery { customer, to_status: to_status.unwrap_or_default(), ..TransitionQuery::default() };
    answer(&service, &params, query).await
}

async fn answer(service: &Service, params: &Params, query: TransitionQuery) -> Result<HttpResponse, Problem> {
    let (from, to) = params.range()?;
    let limit = params.limit()?;
    let after = params.cursor::<Place>()?;
    let after = after.map(|Place { at, customer, vehicle, seq }| After { at, customer, vehicle, seq });
    let query = TransitionQuery { from, to, after, limit: limit as u32 + 1, ..query };
    let mut found = service.store.transitions(&query).await.map_err(|error| Problem::store(&error))?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next_cursor = found.last().filter(|_| more).map(|last| cursor(&place_of(last)));
    let item = |transition| Item {
        transition: Transition::view(transition),
        evidence: EvidenceView::of(&transition.evidence),
    };
    let kept_from = service.horizons.of(Kind::Transitions);
    let archived = archived(service, Kind::Transitions, from, to);
    Ok(HttpResponse::Ok().json(Page { items: found.iter().map(item).collect(), next_cursor, kept_from, archived }))
}

fn place_of(transition: &Transition) -> Place {
    Place {
        at: transition.change.at,
        customer: transition.key.customer.to_string(),
        vehicle: transition.key.vehicle.to_string(),
        seq: transition.change.seq,
    }
}
