//! Heartbeats counted by customer, for the statistics: one number a customer and lane, raised when a beat is taken.
//! Owned by a lane of the registry, under its lock; emptied by the rollup task. Bound: the number of customers, which
//! the registry's caps bound.

use std::collections::HashMap;
use std::sync::Arc;

/// Which of a lane's numbers is that of a vehicle's customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally(u32);

/// The numbers of one lane.
#[derive(Debug, Default)]
pub struct Beats {
    numbers: Vec<(Arc<str>, u64)>,
    tallies: HashMap<Arc<str>, Tally>,
}

impl Beats {
    /// Where the heartbeats of a customer are counted.
    pub fn of(&mut self, customer: &Arc<str>) -> Tally {
        *self.tallies.entry(Arc::clone(customer)).or_insert_with(|| {
            self.numbers.push((Arc::clone(customer), 0));
            Tally(self.numbers.len() as u32 - 1)
        })
    }

    /// One more.
    pub fn count(&mut self, Tally(number): Tally) {
        self.numbers[number as usize].1 += 1;
    }

    /// Adds what was counted since the last time to `sums`, and begins anew.
    pub fn take(&mut self, sums: &mut HashMap<Arc<str>, u64>) {
        for (customer, count) in self.numbers.iter_mut().filter(|(_, count)| *count > 0) {
            *sums.entry(Arc::clone(customer)).or_default() += std::mem::take(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beats_are_counted_by_customer_and_taken_once() {
        let (mut lane, acme, birch) = (Beats::default(), Arc::from("acme"), Arc::from("birch"));
        for customer in [&acme, &acme, &birch] {
            let tally = lane.of(customer);
            lane.count(tally);
        }
        let mut sums = HashMap::new();
        lane.take(&mut sums);
        assert_eq!(sums, HashMap::from([(acme, 2), (birch, 1)]));
        let mut later = HashMap::new();
        lane.take(&mut later);
        assert!(later.is_empty());
    }
}
