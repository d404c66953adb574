//! Reads the bodies of requests: bounded, of the kind that is understood, as an object of named fields or a form.
//! Used by every handler that takes one.

use actix_web::{HttpMessage, HttpRequest, web};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::error::Problem;

/// Largest body of a request but an import: a thousand heartbeats of 8 KiB.
pub const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Longest body of a change: nothing that is changed by hand is longer.
const CHANGE_BYTES_MAX: usize = 64 * 1024;
/// JSON.
pub const JSON: &[&str] = &["application/json"];
/// A merge patch (RFC 7396), or the same as plain JSON.
pub const MERGE_PATCH: &[&str] = &["application/merge-patch+json", "application/json"];

/// Which of these kinds a request's body is of.
///
/// # Errors
/// 415 naming them.
pub fn kind<'a>(request: &HttpRequest, kinds: &[&'a str]) -> Result<&'a str, Problem> {
    let given = request.content_type();
    let found = kinds.iter().find(|kind| given.eq_ignore_ascii_case(kind));
    found.copied().ok_or_else(|| Problem::media_type(&kinds.join(" or ")))
}

/// The whole body, of at most so many bytes.
///
/// # Errors
/// 400 when it broke off, 413 when it is too long.
pub async fn read(payload: web::Payload, bytes_max: usize) -> Result<web::Bytes, Problem> {
    match payload.to_bytes_limited(bytes_max).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) => Err(Problem::unreadable(format!("the body broke off: {error}"))),
        Err(_) => Err(Problem::too_large(format!("the body is over {bytes_max} bytes"))),
    }
}

/// The fields of the one object that the body is.
///
/// # Errors
/// As the two above, and 400 when it is no object.
pub async fn object(
    request: &HttpRequest,
    payload: web::Payload,
    kinds: &[&str],
) -> Result<Map<String, Value>, Problem> {
    kind(request, kinds)?;
    let body = read(payload, CHANGE_BYTES_MAX).await?;
    serde_json::from_slice(&body).map_err(|error| Problem::unreadable(format!("the body must be an object: {error}")))
}

/// The body as a form; a field that is unknown or wrong is refused by name.
///
/// # Errors
/// 413, 415, 400 when it is no JSON, 422 when it is another form.
pub async fn json<T: DeserializeOwned>(request: &HttpRequest, payload: web::Payload) -> Result<T, Problem> {
    kind(request, JSON)?;
    let body = read(payload, CHANGE_BYTES_MAX).await?;
    serde_json::from_slice(&body).map_err(|error| match error.is_data() {
        true => Problem::field("body", error.to_string()),
        false => Problem::unreadable(format!("the body is no JSON: {error}")),
    })
}
