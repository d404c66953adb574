//! The fleet at a past instant, against the transitions themselves.
//! Fed by the suite; each runs on every store.

use std::sync::Arc;

use super::Database;
use super::samples::{key, transition};
use crate::domain::transition::Status;
use crate::store::history::Past;

pub async fn vehicles_stood_as_their_last_transition_before_says(database: Arc<Database>) {
    let store = database.open().await;
    let keys = [key("acme", "1"), key("birch", "1")];
    let rows: Vec<_> = (1..=6).flat_map(|n| keys.each_ref().map(|key| transition(key, n, 1_000 * n as i64))).collect();
    store.commit(&rows).await.unwrap();
    // Two of one instant: the later number counts.
    store.commit(&[transition(&keys[0], 7, 6_000)]).await.unwrap();
    let name = |customer: &str, vehicle: &str| (customer.to_owned(), vehicle.to_owned());
    let names = [name("birch", "1"), name("acme", "1"), name("acme", "2"), name("birch", "1")];
    let past = |status, at, seq| Past { status, since: Some(at), seq };
    let never = Past::default();
    for (at, birch, acme) in [
        (999, never, never),
        (1_000, past(Status::Online, 1_000, 1), past(Status::Online, 1_000, 1)),
        (2_999, past(Status::Offline, 2_000, 2), past(Status::Offline, 2_000, 2)),
        (9_000, past(Status::Offline, 6_000, 6), past(Status::Online, 6_000, 7)),
    ] {
        assert_eq!(store.stood(&names, at).await.unwrap(), [birch, acme, never, birch], "{at}");
    }
    assert_eq!(store.stood(&[], 5).await.unwrap(), []);
}
