//! Cases about what operators write: rows that are made, changed and removed, and names that are left.
//! Fed by the suite; each runs on every store.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::samples::{everything, key, transition};
use super::{Database, vehicles};
use crate::domain::registration::{CustomerEdits, Edits};
use crate::domain::transition::Status;
use crate::store::Store;
use crate::store::registry::{Amended, Amendment, Condition, Departure, Outcome, amend_all};

fn edits(fields: Value) -> Edits {
    Edits::read(fields.as_object().unwrap()).unwrap()
}

fn amendment(customer: &str, vehicle: &str, fields: Value) -> Amendment {
    Amendment { key: key(customer, vehicle), edits: edits(fields), condition: Condition::None }
}

async fn amend(store: &dyn Store, row: Amendment) -> Amended {
    amend_all(store, vec![row]).await.unwrap().pop().unwrap()
}

async fn seqs(store: &dyn Store) -> Vec<u64> {
    store.transitions(&everything()).await.unwrap().iter().rev().map(|one| one.change.seq).collect()
}

pub fn departure(vehicle: &str, seq: u64, purge: bool) -> Departure {
    Departure { key: key("acme", vehicle), seq, at: 9_000, status: Status::Online, purge }
}

pub async fn rows_are_made_changed_and_left_alone(database: Arc<Database>) {
    let store = database.open().await;
    let full =
        json!({"name": "Bus \"7\"", "registration": "AB-1", "tags": ["e", "n \u{1F69A}"], "offline_after_ms": 5_000});
    let made = amend(&*store, amendment("acme", "bus 1", full.clone())).await;
    assert_eq!((made.outcome, made.registered.revision, made.seq), (Outcome::Created, 1, 0));
    let again = amend(&*store, amendment("acme", "bus 1", full)).await;
    assert_eq!((again.outcome, &again.registered), (Outcome::Unchanged, &made.registered));
    let changed = amend(&*store, amendment("acme", "bus 1", json!({"name": null, "vin": "W"}))).await;
    assert_eq!((changed.outcome, changed.registered.revision), (Outcome::Updated, 2));
    assert_eq!((changed.registered.name.as_deref(), changed.registered.vin.as_deref()), (None, Some("W")));
    assert_eq!(changed.registered.registration, made.registered.registration);
    let stored = vehicles(&*store).await;
    assert_eq!(stored.len(), 1);
    assert_eq!((stored[0].registered.as_deref(), stored[0].offline_after), (Some(&changed.registered), Some(5_000)));
    assert_eq!((stored[0].status, stored[0].seq, stored[0].since), (Status::NeverSeen, 0, None));
    // One that spoke before anybody registered it keeps what it said.
    store.commit(&[transition(&key("acme", "wild"), 1, 1_000)]).await.unwrap();
    let wild = amend(&*store, amendment("acme", "wild", json!({"name": "W"}))).await;
    assert_eq!((wild.outcome, wild.registered.revision, wild.seq), (Outcome::Updated, 1, 1));
    let stored = vehicles(&*store).await;
    assert_eq!((stored[1].status, stored[1].seq), (Status::Online, 1));
    assert!(store.load_customers().await.unwrap().iter().any(|row| row.customer == "acme"));
}

pub async fn conditions_are_held_in_the_store(database: Arc<Database>) {
    let store = database.open().await;
    let with = |condition, name: &str| Amendment { condition, ..amendment("acme", "1", json!({"name": name})) };
    for (condition, name, outcome) in [
        (Condition::Revision(1), "a", Outcome::Refused),
        (Condition::Absent, "a", Outcome::Created),
        (Condition::Absent, "b", Outcome::Refused),
        (Condition::Revision(1), "b", Outcome::Updated),
        (Condition::Revision(1), "c", Outcome::Refused),
        (Condition::Revision(2), "b", Outcome::Unchanged),
    ] {
        assert_eq!(amend(&*store, with(condition, name)).await.outcome, outcome, "{condition:?} {name}");
    }
    let stored = vehicles(&*store).await.pop().unwrap();
    assert_eq!(stored.registered.unwrap().name.as_deref(), Some("b"));
}

