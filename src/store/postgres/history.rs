//! The past of vehicles in Postgres. Fed by the store's trait; runs on a reading connection.

use async_trait::async_trait;
use sqlx::postgres::PgConnection;

use super::Postgres;
use super::write::column;
use crate::domain::time::Millis;
use crate::store::history::{HistoryStore, Name, Past, PastRow, Turn, TurnCode, past, turns};

#[async_trait]
impl HistoryStore for Postgres {
    async fn stood(&self, vehicles: &[Name], at: Millis) -> anyhow::Result<Vec<Past>> {
        let vehicles = vehicles.to_vec();
        self.read_past(move |connection| Box::pin(stood(connection, vehicles, at))).await
    }

    async fn turns(&self, vehicles: &[Name], from: Millis, to: Millis) -> anyhow::Result<Vec<Vec<Turn>>> {
        let vehicles = vehicles.to_vec();
        self.read_past(move |connection| Box::pin(turns_of(connection, vehicles, from, to))).await
    }
}

pub(super) const STOOD: &str = "
    SELECT last.to_status, last.at_ms, last.seq, (
        SELECT max(at_ms) FROM departure
        WHERE customer = name.customer AND vehicle = name.vehicle AND at_ms <= $3)
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS name (customer, vehicle, place)
    LEFT JOIN LATERAL (
        SELECT to_status, at_ms, seq FROM transition
        WHERE customer = name.customer AND vehicle = name.vehicle AND at_ms <= $3
        ORDER BY at_ms DESC, seq DESC LIMIT 1
    ) AS last ON true
    ORDER BY name.place";

/// How vehicles stood at an instant.
async fn stood(connection: &mut PgConnection, vehicles: Vec<Name>, at: Millis) -> anyhow::Result<Vec<Past>> {
    let rows = sqlx::query_as::<_, PastRow>(STOOD).bind(column(&vehicles, |name| name.0.clone()));
    let rows = rows.bind(column(&vehicles, |name| name.1.clone())).bind(at);
    Ok(rows.fetch_all(connection).await?.into_iter().map(past).collect())
}

/// The status and cause of a transition as one number with its instant (history.rs).
macro_rules! turn_code {
    () => {
        "(at_ms << 16) | (ascii(substr(to_status, 3, 1)) << 8) | ascii(cause)"
    };
}

pub(super) const TURNS: &str = concat!(
    "
    SELECT ARRAY (
        SELECT ",
    turn_code!(),
    " FROM transition
        WHERE customer = name.customer AND vehicle = name.vehicle AND at_ms > $3 AND at_ms < $4
        ORDER BY at_ms DESC, seq DESC
    ), (
        SELECT ",
    turn_code!(),
    " FROM transition
        WHERE customer = name.customer AND vehicle = name.vehicle AND at_ms <= $3
        ORDER BY at_ms DESC, seq DESC LIMIT 1
    ), ARRAY (
        SELECT at_ms FROM departure
        WHERE customer = name.customer AND vehicle = name.vehicle AND at_ms < $4 ORDER BY at_ms
    )
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS name (customer, vehicle, place)
    ORDER BY name.place"
);

/// One row a vehicle: rows of transitions would cost more to send than to find.
async fn turns_of(
    connection: &mut PgConnection,
    vehicles: Vec<Name>,
    from: Millis,
    to: Millis,
) -> anyhow::Result<Vec<Vec<Turn>>> {
    type Row = (Vec<TurnCode>, Option<TurnCode>, Vec<Millis>);
    let rows = sqlx::query_as::<_, Row>(TURNS).bind(column(&vehicles, |name| name.0.clone()));
    let rows = rows.bind(column(&vehicles, |name| name.1.clone())).bind(from).bind(to).fetch_all(connection).await?;
    rows.into_iter().map(|(within, before, left)| turns(within.into_iter().chain(before), left)).collect()
}

/// Every statement of this file.
#[cfg(test)]
pub const STATEMENTS: &[&str] = &[STOOD, TURNS];
