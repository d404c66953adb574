//! The registry in Postgres, each statement beside the function that binds it.
//! Fed through the trait, inside one transaction a call; every statement may be repeated.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::postgres::PgConnection;

use super::Postgres;
use super::access::end_access_of;
use super::write::{add_customers, column};
use crate::domain::board::Registered;
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
impl RegistryStore for Postgres {
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
    SELECT asked.customer, asked.vehicle, stored.name, stored.registration, stored.vin, stored.tags::text,
           stored.offline_after_ms, stored.revision,
           greatest(coalesce(stored.seq, 0), coalesce(departed.seq, 0)) AS seq,
           coalesce(departed.revision, 0) AS departed_revision
    FROM unnest($1::text[], $2::text[]) AS asked (customer, vehicle)
    LEFT JOIN vehicle AS stored ON stored.customer = asked.customer AND stored.vehicle = asked.vehicle
    LEFT JOIN departed ON departed.customer = asked.customer AND departed.vehicle = asked.vehicle";

async fn current<'a>(
    connection: &mut PgConnection,
    keys: impl Iterator<Item = &'a Arc<VehicleKey>>,
) -> anyhow::Result<BTreeMap<Arc<VehicleKey>, Current>> {
    let (customers, vehicles): (Vec<_>, Vec<_>) =
        keys.map(|key| (key.customer.to_string(), key.vehicle.to_string())).unzip();
    let rows: Vec<CurrentRow> = sqlx::query_as(CURRENT).bind(customers).bind(vehicles).fetch_all(connection).await?;
    rows.into_iter().map(CurrentRow::into_current).collect()
}

async fn amend(connection: &mut PgConnection, parts: Parts, mut each: Each, dry: bool) -> anyhow::Result<()> {
    for part in parts {
        let done = amend_part(connection, part?, dry).await?;
        done.into_iter().try_for_each(&mut each)?;
    }
    Ok(())
}

async fn amend_part(connection: &mut PgConnection, rows: Vec<Amendment>, dry: bool) -> anyhow::Result<Vec<Amended>> {
    let mut current = current(connection, rows.iter().map(|row| &row.key)).await?;
    let (done, writes) = decide(&mut current, rows);
    if !dry {
        put(connection, &writes).await?;
    }
    Ok(done)
}

const PUT: &str = "
    INSERT INTO vehicle (customer, vehicle, name, registration, vin, tags, offline_after_ms, revision, seq, earlier_seq)
    SELECT customer, vehicle, name, registration, vin, tags::json, offline_after_ms, revision, seq, seq FROM unnest(
        $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::bigint[], $9::bigint[]
    ) AS row (customer, vehicle, name, registration, vin, tags, offline_after_ms, revision, seq)
    ON CONFLICT (customer, vehicle) DO UPDATE SET
        name = excluded.name, registration = excluded.registration, vin = excluded.vin, tags = excluded.tags,
        offline_after_ms = excluded.offline_after_ms, revision = excluded.revision";

/// Rows that are new begin as never seen, with the number that an earlier life left.
async fn put(connection: &mut PgConnection, rows: &[Amended]) -> anyhow::Result<()> {
    let text = |of: fn(&Registered) -> &Option<Box<str>>| {
        column(rows, |row| of(&row.registered).as_deref().map(str::to_owned))
    };
    let tags = rows.iter().map(|row| serde_json::to_string(&row.registered.tags)).collect::<Result<Vec<_>, _>>()?;
    let revisions = rows.iter().map(|row| signed(row.registered.revision)).collect::<anyhow::Result<Vec<_>>>()?;
    let seqs = rows.iter().map(|row| signed(row.seq)).collect::<anyhow::Result<Vec<_>>>()?;
    add_customers(connection, column(rows, |row| row.key.customer.to_string())).await?;
    sqlx::query(PUT)
        .bind(column(rows, |row| row.key.customer.to_string()))
        .bind(column(rows, |row| row.key.vehicle.to_string()))
        .bind(text(|names| &names.name))
        .bind(text(|names| &names.registration))
        .bind(text(|names| &names.vin))
        .bind(tags)
        .bind(column(rows, |row| row.offline_after))
        .bind(revisions)
        .bind(seqs)
        .execute(connection)
        .await?;
    Ok(())
}

