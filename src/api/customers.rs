//! `/customers`: who has vehicles here or is registered, and what operators write about a customer.
//! Fed by the board and by what is registered; feeds the desk.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::archived::ArchivedView;
use super::body::{self, JSON, MERGE_PATCH};
use super::error::Problem;
use super::params::{Params, cursor};
use super::registry::{condition, etag, files_go, purges};
use super::vehicles::{CountsView, is_known};
use super::{Service, audit};
use crate::domain::board::Board;
use crate::domain::ids;
use crate::domain::query::Filter;
use crate::domain::registration::CustomerEdits;
use crate::domain::time::Millis;
use crate::fleet::desk::{AmendCustomer, RemoveCustomer};
use crate::store::registry::{Condition, Outcome};

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    after: String,
}

#[derive(Serialize)]
struct Customer {
    customer: String,
    name: Option<Box<str>>,
    offline_after_ms: Millis,
    counts: CountsView,
}

#[derive(Serialize)]
struct Page {
    items: Vec<Customer>,
    next_cursor: Option<String>,
}

/// A page of the customers, by identifier: those that have vehicles, and those that are registered.
pub async fn list(request: HttpRequest, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &["limit", "cursor"])?;
    let limit = params.limit()?;
    let place = params.cursor::<Place>()?;
    let after = place.as_ref().map(|place| place.after.as_str());
    let board = service.feed.board();
    let caller = params.caller();
    let mut names: Vec<String> = match &caller.customer {
        Some(own) => vec![own.to_string()],
        None => {
            let mut names = service.customers.names_after(after, limit + 1);
            names.extend(board.customers(after).take(limit + 1).map(|(customer, _)| customer.to_string()));
            names.sort();
            names.dedup();
            names
        }
    };
    names.retain(|name| after.is_none_or(|after| name.as_str() > after) && is_known(&service, &board, name));
    let more = names.len() > limit;
    names.truncate(limit);
    let next = names.last().filter(|_| more).map(|last| cursor(&Place { after: last.clone() }));
    let items = names.into_iter().map(|name| view(&service, &board, name)).collect();
    Ok(HttpResponse::Ok().json(Page { items, next_cursor: next }))
}

fn view(service: &Service, board: &Board, customer: String) -> Customer {
    let stored = service.customers.get(&customer).unwrap_or_default();
    let offline_after_ms = stored.offline_after.unwrap_or(service.rules.offline_after);
    let filter = Filter { customers: vec![customer], ..Filter::default() };
    let counts = board.counts(&filter).into();
    let customer = filter.customers.into_iter().next().unwrap_or_default();
    Customer { customer, name: stored.name, offline_after_ms, counts }
}

/// One customer.
pub async fn one(
    request: HttpRequest,
    path: web::Path<String>,
    service: web::Data<Service>,
) -> Result<HttpResponse, Problem> {
    Params::read(&request, &[])?;
    let board = service.feed.board();
    if !is_known(&service, &board, &path) {
        return Err(nobody(&path));
    }
    let revision = service.customers.get(&path).map_or(0, |stored| stored.revision);
    Ok(HttpResponse::Ok().insert_header(etag(revision)).json(view(&service, &board, path.into_inner())))
}

/// Makes a customer that is not there yet.
pub async fn create(
    request: HttpRequest,
    payload: web::Payload,
    service: web::Data<Service>,
) -> Result<HttpResponse, Problem> {
    Params::read(&request, &[])?;
    let mut fields = body::object(&request, payload, JSON).await?;
    let customer = fields.remove("customer");
    let customer =
        customer.as_ref().and_then(Value::as_str).ok_or_else(|| Problem::field("customer", "must be text"))?;
    ids::check_customer(customer).map_err(|bad| Problem::field("customer", bad.to_string()))?;
    let taken = || Problem::conflict(format!("customer '{customer}' is there already"));
    if service.customers.holds(customer) {
        return Err(taken());
    }
    let edits = CustomerEdits::read(&fields).map_err(Problem::fields)?;
    amend(&service, &request, customer, edits, Condition::Absent).await?.ok_or_else(taken)
}

