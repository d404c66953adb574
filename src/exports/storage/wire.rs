//! The wire on which `object_store` speaks to S3: HTTP over the TLS of this service.
//! Used by s3.rs. All of it runs on the runtime that opened it: a connection that was opened on a web worker's own
//! small runtime would stand still with that worker.

use std::time::Duration;

use async_trait::async_trait;
use http_body_util::BodyExt;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector as Connects, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
    HttpResponseBody, HttpService, SpawnService,
};
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::gate::trust;

/// From a request, whose body may be a piece of an upload, to the head of its answer.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// Gives `object_store` its client.
#[derive(Debug)]
pub struct Connector(Wire, Handle);

/// One client, with its open connections.
#[derive(Debug, Clone)]
struct Wire(Client<HttpsConnector<HttpConnector>, HttpRequestBody>);

impl Connector {
    /// On the present runtime.
    ///
    /// # Errors
    /// A sentence when nobody is there whom we could believe.
    pub fn new() -> anyhow::Result<Self> {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(trust::client(None, "SSL_CERT_FILE")?)
            // http where exports.s3_endpoint says so, and to ask a machine of Amazon's for its role.
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self(Wire(Client::builder(TokioExecutor::new()).build(connector)), Handle::current()))
    }
}

impl Connects for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(SpawnService::new(self.0.clone(), self.1.clone())))
    }
}

#[async_trait]
impl HttpService for Wire {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answer = timeout(ANSWER_MAX, self.0.request(request)).await;
        let answer = answer.map_err(|late| HttpError::new(HttpErrorKind::Timeout, late))?;
        let kind = |error: &hyper_util::client::legacy::Error| match error.is_connect() {
            true => HttpErrorKind::Connect,
            false => HttpErrorKind::Request,
        };
        let (head, body) = answer.map_err(|error| HttpError::new(kind(&error), error))?.into_parts();
        let body = body.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error));
        Ok(HttpResponse::from_parts(head, HttpResponseBody::new(body)))
    }
}
