//! Cases about rows that somebody changed by hand: status is derived from transitions, and stays it (R1).
//! Fed by the suite; each runs on every store that somebody else can reach.

use std::sync::Arc;

use super::samples::{key, transition};
use super::{Database, by_hand, vehicles};
use crate::domain::ids::VehicleKey;
use crate::store::{Claim, Store};

fn claim(status: &str, since: Option<i64>, seq: i64) -> Claim {
    Claim { status: status.into(), since, seq }
}

/// The vehicles that were mended, with what was and what is.
async fn mended(store: &dyn Store) -> Vec<(String, Claim, Claim)> {
    let repair = store.repair(None, 1_000).await.unwrap();
    assert_eq!(repair.end, None);
    repair.mended.into_iter().map(|row| (row.key.vehicle.to_string(), row.was, row.is)).collect()
}

pub async fn a_row_that_was_changed_by_hand_is_mended(database: Arc<Database>) {
    if matches!(*database, Database::Memory) {
        return;
    }
    let store = database.open().await;
    for vehicle in ["a", "b", "c", "d"] {
        let key = key("acme", vehicle);
        store.commit(&[transition(&key, 1, 1_000), transition(&key, 2, 2_000)]).await.unwrap();
    }
    by_hand(&database, "INSERT INTO vehicle (customer, vehicle) VALUES ('acme', 'new')").await;
    let sound = vehicles(&*store).await;
    assert_eq!(mended(&*store).await, [], "nothing is wrong");
    for (change, vehicle, was) in [
        ("status = 'online'", "a", claim("online", Some(2_000), 2)),
        ("status = 'never_seen', status_since_ms = NULL, seq = 0", "b", claim("never_seen", None, 0)),
        ("status_since_ms = 1999", "c", claim("offline", Some(1_999), 2)),
        ("seq = 9000000000000000000", "d", claim("offline", Some(2_000), 9_000_000_000_000_000_000)),
        ("status = 'gone fishing'", "a", claim("gone fishing", Some(2_000), 2)),
    ] {
        by_hand(&database, &format!("UPDATE vehicle SET {change} WHERE vehicle = '{vehicle}'")).await;
        assert_eq!(mended(&*store).await, [(vehicle.to_owned(), was, claim("offline", Some(2_000), 2))]);
        assert_eq!(vehicles(&*store).await, sound);
    }
    // A vehicle that has no transition was never seen, whatever its row claims.
    by_hand(&database, "UPDATE vehicle SET status = 'online', seq = 7 WHERE vehicle = 'new'").await;
    let (was, is) = (claim("online", None, 7), claim("never_seen", None, 0));
    assert_eq!(mended(&*store).await, [("new".to_owned(), was, is)]);
    assert_eq!(mended(&*store).await, [], "mended once");
    // The next transition finds its row in order.
    store.commit(&[transition(&key("acme", "d"), 3, 3_000)]).await.unwrap();
    assert_eq!(mended(&*store).await, []);
}

pub async fn every_slice_is_looked_at(database: Arc<Database>) {
    if matches!(*database, Database::Memory) {
        return;
    }
    let store = database.open().await;
    let keys: Vec<_> = (0..10).map(|n| key(if n < 5 { "acme" } else { "zeta" }, &format!("v{n}"))).collect();
    let batch: Vec<_> = keys.iter().map(|key| transition(key, 1, 1_000)).collect();
    store.commit(&batch).await.unwrap();
    by_hand(&database, "UPDATE vehicle SET seq = 5").await;
    let (mut after, mut found, mut slices): (Option<VehicleKey>, _, _) = (None, Vec::new(), 0);
    loop {
        let repair = store.repair(after.as_ref(), 3).await.unwrap();
        assert!(repair.mended.len() <= 3);
        found.extend(repair.mended.into_iter().map(|row| row.key));
        slices += 1;
        after = repair.end;
        if after.is_none() {
            break;
        }
    }
    assert_eq!((found, slices), (keys.iter().map(|key| (**key).clone()).collect(), 4));
}
