//! What operators write about one vehicle: `PUT`, `PATCH`, `DELETE`, and to whom it goes.
//! Feeds the desk, and answers once the board shows it, so that who asks next sees what was written.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{self, HeaderMap, HeaderName};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use serde_json::{Map, Value};

use super::archived::{ArchivedView, still_held};
use super::body::{self, JSON, MERGE_PATCH};
use super::error::Problem;
use super::params::Params;
use super::vehicles::no_vehicle;
use super::{Service, audit};
use crate::domain::access::Scope;
use crate::domain::board::{Board, Row};
use crate::domain::heartbeat::Refusal;
use crate::domain::ids::{self, BadId, VehicleKey};
use crate::domain::registration::Edits;
use crate::domain::time::{self, Millis};
use crate::fleet::desk::{Give, NotGiven, NotRemoved, Register, Remove, Written};
use crate::live::protocol::VehicleView;
use crate::store::registry::{Amended, Amendment, Condition, Outcome};

/// How long a vehicle may take from its shard to the board: shards tell every 50 ms.
const BOARD_MAX: Duration = Duration::from_secs(5);
/// How often to look whether it is there.
const BOARD_AGAIN: Duration = Duration::from_millis(5);

type Path = web::Path<(String, String)>;

/// Makes a vehicle, or makes what is registered of it exactly this.
pub async fn put(
    request: HttpRequest,
    path: Path,
    payload: web::Payload,
    service: web::Data<Service>,
) -> Result<HttpResponse, Problem> {
    Params::read(&request, &[])?;
    let key = read_key(&path.0, &path.1)?;
    let edits = read_edits(body::object(&request, payload, JSON).await?, &key)?.whole();
    let shown = revision(&service, &key);
    let condition = condition(request.headers(), shown)?;
    if shown.is_none() {
        has_room(&service, &key)?;
    }
    let done = amend(&service, key, edits, condition).await?;
    service.door.quarantine().remove(&done.key);
    answer(&service, &request, &done, shown.is_none()).await
}

/// Changes what it names of what is registered of a vehicle.
pub async fn patch(
    request: HttpRequest,
    path: Path,
    payload: web::Payload,
    service: web::Data<Service>,
) -> Result<HttpResponse, Problem> {
    Params::read(&request, &[])?;
    let key = read_key(&path.0, &path.1)?;
    let edits = read_edits(body::object(&request, payload, MERGE_PATCH).await?, &key)?;
    let shown = revision(&service, &key).ok_or_else(|| no_vehicle(&path.0, &path.1))?;
    let condition = condition(request.headers(), Some(shown))?;
    let done = amend(&service, key, edits, condition).await?;
    answer(&service, &request, &done, false).await
}

#[derive(Serialize)]
struct Removed {
    customer: String,
    vehicle: String,
    history: &'static str,
    /// Where it may still lie.
    archived: Vec<ArchivedView>,
}

/// Takes a vehicle out; its history stays readable under its names, unless that is to go too. That changes the figures
/// of the fleet, and what another customer is told of a transfer, so it is not for the caller of one customer.
pub async fn delete(request: HttpRequest, path: Path, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &["history"])?;
    let purge = purges(&params)?;
    if purge && params.caller().customer.is_some() {
        let detail = "history=delete needs the scope manage for all customers";
        return Err(Problem::forbidden(Scope::Manage, detail));
    }
    let unknown = || no_vehicle(&path.0, &path.1);
    let key = Arc::new(VehicleKey::parse(&path.0, &path.1).map_err(|_| unknown())?);
    let before = service.feed.board().find(&key.customer, &key.vehicle).map(|row| row.state.slot);
    let revision = match condition(request.headers(), revision(&service, &key))? {
        Condition::Revision(wanted) => Some(wanted),
        Condition::None | Condition::Absent => None,
    };
    let remove = Remove { key: Arc::clone(&key), revision, purge };
    service.desk.send(remove).await.map_err(|error| Problem::store(&error.into()))?.map_err(|why| match why {
        NotRemoved::Unknown => unknown(),
        NotRemoved::Changed => Problem::precondition(),
        NotRemoved::Store(error) => Problem::not_written(&error),
    })?;
    let archived = if purge { files_go(&service, &key.customer, Some(&key.vehicle)).await } else { Vec::new() };
    let subject = if purge { format!("{key} and its history") } else { key.to_string() };
    audit::note(&service, &request, "vehicle.deleted", Some(Arc::clone(&key.customer)), subject).await;
    let gone = |row: Option<&Row>| row.is_none_or(|row| Some(row.state.slot) != before);
    wait_for(|| gone(service.feed.board().find(&key.customer, &key.vehicle))).await;
    let (customer, vehicle) = path.into_inner();
    let history = if purge { "deleted" } else { "kept" };
    Ok(HttpResponse::Ok().json(Removed { customer, vehicle, history, archived }))
}

