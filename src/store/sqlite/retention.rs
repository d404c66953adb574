//! Dropping old history in SQLite, each statement beside the function that binds it.
//! Fed by the store's trait; a step is one short transaction on the writing connection, found out on a reading one.

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;

use super::Sqlite;
use super::stats::HORIZONS;
use super::write::chunks;
use crate::domain::calendar::MINUTE;
use crate::domain::time::Millis;
use crate::store::retention::{Kind, Mark, RetentionStore, Step, horizons};

/// Rows looked at or dropped in one step: some 10 ms of the writer.
const ROWS: i64 = 1_000;

#[async_trait]
impl RetentionStore for Sqlite {
    async fn prepare(&self, _: Millis) -> anyhow::Result<()> {
        Ok(())
    }

    async fn load_horizons(&self) -> anyhow::Result<Vec<(Kind, Millis)>> {
        let rows = self.read(|connection| {
            Box::pin(async { Ok(sqlx::query_as::<_, (String, Millis)>(HORIZONS).fetch_all(connection).await?) })
        });
        Ok(horizons(rows.await?))
    }

    async fn drop_some(&self, kind: Kind, before: Millis, after: Option<&Mark>) -> anyhow::Result<Step> {
        let first = after.is_none();
        let after = after.cloned().unwrap_or_default();
        if first && !self.write(move |connection| Box::pin(begin(connection, kind, before))).await? {
            return Ok(Step::default());
        }
        let step = match kind {
            Kind::Transitions => self.drop_transitions(before, after).await?,
            Kind::Heartbeats => self.write(move |connection| Box::pin(heartbeats(connection, before, after))).await?,
            Kind::Minutes => self.write(move |connection| Box::pin(minutes(connection, before, after))).await?,
        };
        Ok(Step { horizon: Some(before), ..step })
    }
}

impl Sqlite {
    /// What may go is found out beside the writer: the last transition of each vehicle stays, and is passed each time.
    async fn drop_transitions(&self, before: Millis, after: Mark) -> anyhow::Result<Step> {
        let looked = self.read(move |connection| Box::pin(old_transitions(connection, before, after))).await?;
        let next = looked.last().filter(|_| looked.len() as i64 == ROWS).map(|old| old.mark());
        let gone = looked.into_iter().filter(|old| old.superseded && !old.unarchived);
        let gone = gone.map(|old| Ok((old.customer, old.vehicle, old.seq)));
        let gone = chunks(gone)?;
        let rows = self.write(|connection| Box::pin(drop_listed(connection, gone))).await?;
        Ok(Step { horizon: None, rows, next })
    }
}

const UNCOUNTED: &str = "SELECT EXISTS (SELECT 1 FROM rollup_mark WHERE at_ms < ?1)";

const NOTE: &str = "
    INSERT INTO history_horizon (kind, before_ms) VALUES (?1, ?2)
    ON CONFLICT (kind) DO UPDATE SET before_ms = max(before_ms, excluded.before_ms)";

/// Writes the horizon; not while something before it has to be counted.
pub(super) async fn begin(connection: &mut SqliteConnection, kind: Kind, before: Millis) -> anyhow::Result<bool> {
    if kind != Kind::Heartbeats && sqlx::query_scalar(UNCOUNTED).bind(before).fetch_one(&mut *connection).await? {
        return Ok(false);
    }
    sqlx::query(NOTE).bind(kind.word()).bind(before).execute(connection).await?;
    Ok(true)
}

/// A transition that is old enough.
#[derive(Debug, sqlx::FromRow)]
struct Old {
    at_ms: Millis,
    customer: String,
    vehicle: String,
    seq: i64,
    /// Its vehicle is gone, or has a later one that is as old.
    superseded: bool,
    /// It came after the file of its time was written (archive.rs).
    unarchived: bool,
}

impl Old {
    fn mark(&self) -> Mark {
        Mark { at: self.at_ms, customer: self.customer.clone(), vehicle: self.vehicle.clone(), seq: self.seq }
    }
}

const OLD_TRANSITIONS: &str = "
    SELECT at_ms, customer, vehicle, seq,
        NOT EXISTS (SELECT 1 FROM vehicle WHERE vehicle.customer = old.customer AND vehicle.vehicle = old.vehicle)
        OR (EXISTS (SELECT 1 FROM transition WHERE customer = old.customer AND vehicle = old.vehicle
                      AND (at_ms, seq) > (old.at_ms, old.seq) AND at_ms < ?1)
            AND EXISTS (SELECT 1 FROM transition WHERE customer = old.customer AND vehicle = old.vehicle
                          AND seq > old.seq AND +at_ms < ?1)) AS superseded,
        EXISTS (SELECT 1 FROM archive_late WHERE archive_late.kind = 'transitions' AND archive_late.at_ms = old.at_ms
                  AND archive_late.customer = old.customer AND archive_late.vehicle = old.vehicle
                  AND archive_late.number = old.seq) AS unarchived
    FROM transition_of_fleet AS old
    WHERE at_ms < ?1 AND (at_ms, customer, vehicle, seq) > (?2, ?3, ?4, ?5)
    ORDER BY at_ms, customer, vehicle, seq LIMIT ?6";

async fn old_transitions(connection: &mut SqliteConnection, before: Millis, after: Mark) -> anyhow::Result<Vec<Old>> {
    let list = sqlx::query_as(OLD_TRANSITIONS).bind(before).bind(after.at).bind(after.customer).bind(after.vehicle);
    Ok(list.bind(after.seq).bind(ROWS).fetch_all(connection).await?)
}

