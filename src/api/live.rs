//! `GET /live`: the WebSocket, handed over to a session once its filter is read; and `GET /live/snapshot`, where a
//! dashboard in columns begins. Feeds live/session.rs; reads the feed.

use std::sync::Arc;

use actix::Addr;
use actix_web::http::header::ContentType;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use super::Service;
use super::error::Problem;
use super::params::Params;
use super::vehicles::read_filter;
use crate::domain::time::{self, Millis};
use crate::live::relay::Relay;
use crate::live::session;

/// Upgrades the request; one that is no WebSocket handshake is 400.
pub async fn upgrade(
    request: HttpRequest,
    body: web::Payload,
    service: web::Data<Service>,
    relay: web::Data<Addr<Relay>>,
) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &["customer", "status", "ticket"])?;
    let filter = read_filter(&params)?;
    let ended = Arc::clone(&service.access).ended(Arc::clone(&params.caller().0));
    let ended = Box::pin(async move { ended.await.to_string() });
    let pulse = (service.hub.clone(), relay.get_ref().clone());
    session::start(&request, body, Arc::clone(&service.feed), pulse, filter, ended)
        .map_err(|fault| Problem::unreadable(format!("this is no WebSocket handshake: {fault}")))
}

#[derive(Serialize)]
struct Ticket {
    ticket: String,
    #[serde(serialize_with = "time::as_text::serialize")]
    expires_at: Millis,
}

/// A ticket for one WebSocket, `GET /live?ticket=`, for browsers: they can send no header there.
pub async fn ticket(request: HttpRequest, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &[])?;
    let made = service.access.ticket(Arc::clone(&params.caller().0));
    let (ticket, expires_at) = made.ok_or_else(|| Problem::busy("there are no random bytes; try again"))?;
    Ok(HttpResponse::Created().json(Ticket { ticket, expires_at }))
}

/// The whole fleet of a filter in columns; the WebSocket `rollcall.v1.bin` resumes from it. Written on a thread that
/// may wait, since 100,000 rows take some milliseconds.
pub async fn snapshot(request: HttpRequest, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &["customer", "status"])?;
    let filter = read_filter(&params)?;
    let feed = Arc::clone(&service.feed);
    let body = web::block(move || feed.snapshot(&filter)).await;
    let body = body.map_err(|_| Problem::busy("the snapshot could not be written; try again"))?;
    Ok(HttpResponse::Ok().content_type(ContentType::octet_stream()).body(body))
}
