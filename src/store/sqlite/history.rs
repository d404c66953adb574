//! The past of vehicles in SQLite. Fed by the store's trait; runs on a reading connection.

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;

use super::Sqlite;
use crate::domain::time::Millis;
use crate::store::history::{HistoryStore, Name, Past, PastRow, Turn, TurnCode, past, turns};

#[async_trait]
impl HistoryStore for Sqlite {
    async fn stood(&self, vehicles: &[Name], at: Millis) -> anyhow::Result<Vec<Past>> {
        let vehicles = vehicles.to_vec();
        self.read(move |connection| Box::pin(stood(connection, vehicles, at))).await
    }

    async fn turns(&self, vehicles: &[Name], from: Millis, to: Millis) -> anyhow::Result<Vec<Vec<Turn>>> {
        let vehicles = vehicles.to_vec();
        self.read(move |connection| Box::pin(turns_of(connection, vehicles, from, to))).await
    }
}

const STOOD: &str = "
    SELECT last.to_status, last.at_ms, last.seq, (
        SELECT max(at_ms) FROM departure
        WHERE customer = name.value ->> 0 AND vehicle = name.value ->> 1 AND at_ms <= ?2)
    FROM json_each(?1) AS name LEFT JOIN transition AS last
      ON last.customer = name.value ->> 0 AND last.vehicle = name.value ->> 1 AND last.seq = (
          SELECT seq FROM transition
          WHERE customer = name.value ->> 0 AND vehicle = name.value ->> 1 AND at_ms <= ?2
          ORDER BY at_ms DESC, seq DESC LIMIT 1)
    ORDER BY name.key";

/// How vehicles stood at an instant.
async fn stood(connection: &mut SqliteConnection, vehicles: Vec<Name>, at: Millis) -> anyhow::Result<Vec<Past>> {
    let rows = sqlx::query_as::<_, PastRow>(STOOD).bind(serde_json::to_string(&vehicles)?).bind(at);
    Ok(rows.fetch_all(connection).await?.into_iter().map(past).collect())
}

/// The status and cause of a transition as one number with its instant (history.rs).
macro_rules! turn_code {
    () => {
        "(at_ms << 16) | (unicode(substr(to_status, 3, 1)) << 8) | unicode(cause)"
    };
}

pub(super) const TURNS: &str = concat!(
    "
    SELECT (
        SELECT group_concat(",
    turn_code!(),
    ", ',' ORDER BY at_ms DESC, seq DESC) FROM transition
        WHERE customer = name.value ->> 0 AND vehicle = name.value ->> 1 AND at_ms > ?2 AND at_ms < ?3
    ), (
        SELECT ",
    turn_code!(),
    " FROM transition
        WHERE customer = name.value ->> 0 AND vehicle = name.value ->> 1 AND at_ms <= ?2
        ORDER BY at_ms DESC, seq DESC LIMIT 1
    ), (
        SELECT group_concat(at_ms, ',' ORDER BY at_ms) FROM departure
        WHERE customer = name.value ->> 0 AND vehicle = name.value ->> 1 AND at_ms < ?3
    )
    FROM json_each(?1) AS name ORDER BY name.key"
);

/// One row a vehicle: each row of an answer is a hop from SQLite's thread.
async fn turns_of(
    connection: &mut SqliteConnection,
    vehicles: Vec<Name>,
    from: Millis,
    to: Millis,
) -> anyhow::Result<Vec<Vec<Turn>>> {
    type Row = (Option<String>, Option<TurnCode>, Option<String>);
    let rows = sqlx::query_as::<_, Row>(TURNS).bind(serde_json::to_string(&vehicles)?).bind(from).bind(to);
    let rows = rows.fetch_all(connection).await?.into_iter();
    rows.map(|(within, before, left)| turns(numbers(within)?.into_iter().chain(before), numbers(left)?)).collect()
}

fn numbers(list: Option<String>) -> anyhow::Result<Vec<i64>> {
    let list = list.unwrap_or_default();
    list.split(',').filter(|number| !number.is_empty()).map(|number| Ok(number.parse()?)).collect()
}

/// Every statement of this file.
#[cfg(test)]
pub const STATEMENTS: &[&str] = &[STOOD, TURNS];
