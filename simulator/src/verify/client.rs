//! Reads the service's REST. Fed by the service, feeds the comparisons. The only file that names the HTTP client.

use std::time::Duration;

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use reqwest::Client;
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    options::Key,
    verify::{compare::Seen, shown},
};

/// The largest page the service gives.
const PAGE: &str = "1000";
const READ_LIMIT: Duration = Duration::from_secs(10);
/// More pages than this mean a cursor that runs in a circle: 10 million rows.
const PAGES_MAX: usize = 10_000;

/// A reader of one service.
#[derive(Debug, Clone)]
pub struct Reader {
    http: Client,
    base: String,
    key: Option<Key>,
}

/// A vehicle in the live list.
#[derive(Debug, Clone, Deserialize)]
pub struct VehicleRow {
    pub customer: String,
    pub vehicle: String,
    pub status: String,
    pub status_since: Option<DateTime<Utc>>,
    #[serde(default)]
    pub seq: u64,
}

/// What the service says about itself.
#[derive(Debug, Clone, Deserialize)]
pub struct ServiceStatus {
    pub listening: bool,
    pub vehicles: ServiceCounts,
    pub store: StoreStatus,
}

/// Its vehicles by status, as far as somebody waits for them.
#[derive(Debug, Clone, Deserialize)]
pub struct ServiceCounts {
    pub online: u64,
    pub unobserved: u64,
}

/// How its store does.
#[derive(Debug, Clone, Deserialize)]
pub struct StoreStatus {
    pub spool_rows: u64,
}

/// A time in which the service says it could not hear.
#[derive(Debug, Clone, Deserialize)]
pub struct GapRow {
    pub scope: String,
    pub from: DateTime<Utc>,
    pub to: Option<DateTime<Utc>>,
}

/// A transition in the history.
#[derive(Debug, Clone, Deserialize)]
pub struct TransitionRow {
    pub customer: String,
    pub vehicle: String,
    pub seq: u64,
    pub to: String,
    pub at: DateTime<Utc>,
    pub decided_at: DateTime<Utc>,
}

#[derive(Deserialize)]
struct Page<T> {
    items: Vec<T>,
    next_cursor: Option<String>,
}

impl TransitionRow {
    /// As the comparisons need it; nothing for a status that no transition leads to.
    pub fn seen(&self) -> Option<Seen> {
        let ms = |time: DateTime<Utc>| time.timestamp_millis().max(0) as u64;
        let (at_ms, decided_at_ms) = (ms(self.at), ms(self.decided_at));
        Some(Seen { seq: self.seq, to: shown(&self.to)?, at_ms, decided_at_ms })
    }
}

impl Reader {
    pub fn new(base: &str, key: Option<Key>) -> anyhow::Result<Self> {
        let http = Client::builder().timeout(READ_LIMIT).build().context("cannot set up the HTTP client")?;
        Ok(Self { http, base: base.trim_end_matches('/').to_owned(), key })
    }

    /// Hands every page of the live list to `each`.
    pub async fn vehicles(&self, mut each: impl FnMut(Vec<VehicleRow>)) -> anyhow::Result<()> {
        self.pages("/api/v1/vehicles", &[], &mut each).await
    }

    /// Hands every page of the transitions in [from, to) to `each`; epoch milliseconds.
    pub async fn transitions(
        &self,
        from_ms: u64,
        to_ms: u64,
        mut each: impl FnMut(Vec<TransitionRow>),
    ) -> anyhow::Result<()> {
        let range = [("from", from_ms.to_string()), ("to", to_ms.to_string())];
        self.pages("/api/v1/transitions", &range, &mut each).await
    }

    pub async fn status(&self) -> anyhow::Result<ServiceStatus> {
        self.read("/api/v1/status", &[]).await
    }

    /// Every time in which the service says it could not hear.
    pub async fn gaps(&self) -> anyhow::Result<Vec<GapRow>> {
        let (mut gaps, mut query) = (Vec::new(), Vec::new());
        for _ in 0..PAGES_MAX {
            let page: Page<GapRow> = self.read("/api/v1/observation-gaps", &query).await?;
            gaps.extend(page.items);
            let Some(cursor) = page.next_cursor else { break };
            query = vec![("cursor", cursor)];
        }
        Ok(gaps)
    }

    async fn pages<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
        each: &mut impl FnMut(Vec<T>),
    ) -> anyhow::Result<()> {
        let mut cursor = None;
        for _ in 0..PAGES_MAX {
            let page: Page<T> = self.page(path, query, cursor).await?;
            each(page.items);
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(());
            }
        }
        bail!("{}{path} never comes to a last page", self.base)
    }

    async fn page<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
        cursor: Option<String>,
    ) -> anyhow::Result<Page<T>> {
        let cursor = cursor.map(|cursor| ("cursor", cursor));
        let query: Vec<_> = query.iter().cloned().chain([("limit", PAGE.to_owned())]).chain(cursor).collect();
        self.read(path, &query).await
    }

    async fn read<T: DeserializeOwned>(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<T> {
        let url = format!("{}{path}", self.base);
        let mut request = self.http.get(&url).query(query);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key.expose());
        }
        let answer = request.send().await.with_context(|| format!("cannot read {url}"))?;
        let status = answer.status();
        if !status.is_success() {
            bail!("{url} answered {status}: {}", answer.text().await.unwrap_or_default());
        }
        answer.json().await.with_context(|| format!("{url} did not answer in the expected shape"))
    }
}
