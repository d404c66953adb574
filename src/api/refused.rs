//! `GET /refused`: what was refused, by reason, and the last hundred to look at.
//! Fed by the door's log.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use super::Service;
use super::error::Problem;
use super::params::Params;
use crate::ingest::refused::Sample;

#[derive(Serialize)]
struct RefusedAnswer {
    total: u64,
    counts: BTreeMap<&'static str, u64>,
    items: Vec<Sample>,
}

/// The refused messages, newest first.
pub async fn list(request: HttpRequest, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    Params::read(&request, &[])?;
    let log = service.door.refused();
    let counts = log.counts().map(|(reason, count)| (reason.word(), count)).collect();
    Ok(HttpResponse::Ok().json(RefusedAnswer { total: log.total(), counts, items: log.samples() }))
}
