//! Finds rows of vehicles that say something else than the vehicle's last transition, and mends them (R1).
//! Fed by the start and by each checkpoint with a range of keys; a row is derived, the transitions are the truth.

use sqlx::sqlite::SqliteConnection;

use crate::domain::ids::VehicleKey;
use crate::store::Mended;
use crate::store::rows::{FaultyRow, Slice};

pub(super) const FAULTY: &str = "
    WITH slice AS (
        SELECT customer, vehicle, status, status_since_ms, seq, earlier_seq FROM vehicle
        WHERE (customer, vehicle) > (?1, ?2) ORDER BY customer, vehicle LIMIT ?3)
    SELECT slice.*, coalesce(last.to_status, 'never_seen') AS true_status, last.at_ms AS true_since_ms,
           coalesce(last.seq, slice.earlier_seq) AS true_seq
    FROM slice LEFT JOIN transition AS last
      ON last.customer = slice.customer AND last.vehicle = slice.vehicle AND last.seq = (
          SELECT max(seq) FROM transition
          WHERE customer = slice.customer AND vehicle = slice.vehicle AND seq > slice.earlier_seq)
    WHERE (slice.status, slice.status_since_ms, slice.seq)
          IS NOT (coalesce(last.to_status, 'never_seen'), last.at_ms, coalesce(last.seq, slice.earlier_seq))";

async fn faulty(connection: &mut SqliteConnection, slice: &Slice) -> anyhow::Result<Vec<FaultyRow>> {
    let rows = sqlx::query_as(FAULTY).bind(slice.customer.clone()).bind(slice.vehicle.clone()).bind(slice.rows);
    Ok(rows.fetch_all(connection).await?)
}

const SLICE_END: &str = "
    SELECT customer, vehicle FROM vehicle WHERE (customer, vehicle) > (?1, ?2)
    ORDER BY customer, vehicle LIMIT 1 OFFSET ?3 - 1";

/// Whether any row of a slice is wrong, and the last key of the slice; none when the vehicles end before.
pub async fn look(connection: &mut SqliteConnection, slice: Slice) -> anyhow::Result<(bool, Option<VehicleKey>)> {
    let end = sqlx::query_as(SLICE_END).bind(slice.customer.clone()).bind(slice.vehicle.clone()).bind(slice.rows);
    let end: Option<(String, String)> = end.fetch_optional(&mut *connection).await?;
    let end = end.map(|(customer, vehicle)| VehicleKey { customer: customer.into(), vehicle: vehicle.into() });
    Ok((!faulty(connection, &slice).await?.is_empty(), end))
}

const MEND: &str = "
    UPDATE vehicle SET status = ?3, status_since_ms = ?4, seq = ?5 WHERE customer = ?1 AND vehicle = ?2";

/// Finds them again, now that nobody else writes, and mends them.
pub async fn mend(connection: &mut SqliteConnection, slice: Slice) -> anyhow::Result<Vec<Mended>> {
    let rows = faulty(connection, &slice).await?;
    for row in &rows {
        let mend = sqlx::query(MEND).bind(row.customer.clone()).bind(row.vehicle.clone());
        let mend = mend.bind(row.true_status.clone()).bind(row.true_since_ms).bind(row.true_seq);
        mend.execute(&mut *connection).await?;
    }
    Ok(rows.into_iter().map(Mended::from).collect())
}

/// Every statement of this file.
#[cfg(test)]
pub const STATEMENTS: &[&str] = &[FAULTY, SLICE_END, MEND];
