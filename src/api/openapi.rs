//! The description of the REST interface and a page to try it, both from the binary, with no internet.
//! The document is openapi.json beside this file; a test holds it against the routes.

use actix_web::{HttpResponse, web};
use utoipa_swagger_ui::{Config, SwaggerUi};

const DOCUMENT: &str = include_str!("openapi.json");

/// The document.
pub async fn document() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(DOCUMENT)
}

/// The page.
pub fn page(config: &mut web::ServiceConfig) {
    let settings = Config::from("/api/v1/openapi.json").validator_url("none");
    config.service(SwaggerUi::new("/docs/{_:.*}").config(settings));
}
