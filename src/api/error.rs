//! Every fault of a request in one form: RFC 9457 `application/problem+json`, naming the field that is wrong.
//! Made by handlers and by the routing table; read by people and programs.

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use serde::Serialize;

use crate::domain::access::{Denied, Scope};
use crate::domain::time::Millis;
use crate::exports::BadLink;

/// One wrong field.
#[derive(Debug, Clone, Serialize)]
pub struct FieldProblem {
    /// Its name.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

/// What went wrong, as it is sent.
#[derive(Debug, Clone, Serialize, thiserror::Error)]
#[error("{detail}")]
pub struct Problem {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldProblem>,
    /// The scope that was missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'static str>,
    #[serde(skip)]
    allow: Option<&'static str>,
    /// Seconds to wait before trying again.
    #[serde(skip)]
    retry_after_s: u32,
}

impl Problem {
    fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        let (status, detail) = (status.as_u16(), detail.into());
        let kind = "about:blank";
        Self { kind, title, status, detail, errors: Vec::new(), scope: None, allow: None, retry_after_s: 1 }
    }

    /// 422: a value that is understood, but cannot be.
    pub fn field(field: &str, problem: impl Into<String>) -> Self {
        let problem = problem.into();
        let detail = format!("{field}: {problem}");
        let errors = vec![FieldProblem { field: field.to_owned(), problem }];
        Self { errors, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail) }
    }

    /// 422: every value that cannot be.
    pub fn fields(faults: Vec<(String, String)>) -> Self {
        let detail: Vec<String> = faults.iter().map(|(field, problem)| format!("{field}: {problem}")).collect();
        let errors = faults.into_iter().map(|(field, problem)| FieldProblem { field, problem }).collect();
        Self { errors, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail.join("; ")) }
    }

    /// 400: a body or query that cannot be read.
    pub fn unreadable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 401: nobody who is known.
    pub fn unauthorized(denied: Denied) -> Self {
        let detail = match denied {
            Denied::Login | Denied::Ended => denied.to_string(),
            Denied::Missing | Denied::Unknown | Denied::Expired | Denied::Revoked => {
                format!("{denied}: Authorization: Bearer rk_<id>_<secret>")
            }
        };
        Self::new(StatusCode::UNAUTHORIZED, detail)
    }

    /// 403: known, but not allowed this.
    pub fn forbidden(scope: Scope, detail: impl Into<String>) -> Self {
        Self { scope: Some(scope.word()), ..Self::new(StatusCode::FORBIDDEN, detail) }
    }

    /// 404: no such thing.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 405: the path is right, the method is not.
    pub fn method(allow: &'static str) -> Self {
        let detail = format!("this path answers {allow} only");
        Self { allow: Some(allow), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, detail) }
    }

    /// 409: it is there already, or there is no room for it.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// 412: it is not, or is no longer, what the request says.
    pub fn precondition() -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, "it was changed meanwhile, or is there, or is not; read it again")
    }

    /// 413: more than is read.
    pub fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    }

    /// 415: a body of another kind.
    pub fn media_type(kinds: &str) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("send Content-Type: {kinds}"))
    }

    /// 429: intake is full.
    pub fn busy(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, detail)
    }

    /// 429: too often; `wait` says when one more fits.
    pub fn limited(detail: impl Into<String>, wait: Millis) -> Self {
        let retry_after_s = u32::try_from((wait.max(1) as u64).div_ceil(1_000)).unwrap_or(u32::MAX);
        Self { retry_after_s, ..Self::busy(detail) }
    }

    /// 403: asked by a page that may not.
    pub fn foreign_page(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// 403 or 410: a link that opens nothing.
    pub fn bad_link(bad: BadLink) -> Self {
        match bad {
            BadLink::Forged => Self::new(StatusCode::FORBIDDEN, bad.to_string()),
            BadLink::Expired => Self::gone(bad.to_string()),
        }
    }

    /// 410: it was here.
    pub fn gone(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, detail)
    }

    /// 416: behind the end of a file.
    pub fn range(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::RANGE_NOT_SATISFIABLE, detail)
    }

    /// 503: nothing to seal a link with. Why is logged, not sent.
    pub fn unlinked(error: &anyhow::Error) -> Self {
        tracing::warn!("a link could not be made or checked: {error:#}");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "links to files cannot be made here at the moment")
    }

    /// 408: the request did not come in time.
    pub fn timeout(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, detail)
    }

    /// 503: the store does not answer. What it said is logged, not sent.
    pub fn store(error: &anyhow::Error) -> Self {
        tracing::warn!("a request could not read the store: {error:#}");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the store does not answer; live status is not affected")
    }

    /// 503: the store did not take a change, so nothing has changed. What it said is logged, not sent.
    pub fn not_written(error: &anyhow::Error) -> Self {
        tracing::warn!("a change of the registry was not stored: {error:#}");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the store does not take it; nothing has changed")
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        response.content_type("application/problem+json");
        if let Some(allow) = self.allow {
            response.insert_header((ALLOW, allow));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.insert_header((WWW_AUTHENTICATE, "Bearer realm=\"rollcall\""));
        }
        if self.status == StatusCode::TOO_MANY_REQUESTS || self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.insert_header((RETRY_AFTER, self.retry_after_s));
        }
        if self.status == StatusCode::REQUEST_TIMEOUT {
            response.force_close();
        }
        response.json(self)
    }
}

/// The answer to a path nobody serves.
pub async fn unknown_path(request: HttpRequest) -> Result<HttpResponse, Problem> {
    Err(Problem::not_found(format!("there is nothing at {}", request.path())))
}
