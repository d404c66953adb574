//! What is registered of customers, as it is now: names and timeouts. Filled at start and changed by the desk; asked by
//! shards for the timeout of a vehicle that nobody registered, and by REST. Bound: as many as the store holds.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use parking_lot::RwLock;

use crate::domain::time::Millis;
use crate::store::StoredCustomer;

/// Every customer that is stored.
#[derive(Debug, Default)]
pub struct Customers(RwLock<BTreeMap<String, StoredCustomer>>);

impl Customers {
    /// What is registered of one, if it is stored.
    pub fn get(&self, customer: &str) -> Option<StoredCustomer> {
        self.0.read().get(customer).cloned()
    }

    /// The customer's own timeout, milliseconds.
    pub fn timeout(&self, customer: &str) -> Option<Millis> {
        self.0.read().get(customer).and_then(|stored| stored.offline_after)
    }

    /// Whether it is stored.
    pub fn holds(&self, customer: &str) -> bool {
        self.0.read().contains_key(customer)
    }

    /// At most so many names after this one, in order.
    pub fn names_after(&self, after: Option<&str>, limit: usize) -> Vec<String> {
        let all = self.0.read();
        let list = all.range::<str, _>((after.map_or(Unbounded, Excluded), Unbounded));
        list.take(limit).map(|(name, _)| name.clone()).collect()
    }

    /// It is like this from now on.
    pub fn set(&self, customer: StoredCustomer) {
        self.0.write().insert(customer.customer.clone(), customer);
    }

    /// It is stored, if only by its name.
    pub fn note(&self, customer: &str) {
        if !self.holds(customer) {
            self.set(StoredCustomer { customer: customer.to_owned(), ..StoredCustomer::default() });
        }
    }

    /// It is gone.
    pub fn remove(&self, customer: &str) {
        self.0.write().remove(customer);
    }
}
