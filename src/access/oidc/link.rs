//! The wire to the provider: one request, one answer in JSON, over TLS. Used by the provider's keeper beside it.
//! Bounds: `ANSWER_MAX` and `BODY_BYTES_MAX`; redirects are not followed, for what we send is a secret.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::gate::trust;

/// A provider that needs longer does not answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// The largest of these documents have some ten kilobytes.
const BODY_BYTES_MAX: usize = 512 * 1024;

/// A client that speaks to one provider.
pub struct Link(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl Link {
    /// # Errors
    /// A sentence when nobody is left whom we could believe.
    pub fn new(ca_file: Option<&Path>) -> anyhow::Result<Self> {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(trust::client(ca_file, "auth.oidc.ca_file")?)
            // The settings allow http within this machine only.
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self(Client::builder(TokioExecutor::new()).build(connector)))
    }

    /// GET of a document.
    ///
    /// # Errors
    /// It does not come, or is not JSON.
    pub async fn get(&self, url: &str) -> anyhow::Result<Value> {
        let (status, value) = self.send(request(Method::GET, url).body(Full::default())?, url).await?;
        ensure!(status == StatusCode::OK, "{url} answers {status}");
        Ok(value)
    }

    /// POST of a form; `login` goes into the header as Basic.
    ///
    /// # Errors
    /// No answer comes, or not in JSON.
    pub async fn post(&self, url: &str, login: Option<&str>, form: String) -> anyhow::Result<(StatusCode, Value)> {
        let mut request = request(Method::POST, url).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(login) = login {
            request = request.header(AUTHORIZATION, format!("Basic {login}"));
        }
        self.send(request.body(Full::from(form))?, url).await
    }

    async fn send(&self, request: Request<Full<Bytes>>, url: &str) -> anyhow::Result<(StatusCode, Value)> {
        let answer = async {
            let response = self.0.request(request).await.with_context(|| format!("{url} cannot be asked"))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!("{url}: the answer cannot be read: {error}"))?;
            // What it says is not repeated: it may hold a token.
            let value = serde_json::from_slice(&body.to_bytes()).ok();
            value.map(|value| (status, value)).with_context(|| format!("{url} answers {status}, and not in JSON"))
        };
        tokio::time::timeout(ANSWER_MAX, answer).await.with_context(|| format!("{url} does not answer in time"))?
    }
}

fn request(method: Method, url: &str) -> hyper::http::request::Builder {
    let agent = concat!("rollcall/", env!("CARGO_PKG_VERSION"));
    Request::builder().method(method).uri(url).header(ACCEPT, "application/json").header(USER_AGENT, agent)
}
