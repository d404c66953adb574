//! `GET /warnings`: vehicles that somebody should mend.
//! Fed by the list of warnings.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use super::Service;
use super::error::Problem;
use super::params::Params;
use crate::telemetry::warnings::Warning;

#[derive(Serialize)]
struct Answer {
    items: Vec<Warning>,
}

/// Every warning, newest first.
pub async fn list(request: HttpRequest, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    Params::read(&request, &[])?;
    Ok(HttpResponse::Ok().json(Answer { items: service.warnings.list() }))
}