const DEPART: &str = "
    INSERT INTO departed AS known (customer, vehicle, seq, revision, at_ms, purged)
    SELECT gone.customer, gone.vehicle, gone.seq, coalesce(stored.revision, 0), gone.at_ms, gone.purged
    FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::boolean[])
        AS gone (customer, vehicle, seq, at_ms, purged)
    LEFT JOIN vehicle AS stored ON stored.customer = gone.customer AND stored.vehicle = gone.vehicle
    ON CONFLICT (customer, vehicle) DO UPDATE SET
        seq = greatest(known.seq, excluded.seq), revision = greatest(known.revision, excluded.revision),
        at_ms = excluded.at_ms, purged = excluded.purged";

const COUNT_OUT: &str = "
    INSERT INTO departure (customer, vehicle, seq, at_ms, status)
    SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[])
        AS gone (customer, vehicle, seq, at_ms, status)
    WHERE status <> 'never_seen'
    ON CONFLICT DO NOTHING";

const MARK_OUT: &str = "
    INSERT INTO rollup_mark (at_ms, customer)
    SELECT DISTINCT at_ms / 60000 * 60000, customer
    FROM unnest($1::text[], $2::bigint[], $3::text[]) AS gone (customer, at_ms, status) WHERE status <> 'never_seen'
    ON CONFLICT DO NOTHING";

const REMOVE: &str = "
    DELETE FROM vehicle USING unnest($1::text[], $2::text[]) AS gone (customer, vehicle)
    WHERE vehicle.customer = gone.customer AND vehicle.vehicle = gone.vehicle
    RETURNING vehicle.customer, vehicle.vehicle";

const MARK_PURGED: &str = "
    INSERT INTO rollup_mark (at_ms, customer)
    SELECT DISTINCT at_ms / 60000 * 60000, customer FROM (
        SELECT customer, at_ms FROM transition
        JOIN unnest($1::text[], $2::text[]) AS gone (customer, vehicle) USING (customer, vehicle)
        UNION ALL
        SELECT customer, at_ms FROM departure
        JOIN unnest($1::text[], $2::text[]) AS gone (customer, vehicle) USING (customer, vehicle)
    ) AS stored
    ON CONFLICT DO NOTHING";

const PURGE: &str = "
    DELETE FROM transition USING unnest($1::text[], $2::text[]) AS gone (customer, vehicle)
    WHERE transition.customer = gone.customer AND transition.vehicle = gone.vehicle";

const PURGE_HEARTBEATS: &str = "
    DELETE FROM heartbeat USING unnest($1::text[], $2::text[]) AS gone (customer, vehicle)
    WHERE heartbeat.customer = gone.customer AND heartbeat.vehicle = gone.vehicle";

const PURGE_DEPARTURES: &str = "
    DELETE FROM departure USING unnest($1::text[], $2::text[]) AS gone (customer, vehicle)
    WHERE departure.customer = gone.customer AND departure.vehicle = gone.vehicle";

const PURGE_TRANSFERS: &str = "
    DELETE FROM transfer USING unnest($1::text[], $2::text[]) AS gone (customer, vehicle)
    WHERE transfer.vehicle = gone.vehicle AND gone.customer IN (from_customer, to_customer)";

/// In this order: what is deleted is marked before.
const PURGES: [&str; 5] = [MARK_PURGED, PURGE, PURGE_HEARTBEATS, PURGE_DEPARTURES, PURGE_TRANSFERS];

