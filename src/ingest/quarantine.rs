//! Vehicles that nobody registered, while `fleet.auto_register` is off: an operator sees the list and takes them in.
//! Fed by the door with each of their heartbeats, which are refused all the same; read and changed by REST. Bound:
//! `STRANGERS_MAX`; beyond it the one that was silent longest is dropped and counted, so that a device that sends ever
//! new names does not drive out those that speak on (R46).

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::domain::ids::VehicleKey;
use crate::domain::time::Millis;

/// Strangers kept: about 2 MB.
pub const STRANGERS_MAX: usize = 10_000;

/// What is known of a stranger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stranger {
    /// Its first heartbeat.
    pub first_seen: Millis,
    /// Its last one.
    pub last_seen: Millis,
    /// How many it sent.
    pub heartbeats: u64,
    /// Its place in the order of silence.
    turn: u64,
}

/// One page of strangers.
#[derive(Debug)]
pub struct Page {
    /// In the order of their names.
    pub items: Vec<(Arc<VehicleKey>, Stranger)>,
    /// Whether there are more after them.
    pub more: bool,
    /// How many there are in all, of the customer asked for.
    pub total: usize,
    /// How many were dropped since the start because the list was full.
    pub dropped: u64,
}

/// The list.
#[derive(Debug, Default)]
pub struct Quarantine {
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    by_name: BTreeMap<Arc<VehicleKey>, Stranger>,
    /// Who spoke in which turn: the first is the one that was silent longest.
    by_turn: BTreeMap<u64, Arc<VehicleKey>>,
    last_turn: u64,
    dropped: u64,
}

impl Quarantine {
    /// A stranger sent a heartbeat.
    pub fn hear(&self, customer: &str, vehicle: &str, now: Millis) {
        let key = VehicleKey { customer: customer.into(), vehicle: vehicle.into() };
        let mut inside = self.inside.lock();
        inside.last_turn += 1;
        let turn = inside.last_turn;
        if let Some(known) = inside.by_name.get_mut(&key) {
            let before = std::mem::replace(&mut known.turn, turn);
            known.last_seen = now;
            known.heartbeats += 1;
            if let Some(name) = inside.by_turn.remove(&before) {
                inside.by_turn.insert(turn, name);
            }
            return;
        }
        if inside.by_name.len() >= STRANGERS_MAX
            && let Some((_, silent)) = inside.by_turn.pop_first()
        {
            inside.by_name.remove(&silent);
            inside.dropped += 1;
        }
        let key = Arc::new(key);
        inside.by_turn.insert(turn, Arc::clone(&key));
        inside.by_name.insert(key, Stranger { first_seen: now, last_seen: now, heartbeats: 1, turn });
    }

    /// Whether this one is in the list.
    pub fn holds(&self, key: &VehicleKey) -> bool {
        self.inside.lock().by_name.contains_key(key)
    }

    /// Takes one from the list; `false` when it was not there.
    pub fn remove(&self, key: &VehicleKey) -> bool {
        let mut inside = self.inside.lock();
        let Some(stranger) = inside.by_name.remove(key) else { return false };
        inside.by_turn.remove(&stranger.turn);
        true
    }

    /// Takes those from the list that have become known in another way.
    pub fn drop_known(&self, is_known: impl Fn(&VehicleKey) -> bool) {
        let mut inside = self.inside.lock();
        let Inside { by_name, by_turn, .. } = &mut *inside;
        by_name.retain(|key, stranger| {
            let known = is_known(key);
            if known {
                by_turn.remove(&stranger.turn);
            }
            !known
        });
    }

    /// The strangers after `after`, of one customer or of all.
    pub fn page(&self, customer: Option<&str>, after: Option<VehicleKey>, limit: usize) -> Page {
        let inside = self.inside.lock();
        let fits = |key: &Arc<VehicleKey>| customer.is_none_or(|wanted| *key.customer == *wanted);
        let from = after.map_or(Unbounded, |key| Excluded(Arc::new(key)));
        let list = inside.by_name.range((from, Unbounded)).filter(|(key, _)| fits(key));
        let mut items: Vec<_> = list.take(limit + 1).map(|(key, stranger)| (Arc::clone(key), *stranger)).collect();
        let more = items.len() > limit;
        items.truncate(limit);
        let total = inside.by_name.keys().filter(|key| fits(key)).count();
        Page { items, more, total, dropped: inside.dropped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_bounded_and_the_longest_silent_goes_first() {
        let list = Quarantine::default();
        list.hear("acme", "speaks on", 1);
        for number in 0..2 * STRANGERS_MAX {
            list.hear("acme", &format!("garbage {number}"), 2);
            list.hear("acme", "speaks on", 3);
        }
        let page = list.page(None, None, 2);
        assert_eq!((page.items.len(), page.more, page.total), (2, true, STRANGERS_MAX));
        assert_eq!(page.dropped, STRANGERS_MAX as u64 + 1);
        let key = VehicleKey::parse("acme", "speaks on").expect("a key");
        assert!(list.holds(&key) && list.remove(&key) && !list.remove(&key));
        list.drop_known(|known| *known.vehicle == *"garbage 19999");
        let inside = list.inside.lock();
        assert_eq!((inside.by_name.len(), inside.by_turn.len()), (STRANGERS_MAX - 2, STRANGERS_MAX - 2));
    }

    #[test]
    fn pages_are_complete_and_a_customer_sees_its_own() {
        let list = Quarantine::default();
        for (customer, vehicle) in [("b", "1"), ("a", "2"), ("a", "1"), ("c", "1"), ("a", "1")] {
            list.hear(customer, vehicle, 5);
        }
        let (mut after, mut names) = (None, Vec::new());
        loop {
            let page = list.page(None, after, 1);
            names.extend(page.items.iter().map(|(key, stranger)| (key.to_string(), stranger.heartbeats)));
            after = page.items.last().map(|(key, _)| VehicleKey::clone(key));
            if !page.more {
                break;
            }
        }
        assert_eq!(names, [("a/1", 2), ("a/2", 1), ("b/1", 1), ("c/1", 1)].map(|(name, n)| (name.to_owned(), n)));
        assert_eq!(list.page(Some("a"), None, 9).total, 2);
    }
}
