//! The fleet at a past instant, against the transitions themselves.
//! Fed by the suite; each runs on every store.

use std::sync::Arc;

use super::Database;
use super::registry::departure;
use super::samples::{key, transition};
use crate::domain::transition::{Cause, Status};
use crate::store::Store;
use crate::store::history::{Name, Past, Turn};

/// Two vehicles with a transition a second; the first has two of one instant, and the later number counts.
async fn six_each(store: &dyn Store) {
    let keys = [key("acme", "1"), key("birch", "1")];
    let rows: Vec<_> = (1..=6).flat_map(|n| keys.each_ref().map(|key| transition(key, n, 1_000 * n as i64))).collect();
    store.commit(&rows).await.unwrap();
    store.commit(&[transition(&keys[0], 7, 6_000)]).await.unwrap();
}

fn name(customer: &str, vehicle: &str) -> Name {
    (customer.to_owned(), vehicle.to_owned())
}

pub async fn vehicles_stood_as_their_last_transition_before_says(database: Arc<Database>) {
    let store = database.open().await;
    six_each(&*store).await;
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

pub async fn turns_of_a_period_reach_back_to_the_one_in_force(database: Arc<Database>) {
    let store = database.open().await;
    six_each(&*store).await;
    let names = [name("birch", "1"), name("acme", "1"), name("acme", "2")];
    let turn = |n: i64| {
        let (status, cause) =
            if n % 2 == 0 { (Status::Offline, Cause::Silence) } else { (Status::Online, Cause::Heartbeat) };
        Turn { at: 1_000 * n.min(6), status, cause }
    };
    for (from, to, birch, acme) in [
        (0, 9_000, vec![6, 5, 4, 3, 2, 1], vec![7, 6, 5, 4, 3, 2, 1]),
        (3_000, 6_000, vec![5, 4, 3], vec![5, 4, 3]),
        (3_001, 5_000, vec![4, 3], vec![4, 3]),
        (6_000, 9_000, vec![6], vec![7]),
        (0, 1_000, vec![], vec![]),
    ] {
        let expected = [birch, acme, vec![]].map(|list: Vec<i64>| list.into_iter().map(turn).collect::<Vec<_>>());
        assert_eq!(store.turns(&names, from, to).await.unwrap(), expected, "{from} {to}");
    }
}

pub async fn a_vehicle_that_left_was_not_there_until_it_came_back(database: Arc<Database>) {
    let store = database.open().await;
    let bus = key("acme", "1");
    store.commit(&[transition(&bus, 1, 1_000)]).await.unwrap();
    store.remove(&[departure("1", 1, false)]).await.unwrap();
    let mut back = transition(&bus, 2, 90_000);
    (back.change.from, back.change.to, back.change.cause) = (Status::NeverSeen, Status::Online, Cause::Heartbeat);
    store.commit(&[back]).await.unwrap();
    let names = [name("acme", "1")];
    let left = store.turns(&names, 0, 100_000).await.unwrap().remove(0)[1].at;
    for (at, status) in [
        (999, Status::NeverSeen),
        (1_000, Status::Online),
        (left - 1, Status::Online),
        (left, Status::NeverSeen),
        (89_999, Status::NeverSeen),
        (90_000, Status::Online),
    ] {
        assert_eq!(store.stood(&names, at).await.unwrap()[0].status, status, "{at}");
        let turns = store.turns(&names, at, at + 1).await.unwrap().remove(0);
        assert_eq!(turns.first().map_or(Status::NeverSeen, |turn| turn.status), status, "{at}");
    }
}
