//! Where it is kept what administrators did: who, when, what, from which address, and how it ended.
//! Fed by the REST handlers that change something and by `rollcall key`; read by `GET /audit`.

use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::time::Millis;

/// One action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// When.
    pub at: Millis,
    /// Who did it, for people.
    pub who: String,
    /// Whose affair it was; none: that of all customers.
    pub customer: Option<Arc<str>>,
    /// What, such as `key.created`.
    pub what: String,
    /// To which key, vehicle or user.
    pub subject: String,
    /// From which address; empty: on the command line.
    pub address: String,
    /// `ok`, or why not.
    pub result: String,
}

/// What the stores can do for the audit. [`Store`](super::Store) says what holds for these futures.
#[async_trait]
pub trait AuditStore: Send + Sync {
    /// Keeps an entry under the next number. Twice is two entries: whoever is not sure says it again.
    async fn record(&self, entry: &AuditEntry) -> anyhow::Result<()>;

    /// At most `limit` entries with their numbers, newest first: of one customer or of all, numbered below `before`.
    async fn audit(
        &self,
        customer: Option<&str>,
        before: Option<i64>,
        limit: u32,
    ) -> anyhow::Result<Vec<(i64, AuditEntry)>>;

    /// Forgets entries before this instant, and all but the newest so many.
    async fn prune_audit(&self, before: Millis, keep: u64) -> anyhow::Result<()>;
}

/// An entry as it lies in a table.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct AuditRow {
    number: i64,
    at_ms: Millis,
    who: String,
    customer: Option<String>,
    what: String,
    subject: String,
    address: String,
    result: String,
}

impl From<AuditRow> for (i64, AuditEntry) {
    fn from(row: AuditRow) -> Self {
        let AuditRow { number, at_ms, who, customer, what, subject, address, result } = row;
        let customer = customer.map(Arc::from);
        (number, AuditEntry { at: at_ms, who, customer, what, subject, address, result })
    }
}
