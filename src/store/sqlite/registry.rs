//! The registry in SQLite, each statement beside the function that binds it.
//! Fed through the trait, inside one transaction a call; every statement may be repeated.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;

use super::Sqlite;
use super::access::end_access_of;
use super::write::{add_customers, chunks};
use crate::domain::ids::VehicleKey;
use crate::domain::registration::{CustomerEdits, Edits};
use crate::domain::time::Millis;
use crate::store::StoredCustomer;
use crate::store::registry::{
    Amended, Amendment, Condition, Current, Departure, Each, Outcome, Parts, RegistryStore, Transfer, decide,
    decide_customer,
};
use crate::store::rows::{CurrentRow, CustomerRow, TransferRow, signed};

#[async_trait]
impl RegistryStore for Sqlite {
    async fn amend(&self, parts: Parts, each: Each, dry: bool) -> anyhow::Result<()> {
        self.write(move |connection| Box::pin(amend(connection, parts, each, dry))).await
    }

    async fn remove(&self, departures: &[Departure]) -> anyhow::Result<Vec<bool>> {
        let departures = departures.to_vec();
        self.write(|connection| Box::pin(remove(connection, departures))).await
    }

    async fn transfer(&self, departure: &Departure, to: &Arc<VehicleKey>) -> anyhow::Result<Option<Amended>> {
        let (departure, to) = (departure.clone(), Arc::clone(to));
        self.write(|connection| Box::pin(transfer(connection, departure, to))).await
    }

    async fn transfers(&self, key: &VehicleKey) -> anyhow::Result<Vec<Transfer>> {
        let key = key.clone();
        self.read(|connection| Box::pin(transfers(connection, key))).await
    }

    async fn load_departed(&self) -> anyhow::Result<Vec<(VehicleKey, u64)>> {
        self.read(|connection| Box::pin(departed(connection))).await
    }

    async fn forget_purged(&self) -> anyhow::Result<()> {
        self.write(|connection| Box::pin(forget_purged(connection))).await
    }

    async fn amend_customer(
        &self,
        customer: &str,
        edits: &CustomerEdits,
        condition: Condition,
    ) -> anyhow::Result<(Outcome, StoredCustomer)> {
        let (customer, edits) = (customer.to_owned(), edits.clone());
        self.write(move |connection| Box::pin(amend_customer(connection, customer, edits, condition))).await
    }

    async fn remove_customer(&self, customer: &str, at: Millis) -> anyhow::Result<bool> {
        let customer = customer.to_owned();
        self.write(move |connection| Box::pin(remove_customer(connection, customer, at))).await
    }
}

const CURRENT: &str = "
    SELECT asked.value ->> 0 AS customer, asked.value ->> 1 AS vehicle, stored.name, stored.registration, stored.vin,
           stored.tags, stored.offline_after_ms, stored.revision,
           max(coalesce(stored.seq, 0), coalesce(departed.seq, 0)) AS seq,
           coalesce(departed.revision, 0) AS departed_revision
    FROM json_each(?1) AS asked
    LEFT JOIN vehicle AS stored ON stored.customer = asked.value ->> 0 AND stored.vehicle = asked.value ->> 1
    LEFT JOIN departed ON departed.customer = asked.value ->> 0 AND departed.vehicle = asked.value ->> 1";

async fn current<'a>(
    connection: &mut SqliteConnection,
    keys: impl Iterator<Item = &'a Arc<VehicleKey>>,
) -> anyhow::Result<BTreeMap<Arc<VehicleKey>, Current>> {
    let names: Vec<(&str, &str)> = keys.map(|key| (&*key.customer, &*key.vehicle)).collect();
    let asked = serde_json::to_string(&names)?;
    let rows: Vec<CurrentRow> = sqlx::query_as(CURRENT).bind(asked).fetch_all(connection).await?;
    rows.into_iter().map(CurrentRow::into_current).collect()
}

async fn amend(connection: &mut SqliteConnection, parts: Parts, mut each: Each, dry: bool) -> anyhow::Result<()> {
    for part in parts {
        let done = amend_part(connection, part?, dry).await?;
        done.into_iter().try_for_each(&mut each)?;
    }
    Ok(())
}

async fn amend_part(
    connection: &mut SqliteConnection,
    rows: Vec<Amendment>,
    dry: bool,
) -> anyhow::Result<Vec<Amended>> {
    let mut current = current(connection, rows.iter().map(|row| &row.key)).await?;
    let (done, writes) = decide(&mut current, rows);
    if !dry {
        put(connection, &writes).await?;
    }
    Ok(done)
}

const PUT: &str = "
    INSERT INTO vehicle (customer, vehicle, name, registration, vin, tags, offline_after_ms, revision, seq, earlier_seq)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,
           value ->> 8, value ->> 8
    FROM json_each(?1) WHERE true
    ON CONFLICT (customer, vehicle) DO UPDATE SET
        name = excluded.name, registration = excluded.registration, vin = excluded.vin, tags = excluded.tags,
        offline_after_ms = excluded.offline_after_ms, revision = excluded.revision";

