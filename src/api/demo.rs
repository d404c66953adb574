//! The demo's hand on its simulated fleet: silence a vehicle, wake it, and watch what follows.
//! Fed by the dashboard's buttons; feeds the simulator. Outside the demo there is no such thing: 404.

use std::sync::OnceLock;

use actix_web::{HttpRequest, HttpResponse, web};
use simulator::Control;

use super::Service;
use super::error::{self, Problem};
use super::params::Params;

/// The simulated fleet, once there is one; never outside the demo.
pub type Fleet = OnceLock<Control>;

/// Makes a simulated vehicle fall silent until it is woken.
pub async fn silence(
    request: HttpRequest,
    name: web::Path<(String, String)>,
    service: web::Data<Service>,
) -> Result<HttpResponse, Problem> {
    order(request, &name, &service, Control::silence).await
}

/// Makes a simulated vehicle speak at once.
pub async fn wake(
    request: HttpRequest,
    name: web::Path<(String, String)>,
    service: web::Data<Service>,
) -> Result<HttpResponse, Problem> {
    order(request, &name, &service, Control::wake).await
}

async fn order(
    request: HttpRequest,
    (customer, vehicle): &(String, String),
    service: &Service,
    give: impl Fn(&Control, &str, &str) -> anyhow::Result<()>,
) -> Result<HttpResponse, Problem> {
    Params::read(&request, &[])?;
    let Some(fleet) = service.demo.get() else { return error::unknown_path(request).await };
    give(fleet, customer, vehicle).map_err(|error| Problem::not_found(format!("{error:#}")))?;
    Ok(HttpResponse::NoContent().finish())
}