async fn remove(connection: &mut PgConnection, departures: Vec<Departure>) -> anyhow::Result<Vec<bool>> {
    let names = |rows: &[Departure]| {
        (column(rows, |row| row.key.customer.to_string()), column(rows, |row| row.key.vehicle.to_string()))
    };
    let seqs = departures.iter().map(|gone| signed(gone.seq)).collect::<anyhow::Result<Vec<_>>>()?;
    let (customers, vehicles) = names(&departures);
    let dates = column(&departures, |gone| gone.at);
    let statuses = column(&departures, |gone| gone.status.word().to_owned());
    let depart = sqlx::query(DEPART).bind(&customers).bind(&vehicles).bind(&seqs).bind(&dates);
    depart.bind(column(&departures, |gone| gone.purge)).execute(&mut *connection).await?;
    let count_out = sqlx::query(COUNT_OUT).bind(&customers).bind(&vehicles).bind(seqs).bind(&dates).bind(&statuses);
    count_out.execute(&mut *connection).await?;
    sqlx::query(MARK_OUT).bind(&customers).bind(dates).bind(statuses).execute(&mut *connection).await?;
    let removal = sqlx::query_as(REMOVE).bind(customers).bind(vehicles);
    let removed: Vec<(String, String)> = removal.fetch_all(&mut *connection).await?;
    let purged: Vec<Departure> = departures.iter().filter(|gone| gone.purge).cloned().collect();
    if !purged.is_empty() {
        let (customers, vehicles) = names(&purged);
        for statement in PURGES {
            sqlx::query(statement).bind(&customers).bind(&vehicles).execute(&mut *connection).await?;
        }
    }
    let were: BTreeSet<(String, String)> = removed.into_iter().collect();
    let was = |gone: &Departure| were.contains(&(gone.key.customer.to_string(), gone.key.vehicle.to_string()));
    Ok(departures.iter().map(was).collect())
}

const GIVE: &str = "
    INSERT INTO transfer (from_customer, vehicle, at_ms, to_customer) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";

async fn transfer(
    connection: &mut PgConnection,
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
    WHERE vehicle = $2 AND (from_customer = $1 OR to_customer = $1) ORDER BY at_ms DESC";

async fn transfers(connection: &mut PgConnection, key: VehicleKey) -> anyhow::Result<Vec<Transfer>> {
    let list = sqlx::query_as(TRANSFERS).bind(key.customer.to_string()).bind(key.vehicle.to_string());
    let rows: Vec<TransferRow> = list.fetch_all(connection).await?;
    Ok(rows.into_iter().map(Transfer::from).collect())
}

const DEPARTED: &str = "SELECT customer, vehicle, seq FROM departed";

async fn departed(connection: &mut PgConnection) -> anyhow::Result<Vec<(VehicleKey, u64)>> {
    let rows: Vec<(String, String, i64)> = sqlx::query_as(DEPARTED).fetch_all(connection).await?;
    let names = rows.into_iter().map(|(customer, vehicle, seq)| {
        (VehicleKey { customer: customer.into(), vehicle: vehicle.into() }, seq.unsigned_abs())
    });
    Ok(names.collect())
}

const FORGET_PURGED: &str = "DELETE FROM departed WHERE purged";

async fn forget_purged(connection: &mut PgConnection) -> anyhow::Result<()> {
    sqlx::query(FORGET_PURGED).execute(connection).await?;
    Ok(())
}

const CUSTOMER: &str = "SELECT customer, name, offline_after_ms, revision FROM customer WHERE customer = $1";

const PUT_CUSTOMER: &str = "
    INSERT INTO customer (customer, name, offline_after_ms, revision) VALUES ($1, $2, $3, $4)
    ON CONFLICT (customer) DO UPDATE SET
        name = excluded.name, offline_after_ms = excluded.offline_after_ms, revision = excluded.revision";

async fn amend_customer(
    connection: &mut PgConnection,
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

const HAS_VEHICLES: &str = "SELECT EXISTS (SELECT 1 FROM vehicle WHERE customer = $1)";

const REMOVE_CUSTOMER: &str = "DELETE FROM customer WHERE customer = $1";

async fn remove_customer(connection: &mut PgConnection, customer: String, at: Millis) -> anyhow::Result<bool> {
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
