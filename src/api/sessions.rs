//! `/sessions`: sign in with a name and a password or with a key, see who is signed in, change one's password, sign out
//! here or everywhere.
//! Feeds the logins; what is set as a cookie is in no answer's body.

use std::net::IpAddr;
use std::sync::Arc;

use actix_web::cookie::Cookie;
use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::error::Problem;
use super::params::Params;
use super::porter::Address;
use super::{Service, audit, body, cookie};
use crate::access::logins::{Begun, Refused};
use crate::access::people::Unchanged;
use crate::domain::access::{Principal, Scope, SessionId, Who};
use crate::domain::time::{self, Millis};
use crate::store::logins::StoredSession;

/// Who wants to sign in: a user with a password, or the holder of a key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    user: Option<String>,
    password: Option<String>,
    key: Option<String>,
}

/// Who is asking.
#[derive(Serialize)]
struct Me {
    kind: &'static str,
    name: Option<Arc<str>>,
    customer: Option<Arc<str>>,
    scopes: Vec<&'static str>,
    #[serde(serialize_with = "time::as_optional_text::serialize")]
    expires_at: Option<Millis>,
}

impl From<&Principal> for Me {
    fn from(principal: &Principal) -> Self {
        let (kind, name) = who(principal);
        let scopes = principal.scopes.list().map(Scope::word).collect();
        Self { kind, name, customer: principal.customer.clone(), scopes, expires_at: principal.expires_at }
    }
}

fn who(principal: &Principal) -> (&'static str, Option<Arc<str>>) {
    match &principal.who {
        Who::Anybody => ("anybody", None),
        Who::Key { name, .. } => ("key", Some(Arc::clone(name))),
        Who::User { name, .. } => ("user", Some(Arc::clone(name))),
    }
}

/// A session as it is shown.
#[derive(Serialize)]
struct View {
    id: String,
    kind: &'static str,
    name: Option<Arc<str>>,
    customer: Option<Arc<str>>,
    address: String,
    #[serde(serialize_with = "time::as_text::serialize")]
    made_at: Millis,
    #[serde(serialize_with = "time::as_text::serialize")]
    seen_at: Millis,
    #[serde(serialize_with = "time::as_optional_text::serialize")]
    expires_at: Option<Millis>,
    current: bool,
}

#[derive(Serialize)]
struct List {
    items: Vec<View>,
}

/// Signs somebody in: 201 and the cookie.
pub async fn begin(
    request: HttpRequest,
    payload: web::Payload,
    service: web::Data<Service>,
) -> Result<HttpResponse, Problem> {
    let asked: Asked = body::json(&request, payload).await?;
    if !service.access.asks() {
        return Err(Problem::conflict("nobody has to sign in here: auth.mode is not \"keys\""));
    }
    let from = address_of(&request);
    let begun = match (&asked.user, &asked.password, &asked.key) {
        (Some(user), Some(password), None) => service.logins.with_password(user, password, from).await,
        (None, None, Some(key)) => service.logins.with_key(key.trim(), from).await,
        _ => return Err(Problem::field("body", "needs user and password, or key alone")),
    };
    match begun {
        Ok(begun) => {
            let cookie = cookie_of(&service, &request, &begun).await;
            Ok(HttpResponse::Created().cookie(cookie).json(Me::from(&begun.principal)))
        }
        Err(refused) => Err(refusal(&service, &request, refused).await),
    }
}

/// From where somebody asks.
pub fn address_of(request: &HttpRequest) -> IpAddr {
    request.extensions().get::<Address>().map_or(IpAddr::from([0, 0, 0, 0]), |address| address.0)
}

/// Notes a session that has begun, and gives its cookie.
pub async fn cookie_of(service: &Service, request: &HttpRequest, begun: &Begun) -> Cookie<'static> {
    let Begun { token, principal } = begun;
    let subject = principal.session.map(|id| format!("session {id}")).unwrap_or_default();
    let by = principal.who.to_string();
    audit::note_of(service, request, by, "session.begun", principal.customer.clone(), subject, "ok").await;
    let life = principal.expires_at.map_or(0, |at| at - service.clock.today());
    cookie::made(request.connection_info().scheme(), token, life)
}

/// What is told to whoever was refused, and to the audit. A name that is no user's is not written down: people type
/// passwords there.
async fn refusal(service: &Service, request: &HttpRequest, refused: Refused) -> Problem {
    let nobody = || "nobody".to_owned();
    match refused {
        Refused::Denied(denied, user) => {
            let customer = user.as_ref().and_then(|user| user.login.customer.clone());
            let subject = user.map_or_else(|| "no known user".to_owned(), |user| format!("user {}", user.login));
            let result = denied.to_string();
            audit::note_of(service, request, nobody(), "session.refused", customer, subject, &result).await;
            Problem::unauthorized(denied)
        }
        Refused::Limited(wait, is_news) => {
            if is_news {
                note_limited(service, request).await;
            }
            Problem::limited("too many wrong attempts; wait a little, or sign in with a key", wait)
        }
        Refused::Taken(login) => Problem::conflict(format!("there is another user '{login}'")),
        Refused::Crowded => Problem::busy("too many are signing in at once; try again"),
        Refused::Store(error) => Problem::store(&error),
    }
}

