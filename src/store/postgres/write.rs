//! What is written to Postgres, each statement beside the function that binds it.
//! Fed by the persister through the trait, inside one transaction a call; every statement may be repeated.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use sqlx::postgres::PgConnection;

use crate::domain::latest::Latest;
use crate::domain::time::Millis;
use crate::domain::transition::Transition;
use crate::store::retention::Kind;
use crate::store::rows::{
    FactRow, Folded, customers_of, fact_row, fold, marks_of, metrics_row, newest_gauges, newest_heard, newest_position,
    ordered, rank_row, signed,
};
use crate::store::{Checkpoint, ObservationGap, TakenOver};

/// Rows a statement: a few megabytes of arrays, and well below the time limit of a statement.
pub(super) const CHUNK: usize = 5_000;

/// The months of a batch, each by its first instant.
pub fn months(transitions: &[Transition]) -> HashSet<Millis> {
    transitions.iter().map(|row| Kind::Transitions.floor(row.change.at)).collect()
}

/// Writes a batch, and makes the partitions of months that may not be there. Transitions first: whether one is new is
/// told from its vehicle's row as it was. What another batch may bring too, customers and marks, comes in one statement
/// each and in order, and nothing else does: so two batches of different vehicles wait for each other at most.
pub async fn commit(
    connection: &mut PgConnection,
    transitions: Vec<Transition>,
    new_months: Vec<Millis>,
) -> anyhow::Result<()> {
    if !new_months.is_empty() {
        sqlx::query(ADD_MONTHS).bind(new_months).execute(&mut *connection).await?;
    }
    let vehicles = fold(&transitions);
    add_customers(connection, customers_of(&vehicles).into_iter().map(str::to_owned).collect()).await?;
    for rows in ordered(&transitions).chunks(CHUNK) {
        add_transitions(connection, rows).await?;
    }
    for rows in vehicles.chunks(CHUNK) {
        move_vehicles(connection, rows).await?;
    }
    mark(connection, marks_of(&transitions)).await
}

const ADD_MONTHS: &str = "SELECT add_transition_months($1)";

const MARK: &str = "
    INSERT INTO rollup_mark (customer, at_ms) SELECT * FROM unnest($1::text[], $2::bigint[]) ON CONFLICT DO NOTHING";

/// The minutes that statistics have to count anew (0008_statistics.sql).
async fn mark(connection: &mut PgConnection, marks: BTreeSet<(&str, Millis)>) -> anyhow::Result<()> {
    let (customers, minutes): (Vec<String>, Vec<Millis>) =
        marks.into_iter().map(|(customer, minute)| (customer.to_owned(), minute)).unzip();
    sqlx::query(MARK).bind(customers).bind(minutes).execute(connection).await?;
    Ok(())
}

/// One column of the rows, as an array to bind.
pub(super) fn column<'a, R, C>(rows: &'a [R], of: impl Fn(&'a R) -> C) -> Vec<C> {
    rows.iter().map(of).collect()
}

const ADD_CUSTOMERS: &str = "
    INSERT INTO customer (customer) SELECT DISTINCT * FROM unnest($1::text[]) ORDER BY 1
    ON CONFLICT DO NOTHING";

pub(super) async fn add_customers(connection: &mut PgConnection, customers: Vec<String>) -> anyhow::Result<()> {
    sqlx::query(ADD_CUSTOMERS).bind(customers).execute(connection).await?;
    Ok(())
}

