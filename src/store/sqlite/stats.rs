//! Statistics in SQLite, each statement beside the function that binds it.
//! Fed by the store's trait: writes run on the writing connection, inside one transaction a call.

use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;

use super::write::chunks;
use crate::domain::calendar::HOUR;
use crate::domain::statistics::Levels;
use crate::domain::time::Millis;
use crate::store::retention::{Kind, countable, sums};
use crate::store::stats::{
    Beats, FLEET, Hours, RollupQuery, RollupRow, Rollups, SixSums, rollup_of_transitions, spread,
};

const IS_NEW: &str = "
    UPDATE rollup_beats SET owner = ?1, number = ?2 WHERE (owner, number) < (?1, ?2)";

const ADD_BEATS: &str = "
    INSERT INTO rollup (customer, span_ms, at_ms, heartbeats)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(?1) WHERE true
    ON CONFLICT (customer, span_ms, at_ms) DO UPDATE SET heartbeats = rollup.heartbeats + excluded.heartbeats";

/// Counted heartbeats as their statement takes them: chunks of JSON arrays.
pub fn beats(beats: &[Beats]) -> anyhow::Result<Vec<String>> {
    chunks(spread(beats).into_iter().map(Ok))
}

/// Adds counted heartbeats, once.
pub async fn add_beats(
    connection: &mut SqliteConnection,
    owner: i64,
    number: i64,
    beats: Vec<String>,
) -> anyhow::Result<()> {
    let new = sqlx::query(IS_NEW).bind(owner).bind(number).execute(&mut *connection).await?.rows_affected() > 0;
    for rows in beats.iter().filter(|_| new) {
        sqlx::query(ADD_BEATS).bind(rows).execute(&mut *connection).await?;
    }
    Ok(())
}

pub(super) const HORIZONS: &str = "SELECT kind, before_ms FROM history_horizon";

const MARKED: &str = "SELECT DISTINCT at_ms FROM rollup_mark ORDER BY at_ms LIMIT ?1";

/// Counts the transitions of some marked minutes, and answers whether others are marked.
pub async fn roll_up(connection: &mut SqliteConnection, minutes: u32) -> anyhow::Result<bool> {
    let mut marked: Vec<Millis> =
        sqlx::query_scalar(MARKED).bind(i64::from(minutes) + 1).fetch_all(&mut *connection).await?;
    let more = marked.len() > minutes as usize;
    marked.truncate(minutes as usize);
    let Some(last) = marked.last().copied() else { return Ok(false) };
    let horizons: Vec<(String, Millis)> = sqlx::query_as(HORIZONS).fetch_all(&mut *connection).await?;
    let horizon = |kind: Kind| horizons.iter().find(|(word, _)| word == kind.word()).map_or(0, |(_, before)| *before);
    let counted = countable(&marked, horizon(Kind::Transitions), horizon(Kind::Minutes));
    for (at, span) in &counted {
        sqlx::query(COUNT).bind(*at).bind(*span).execute(&mut *connection).await?;
    }
    for (at, part, whole) in sums(&counted) {
        sqlx::query(SUM_UP).bind(at).bind(part).bind(whole).execute(&mut *connection).await?;
    }
    sqlx::query(UNMARK).bind(last).execute(connection).await?;
    Ok(more)
}