/// A vehicle belongs to another customer from now on, or since a moment ago.
pub async fn transfer(
    request: HttpRequest,
    path: Path,
    payload: web::Payload,
    service: web::Data<Service>,
) -> Result<HttpResponse, Problem> {
    Params::read(&request, &[])?;
    let unknown = || no_vehicle(&path.0, &path.1);
    let from = Arc::new(VehicleKey::parse(&path.0, &path.1).map_err(|_| unknown())?);
    let fields = body::object(&request, payload, JSON).await?;
    if let Some((field, _)) = fields.iter().find(|(field, _)| !matches!(field.as_str(), "to" | "at")) {
        return Err(Problem::field(field, "is unknown; known are to, at"));
    }
    let to = fields.get("to").and_then(Value::as_str).ok_or_else(|| Problem::field("to", "must name a customer"))?;
    ids::check_customer(to).map_err(|bad| Problem::field("to", bad.to_string()))?;
    if *to == *from.customer {
        return Err(Problem::field("to", "is the customer that it belongs to"));
    }
    let at = fields.get("at").filter(|at| !at.is_null()).map(|at| read_time(at, service.clock.today())).transpose()?;
    let to = Arc::new(VehicleKey { customer: to.into(), vehicle: from.vehicle.clone() });
    let give = Give { from: Arc::clone(&from), to: Arc::clone(&to), at };
    let given = service.desk.send(give).await.map_err(|error| Problem::store(&error.into()))?;
    given.map_err(|why| match why {
        NotGiven::Unknown => unknown(),
        NotGiven::Taken => Problem::conflict(format!("{to} is registered already")),
        NotGiven::Full(reason) => no_room(&to, reason),
        NotGiven::TooEarly(since) => {
            let since = time::rfc3339(since);
            Problem::field(
                "at",
                format!("is before {since}, when it changed its status; its history stays where it is"),
            )
        }
        NotGiven::Store(error) => Problem::not_written(&error),
    })?;
    let subject = format!("{from} to {to}");
    audit::note(&service, &request, "vehicle.transferred", Some(Arc::clone(&from.customer)), subject).await;
    shown(&service, &to, 0, true).await
}

#[derive(Serialize)]
struct Transfers {
    items: Vec<TransferView>,
}

#[derive(Serialize)]
struct TransferView {
    /// Nothing for another customer than the caller's.
    from: Option<String>,
    to: Option<String>,
    #[serde(serialize_with = "time::as_text::serialize")]
    at: Millis,
}

/// Who gave this vehicle to whom, as far as this customer had part in it; newest first.
pub async fn transfers(request: HttpRequest, path: Path, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &[])?;
    let unknown = || no_vehicle(&path.0, &path.1);
    let key = VehicleKey::parse(&path.0, &path.1).map_err(|_| unknown())?;
    if !is_or_was_known(&service, &key.customer, &key.vehicle) {
        return Err(unknown());
    }
    let list = service.store.transfers(&key).await.map_err(|error| Problem::store(&error))?;
    let named = |customer: String| params.caller().sees(&customer).then_some(customer);
    let items = list.into_iter().map(|one| TransferView { from: named(one.from), to: named(one.to), at: one.at });
    Ok(HttpResponse::Ok().json(Transfers { items: items.collect() }))
}