/// Many parts are one transaction; a fault in the last one takes back the first, and dry only tells.
pub async fn an_import_is_all_or_nothing(database: Arc<Database>) {
    let store = database.open().await;
    let part = |from: usize| -> Vec<Amendment> {
        let rows = from..from + 1_000;
        rows.map(|n| amendment("big", &format!("v{n:05}"), json!({"vin": format!("VIN{n}")}))).collect()
    };
    let parts = move || (0..3).map(move |n| Ok(part(n * 1_000)));
    let count = |seen: &Arc<Mutex<usize>>| {
        let seen = Arc::clone(seen);
        Box::new(move |row: Amended| {
            *seen.lock() += usize::from(row.outcome == Outcome::Created);
            Ok(())
        })
    };
    let seen = Arc::<Mutex<usize>>::default();
    let broken = parts().chain(std::iter::once(Err(anyhow::anyhow!("line 3001"))));
    let error = store.amend(Box::new(broken), count(&seen), false).await.unwrap_err();
    assert!(error.to_string().contains("line 3001") && vehicles(&*store).await.is_empty(), "{error:#}");
    store.amend(Box::new(parts()), count(&seen), true).await.unwrap();
    assert!(vehicles(&*store).await.is_empty());
    store.amend(Box::new(parts()), count(&seen), false).await.unwrap();
    assert_eq!((vehicles(&*store).await.len(), *seen.lock()), (3_000, 9_000));
}

pub async fn who_left_stays_away_and_its_history_stays(database: Arc<Database>) {
    let store = database.open().await;
    let gone = key("acme", "1");
    amend(&*store, amendment("acme", "1", json!({"name": "x"}))).await;
    store.commit(&[transition(&gone, 1, 1_000)]).await.unwrap();
    assert_eq!(store.remove(&[departure("1", 2, false), departure("2", 0, false)]).await.unwrap(), [true, false]);
    // Decided before, and it comes out of the spool after.
    store.commit(&[transition(&gone, 2, 2_000)]).await.unwrap();
    assert!(vehicles(&*store).await.is_empty());
    assert_eq!(seqs(&*store).await, [1, 2]);
    let departed = store.load_departed().await.unwrap();
    assert!(departed.contains(&((*gone).clone(), 2)), "{departed:?}");
    // Registered again, it is never seen, and repair agrees; its numbers go on.
    let again = amend(&*store, amendment("acme", "1", json!({}))).await;
    assert_eq!((again.outcome, again.registered.revision, again.seq), (Outcome::Created, 2, 2));
    assert_eq!(store.repair(None, 100).await.unwrap().mended, []);
    let row = vehicles(&*store).await.pop().unwrap();
    assert_eq!((row.status, row.since, row.seq), (Status::NeverSeen, None, 2));
    store.commit(&[transition(&gone, 3, 3_000)]).await.unwrap();
    assert_eq!(vehicles(&*store).await[0].seq, 3);
    assert_eq!(store.repair(None, 100).await.unwrap().mended, []);
    // Gone again, it comes back by speaking.
    store.remove(&[departure("1", 3, false)]).await.unwrap();
    store.commit(&[transition(&gone, 4, 4_000), transition(&gone, 5, 5_000)]).await.unwrap();
    let row = vehicles(&*store).await.pop().unwrap();
    assert_eq!((row.status, row.seq, row.registered), (Status::Online, 5, None));
    assert_eq!(seqs(&*store).await, [1, 2, 3, 4, 5]);
}

pub async fn a_purged_history_is_gone_and_stays_gone(database: Arc<Database>) {
    let store = database.open().await;
    let (gone, other) = (key("acme", "1"), key("acme", "2"));
    store.commit(&[transition(&gone, 1, 1_000), transition(&other, 1, 1_000)]).await.unwrap();
    store.remove(&[departure("1", 2, true)]).await.unwrap();
    store.commit(&[transition(&gone, 1, 1_000), transition(&gone, 2, 2_000)]).await.unwrap();
    let left = store.transitions(&everything()).await.unwrap();
    assert!(left.len() == 1 && left[0].key == other, "{left:?}");
    assert_eq!(vehicles(&*store).await.len(), 1);
    store.forget_purged().await.unwrap();
    assert_eq!(store.load_departed().await.unwrap(), []);
    store.commit(&[transition(&gone, 1, 5_000)]).await.unwrap();
    assert_eq!(vehicles(&*store).await.len(), 2, "a new one of that name");
}