const MOVE_VEHICLES: &str = concat!(
    "
    INSERT INTO vehicle (customer, vehicle, status, status_since_ms, seq, last_seen_ms,
                         lat, lon, position_at_ms, speed_kmh, heading_deg)
    SELECT * FROM unnest(
        $1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[],
        $7::double precision[], $8::double precision[], $9::bigint[], $10::real[], $11::real[]
    ) AS row (customer, vehicle, status, at_ms, seq, last_seen_ms, lat, lon, position_at_ms, speed_kmh, heading_deg)
    WHERE NOT EXISTS (
        SELECT FROM departed
        WHERE departed.customer = row.customer AND departed.vehicle = row.vehicle AND departed.seq >= row.seq)
    ON CONFLICT (customer, vehicle) DO UPDATE SET
        status = excluded.status,
        status_since_ms = excluded.status_since_ms,
        seq = excluded.seq, ",
    newest_position!("excluded"),
    "
        announced_ms = CASE WHEN excluded.last_seen_ms > coalesce(vehicle.last_seen_ms, 0) THEN 0
                            ELSE vehicle.announced_ms END,
        last_seen_ms = greatest(vehicle.last_seen_ms, excluded.last_seen_ms)
    WHERE vehicle.seq < excluded.seq"
);

/// A vehicle's row moves forward only: in seq as a whole, and in time where a checkpoint may have come first.
async fn move_vehicles(connection: &mut PgConnection, rows: &[Folded<'_>]) -> anyhow::Result<()> {
    let seqs = rows.iter().map(|row| signed(row.last.change.seq)).collect::<anyhow::Result<Vec<_>>>()?;
    sqlx::query(MOVE_VEHICLES)
        .bind(column(rows, |row| row.last.key.customer.to_string()))
        .bind(column(rows, |row| row.last.key.vehicle.to_string()))
        .bind(column(rows, |row| row.last.change.to.word()))
        .bind(column(rows, |row| row.last.change.at))
        .bind(seqs)
        .bind(column(rows, |row| row.last_seen))
        .bind(column(rows, |row| row.position.map(|position| position.lat)))
        .bind(column(rows, |row| row.position.map(|position| position.lon)))
        .bind(column(rows, |row| row.position.map(|position| position.at_ms)))
        .bind(column(rows, |row| row.position.and_then(|position| position.speed_kmh)))
        .bind(column(rows, |row| row.position.and_then(|position| position.heading_deg)))
        .execute(connection)
        .await?;
    Ok(())
}

const ADD_TRANSITIONS: &str = "
    INSERT INTO transition (customer, vehicle, seq, from_status, to_status, at_ms, decided_at_ms, cause, evidence)
    SELECT customer, vehicle, seq, from_status, to_status, at_ms, decided_at_ms, cause, evidence::json FROM unnest(
        $1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::text[], $9::text[]
    ) AS row (customer, vehicle, seq, from_status, to_status, at_ms, decided_at_ms, cause, evidence)
    WHERE NOT EXISTS (
        SELECT FROM departed
        WHERE departed.customer = row.customer AND departed.vehicle = row.vehicle AND departed.seq >= row.seq
          AND departed.purged)
      AND CASE
        WHEN row.seq > (SELECT known.seq FROM vehicle AS known
                        WHERE known.customer = row.customer AND known.vehicle = row.vehicle) THEN true
        ELSE (SELECT true FROM transition AS known
              WHERE known.customer = row.customer AND known.vehicle = row.vehicle AND known.seq = row.seq
              LIMIT 1) IS NULL
      END
    ON CONFLICT DO NOTHING";

/// The key of a table in partitions holds `at_ms`, so the index alone keeps no second row of a number from coming in:
/// who writes (there is one) looks. A number above its vehicle's is new, which most are; others are looked for.
async fn add_transitions(connection: &mut PgConnection, rows: &[&Transition]) -> anyhow::Result<()> {
    let mut seen = HashSet::new();
    let rows: Vec<&Transition> = rows.iter().copied().filter(|row| seen.insert((&*row.key, row.change.seq))).collect();
    let rows = &rows[..];
    let seqs = rows.iter().map(|row| signed(row.change.seq)).collect::<anyhow::Result<Vec<_>>>()?;
    let evidence = rows.iter().map(|row| serde_json::to_string(&row.evidence)).collect::<Result<Vec<_>, _>>()?;
    sqlx::query(ADD_TRANSITIONS)
        .bind(column(rows, |row| row.key.customer.to_string()))
        .bind(column(rows, |row| row.key.vehicle.to_string()))
        .bind(seqs)
        .bind(column(rows, |row| row.change.from.word()))
        .bind(column(rows, |row| row.change.to.word()))
        .bind(column(rows, |row| row.change.at))
        .bind(column(rows, |row| row.decided_at))
        .bind(column(rows, |row| row.change.cause.word()))
        .bind(evidence)
        .execute(connection)
        .await?;
    Ok(())
}

/// Writes what was last heard of vehicles.
pub async fn hear(connection: &mut PgConnection, rows: Vec<Checkpoint>) -> anyhow::Result<()> {
    for rows in newest_heard(&rows).chunks(CHUNK) {
        hear_some(connection, rows).await?;
    }
    Ok(())
}

/// Writes what was last heard of vehicles, and until when we listened.
pub async fn checkpoint(connection: &mut PgConnection, rows: Vec<Checkpoint>, until: Millis) -> anyhow::Result<()> {
    hear(connection, rows).await?;
    sqlx::query(LISTENED).bind(until).execute(connection).await?;
    Ok(())
}

const HEARD: &str = concat!(
    "
    UPDATE vehicle SET ",
    newest_position!("heard"),
    newest_gauges!("heard"),
    "
        announced_ms = heard.announced_ms,
        last_seen_ms = heard.last_seen_ms
    FROM (
        SELECT customer, vehicle, last_seen_ms, announced_ms,
               lat, lon, position_at_ms, speed_kmh, heading_deg, position_seq,
               battery_pct, battery_at_ms, battery_seq, odometer_km, odometer_at_ms, odometer_seq,
               ignition, ignition_at_ms, ignition_seq, metrics::json, metrics_at_ms, metrics_seq,
               clock_skew_ms, clock_skew_at_ms, clock_skew_seq
        FROM unnest(
            $1::text[], $2::text[], $3::bigint[],
            $4::double precision[], $5::double precision[], $6::bigint[], $7::real[], $8::real[], $9::bigint[],
            $10::real[], $11::bigint[], $12::bigint[], $13::double precision[], $14::bigint[], $15::bigint[],
            $16::boolean[], $17::bigint[], $18::bigint[], $19::text[], $20::bigint[], $21::bigint[],
            $22::bigint[], $23::bigint[], $24::bigint[], $25::bigint[]
        ) AS row (customer, vehicle, last_seen_ms, lat, lon, position_at_ms, speed_kmh, heading_deg, position_seq,
                  battery_pct, battery_at_ms, battery_seq, odometer_km, odometer_at_ms, odometer_seq,
                  ignition, ignition_at_ms, ignition_seq, metrics, metrics_at_ms, metrics_seq,
                  clock_skew_ms, clock_skew_at_ms, clock_skew_seq, announced_ms)
    ) AS heard
    WHERE vehicle.customer = heard.customer AND vehicle.vehicle = heard.vehicle
      AND coalesce(vehicle.last_seen_ms, heard.last_seen_ms) <= heard.last_seen_ms"
);

type Bound<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

async fn hear_some(connection: &mut PgConnection, rows: &[&Checkpoint]) -> anyhow::Result<()> {
    let latest: Vec<&Latest> = column(rows, |row| &row.latest);
    let seq = |latest: &&Latest| latest.position.and(rank_row(latest.position_rank));
    let query = sqlx::query(HEARD)
        .bind(column(rows, |row| row.key.customer.to_string()))
        .bind(column(rows, |row| row.key.vehicle.to_string()))
        .bind(column(rows, |row| row.last_seen))
        .bind(column(&latest, |latest| latest.position.map(|position| position.lat)))
        .bind(column(&latest, |latest| latest.position.map(|position| position.lon)))
        .bind(column(&latest, |latest| latest.position.map(|position| position.at_ms)))
        .bind(column(&latest, |latest| latest.position.and_then(|position| position.speed_kmh)))
        .bind(column(&latest, |latest| latest.position.and_then(|position| position.heading_deg)))
        .bind(column(&latest, seq));
    let query = bind_facts(query, column(&latest, |latest| fact_row(latest.battery_pct)));
    let query = bind_facts(query, column(&latest, |latest| fact_row(latest.odometer_km)));
    let query = bind_facts(query, column(&latest, |latest| fact_row(latest.ignition)));
    let query = bind_facts(query, latest.iter().map(|latest| metrics_row(latest)).collect::<anyhow::Result<_>>()?);
    let query = bind_facts(query, column(&latest, |latest| fact_row(latest.clock_skew)));
    let query = query.bind(column(rows, |row| row.announced.millis()));
    query.execute(connection).await?;
    Ok(())
}

/// The three columns of a fact.
fn bind_facts<T>(query: Bound<'_>, facts: Vec<FactRow<T>>) -> Bound<'_>
where
    Vec<Option<T>>: for<'q> sqlx::Encode<'q, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + 'static,
{
    let (times, seqs) = (column(&facts, |fact| fact.1), column(&facts, |fact| fact.2));
    let values: Vec<Option<T>> = facts.into_iter().map(|fact| fact.0).collect();
    query.bind(values).bind(times).bind(seqs)
}

const LISTENED: &str = "
    INSERT INTO listening (alive_until_ms) VALUES ($1)
    ON CONFLICT (one) DO UPDATE SET alive_until_ms = greatest(listening.alive_until_ms, excluded.alive_until_ms)";

const RECORD_GAP: &str = "
    INSERT INTO observation_gap AS gap (scope, from_ms, to_ms, cause) VALUES ($1, $2, $3, $4)
    ON CONFLICT (scope, from_ms) DO UPDATE SET to_ms = coalesce(excluded.to_ms, gap.to_ms), cause = excluded.cause";

/// Writes one blind interval. Its end is never before its start, though a clock may have been set back in between.
pub async fn record_gap(connection: &mut PgConnection, gap: ObservationGap) -> anyhow::Result<()> {
    let end = gap.to.map(|to| to.max(gap.from));
    sqlx::query(RECORD_GAP).bind(gap.scope).bind(gap.from).bind(end).bind(gap.cause).execute(connection).await?;
    Ok(())
}

const CLOSE_OPEN_GAPS: &str = "UPDATE observation_gap SET to_ms = greatest(from_ms, $1) WHERE to_ms IS NULL";

/// Ends what is still open.
pub async fn close_open_gaps(connection: &mut PgConnection, to: Millis) -> anyhow::Result<()> {
    sqlx::query(CLOSE_OPEN_GAPS).bind(to).execute(connection).await?;
    Ok(())
}

const TAKE_OVER: &str = "UPDATE identity SET owner = owner + 1 RETURNING owner";

/// Makes this process the writer, and notes its number.
pub async fn take_over(connection: &mut PgConnection, owner: Arc<AtomicI64>) -> anyhow::Result<()> {
    owner.store(sqlx::query_scalar(TAKE_OVER).fetch_one(connection).await?, Relaxed);
    Ok(())
}

const OWNER: &str = "SELECT owner FROM identity FOR SHARE";

/// Fails when another process has taken over since we did; who never did may write what belongs to no run.
pub async fn check_owner(connection: &mut PgConnection, owner: i64) -> anyhow::Result<()> {
    if owner > 0 && sqlx::query_scalar::<_, i64>(OWNER).fetch_one(connection).await? != owner {
        return Err(TakenOver.into());
    }
    Ok(())
}

/// Every statement of this file.
#[cfg(test)]
pub const STATEMENTS: &[&str] = &[
    ADD_MONTHS,
    ADD_CUSTOMERS,
    MOVE_VEHICLES,
    ADD_TRANSITIONS,
    MARK,
    HEARD,
    LISTENED,
    RECORD_GAP,
    CLOSE_OPEN_GAPS,
    TAKE_OVER,
    OWNER,
];
