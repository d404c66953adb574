//! Heartbeats counted by customer, for the statistics: one number a customer and lane, raised when a beat is taken.
//! Written by the registry under its lane's lock, so no two threads raise one; emptied by the rollup task. Bound: the
//! number of customers, which the registry's caps bound.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// One customer's number, shared by the entries of its vehicles.
#[derive(Debug, Clone, Default)]
pub struct Beat(Arc<AtomicU64>);

impl Beat {
    /// One more.
    pub fn count(&self) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// The numbers of one lane.
#[derive(Debug, Default)]
pub struct Beats(HashMap<Arc<str>, Beat>);

impl Beats {
    /// The number of a customer.
    pub fn of(&mut self, customer: &Arc<str>) -> Beat {
        self.0.entry(Arc::clone(customer)).or_default().clone()
    }

    /// Adds what was counted since the last time to `sums`, and begins anew.
    pub fn take(&self, sums: &mut HashMap<Arc<str>, u64>) {
        for (customer, beat) in &self.0 {
            let count = beat.0.swap(0, Relaxed);
            if count > 0 {
                *sums.entry(Arc::clone(customer)).or_default() += count;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beats_are_counted_by_customer_and_taken_once() {
        let (mut lane, acme, birch) = (Beats::default(), Arc::from("acme"), Arc::from("birch"));
        let (one, other) = (lane.of(&acme), lane.of(&acme));
        for beat in [&one, &other, &lane.of(&birch)] {
            beat.count();
        }
        let mut sums = HashMap::new();
        lane.take(&mut sums);
        assert_eq!(sums, HashMap::from([(acme, 2), (birch, 1)]));
        let mut later = HashMap::new();
        lane.take(&mut later);
        assert!(later.is_empty());
    }
}
