//! What happened to a fleet, from each door: the store's tables, REST, the WebSocket; and what must hold for every such
//! history. Used by traces, crash, outage and restart.

use std::collections::BTreeMap;

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection, query_scalar};

use crate::stacks::{CUSTOMER, Stack, ms};
use crate::support::{Service, until};

/// One transition; every door has to show the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    pub vehicle: String,
    pub seq: u64,
    pub from: String,
    pub to: String,
    pub at: i64,
    pub decided_at: i64,
    pub cause: String,
}

impl Step {
    /// One as JSON shows it.
    pub fn from_json(value: &Value) -> Self {
        assert_eq!(value["customer"], CUSTOMER, "{value}");
        Self {
            vehicle: text(value, "vehicle"),
            seq: seq(value),
            from: text(value, "from"),
            to: text(value, "to"),
            at: ms(&value["at"]),
            decided_at: ms(&value["decided_at"]),
            cause: text(value, "cause"),
        }
    }
}

/// A vehicle's row: status, since when, number of its last transition.
pub type Standing = (String, Option<i64>, u64);

/// The history in the store.
#[derive(Debug, Clone)]
pub struct History {
    /// Every transition, by vehicle and number.
    pub steps: Vec<Step>,
    /// The last heartbeat that each of them rested on.
    pub last_seen: Vec<Option<i64>>,
    /// The row of each vehicle.
    pub vehicles: BTreeMap<String, Standing>,
}

impl History {
    /// Reads the store's tables directly.
    pub async fn read(stack: &Stack) -> Self {
        let transitions = rows(
            &stack.store,
            "'customer', customer, 'vehicle', vehicle, 'seq', seq, 'from', from_status, 'to', to_status, 'at', at_ms, \
             'decided_at', decided_at_ms, 'cause', cause, 'evidence', CAST(evidence AS TEXT)",
            "transition ORDER BY vehicle, seq",
        );
        let transitions = transitions.await;
        let last_seen = |row: &Value| {
            let evidence: Value = serde_json::from_str(row["evidence"].as_str().expect("text")).expect("JSON");
            evidence["last_seen_ms"].as_i64()
        };
        let vehicles =
            rows(&stack.store, "'vehicle', vehicle, 'status', status, 'since', status_since_ms, 'seq', seq", "vehicle");
        let standing = |row: &Value| (text(row, "vehicle"), (text(row, "status"), row["since"].as_i64(), seq(row)));
        Self {
            last_seen: transitions.iter().map(last_seen).collect(),
            steps: sorted(&transitions),
            vehicles: vehicles.await.iter().map(standing).collect(),
        }
    }

    /// The transitions of one vehicle, in order.
    pub fn of<'a>(&'a self, vehicle: &'a str) -> impl Iterator<Item = &'a Step> + 'a {
        self.steps.iter().filter(move |step| step.vehicle == vehicle)
    }

    /// The transitions of each vehicle, in order.
    pub fn by_vehicle(&self) -> BTreeMap<&str, Vec<&Step>> {
        let mut all = BTreeMap::<&str, Vec<&Step>>::new();
        self.steps.iter().for_each(|step| all.entry(&step.vehicle).or_default().push(step));
        all
    }

    /// Numbers from 1 without gaps, each step from where the last one led and not before it; the row is the fold.
    pub fn check(&self) {
        for (vehicle, steps) in self.by_vehicle() {
            let (mut status, mut at) = ("never_seen", i64::MIN);
            for (index, step) in steps.iter().enumerate() {
                assert_eq!(step.seq, index as u64 + 1, "numbers without gaps: {steps:#?}");
                assert_eq!(step.from, status, "each from where the last led: {steps:#?}");
                assert_ne!(step.from, step.to, "{steps:#?}");
                assert!(step.at >= at && step.decided_at >= step.at, "time goes forward: {steps:#?}");
                (status, at) = (&step.to, step.at);
            }
            let row = (status.to_owned(), Some(at), steps.len() as u64);
            assert_eq!(self.vehicles.get(vehicle), Some(&row), "the row of {vehicle} is the fold");
        }
        let known = self.by_vehicle().len();
        assert_eq!(known, self.vehicles.len(), "no vehicle without a transition");
    }

    /// REST shows the same transitions, and the same status of each vehicle.
    pub async fn check_rest(&self, service: &Service) {
        assert_eq!(rest(service).await, self.steps, "REST shows what is stored");
        let vehicles = service.all(&format!("/api/v1/vehicles?customer={CUSTOMER}")).await;
        let standing = |vehicle: &Value| {
            let since = Some(&vehicle["status_since"]).filter(|since| !since.is_null()).map(ms);
            (text(vehicle, "vehicle"), (text(vehicle, "status"), since, seq(vehicle)))
        };
        assert_eq!(vehicles.iter().map(standing).collect::<BTreeMap<_, _>>(), self.vehicles, "each status is the fold");
    }
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}")).to_owned()
}

fn seq(value: &Value) -> u64 {
    value["seq"].as_u64().unwrap_or_else(|| panic!("no seq in {value}"))
}

/// Rows of a table as JSON objects, whichever store it is.
pub async fn rows(store: &str, fields: &str, table: &str) -> Vec<Value> {
    let object = if store.starts_with("sqlite:") { "json_object" } else { "json_build_object" };
    let statement = AssertSqlSafe(format!("SELECT CAST({object}({fields}) AS TEXT) FROM {table}"));
    let found: Result<Vec<String>, sqlx::Error> = if store.starts_with("sqlite:") {
        let mut connection = SqliteConnection::connect(store).await.expect("the file opens");
        query_scalar(statement).fetch_all(&mut connection).await
    } else {
        let mut connection = PgConnection::connect(store).await.expect("Postgres answers");
        query_scalar(statement).fetch_all(&mut connection).await
    };
    found.expect("readable").iter().map(|row| serde_json::from_str(row).expect("JSON")).collect()
}

/// Every transition as REST shows it, by vehicle and number.
pub async fn rest(service: &Service) -> Vec<Step> {
    let items = service.all(&format!("/api/v1/transitions?customer={CUSTOMER}")).await;
    sorted(&items)
}

/// Transitions of JSON, by vehicle and number.
pub fn sorted(items: &[Value]) -> Vec<Step> {
    let mut steps: Vec<Step> = items.iter().map(Step::from_json).collect();
    steps.sort();
    steps
}

/// Waits until nobody is online or unobserved and everything decided is stored.
pub async fn until_all_offline(service: &Service) {
    until("all are offline and stored", || async {
        let status = service.get("/api/v1/status").await;
        let (vehicles, store) = (&status["vehicles"], &status["store"]);
        vehicles["online"] == 0 && vehicles["unobserved"] == 0 && store["spool_rows"] == 0
    })
    .await;
}