/// Whether a vehicle is here, or has left history here.
pub fn is_or_was_known(service: &Service, customer: &str, vehicle: &str) -> bool {
    let was = |key: VehicleKey| service.registry.last_seq(&key).is_some();
    service.feed.board().find(customer, vehicle).is_some() || VehicleKey::parse(customer, vehicle).is_ok_and(was)
}

/// Registers one vehicle with nothing but its names; `false` when it was registered before.
///
/// # Errors
/// There is no room for it, or the store does not take it.
pub async fn enroll(service: &Service, key: &Arc<VehicleKey>) -> Result<bool, Problem> {
    has_room(service, key)?;
    let done = amend(service, Arc::clone(key), Edits::default(), Condition::None).await?;
    Ok(done.outcome == Outcome::Created)
}

/// One vehicle with its revision, once the board shows at least this one.
///
/// # Errors
/// 503 when it does not come.
pub async fn shown(service: &Service, key: &VehicleKey, revision: u64, created: bool) -> Result<HttpResponse, Problem> {
    wait_for(|| is_shown(&service.feed.board(), key, revision)).await;
    let board = service.feed.board();
    let row = board.find(&key.customer, &key.vehicle);
    let row = row.ok_or_else(|| Problem::store(&anyhow::anyhow!("{key} is stored but not on the board yet")))?;
    let mut response = if created { HttpResponse::Created() } else { HttpResponse::Ok() };
    Ok(response.insert_header(etag(row.revision())).json(VehicleView::whole(row)))
}

/// Waits until the board shows at least this of each vehicle, or for as long as that may take.
pub async fn on_board(service: &Service, written: &[Written]) {
    let all = || {
        let board = service.feed.board();
        written.iter().all(|(key, revision)| is_shown(&board, key, *revision))
    };
    wait_for(all).await;
}

fn is_shown(board: &Board, key: &VehicleKey, revision: u64) -> bool {
    board.find(&key.customer, &key.vehicle).is_some_and(|row| row.revision() >= revision)
}

/// The revision of a row, as a header. It stands for what can be written, not for the status.
pub fn etag(revision: u64) -> (HeaderName, String) {
    (header::ETAG, format!("\"{revision}\""))
}

/// What `If-Match` and `If-None-Match` ask for, of something whose revision is this, if it is there.
///
/// # Errors
/// 412 when it cannot be so.
pub fn condition(headers: &HeaderMap, known: Option<u64>) -> Result<Condition, Problem> {
    let text = |name| headers.get(name).map(|value: &header::HeaderValue| value.to_str().unwrap_or_default());
    if let Some(none) = text(header::IF_NONE_MATCH) {
        return match (none.trim(), known) {
            ("*", None) => Ok(Condition::Absent),
            ("*", Some(_)) => Err(Problem::precondition()),
            _ => Err(Problem::field("If-None-Match", "is understood with * only: make it, but change nothing")),
        };
    }
    let Some(wanted) = text(header::IF_MATCH) else { return Ok(Condition::None) };
    let revision = known.ok_or_else(Problem::precondition)?;
    let own = etag(revision).1;
    let named = wanted.split(',').any(|tag| matches!(tag.trim(), "*") || tag.trim() == own);
    if named { Ok(Condition::Revision(revision)) } else { Err(Problem::precondition()) }
}

/// Exported files that may hold what was deleted go too; answers those of the archive, which stay. The history is gone
/// by then, so a store that fails just now is no reason to call the deletion one that failed.
pub async fn files_go(service: &Service, customer: &str, vehicle: Option<&str>) -> Vec<ArchivedView> {
    if let Err(error) = service.exports.history_deleted(customer, vehicle).await {
        let whose = vehicle.map_or_else(|| customer.to_owned(), |vehicle| format!("{customer}/{vehicle}"));
        tracing::warn!(whose, "exports that may hold a deleted history go with their time only: {error:#}");
    }
    still_held(service)
}

