//! `GET /live`: the WebSocket, handed over to a session once its filter is read.
//! Feeds live/session.rs.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};

use super::Service;
use super::error::Problem;
use super::params::Params;
use super::vehicles::read_filter;
use crate::live::session;

/// Upgrades the request; one that is no WebSocket handshake is 400.
pub async fn upgrade(
    request: HttpRequest,
    body: web::Payload,
    service: web::Data<Service>,
) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &["customer", "status"])?;
    let filter = read_filter(&params)?;
    session::start(&request, body, Arc::clone(&service.feed), service.hub.clone(), filter)
        .map_err(|fault| Problem::unreadable(format!("this is no WebSocket handshake: {fault}")))
}
