//! The past of vehicles in Postgres. Fed by the store's trait; runs on a reading connection.

use sqlx::postgres::PgConnection;

use super::write::column;
use crate::domain::time::Millis;
use crate::store::history::{Name, Past, PastRow, past};

const STOOD: &str = "
    SELECT last.to_status, last.at_ms, last.seq
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS name (customer, vehicle, place)
    LEFT JOIN LATERAL (
        SELECT to_status, at_ms, seq FROM transition
        WHERE customer = name.customer AND vehicle = name.vehicle AND at_ms <= $3
        ORDER BY at_ms DESC, seq DESC LIMIT 1
    ) AS last ON true
    ORDER BY name.place";

/// How vehicles stood at an instant.
pub async fn stood(connection: &mut PgConnection, vehicles: Vec<Name>, at: Millis) -> anyhow::Result<Vec<Past>> {
    let rows = sqlx::query_as::<_, PastRow>(STOOD).bind(column(&vehicles, |name| name.0.clone()));
    let rows = rows.bind(column(&vehicles, |name| name.1.clone())).bind(at);
    Ok(rows.fetch_all(connection).await?.into_iter().map(past).collect())
}

/// Every statement of this file.
#[cfg(test)]
pub const STATEMENTS: &[&str] = &[STOOD];
