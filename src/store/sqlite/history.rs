//! The past of vehicles in SQLite. Fed by the store's trait; runs on a reading connection.

use sqlx::sqlite::SqliteConnection;

use crate::domain::time::Millis;
use crate::store::history::{Name, Past, PastRow, past};

const STOOD: &str = "
    SELECT last.to_status, last.at_ms, last.seq
    FROM json_each(?1) AS name LEFT JOIN transition AS last
      ON last.customer = name.value ->> 0 AND last.vehicle = name.value ->> 1 AND last.seq = (
          SELECT seq FROM transition
          WHERE customer = name.value ->> 0 AND vehicle = name.value ->> 1 AND at_ms <= ?2
          ORDER BY at_ms DESC, seq DESC LIMIT 1)
    ORDER BY name.key";

/// How vehicles stood at an instant.
pub async fn stood(connection: &mut SqliteConnection, vehicles: Vec<Name>, at: Millis) -> anyhow::Result<Vec<Past>> {
    let rows = sqlx::query_as::<_, PastRow>(STOOD).bind(serde_json::to_string(&vehicles)?).bind(at);
    Ok(rows.fetch_all(connection).await?.into_iter().map(past).collect())
}

/// Every statement of this file.
#[cfg(test)]
pub const STATEMENTS: &[&str] = &[STOOD];
