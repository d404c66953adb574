//! The gate of every route: who is asking, and whether that one may. A route is put into the table together with its
//! gate, so none can be forgotten; and `Params` reads nothing on a route without one.
//! Asks the access station; the handlers behind it are given the principal.

use std::future::{Ready, ready};
use std::ops::Deref;
use std::sync::Arc;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::AUTHORIZATION;
use actix_web::middleware::{Next, from_fn};
use actix_web::{Error, FromRequest, Handler, HttpMessage, HttpRequest, Responder, Route, web};

use super::Service;
use super::error::Problem;
use crate::access::Access;
use crate::domain::access::{Denied, Principal, Scope};

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Everybody; whoever is known is known to the handler too.
    Public,
    /// Whoever has the scope; it sees and changes what its customer owns, and a `{customer}` in the path is its own.
    Customer(Scope),
    /// As `Customer`, for browsers' WebSockets: a ticket in the address will do.
    Socket(Scope),
    /// Whoever has the scope for all customers.
    Fleet(Scope),
}

/// Who is asking: what [`Gate`] found.
#[derive(Debug, Clone)]
pub struct Caller(pub Arc<Principal>);

impl Deref for Caller {
    type Target = Principal;

    fn deref(&self) -> &Principal {
        &self.0
    }
}

impl FromRequest for Caller {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::of(request))
    }
}

impl Caller {
    /// Who is asking.
    ///
    /// # Errors
    /// 401 on a route without a gate, whoever asks.
    pub fn of(request: &HttpRequest) -> Result<Self, Problem> {
        request.extensions().get::<Self>().cloned().ok_or_else(|| Problem::unauthorized(Denied::Missing))
    }
}

/// A route that only lets through whom its gate allows.
pub fn gated<F, Args>(route: Route, gate: Gate, handler: F) -> Route
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    route.to(handler).wrap(from_fn(move |request, next| pass(gate, request, next)))
}

async fn pass<B: MessageBody + 'static>(
    gate: Gate,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    match admit(gate, &request) {
        Ok(caller) => {
            if let Some(caller) = caller {
                request.extensions_mut().insert(caller);
            }
            next.call(request).await.map(ServiceResponse::map_into_boxed_body)
        }
        Err(problem) => Ok(request.error_response(problem)),
    }
}

fn admit(gate: Gate, request: &ServiceRequest) -> Result<Option<Caller>, Problem> {
    let access = request.app_data::<web::Data<Access>>().ok_or_else(|| Problem::unauthorized(Denied::Missing))?;
    let found = present(access, gate, request);
    let scope = match gate {
        // A key that is no good is told so by the doors that need one.
        Gate::Public => return Ok(found.ok().map(Caller)),
        Gate::Customer(scope) | Gate::Socket(scope) | Gate::Fleet(scope) => scope,
    };
    let principal = found.map_err(Problem::unauthorized)?;
    if let Some(service) = request.app_data::<web::Data<Service>>() {
        service.porter.admit_key(&principal)?;
    }
    if !principal.scopes.has(scope) {
        return Err(Problem::forbidden(scope, format!("this needs the scope {}", scope.word())));
    }
    if let Some(own) = &principal.customer {
        if matches!(gate, Gate::Fleet(_)) {
            let detail = format!("this needs the scope {} for all customers", scope.word());
            return Err(Problem::forbidden(scope, detail));
        }
        // Whether that customer exists or not, the answer is the same.
        if let Some(other) = request.match_info().get("customer").filter(|named| *named != &**own) {
            return Err(Problem::not_found(format!("there is no customer '{other}'")));
        }
    }
    Ok(Some(Caller(principal)))
}

fn present(access: &Access, gate: Gate, request: &ServiceRequest) -> Result<Arc<Principal>, Denied> {
    if !access.asks() {
        return Ok(Arc::new(Principal::anybody()));
    }
    if let Some(header) = request.headers().get(AUTHORIZATION) {
        let text = header.to_str().unwrap_or_default();
        let (scheme, key) = text.split_once(' ').unwrap_or_default();
        return if scheme.eq_ignore_ascii_case("bearer") { access.key(key.trim()) } else { Err(Denied::Unknown) };
    }
    match (gate, ticket(request.query_string())) {
        (Gate::Socket(_), Some(ticket)) => access.redeem(&ticket),
        _ => Err(Denied::Missing),
    }
}

fn ticket(query: &str) -> Option<String> {
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query).ok()?;
    pairs.into_iter().find_map(|(name, value)| (name == "ticket").then_some(value))
}