/// The rows of a span's marked customers, and the fleet's, from the transitions.
const COUNT: &str = concat!(
    "
    INSERT INTO rollup (customer, span_ms, at_ms, ",
    rollup_of_transitions!(columns),
    ")
    WITH marked AS (
        SELECT customer FROM rollup_mark WHERE at_ms >= ?1 AND at_ms < ?1 + ?2 UNION SELECT ''
    ),
    moved AS (
        SELECT customer, at_ms, from_status, to_status FROM transition_of_fleet
        WHERE at_ms >= ?1 AND at_ms < ?1 + ?2
        UNION ALL
        SELECT customer, at_ms, status, 'gone' FROM departure WHERE at_ms >= ?1 AND at_ms < ?1 + ?2
    ),
    twice AS (SELECT * FROM moved UNION ALL SELECT '', at_ms, from_status, to_status FROM moved),
    instant AS (
        SELECT customer, at_ms,
               sum(to_status = 'online') AS to_online, sum(to_status = 'offline') AS to_offline,
               sum(to_status = 'unobserved') AS to_unobserved,
               sum((to_status = 'online') - (from_status = 'online')) AS online,
               sum((to_status = 'offline') - (from_status = 'offline')) AS offline,
               sum((to_status = 'unobserved') - (from_status = 'unobserved')) AS unobserved
        FROM twice GROUP BY customer, at_ms
    ),
    running AS (
        SELECT instant.*, ?1 + ?2 - at_ms AS rest, sum(online) OVER (PARTITION BY customer ORDER BY at_ms) AS level
        FROM instant
    )
    SELECT marked.customer, ?2, ?1,
           coalesce(sum(to_online), 0), coalesce(sum(to_offline), 0), coalesce(sum(to_unobserved), 0),
           coalesce(sum(online), 0), coalesce(sum(offline), 0), coalesce(sum(unobserved), 0),
           coalesce(sum(online * rest), 0), coalesce(sum(offline * rest), 0), coalesce(sum(unobserved * rest), 0),
           min(coalesce(min(level), 0), 0), max(coalesce(max(level), 0), 0)
    FROM marked LEFT JOIN running ON running.customer = marked.customer WHERE true GROUP BY marked.customer
    ",
    rollup_of_transitions!(replaced)
);

/// A longer span, of the customers that are marked in it, from its parts.
const SUM_UP: &str = concat!(
    "
    INSERT INTO rollup (customer, span_ms, at_ms, ",
    rollup_of_transitions!(columns),
    ")
    WITH part AS (
        SELECT rollup.*, ?1 + ?3 - at_ms - ?2 AS rest,
               sum(online_net) OVER (PARTITION BY customer ORDER BY at_ms) - online_net AS first
        FROM rollup
        WHERE customer IN (
                SELECT customer FROM rollup_mark WHERE at_ms >= ?1 AND at_ms < ?1 + ?3
                UNION ALL SELECT ''
            )
          AND span_ms = ?2 AND at_ms >= ?1 AND at_ms < ?1 + ?3
    )
    SELECT customer, ?3, ?1, sum(went_online), sum(went_offline), sum(went_unobserved),
           sum(online_net), sum(offline_net), sum(unobserved_net), sum(online_within + online_net * rest),
           sum(offline_within + offline_net * rest), sum(unobserved_within + unobserved_net * rest),
           min(min(first + online_dip), 0), max(max(first + online_peak), 0)
    FROM part WHERE true GROUP BY customer
    ",
    rollup_of_transitions!(replaced)
);

const UNMARK: &str = "DELETE FROM rollup_mark WHERE at_ms <= ?1";

const LEVELS: &str = "
    SELECT coalesce(sum(online), 0), coalesce(sum(offline), 0), coalesce(sum(unobserved), 0) FROM (
        SELECT sum(online_net) AS online, sum(offline_net) AS offline, sum(unobserved_net) AS unobserved FROM rollup
        WHERE customer = ?1 AND span_ms = ?3 AND at_ms < ?2 - ?2 % ?3
        UNION ALL
        SELECT sum(online_net), sum(offline_net), sum(unobserved_net) FROM rollup
        WHERE customer = ?1 AND span_ms = ?4 AND at_ms >= ?2 - ?2 % ?3 AND at_ms < ?2
    )";

pub(super) const ROLLUPS: &str = concat!(
    "
    SELECT at_ms, heartbeats, ",
    rollup_of_transitions!(columns),
    "
    FROM rollup WHERE customer = ?1 AND span_ms = ?2 AND at_ms >= ?3 AND at_ms < ?4 ORDER BY at_ms"
);

const BEGAN: &str = "SELECT min(from_ms) FROM observation_gap";

/// Levels and changes, of one moment.
pub async fn rollups(connection: &mut SqliteConnection, query: RollupQuery) -> anyhow::Result<Rollups> {
    let mut moment = connection.begin().await?;
    let RollupQuery { customer, span, from, to } = query;
    let customer = customer.unwrap_or_else(|| FLEET.to_owned());
    let levels = sqlx::query_as::<_, (i64, i64, i64)>(LEVELS).bind(customer.clone()).bind(from).bind(HOUR).bind(span);
    let (online, offline, unobserved) = levels.fetch_one(&mut *moment).await?;
    let levels: Levels = [online, offline, unobserved];
    let rows = sqlx::query_as::<_, RollupRow>(ROLLUPS).bind(customer).bind(span).bind(from).bind(to);
    let rollups = rows.fetch_all(&mut *moment).await?.into_iter().map(Into::into).collect();
    let began = sqlx::query_scalar(BEGAN).fetch_one(&mut *moment).await?;
    moment.commit().await?;
    Ok(Rollups { levels, rollups, began })
}

const MINUTES_FROM: &str = "SELECT before_ms FROM history_horizon WHERE kind = 'statistics_minutes'";

const SPENT_BEFORE: &str = "
    SELECT coalesce(sum(online_net), 0), coalesce(sum(offline_net), 0), coalesce(sum(unobserved_net), 0),
           coalesce(sum(online_within + online_net * (?2 - at_ms - span_ms)), 0),
           coalesce(sum(offline_within + offline_net * (?2 - at_ms - span_ms)), 0),
           coalesce(sum(unobserved_within + unobserved_net * (?2 - at_ms - span_ms)), 0)
    FROM rollup WHERE customer = ?1 AND span_ms = ?3 AND at_ms < ?2";

const SPENT_SINCE: &str = "
    SELECT coalesce(sum(online), 0), coalesce(sum(offline), 0), coalesce(sum(unobserved), 0) FROM (
        SELECT online_within + online_net * (?2 - at_ms - span_ms) AS online,
               offline_within + offline_net * (?2 - at_ms - span_ms) AS offline,
               unobserved_within + unobserved_net * (?2 - at_ms - span_ms) AS unobserved
        FROM rollup WHERE customer = ?1 AND span_ms = ?4 AND at_ms >= ?3 AND at_ms < ?2 - ?2 % ?4
        UNION ALL
        SELECT (?2 - at_ms) * ((to_status = 'online') - (from_status = 'online')),
               (?2 - at_ms) * ((to_status = 'offline') - (from_status = 'offline')),
               (?2 - at_ms) * ((to_status = 'unobserved') - (from_status = 'unobserved'))
        FROM (
            SELECT at_ms, from_status, to_status FROM transition
            WHERE customer = ?1 AND at_ms >= ?2 - ?2 % ?4 AND at_ms < ?2
            UNION ALL
            SELECT at_ms, from_status, to_status FROM transition_of_fleet
            WHERE ?1 = '' AND at_ms >= ?2 - ?2 % ?4 AND at_ms < ?2
            UNION ALL
            SELECT at_ms, status, 'gone' FROM departure
            WHERE ?1 IN ('', customer) AND at_ms >= ?2 - ?2 % ?4 AND at_ms < ?2
        )
    )";

/// What was spent before an hour, the changes of the hours since, and for each instant what they say of its own hour:
/// its minutes or quarters, and the transitions of the last one.
pub async fn spent(
    connection: &mut SqliteConnection,
    customer: Option<String>,
    instants: Vec<Millis>,
) -> anyhow::Result<Vec<Levels>> {
    let customer = customer.unwrap_or_else(|| FLEET.to_owned());
    let hours = Hours::around(&instants);
    let mut moment = connection.begin().await?;
    let before = sqlx::query_as::<_, SixSums>(SPENT_BEFORE).bind(customer.clone()).bind(hours.first).bind(HOUR);
    let before = before.fetch_one(&mut *moment).await?;
    let rows = sqlx::query_as::<_, RollupRow>(ROLLUPS).bind(customer.clone()).bind(HOUR).bind(hours.first);
    let rows = rows.bind(hours.end).fetch_all(&mut *moment).await?;
    let minutes_from = sqlx::query_scalar(MINUTES_FROM).fetch_optional(&mut *moment).await?.unwrap_or(0);
    let mut since = Vec::with_capacity(instants.len());
    for (instant, hour, part) in instants.iter().map(|instant| Hours::asked(*instant, minutes_from)) {
        let sums = sqlx::query_as::<_, (i64, i64, i64)>(SPENT_SINCE).bind(customer.clone()).bind(instant).bind(hour);
        let (online, offline, unobserved) = sums.bind(part).fetch_one(&mut *moment).await?;
        since.push((instant, [online, offline, unobserved]));
    }
    moment.commit().await?;
    Ok(hours.spent(before, rows, &since))
}

/// Every statement of this file.
#[cfg(test)]
pub const STATEMENTS: &[&str] = &[
    IS_NEW,
    ADD_BEATS,
    HORIZONS,
    MARKED,
    COUNT,
    SUM_UP,
    UNMARK,
    LEVELS,
    ROLLUPS,
    BEGAN,
    MINUTES_FROM,
    SPENT_BEFORE,
    SPENT_SINCE,
];
