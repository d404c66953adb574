//! Dropping old history in Postgres, each statement beside the function that binds it.
//! Fed by the store's trait. Whole partitions go, on a connection of its own: the writer is not kept, and what takes
//! long there (the last transition of each of a million vehicles is copied) is not ended by the limits of short work.

use async_trait::async_trait;
use sqlx::Connection;
use sqlx::postgres::PgConnection;

use super::Postgres;
use super::stats::HORIZONS;
use crate::domain::calendar::{DAY, MINUTE};
use crate::domain::time::Millis;
use crate::store::retention::{Kind, Mark, RetentionStore, Step, horizons};

/// Rows of minutes that are dropped in one step.
const ROWS: i64 = 10_000;
/// Partitions are made for so many days ahead.
const AHEAD_DAYS: Millis = 40;

#[async_trait]
impl RetentionStore for Postgres {
    async fn prepare(&self, today: Millis) -> anyhow::Result<()> {
        self.keep(move |connection| Box::pin(prepare(connection, today))).await
    }

    async fn load_horizons(&self) -> anyhow::Result<Vec<(Kind, Millis)>> {
        let rows = self.read(|connection| {
            Box::pin(async { Ok(sqlx::query_as::<_, (String, Millis)>(HORIZONS).fetch_all(connection).await?) })
        });
        Ok(horizons(rows.await?))
    }

    async fn drop_some(&self, kind: Kind, before: Millis, after: Option<&Mark>) -> anyhow::Result<Step> {
        let after = after.cloned().unwrap_or_default();
        self.keep(move |connection| Box::pin(drop_some(connection, kind, before, after))).await
    }
}

const LONG: &str = "SET LOCAL statement_timeout = 0";

const ADD_MONTHS: &str = "SELECT add_transition_months($1)";

const ADD_DAYS: &str = "SELECT add_heartbeat_days($1)";

/// The days of the next week, and the months of the next one.
async fn prepare(connection: &mut PgConnection, today: Millis) -> anyhow::Result<()> {
    let days: Vec<Millis> = (0..8).map(|day| today + day * DAY).collect();
    sqlx::query(ADD_DAYS).bind(days).execute(&mut *connection).await?;
    sqlx::query(ADD_MONTHS).bind(vec![today, today + AHEAD_DAYS * DAY]).execute(connection).await?;
    Ok(())
}

const UNCOUNTED: &str = "SELECT EXISTS (SELECT FROM rollup_mark WHERE at_ms < $1)";

const NOTE: &str = "
    INSERT INTO history_horizon AS known (kind, before_ms) VALUES ($1, $2)
    ON CONFLICT (kind) DO UPDATE SET before_ms = greatest(known.before_ms, excluded.before_ms)";

const DROP_DAY: &str = "SELECT drop_heartbeat_day($1)";

/// The last month that ends by then.
const MONTHS_END: &str = "SELECT max(to_ms) FROM history_partitions('transition') WHERE to_ms <= $1";

const DROP_MONTHS: &str = "SELECT drop_transition_months($1)";

/// Writes the horizon; not while something before it has to be counted.
pub(super) async fn begin(connection: &mut PgConnection, kind: Kind, before: Millis) -> anyhow::Result<bool> {
    if kind != Kind::Heartbeats && sqlx::query_scalar(UNCOUNTED).bind(before).fetch_one(&mut *connection).await? {
        return Ok(false);
    }
    sqlx::query(NOTE).bind(kind.word()).bind(before).execute(connection).await?;
    Ok(true)
}

async fn drop_some(connection: &mut PgConnection, kind: Kind, before: Millis, after: Mark) -> anyhow::Result<Step> {
    // A partition that is not over yet stays as a whole, and so does what is told of it.
    let before = match kind {
        Kind::Transitions => sqlx::query_scalar(MONTHS_END).bind(before).fetch_one(&mut *connection).await?,
        Kind::Heartbeats | Kind::Minutes => Some(before),
    };
    let Some(before) = before else { return Ok(Step::default()) };
    if !begin(&mut *connection, kind, before).await? {
        return Ok(Step::default());
    }
    let mut transaction = connection.begin().await?;
    sqlx::query(LONG).execute(&mut *transaction).await?;
    let more = Some(Mark::default());
    let (rows, next) = match kind {
        Kind::Heartbeats => {
            let others: bool = sqlx::query_scalar(DROP_DAY).bind(before).fetch_one(&mut *transaction).await?;
            (0, more.filter(|_| others))
        }
        Kind::Transitions => {
            sqlx::query(DROP_MONTHS).bind(before).execute(&mut *transaction).await?;
            (0, None)
        }
        Kind::Minutes => minutes(&mut transaction, before, after).await?,
    };
    transaction.commit().await?;
    Ok(Step { horizon: Some(before), rows, next })
}

pub(super) const NEXT_CUSTOMER: &str = "SELECT customer FROM rollup WHERE customer > $1 ORDER BY customer LIMIT 1";

const DROP_MINUTES: &str = "
    DELETE FROM rollup WHERE customer = $1 AND span_ms = $2 AND at_ms < $3 AND at_ms <= (
        SELECT max(at_ms) FROM (
            SELECT at_ms FROM rollup WHERE customer = $1 AND span_ms = $2 AND at_ms < $3 ORDER BY at_ms LIMIT $4
        ) AS oldest)";

/// Customer by customer, the fleet ('') first.
async fn minutes(connection: &mut PgConnection, before: Millis, after: Mark) -> anyhow::Result<(u64, Option<Mark>)> {
    let drop = sqlx::query(DROP_MINUTES).bind(after.customer.clone()).bind(MINUTE).bind(before).bind(ROWS);
    let rows = drop.execute(&mut *connection).await?.rows_affected();
    if rows == ROWS as u64 {
        return Ok((rows, Some(after)));
    }
    let next: Option<String> =
        sqlx::query_scalar(NEXT_CUSTOMER).bind(after.customer).fetch_optional(connection).await?;
    Ok((rows, next.map(|customer| Mark { customer, ..Mark::default() })))
}

/// Every statement of this file.
#[cfg(test)]
pub const STATEMENTS: &[&str] =
    &[LONG, ADD_MONTHS, ADD_DAYS, UNCOUNTED, NOTE, DROP_DAY, MONTHS_END, DROP_MONTHS, NEXT_CUSTOMER, DROP_MINUTES];
