//! Settings of exports: where their files lie, how many are worked on at once, how large one may be, how long it stays.
//! Part of settings.rs; read by the exports station.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Secret, Span};
use crate::domain::export::Limits;
use crate::domain::policy::TIMEOUT_MAX;

const DAY: i64 = 86_400_000;
/// More threads than that would only wait for the store's few readers.
const PARALLEL_MAX: u32 = 16;

/// Exports.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Exports {
    /// Where the files lie; None: the folder `exports` of the local folder, and a temporary one where there is none.
    pub folder: Option<PathBuf>,
    /// `s3://bucket/prefix`: finished files go there, and the folder holds only those that are being written.
    pub s3_url: Option<String>,
    /// The server's address when it is not Amazon's.
    pub s3_endpoint: Option<String>,
    /// Its region.
    pub s3_region: String,
    /// Who we are there; None: what the environment of the process says (`AWS_...`).
    pub s3_access_key: Option<String>,
    /// Its secret.
    pub s3_secret_key: Secret,
    /// Most that are worked on at once.
    pub parallel: u32,
    /// Most that are worked on at once for one customer.
    pub parallel_per_customer: u32,
    /// Most of one customer that wait, are worked on, or are there.
    pub kept_max: u32,
    /// How often one is tried.
    pub attempts_max: u32,
    /// The pause after the first try that failed; each further one is four times as long, up to an hour.
    pub retry_delay: Span,
    /// How long a lease is: so late at most is it noticed that whoever worked on one is gone.
    pub lease: Span,
    /// How long a file stays.
    pub retention: Span,
    /// How long it is still listed after that.
    pub list_keep: Span,
    /// How long a link to a file is good.
    pub link_lifetime: Span,
    /// Longest period of one.
    pub window_max: Span,
    /// Most rows of one.
    pub rows_max: u64,
    /// Most bytes of one.
    pub bytes_max: u64,
    /// Most bytes of all that are there.
    pub total_bytes_max: u64,
}

impl Default for Exports {
    fn default() -> Self {
        Self {
            folder: None,
            s3_url: None,
            s3_endpoint: None,
            s3_region: "us-east-1".into(),
            s3_access_key: None,
            s3_secret_key: Secret::default(),
            parallel: 2,
            parallel_per_customer: 1,
            kept_max: 100,
            attempts_max: 5,
            retry_delay: Span(10_000),
            lease: Span(60_000),
            retention: Span(7 * DAY),
            list_keep: Span(30 * DAY),
            link_lifetime: Span(900_000),
            window_max: Span(400 * DAY),
            rows_max: 100_000_000,
            bytes_max: 4 << 30,
            total_bytes_max: 20 << 30,
        }
    }
}

impl Exports {
    /// What an order may ask for.
    pub fn limits(&self) -> Limits {
        Limits { window_max: self.window_max.0 }
    }

    /// One sentence a fault.
    pub fn check(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, value, most) in [
            ("parallel", self.parallel, PARALLEL_MAX),
            ("parallel_per_customer", self.parallel_per_customer, PARALLEL_MAX),
            ("kept_max", self.kept_max, u32::MAX),
            ("attempts_max", self.attempts_max, 100),
        ] {
            if !(1..=most).contains(&value) {
                faults.push(format!("exports.{name} = {value} must be 1 to {most}"));
            }
        }
        for (name, span, least) in [
            ("retry_delay", self.retry_delay, 100),
            ("lease", self.lease, 1_000),
            ("retention", self.retention, 1_000),
            ("list_keep", self.list_keep, 1_000),
            ("link_lifetime", self.link_lifetime, 1_000),
            ("window_max", self.window_max, 60_000),
        ] {
            if !(least..=TIMEOUT_MAX).contains(&span.0) {
                let most = Span(TIMEOUT_MAX);
                faults.push(format!("exports.{name} = {span} must be {} to {most}", Span(least)));
            }
        }
        for (name, value) in
            [("rows_max", self.rows_max), ("bytes_max", self.bytes_max), ("total_bytes_max", self.total_bytes_max)]
        {
            if value == 0 {
                faults.push(format!("exports.{name} = 0 would let nothing through"));
            }
        }
        faults.extend(self.check_s3());
        faults
    }

    fn check_s3(&self) -> Option<String> {
        let Some(url) = &self.s3_url else {
            return self.s3_endpoint.as_ref().map(|_| "exports.s3_endpoint is set without exports.s3_url".into());
        };
        if url.strip_prefix("s3://").is_none_or(|rest| rest.split('/').next().is_none_or(str::is_empty)) {
            return Some(format!("exports.s3_url '{url}' must be s3://BUCKET or s3://BUCKET/PREFIX"));
        }
        let has_secret = !self.s3_secret_key.expose().is_empty();
        (self.s3_access_key.is_some() != has_secret)
            .then(|| "exports.s3_access_key and exports.s3_secret_key go together".into())
    }
}
