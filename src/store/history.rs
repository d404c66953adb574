//! What the stores tell of vehicles at a past instant. Fed by transitions; read by REST.

use async_trait::async_trait;

use crate::domain::time::Millis;
use crate::domain::transition::Status;

/// A vehicle's status at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Past {
    /// The status; never seen before its first transition.
    pub status: Status,
    /// Since when.
    pub since: Option<Millis>,
    /// Number of the transition to it; 0 when there was none.
    pub seq: u64,
}

/// A vehicle's two names: customer, vehicle.
pub type Name = (String, String);

/// The past of a store.
#[async_trait]
pub trait HistoryStore: Send + Sync {
    /// How these vehicles stood at an instant, in the order they are named; one index step a vehicle.
    async fn stood(&self, vehicles: &[Name], at: Millis) -> anyhow::Result<Vec<Past>>;
}

/// A row as both stores read it.
pub type PastRow = (Option<String>, Option<i64>, Option<i64>);

/// What such a row says.
pub fn past((status, since, seq): PastRow) -> Past {
    let status = status.and_then(|word| Status::from_word(&word)).unwrap_or_default();
    Past { status, since, seq: seq.unwrap_or_default().unsigned_abs() }
}