/// Rows that are new begin as never seen, with the number that an earlier life left.
async fn put(connection: &mut SqliteConnection, rows: &[Amended]) -> anyhow::Result<()> {
    let rows = rows.iter().map(|row| {
        let (names, tags) = (&row.registered, serde_json::to_string(&row.registered.tags)?);
        let key = (&*row.key.customer, &*row.key.vehicle);
        let counted = (row.offline_after, signed(names.revision)?, signed(row.seq)?);
        Ok((key.0, key.1, &names.name, &names.registration, &names.vin, tags, counted.0, counted.1, counted.2))
    });
    for rows in chunks(rows)? {
        add_customers(connection, &rows).await?;
        sqlx::query(PUT).bind(rows).execute(&mut *connection).await?;
    }
    Ok(())
}

const DEPART: &str = "
    INSERT INTO departed (customer, vehicle, seq, revision, at_ms, purged)
    SELECT value ->> 0, value ->> 1, value ->> 2,
           coalesce((SELECT revision FROM vehicle WHERE customer = value ->> 0 AND vehicle = value ->> 1), 0),
           value ->> 3, value ->> 4
    FROM json_each(?1) WHERE true
    ON CONFLICT (customer, vehicle) DO UPDATE SET
        seq = max(seq, excluded.seq), revision = max(revision, excluded.revision), at_ms = excluded.at_ms,
        purged = excluded.purged";

const COUNT_OUT: &str = "
    INSERT INTO departure (customer, vehicle, seq, at_ms, status)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 5
    FROM json_each(?1) WHERE value ->> 5 <> 'never_seen'
    ON CONFLICT DO NOTHING";

const MARK_OUT: &str = "
    INSERT INTO rollup_mark (at_ms, customer)
    SELECT DISTINCT (value ->> 3) / 60000 * 60000, value ->> 0 FROM json_each(?1) WHERE value ->> 5 <> 'never_seen'
    ON CONFLICT DO NOTHING";

const REMOVE: &str = "
    DELETE FROM vehicle WHERE (customer, vehicle) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?1))
    RETURNING customer, vehicle";

const MARK_PURGED: &str = "
    INSERT INTO rollup_mark (at_ms, customer)
    SELECT DISTINCT at_ms / 60000 * 60000, customer FROM (
        SELECT customer, at_ms FROM transition
        WHERE (customer, vehicle) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?1) WHERE value ->> 4)
        UNION ALL
        SELECT customer, at_ms FROM departure
        WHERE (customer, vehicle) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?1) WHERE value ->> 4)
    ) WHERE true
    ON CONFLICT DO NOTHING";

const PURGE: &str = "
    DELETE FROM transition
    WHERE (customer, vehicle) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?1) WHERE value ->> 4)";

const PURGE_HEARTBEATS: &str = "
    DELETE FROM heartbeat
    WHERE (customer, vehicle) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?1) WHERE value ->> 4)";

const PURGE_DEPARTURES: &str = "
    DELETE FROM departure
    WHERE (customer, vehicle) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?1) WHERE value ->> 4)";

const PURGE_TRANSFERS: &str = "
    DELETE FROM transfer
    WHERE (from_customer, vehicle) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?1) WHERE value ->> 4)
       OR (to_customer, vehicle) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?1) WHERE value ->> 4)";

/// In this order: what is deleted is marked before.
const PURGES: [&str; 5] = [MARK_PURGED, PURGE, PURGE_HEARTBEATS, PURGE_DEPARTURES, PURGE_TRANSFERS];

async fn remove(connection: &mut SqliteConnection, departures: Vec<Departure>) -> anyhow::Result<Vec<bool>> {
    let rows = departures.iter().map(|gone| {
        let Departure { key, seq, at, status, purge } = gone;
        Ok((&*key.customer, &*key.vehicle, signed(*seq)?, at, purge, status))
    });
    let mut were = BTreeSet::new();
    for rows in chunks(rows)? {
        for statement in [DEPART, COUNT_OUT, MARK_OUT] {
            sqlx::query(statement).bind(&rows).execute(&mut *connection).await?;
        }
        let removed: Vec<(String, String)> = sqlx::query_as(REMOVE).bind(&rows).fetch_all(&mut *connection).await?;
        were.extend(removed);
        for statement in PURGES {
            sqlx::query(statement).bind(&rows).execute(&mut *connection).await?;
        }
    }
    let was = |gone: &Departure| were.contains(&(gone.key.customer.to_string(), gone.key.vehicle.to_string()));
    Ok(departures.iter().map(was).collect())
}

const GIVE: &str = "
    INSERT INTO transfer (from_customer, vehicle, at_ms, to_customer) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";