/// Notes that attempts are not even read; asked for once a minute.
pub async fn note_limited(service: &Service, request: &HttpRequest) {
    let result = "too many wrong attempts; further ones of this minute are only counted";
    audit::note_of(service, request, "nobody".to_owned(), "session.limited", None, "sign-in", result).await;
}

/// Who is asking, whether signed in, with a key in hand, or unasked.
pub async fn current(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &[])?;
    Ok(HttpResponse::Ok().json(Me::from(&*params.caller().0)))
}

/// The caller's own sessions; those of its whole customer, or of all, when it is an administrator.
pub async fn list(request: HttpRequest, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &[])?;
    let caller = params.caller();
    let sees = |other: &Principal| match caller.scopes.has(Scope::Admin) {
        true => caller.customer.is_none() || caller.customer == other.customer,
        false => is_same(caller, other),
    };
    let items = service.access.sessions(sees).into_iter();
    let view = |(session, principal): (StoredSession, Principal)| {
        let (kind, name) = who(&principal);
        View {
            id: session.id.to_string(),
            kind,
            name,
            customer: principal.customer,
            address: session.address,
            made_at: session.made_at,
            seen_at: session.seen_at,
            expires_at: principal.expires_at,
            current: caller.session == Some(session.id),
        }
    };
    Ok(HttpResponse::Ok().json(List { items: items.map(view).collect() }))
}

/// Signs out here: the session is over, and so is every WebSocket that came in by it.
pub async fn end_current(request: HttpRequest, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &[])?;
    let own: Vec<SessionId> = params.caller().session.into_iter().collect();
    end(&request, &service, params.caller(), &own).await
}

/// Signs out everywhere: all sessions of the caller, be it a user or the holder of a key.
pub async fn end_all(request: HttpRequest, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &[])?;
    let own = service.access.sessions(|other| is_same(params.caller(), other));
    let own: Vec<SessionId> = own.into_iter().map(|(session, _)| session.id).collect();
    end(&request, &service, params.caller(), &own).await
}

/// What somebody's password is, and is to be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedPassword {
    current: String,
    new: String,
}

/// Gives the user who is asking another password: 204, and that one's other sessions are over.
pub async fn change_password(
    request: HttpRequest,
    payload: web::Payload,
    service: web::Data<Service>,
) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &[])?;
    let asked: AskedPassword = body::json(&request, payload).await?;
    let caller = params.caller();
    let none = || Problem::conflict("whoever is asking has no password here");
    let Who::User { id, name } = &caller.who else { return Err(none()) };
    let new = super::users::read_password("new", asked.new)?;
    let (subject, customer) = (format!("user {name}"), caller.customer.clone());
    let changed = service.logins.change_own_password(*id, caller.session, &asked.current, new, address_of(&request));
    match changed.await {
        Ok(_) => {
            audit::note(&service, &request, "user.password_changed", customer, subject).await;
            Ok(HttpResponse::NoContent().finish())
        }
        Err(Unchanged::NoPassword) => Err(none()),
        Err(Unchanged::Wrong) => {
            let (by, why) = (caller.who.to_string(), "the current password is wrong");
            audit::note_of(&service, &request, by, "user.password_refused", customer, subject, why).await;
            Err(Problem::field("current", "is not your password"))
        }
        Err(Unchanged::Refused(refused)) => Err(refusal(&service, &request, refused).await),
    }
}

/// Whether two are the same user, or hold the same key.
fn is_same(one: &Principal, other: &Principal) -> bool {
    match (&one.who, &other.who) {
        (Who::Key { id: one, .. }, Who::Key { id: other, .. }) => one == other,
        (Who::User { id: one, .. }, Who::User { id: other, .. }) => one == other,
        _ => false,
    }
}

async fn end(
    request: &HttpRequest,
    service: &Service,
    caller: &Principal,
    sessions: &[SessionId],
) -> Result<HttpResponse, Problem> {
    if !sessions.is_empty() {
        service.logins.end(sessions).await.map_err(|error| Problem::store(&error))?;
        let subject = sessions.iter().map(|id| format!("session {id}")).collect::<Vec<_>>().join(", ");
        audit::note(service, request, "session.ended", caller.customer.clone(), subject).await;
    }
    let gone = cookie::made(request.connection_info().scheme(), "", 0);
    Ok(HttpResponse::NoContent().cookie(gone).finish())
}
