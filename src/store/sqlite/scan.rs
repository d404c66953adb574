//! History read from its beginning in Sqlite, each statement beside the function that binds it.
//! Fed by the store's trait; runs on the connection that comes last, a short page at a time.

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;

use super::Sqlite;
use crate::domain::time::Millis;
use crate::domain::transition::Transition;
use crate::store::history::Name;
use crate::store::rows::{TransitionRow, signed};
use crate::store::scan::{Log, ScanStore, Span};

// What has rows in a log is found by leaps from one name to the next, one index step each, however many rows it has.

const CUSTOMERS_REGISTERED: &str = "SELECT customer FROM customer WHERE customer > ?1 ORDER BY customer LIMIT ?2";

const CUSTOMERS_CHANGED: &str = "
    WITH RECURSIVE leap (customer) AS (
        SELECT min(customer) FROM transition WHERE customer > ?1
        UNION ALL
        SELECT (SELECT min(customer) FROM transition WHERE customer > leap.customer) FROM leap
        WHERE leap.customer IS NOT NULL
    )
    SELECT customer FROM leap WHERE customer IS NOT NULL LIMIT ?2";

const CUSTOMERS_HEARD: &str = "
    WITH RECURSIVE leap (customer) AS (
        SELECT min(customer) FROM heartbeat WHERE customer > ?1
        UNION ALL
        SELECT (SELECT min(customer) FROM heartbeat WHERE customer > leap.customer) FROM leap
        WHERE leap.customer IS NOT NULL
    )
    SELECT customer FROM leap WHERE customer IS NOT NULL LIMIT ?2";

async fn customers(
    connection: &mut SqliteConnection,
    log: Log,
    after: String,
    limit: u32,
) -> anyhow::Result<Vec<String>> {
    let statement = match log {
        Log::Registry => CUSTOMERS_REGISTERED,
        Log::Transitions => CUSTOMERS_CHANGED,
        Log::Heartbeats => CUSTOMERS_HEARD,
    };
    Ok(sqlx::query_scalar(statement).bind(after).bind(i64::from(limit)).fetch_all(connection).await?)
}

const VEHICLES_REGISTERED: &str = "
    SELECT vehicle FROM vehicle WHERE customer = ?1 AND vehicle > ?2 ORDER BY vehicle LIMIT ?3";

const VEHICLES_CHANGED: &str = "
    WITH RECURSIVE leap (vehicle) AS (
        SELECT min(vehicle) FROM transition WHERE customer = ?1 AND vehicle > ?2
        UNION ALL
        SELECT (SELECT min(vehicle) FROM transition WHERE customer = ?1 AND vehicle > leap.vehicle) FROM leap
        WHERE leap.vehicle IS NOT NULL
    )
    SELECT vehicle FROM leap WHERE vehicle IS NOT NULL LIMIT ?3";

const VEHICLES_HEARD: &str = "
    WITH RECURSIVE leap (vehicle) AS (
        SELECT min(vehicle) FROM heartbeat WHERE customer = ?1 AND vehicle > ?2
        UNION ALL
        SELECT (SELECT min(vehicle) FROM heartbeat WHERE customer = ?1 AND vehicle > leap.vehicle) FROM leap
        WHERE leap.vehicle IS NOT NULL
    )
    SELECT vehicle FROM leap WHERE vehicle IS NOT NULL LIMIT ?3";

async fn vehicles(connection: &mut SqliteConnection, log: Log, after: Name, limit: u32) -> anyhow::Result<Vec<String>> {
    let statement = match log {
        Log::Registry => VEHICLES_REGISTERED,
        Log::Transitions => VEHICLES_CHANGED,
        Log::Heartbeats => VEHICLES_HEARD,
    };
    let names = sqlx::query_scalar(statement).bind(after.0).bind(after.1).bind(i64::from(limit));
    Ok(names.fetch_all(connection).await?)
}

pub(super) const FORWARD: &str = "
    SELECT customer, vehicle, seq, from_status, to_status, at_ms, decided_at_ms, cause, evidence FROM transition
    WHERE customer = ?1 AND vehicle = ?2 AND (at_ms, seq) > (?3, ?4) AND at_ms < ?5
    ORDER BY at_ms, seq LIMIT ?6";

async fn forward(
    connection: &mut SqliteConnection,
    vehicle: Name,
    span: Span,
    after: i64,
) -> anyhow::Result<Vec<Transition>> {
    let rows = sqlx::query_as::<_, TransitionRow>(FORWARD).bind(vehicle.0).bind(vehicle.1).bind(span.from).bind(after);
    let rows = rows.bind(span.to).bind(i64::from(span.limit)).fetch_all(connection).await?;
    rows.into_iter().map(Transition::try_from).collect()
}

/// Every statement of this file.
#[cfg(test)]
pub const STATEMENTS: &[&str] = &[
    CUSTOMERS_REGISTERED,
    CUSTOMERS_CHANGED,
    CUSTOMERS_HEARD,
    VEHICLES_REGISTERED,
    VEHICLES_CHANGED,
    VEHICLES_HEARD,
    FORWARD,
];

#[async_trait]
impl ScanStore for Sqlite {
    async fn customers_in(&self, log: Log, after: &str, limit: u32) -> anyhow::Result<Vec<String>> {
        let after = after.to_owned();
        self.read_last(move |connection| Box::pin(customers(connection, log, after, limit))).await
    }

    async fn vehicles_in(&self, log: Log, after: &Name, limit: u32) -> anyhow::Result<Vec<String>> {
        let after = after.clone();
        self.read_last(move |connection| Box::pin(vehicles(connection, log, after, limit))).await
    }

    async fn transitions_forward(
        &self,
        vehicle: &Name,
        span: Span,
        after: Option<(Millis, u64)>,
    ) -> anyhow::Result<Vec<Transition>> {
        let vehicle = vehicle.clone();
        // No number is below 1, so being after number 0 of the first instant is being in the span.
        let (from, seq) = after.unwrap_or((span.from, 0));
        let (span, seq) = (Span { from, ..span }, signed(seq)?);
        self.read_last(move |connection| Box::pin(forward(connection, vehicle, span, seq))).await
    }
}
