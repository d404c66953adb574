//! What is read from SQLite, each statement beside the function that binds it.
//! Fed by a reading connection; its rows go to the start-up and to REST.

use std::sync::Arc;

use futures_util::TryStreamExt;
use sqlx::sqlite::SqliteConnection;

use crate::domain::ids::VehicleKey;
use crate::domain::time::Millis;
use crate::domain::transition::Transition;
use crate::store::rows::{CustomerRow, GAPS_MAX, Page, TransitionRow, VEHICLES_A_READ, VehicleRow, newest};
use crate::store::{ObservationGap, StoredCustomer, StoredVehicle};

const CUSTOMERS: &str = "SELECT customer, name, offline_after_ms, revision FROM customer ORDER BY customer";

/// Every customer.
pub async fn customers(connection: &mut SqliteConnection) -> anyhow::Result<Vec<StoredCustomer>> {
    let rows: Vec<CustomerRow> = sqlx::query_as(CUSTOMERS).fetch_all(connection).await?;
    Ok(rows.into_iter().map(StoredCustomer::from).collect())
}

pub(super) const VEHICLES: &str = "
    SELECT customer, vehicle, name, registration, vin, tags, offline_after_ms, status, status_since_ms, seq,
           last_seen_ms, lat, lon, position_at_ms, speed_kmh, heading_deg, position_seq, announced_ms, revision,
           CASE WHEN coalesce(battery_pct, odometer_km, ignition, metrics, clock_skew_ms) IS NOT NULL THEN json_array(
               json_array(battery_pct, battery_at_ms, battery_seq),
               json_array(odometer_km, odometer_at_ms, odometer_seq),
               json_array(ignition, ignition_at_ms, ignition_seq),
               json_array(json(metrics), metrics_at_ms, metrics_seq),
               json_array(clock_skew_ms, clock_skew_at_ms, clock_skew_seq)
           ) END AS gauges
    FROM vehicle WHERE (customer, vehicle) > (?1, ?2) ORDER BY customer, vehicle LIMIT ?3";

/// The next vehicles after `last`, in the order of their keys.
pub async fn vehicles(
    connection: &mut SqliteConnection,
    last: Option<Arc<VehicleKey>>,
) -> anyhow::Result<Vec<StoredVehicle>> {
    let (mut customer, vehicle) = match &last {
        Some(key) => (Arc::clone(&key.customer), &*key.vehicle),
        None => ("".into(), ""),
    };
    let page = sqlx::query_as(VEHICLES).bind(customer.to_string()).bind(vehicle.to_owned()).bind(VEHICLES_A_READ);
    let mut rows = page.fetch(connection);
    let mut vehicles = Vec::new();
    while let Some(row) = rows.try_next().await? {
        vehicles.push(VehicleRow::into_stored(row, &mut customer)?);
    }
    Ok(vehicles)
}

const IDENTITY: &str = "SELECT id FROM identity";

/// Which database this is.
pub async fn identity(connection: &mut SqliteConnection) -> anyhow::Result<String> {
    Ok(sqlx::query_scalar(IDENTITY).fetch_one(connection).await?)
}

const ALIVE_UNTIL: &str = "SELECT alive_until_ms FROM listening";

/// Until when the last run listened.
pub async fn alive_until(connection: &mut SqliteConnection) -> anyhow::Result<Option<Millis>> {
    Ok(sqlx::query_scalar(ALIVE_UNTIL).fetch_optional(connection).await?)
}

const GAPS: &str = "
    SELECT scope, from_ms, to_ms, cause FROM observation_gap
    WHERE from_ms < ?2 AND (to_ms IS NULL OR to_ms > ?1) ORDER BY from_ms, scope LIMIT ?3";

/// Blind intervals that overlap `[from, to)`.
pub async fn gaps(connection: &mut SqliteConnection, from: Millis, to: Millis) -> anyhow::Result<Vec<ObservationGap>> {
    let gaps = sqlx::query_as(GAPS).bind(from).bind(to).bind(GAPS_MAX).fetch_all(connection).await?;
    Ok(gaps.into_iter().map(|(scope, from, to, cause)| ObservationGap { scope, from, to, cause }).collect())
}

/// One page, newest first. What the query fixes decides which of the four lists serves it.
pub async fn transitions(connection: &mut SqliteConnection, page: Page) -> anyhow::Result<Vec<Transition>> {
    let rows = match (&page.customer, &page.vehicle) {
        (Some(customer), Some(vehicle)) => of_vehicle(connection, &page, customer, vehicle).await?,
        (Some(customer), None) => of_customer(connection, &page, customer).await?,
        _ if page.statuses.len() == 4 => of_fleet(connection, &page).await?,
        _ => {
            let mut rows = Vec::new();
            for status in &page.statuses {
                rows.extend(to_status(connection, &page, status).await?);
            }
            rows
        }
    };
    newest(rows, page.limit)
}