/// Changes what it names of what is registered of a customer; a timeout holds at once for all its vehicles.
pub async fn patch(
    request: HttpRequest,
    path: web::Path<String>,
    payload: web::Payload,
    service: web::Data<Service>,
) -> Result<HttpResponse, Problem> {
    Params::read(&request, &[])?;
    let fields = body::object(&request, payload, MERGE_PATCH).await?;
    let edits = CustomerEdits::read(&fields).map_err(Problem::fields)?;
    if !is_known(&service, &service.feed.board(), &path) {
        return Err(nobody(&path));
    }
    let revision = service.customers.get(&path).map_or(0, |stored| stored.revision);
    let condition = condition(request.headers(), Some(revision))?;
    amend(&service, &request, &path, edits, condition).await?.ok_or_else(Problem::precondition)
}

#[derive(Serialize)]
struct Removed {
    customer: String,
    history: &'static str,
    /// Where it may still lie.
    archived: Vec<ArchivedView>,
}

/// Takes a customer out; one that has vehicles only together with them.
pub async fn delete(
    request: HttpRequest,
    path: web::Path<String>,
    service: web::Data<Service>,
) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &["vehicles", "history"])?;
    let word = |text: &str| if text == "delete" { Ok(true) } else { Err(format!("'{text}' can only be delete")) };
    let (vehicles, purge) = (params.parsed("vehicles", word)?.unwrap_or(false), purges(&params)?);
    let customer = path.into_inner();
    if !is_known(&service, &service.feed.board(), &customer) {
        return Err(nobody(&customer));
    }
    if vehicles {
        // First, or what is deleted would come back with the next heartbeat.
        service.access.end_of(&customer).await.map_err(|error| Problem::not_written(&error))?;
        let all = format!("all keys and users of {customer}");
        audit::note(&service, &request, "customer.locked_out", Some(customer.as_str().into()), all).await;
    }
    let remove = RemoveCustomer { customer: customer.clone(), vehicles, purge };
    let removed = service.desk.send(remove).await.map_err(anyhow::Error::from).flatten();
    if !removed.map_err(|error| Problem::not_written(&error))? {
        return Err(Problem::conflict(format!(
            "customer '{customer}' has vehicles; say vehicles=delete, or delete them"
        )));
    }
    let archived = if purge { files_go(&service, &customer, None).await } else { Vec::new() };
    // It is done by then; a store that fails just now is read again by itself.
    let _ = (service.access.reload().await, service.logins.look().await);
    let subject = if purge { format!("{customer} and its history") } else { customer.clone() };
    audit::note(&service, &request, "customer.deleted", Some(customer.as_str().into()), subject).await;
    let history = if purge { "deleted" } else { "kept" };
    Ok(HttpResponse::Ok().json(Removed { customer, history, archived }))
}

/// Nothing when the condition does not hold.
async fn amend(
    service: &Service,
    request: &HttpRequest,
    customer: &str,
    edits: CustomerEdits,
    condition: Condition,
) -> Result<Option<HttpResponse>, Problem> {
    let sent = service.desk.send(AmendCustomer { customer: customer.to_owned(), edits, condition }).await;
    let done = sent.map_err(anyhow::Error::from).flatten();
    let (outcome, stored) = done.map_err(|error| Problem::not_written(&error))?;
    let what = match outcome {
        Outcome::Created => Some("customer.created"),
        Outcome::Updated => Some("customer.changed"),
        Outcome::Unchanged | Outcome::Refused => None,
    };
    if let Some(what) = what {
        audit::note(service, request, what, Some(customer.into()), customer).await;
    }
    let mut response = match outcome {
        Outcome::Refused => return Ok(None),
        Outcome::Created if condition == Condition::Absent => HttpResponse::Created(),
        _ => HttpResponse::Ok(),
    };
    let view = view(service, &service.feed.board(), stored.customer);
    Ok(Some(response.insert_header(etag(stored.revision)).json(view)))
}

fn nobody(customer: &str) -> Problem {
    Problem::not_found(format!("there is no customer '{customer}'"))
}