pub async fn a_vehicle_is_given_away_with_what_is_registered_of_it(database: Arc<Database>) {
    let store = database.open().await;
    let (old, new) = (key("acme", "1"), key("birch", "1"));
    amend(&*store, amendment("acme", "1", json!({"name": "Bus", "tags": ["t"], "offline_after_ms": 700}))).await;
    store.commit(&[transition(&old, 1, 1_000)]).await.unwrap();
    amend(&*store, amendment("birch", "1", json!({}))).await;
    assert_eq!(store.transfer(&departure("1", 1, false), &new).await.unwrap(), None, "taken");
    assert_eq!(vehicles(&*store).await.len(), 2);
    let free = Departure { key: Arc::clone(&new), seq: 0, at: 8_000, status: Status::NeverSeen, purge: false };
    store.remove(&[free]).await.unwrap();
    let given = store.transfer(&departure("1", 1, false), &new).await.unwrap().unwrap();
    let row = vehicles(&*store).await.pop().unwrap();
    assert_eq!((&row.key, row.status, row.seq), (&new, Status::NeverSeen, 0));
    assert_eq!((row.registered.as_deref(), row.offline_after), (Some(&given.registered), Some(700)));
    assert_eq!(given.registered.name.as_deref(), Some("Bus"));
    assert!(store.transitions(&everything()).await.unwrap().iter().all(|one| one.key == old), "the past stays");
    for side in [&old, &new] {
        let list = store.transfers(side).await.unwrap();
        assert!(list.len() == 1 && (&*list[0].from, &*list[0].to, list[0].at) == ("acme", "birch", 9_000), "{list:?}");
    }
    assert_eq!(store.transfers(&key("acme", "2")).await.unwrap(), []);
}

pub async fn customers_are_made_changed_and_removed(database: Arc<Database>) {
    let store = database.open().await;
    let read = |fields: Value| CustomerEdits::read(fields.as_object().unwrap()).unwrap();
    let named = read(json!({"name": "Acme Ltd", "offline_after_ms": 700}));
    let (outcome, made) = store.amend_customer("acme", &named, Condition::Absent).await.unwrap();
    assert_eq!((outcome, made.name.as_deref(), made.offline_after), (Outcome::Created, Some("Acme Ltd"), Some(700)));
    assert_eq!(store.amend_customer("acme", &named, Condition::Absent).await.unwrap().0, Outcome::Refused);
    assert_eq!(store.amend_customer("acme", &named, Condition::None).await.unwrap().0, Outcome::Unchanged);
    let shorter = read(json!({"offline_after_ms": null}));
    let (outcome, changed) = store.amend_customer("acme", &shorter, Condition::Revision(1)).await.unwrap();
    assert_eq!((outcome, changed.revision, changed.offline_after), (Outcome::Updated, 2, None));
    assert_eq!(store.load_customers().await.unwrap(), [changed]);
    amend(&*store, amendment("acme", "1", json!({}))).await;
    assert!(!store.remove_customer("acme", 9).await.unwrap(), "it has a vehicle");
    store.remove(&[departure("1", 0, false)]).await.unwrap();
    assert!(store.remove_customer("acme", 9).await.unwrap() && store.remove_customer("acme", 9).await.unwrap());
    assert_eq!(store.load_customers().await.unwrap(), []);
}

/// An import is many vehicles at once.
pub async fn many_vehicles_are_registered_at_once(database: Arc<Database>) {
    let store = database.open().await;
    let many = (0..12_345).map(|n| amendment("big", &format!("v{n:05}"), json!({"name": "name"}))).collect();
    let done = amend_all(&*store, many).await.unwrap();
    assert!(done.len() == 12_345 && done.iter().all(|row| row.outcome == Outcome::Created));
    let all = vehicles(&*store).await;
    assert_eq!((all.len(), &all[12_344].key), (12_345, &done[12_344].key));
}