// A `+` keeps SQLite from choosing the index on to_status where another one gives the order.

const OF_VEHICLE: &str = "
    SELECT customer, vehicle, seq, from_status, to_status, at_ms, decided_at_ms, cause, evidence FROM transition
    WHERE customer = ?1 AND vehicle = ?2 AND at_ms >= ?3 AND (at_ms, seq) < (?4, ?5)
      AND +to_status IN (SELECT value FROM json_each(?6))
    ORDER BY at_ms DESC, seq DESC LIMIT ?7";

async fn of_vehicle(
    connection: &mut SqliteConnection,
    page: &Page,
    customer: &str,
    vehicle: &str,
) -> anyhow::Result<Vec<TransitionRow>> {
    let list = sqlx::query_as(OF_VEHICLE).bind(customer.to_owned()).bind(vehicle.to_owned()).bind(page.from);
    let list = list.bind(page.before.at).bind(page.before.seq);
    let list = list.bind(serde_json::to_string(&page.statuses)?).bind(page.limit);
    Ok(list.fetch_all(connection).await?)
}

const OF_CUSTOMER: &str = "
    SELECT customer, vehicle, seq, from_status, to_status, at_ms, decided_at_ms, cause, evidence FROM transition
    WHERE customer = ?1 AND at_ms >= ?2 AND (at_ms, vehicle, seq) < (?3, ?4, ?5)
      AND +to_status IN (SELECT value FROM json_each(?6))
    ORDER BY at_ms DESC, vehicle DESC, seq DESC LIMIT ?7";

async fn of_customer(
    connection: &mut SqliteConnection,
    page: &Page,
    customer: &str,
) -> anyhow::Result<Vec<TransitionRow>> {
    let list = sqlx::query_as(OF_CUSTOMER).bind(customer.to_owned()).bind(page.from);
    let list = list.bind(page.before.at).bind(page.before.vehicle.clone()).bind(page.before.seq);
    let list = list.bind(serde_json::to_string(&page.statuses)?).bind(page.limit);
    Ok(list.fetch_all(connection).await?)
}

const OF_FLEET: &str = "
    SELECT customer, vehicle, seq, from_status, to_status, at_ms, decided_at_ms, cause, evidence
    FROM transition_of_fleet
    WHERE at_ms >= ?1 AND (at_ms, customer, vehicle, seq) < (?2, ?3, ?4, ?5)
    ORDER BY at_ms DESC, customer DESC, vehicle DESC, seq DESC LIMIT ?6";

async fn of_fleet(connection: &mut SqliteConnection, page: &Page) -> anyhow::Result<Vec<TransitionRow>> {
    let before = page.before.clone();
    let list = sqlx::query_as(OF_FLEET).bind(page.from);
    let list = list.bind(before.at).bind(before.customer).bind(before.vehicle).bind(before.seq);
    Ok(list.bind(page.limit).fetch_all(connection).await?)
}

const TO_STATUS: &str = "
    SELECT customer, vehicle, seq, from_status, to_status, at_ms, decided_at_ms, cause, evidence FROM transition
    WHERE to_status = ?1 AND at_ms >= ?2 AND (at_ms, customer, vehicle, seq) < (?3, ?4, ?5, ?6)
    ORDER BY at_ms DESC, customer DESC, vehicle DESC, seq DESC LIMIT ?7";

async fn to_status(
    connection: &mut SqliteConnection,
    page: &Page,
    status: &'static str,
) -> anyhow::Result<Vec<TransitionRow>> {
    let before = page.before.clone();
    let list = sqlx::query_as(TO_STATUS).bind(status).bind(page.from);
    let list = list.bind(before.at).bind(before.customer).bind(before.vehicle).bind(before.seq);
    Ok(list.bind(page.limit).fetch_all(connection).await?)
}

/// Every statement of this file.
#[cfg(test)]
pub const STATEMENTS: &[&str] =
    &[IDENTITY, CUSTOMERS, VEHICLES, ALIVE_UNTIL, GAPS, OF_VEHICLE, OF_CUSTOMER, OF_FLEET, TO_STATUS];

/// The statements that list transitions, and the index that must serve each.
#[cfg(test)]
pub const LISTS: [(&str, &str); 4] = [
    (OF_VEHICLE, "transition_of_vehicle"),
    (OF_CUSTOMER, "transition_of_customer"),
    (OF_FLEET, "transition_to_status (to_status=? AND at_ms>? AND (at_ms,customer,vehicle,seq)<"),
    (TO_STATUS, "transition_to_status"),
];
