//! In place of `oidc` in a build without that feature: its paths are there and say so, and the page has no button.

use actix_web::{HttpRequest, HttpResponse};

use super::Service;
use super::error::{self, Problem};

/// Nobody is sent anywhere.
pub async fn depart(request: HttpRequest) -> Result<HttpResponse, Problem> {
    error::unknown_path(request).await
}

/// Nobody comes back.
pub async fn arrive(request: HttpRequest) -> Result<HttpResponse, Problem> {
    error::unknown_path(request).await
}

/// There is none.
pub fn button(_: &Service) -> String {
    String::new()
}