/// `history=delete`: whether what happened is to go too.
///
/// # Errors
/// 422 naming it.
pub fn purges(params: &Params) -> Result<bool, Problem> {
    let read = |text: &str| match text {
        "keep" => Ok(false),
        "delete" => Ok(true),
        other => Err(format!("'{other}' is neither keep nor delete")),
    };
    Ok(params.parsed("history", read)?.unwrap_or(false))
}

async fn amend(
    service: &Service,
    key: Arc<VehicleKey>,
    edits: Edits,
    condition: Condition,
) -> Result<Amended, Problem> {
    let sent = service.desk.send(Register(vec![Amendment { key, edits, condition }])).await;
    let done = sent.map_err(anyhow::Error::from).flatten().map_err(|error| Problem::not_written(&error))?;
    let done = done.into_iter().next();
    let done = done.ok_or_else(|| Problem::not_written(&anyhow::anyhow!("the store answered nothing")))?;
    if done.outcome == Outcome::Refused { Err(Problem::precondition()) } else { Ok(done) }
}

async fn answer(service: &Service, request: &HttpRequest, done: &Amended, new: bool) -> Result<HttpResponse, Problem> {
    let what = match done.outcome {
        Outcome::Created => Some("vehicle.created"),
        Outcome::Updated => Some("vehicle.changed"),
        Outcome::Unchanged | Outcome::Refused => None,
    };
    if let Some(what) = what {
        audit::note(service, request, what, Some(Arc::clone(&done.key.customer)), done.key.to_string()).await;
    }
    let created = new && done.outcome == Outcome::Created;
    shown(service, &done.key, done.registered.revision, created).await
}

async fn wait_for(there: impl Fn() -> bool) {
    let shown = async {
        while !there() {
            actix::clock::sleep(BOARD_AGAIN).await;
        }
    };
    let _late = actix::clock::timeout(BOARD_MAX, shown).await;
}

/// The revision that the board shows; nothing when there is no such vehicle.
fn revision(service: &Service, key: &VehicleKey) -> Option<u64> {
    service.feed.board().find(&key.customer, &key.vehicle).map(Row::revision)
}

fn read_key(customer: &str, vehicle: &str) -> Result<Arc<VehicleKey>, Problem> {
    let bad = |bad: BadId| {
        let field = if bad == BadId::Customer { "customer" } else { "vehicle" };
        Problem::field(field, bad.to_string())
    };
    VehicleKey::parse(customer, vehicle).map(Arc::new).map_err(bad)
}

/// The names may be in the body too, as long as they are those of the path.
fn read_edits(mut fields: Map<String, Value>, key: &VehicleKey) -> Result<Edits, Problem> {
    for (field, own) in [("customer", &*key.customer), ("vehicle", &*key.vehicle)] {
        if fields.remove(field).is_some_and(|given| given.as_str() != Some(own)) {
            return Err(Problem::field(field, "is not that of the path; a vehicle keeps its names, or is transferred"));
        }
    }
    Edits::read(&fields).map_err(Problem::fields)
}

fn read_time(value: &Value, today: Millis) -> Result<Millis, Problem> {
    let at = value.as_i64().or_else(|| time::parse(value.as_str()?));
    let at = at.ok_or_else(|| Problem::field("at", "is neither RFC 3339 nor epoch milliseconds"))?;
    if at > today { Err(Problem::field("at", "is in the future")) } else { Ok(at) }
}

fn has_room(service: &Service, key: &VehicleKey) -> Result<(), Problem> {
    service.registry.has_room_for(&key.customer, 1, 1).map_err(|reason| no_room(key, reason))
}

fn no_room(key: &VehicleKey, reason: Refusal) -> Problem {
    Problem::conflict(format!("there is no room for {key}: {}; raise the cap in the settings", reason.word()))
}
