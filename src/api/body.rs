//! Reads the JSON body of a request into a form; a field that is unknown or wrong is refused by name.
//! Used by handlers that change something.

use actix_web::{HttpMessage, HttpRequest, web};
use serde::de::DeserializeOwned;

use super::error::Problem;

/// Longest such body: nothing that is changed by hand is longer.
const BYTES_MAX: usize = 64 * 1024;

/// The body as a form.
///
/// # Errors
/// 413, 415, 400 when it is no JSON, 422 when it is another form.
pub async fn json<T: DeserializeOwned>(request: &HttpRequest, payload: web::Payload) -> Result<T, Problem> {
    if !request.content_type().eq_ignore_ascii_case("application/json") {
        return Err(Problem::media_type());
    }
    let body = match payload.to_bytes_limited(BYTES_MAX).await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) => return Err(Problem::unreadable(format!("the body broke off: {error}"))),
        Err(_) => return Err(Problem::too_large(format!("the body is over {BYTES_MAX} bytes"))),
    };
    serde_json::from_slice(&body).map_err(|error| match error.is_data() {
        true => Problem::field("body", error.to_string()),
        false => Problem::unreadable(format!("the body is no JSON: {error}")),
    })
}
