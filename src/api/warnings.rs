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

/// Every warning of vehicles the caller may see, newest first.
pub async fn list(request: HttpRequest, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &[])?;
    let mut items = service.warnings.list();
    items.retain(|warning| params.caller().sees(&warning.customer));
    Ok(HttpResponse::Ok().json(Answer { items }))
}