async fn transfer(
    connection: &mut SqliteConnection,
    departure: Departure,
    to: Arc<VehicleKey>,
) -> anyhow::Result<Option<Amended>> {
    let known = current(connection, std::iter::once(&departure.key)).await?;
    let (registered, offline_after) = known.into_values().find_map(|known| known.row).unwrap_or_default();
    let edits = Edits::copy_of(&registered, offline_after);
    let new = Amendment { key: Arc::clone(&to), edits, condition: Condition::Absent };
    let done = amend_part(connection, vec![new], false).await?.pop();
    let Some(done) = done.filter(|done| done.outcome == Outcome::Created) else { return Ok(None) };
    let give = sqlx::query(GIVE).bind(departure.key.customer.to_string()).bind(departure.key.vehicle.to_string());
    give.bind(departure.at).bind(to.customer.to_string()).execute(&mut *connection).await?;
    remove(connection, vec![departure]).await?;
    Ok(Some(done))
}

const TRANSFERS: &str = "
    SELECT from_customer, to_customer, at_ms FROM transfer
    WHERE vehicle = ?2 AND (from_customer = ?1 OR to_customer = ?1) ORDER BY at_ms DESC";

async fn transfers(connection: &mut SqliteConnection, key: VehicleKey) -> anyhow::Result<Vec<Transfer>> {
    let list = sqlx::query_as(TRANSFERS).bind(key.customer.to_string()).bind(key.vehicle.to_string());
    let rows: Vec<TransferRow> = list.fetch_all(connection).await?;
    Ok(rows.into_iter().map(Transfer::from).collect())
}

const DEPARTED: &str = "SELECT customer, vehicle, seq FROM departed";

async fn departed(connection: &mut SqliteConnection) -> anyhow::Result<Vec<(VehicleKey, u64)>> {
    let rows: Vec<(String, String, i64)> = sqlx::query_as(DEPARTED).fetch_all(connection).await?;
    let names = rows.into_iter().map(|(customer, vehicle, seq)| {
        (VehicleKey { customer: customer.into(), vehicle: vehicle.into() }, seq.unsigned_abs())
    });
    Ok(names.collect())
}

const FORGET_PURGED: &str = "DELETE FROM departed WHERE purged";

async fn forget_purged(connection: &mut SqliteConnection) -> anyhow::Result<()> {
    sqlx::query(FORGET_PURGED).execute(connection).await?;
    Ok(())
}

const CUSTOMER: &str = "SELECT customer, name, offline_after_ms, revision FROM customer WHERE customer = ?1";

const PUT_CUSTOMER: &str = "
    INSERT INTO customer (customer, name, offline_after_ms, revision) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (customer) DO UPDATE SET
        name = excluded.name, offline_after_ms = excluded.offline_after_ms, revision = excluded.revision";

async fn amend_customer(
    connection: &mut SqliteConnection,
    customer: String,
    edits: CustomerEdits,
    condition: Condition,
) -> anyhow::Result<(Outcome, StoredCustomer)> {
    let stored: Option<CustomerRow> = sqlx::query_as(CUSTOMER).bind(&customer).fetch_optional(&mut *connection).await?;
    let (outcome, new) = decide_customer(stored.map(StoredCustomer::from), &customer, &edits, condition);
    if matches!(outcome, Outcome::Created | Outcome::Updated) {
        let put = sqlx::query(PUT_CUSTOMER).bind(customer).bind(new.name.as_deref().map(str::to_owned));
        put.bind(new.offline_after).bind(signed(new.revision)?).execute(connection).await?;
    }
    Ok((outcome, new))
}

const HAS_VEHICLES: &str = "SELECT EXISTS (SELECT 1 FROM vehicle WHERE customer = ?1)";

const REMOVE_CUSTOMER: &str = "DELETE FROM customer WHERE customer = ?1";

async fn remove_customer(connection: &mut SqliteConnection, customer: String, at: Millis) -> anyhow::Result<bool> {
    if sqlx::query_scalar(HAS_VEHICLES).bind(&customer).fetch_one(&mut *connection).await? {
        return Ok(false);
    }
    sqlx::query(REMOVE_CUSTOMER).bind(&customer).execute(&mut *connection).await?;
    end_access_of(connection, &customer, at).await?;
    Ok(true)
}

/// Every statement of this file.
#[cfg(test)]
pub const STATEMENTS: &[&str] = &[
    CURRENT,
    PUT,
    DEPART,
    COUNT_OUT,
    MARK_OUT,
    REMOVE,
    MARK_PURGED,
    PURGE,
    PURGE_HEARTBEATS,
    PURGE_DEPARTURES,
    PURGE_TRANSFERS,
    GIVE,
    TRANSFERS,
    DEPARTED,
    FORGET_PURGED,
    CUSTOMER,
    PUT_CUSTOMER,
    HAS_VEHICLES,
    REMOVE_CUSTOMER,
];