/// Cast, for only what has the type of a column is looked for in its index.
const DROP_LISTED: &str = "
    DELETE FROM transition WHERE (customer, vehicle, seq) IN (
        SELECT CAST(value ->> 0 AS TEXT), CAST(value ->> 1 AS TEXT), CAST(value ->> 2 AS INTEGER) FROM json_each(?1))";

async fn drop_listed(connection: &mut SqliteConnection, gone: Vec<String>) -> anyhow::Result<u64> {
    let mut rows = 0;
    for list in gone {
        rows += sqlx::query(DROP_LISTED).bind(list).execute(&mut *connection).await?.rows_affected();
    }
    Ok(rows)
}

/// Two looks in the tree. As one, `(customer, vehicle) > (?1, ?2)` is looked for from its equal on, and every row of
/// the vehicle before is passed.
pub(super) const NEXT_VEHICLE: &str = "
    SELECT * FROM (
        SELECT customer, vehicle FROM heartbeat WHERE customer = ?1 AND vehicle > ?2 ORDER BY vehicle LIMIT 1)
    UNION ALL SELECT * FROM (
        SELECT customer, vehicle FROM heartbeat WHERE customer > ?1 ORDER BY customer, vehicle LIMIT 1)
    LIMIT 1";

const DROP_HEARTBEATS: &str = "
    DELETE FROM heartbeat WHERE (customer, vehicle, at_ms, id) IN (
        SELECT customer, vehicle, at_ms, id FROM heartbeat AS old
        WHERE customer = ?1 AND vehicle = ?2 AND at_ms < ?3 AND NOT EXISTS (
            SELECT 1 FROM archive_late AS late WHERE late.kind = 'heartbeats' AND late.at_ms = old.at_ms
              AND late.customer = old.customer AND late.vehicle = old.vehicle AND late.number = old.id)
        LIMIT ?4)";

/// Vehicle by vehicle, as the rows lie; one with many takes several steps.
async fn heartbeats(connection: &mut SqliteConnection, before: Millis, after: Mark) -> anyhow::Result<Step> {
    let (mut rows, mut mark) = (0, after);
    // A vehicle that has nothing to drop costs two steps in the tree.
    for _ in 0..ROWS / 10 {
        let next = sqlx::query_as(NEXT_VEHICLE).bind(mark.customer.clone()).bind(mark.vehicle.clone());
        let Some((customer, vehicle)) = next.fetch_optional(&mut *connection).await? else {
            return Ok(Step { horizon: None, rows, next: None });
        };
        let next: (String, String) = (customer, vehicle);
        let drop = sqlx::query(DROP_HEARTBEATS).bind(next.0.clone()).bind(next.1.clone()).bind(before);
        let dropped = drop.bind(ROWS).execute(&mut *connection).await?.rows_affected();
        rows += dropped;
        if dropped < ROWS as u64 {
            (mark.customer, mark.vehicle) = next;
        }
        if rows >= ROWS as u64 {
            break;
        }
    }
    Ok(Step { horizon: None, rows, next: Some(mark) })
}

pub(super) const NEXT_CUSTOMER: &str = "SELECT customer FROM rollup WHERE customer > ?1 ORDER BY customer LIMIT 1";

const DROP_MINUTES: &str = "
    DELETE FROM rollup WHERE (customer, span_ms, at_ms) IN (
        SELECT customer, span_ms, at_ms FROM rollup WHERE customer = ?1 AND span_ms = ?2 AND at_ms < ?3 LIMIT ?4)";

/// Customer by customer, the fleet ('') first.
async fn minutes(connection: &mut SqliteConnection, before: Millis, after: Mark) -> anyhow::Result<Step> {
    let drop = sqlx::query(DROP_MINUTES).bind(after.customer.clone()).bind(MINUTE).bind(before).bind(ROWS);
    let rows = drop.execute(&mut *connection).await?.rows_affected();
    if rows == ROWS as u64 {
        return Ok(Step { horizon: None, rows, next: Some(after) });
    }
    let next: Option<String> =
        sqlx::query_scalar(NEXT_CUSTOMER).bind(after.customer).fetch_optional(connection).await?;
    Ok(Step { horizon: None, rows, next: next.map(|customer| Mark { customer, ..Mark::default() }) })
}

/// Every statement of this file.
#[cfg(test)]
pub const STATEMENTS: &[&str] =
    &[UNCOUNTED, NOTE, OLD_TRANSITIONS, DROP_LISTED, NEXT_VEHICLE, DROP_HEARTBEATS, NEXT_CUSTOMER, DROP_MINUTES];

/// The statements that find what may go, and what must serve each.
#[cfg(test)]
pub const LISTS: [(&str, &str); 6] = [
    (DROP_LISTED, "PRIMARY KEY (customer=? AND vehicle=? AND seq=?)"),
    (OLD_TRANSITIONS, "transition_to_status (to_status=? AND (at_ms,customer,vehicle,seq)>"),
    (NEXT_VEHICLE, "PRIMARY KEY (customer=? AND vehicle>?"),
    (NEXT_VEHICLE, "PRIMARY KEY (customer>?"),
    (NEXT_CUSTOMER, "PRIMARY KEY (customer>?"),
    (DROP_MINUTES, "PRIMARY KEY (customer=? AND span_ms=? AND at_ms<?)"),
];
