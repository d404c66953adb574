//! One statement for many rows with bound values, in groups of a few sizes: SQLite compiles each size once. Used by
//! write.rs for transitions, their vehicles and checkpoints. As one JSON parameter, which the other statements take,
//! taking so many rows apart costs more than writing them.

use std::sync::Arc;

use sqlx::AssertSqlSafe;
use sqlx::sqlite::{SqliteArguments, SqliteConnection};

/// Rows of one statement, the largest first, and some of each at most: a group costs a hop to SQLite's thread, and each
/// size a place among the statements that the connection keeps.
const SIZES: [usize; 4] = [256, 64, 8, 1];

/// A statement, for each size.
#[derive(Debug)]
pub struct Many([Arc<str>; SIZES.len()]);

/// Rows on their way to a statement: the size of each group, by its place in [`SIZES`], and its values.
#[derive(Debug, Default)]
pub struct Groups(Vec<(usize, SqliteArguments)>);

impl Many {
    /// From the statement for one row, which has its values as the first `(?, ...)`.
    pub fn of(one: &str) -> Self {
        let begin = one.find("(?").unwrap_or(one.len());
        let end = one[begin..].find(')').map_or(one.len(), |length| begin + length + 1);
        let (before, row, after) = (&one[..begin], &one[begin..end], &one[end..]);
        Self(SIZES.map(|rows| [before, &vec![row; rows].join(", "), after].concat().into()))
    }

    /// Runs it over all groups.
    pub async fn execute(&self, connection: &mut SqliteConnection, groups: Groups) -> anyhow::Result<()> {
        for (size, values) in groups.0 {
            // Safe: a constant, repeated.
            let statement = AssertSqlSafe(Arc::clone(&self.0[size]));
            sqlx::query_with(statement, values).execute(&mut *connection).await?;
        }
        Ok(())
    }
}

impl Groups {
    /// Divides the rows; `bind` adds the values of one.
    pub fn of<R>(
        rows: &[R],
        bind: impl Fn(&mut SqliteArguments, &R) -> Result<(), sqlx::error::BoxDynError>,
    ) -> anyhow::Result<Self> {
        let (mut groups, mut left) = (Vec::new(), rows);
        for (size, count) in SIZES.into_iter().enumerate() {
            while let Some((group, rest)) = left.split_at_checked(count) {
                let mut values = SqliteArguments::default();
                for row in group {
                    bind(&mut values, row).map_err(anyhow::Error::from_boxed)?;
                }
                groups.push((size, values));
                left = rest;
            }
        }
        Ok(Self(groups))
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{Arguments, Connection};

    use super::*;

    #[tokio::test]
    async fn every_row_is_written_once_and_in_order_whatever_the_number() {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        sqlx::raw_sql("CREATE TABLE line (n INTEGER, text TEXT)").execute(&mut connection).await.unwrap();
        let many = Many::of("INSERT INTO line (n, text) SELECT * FROM (VALUES (?, ?)) WHERE column1 >= 0");
        for count in [0, 1, 7, 8, 9, 63, 64, 257, 1_000] {
            let rows: Vec<i64> = (-1..count - 1).collect();
            let groups = Groups::of(&rows, |values, n| {
                values.add(*n)?;
                values.add(format!("text {n}"))
            });
            many.execute(&mut connection, groups.unwrap()).await.unwrap();
            let lines = sqlx::query_as::<_, (i64, String)>("SELECT n, text FROM line ORDER BY rowid");
            let lines = lines.fetch_all(&mut connection).await.unwrap();
            assert_eq!(lines, (0..count - 1).map(|n| (n, format!("text {n}"))).collect::<Vec<_>>());
            sqlx::raw_sql("DELETE FROM line").execute(&mut connection).await.unwrap();
        }
    }
}
