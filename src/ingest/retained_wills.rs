//! Retained wills of vehicles that have not been heard yet: an external broker tells of them when we subscribe, before
//! any heartbeat. Fed and asked by the door, which names the vehicle once it heartbeats (R36). Bound: `KEPT_MAX`; later
//! ones are not remembered, and are seen again with the next subscription.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::domain::ids::VehicleKey;

/// Names kept: about a megabyte.
const KEPT_MAX: usize = 10_000;

/// The names.
#[derive(Debug, Default)]
pub struct RetainedWills {
    /// So that who asks need not take the lock while there is none.
    count: AtomicUsize,
    names: Mutex<HashSet<VehicleKey>>,
}

impl RetainedWills {
    /// Keeps a name, if there is room.
    pub fn remember(&self, key: VehicleKey) {
        let mut names = self.names.lock();
        if names.len() < KEPT_MAX {
            names.insert(key);
            self.count.store(names.len(), Relaxed);
        }
    }

    /// Whether the name was kept; it is not any more.
    pub fn forget(&self, customer: &str, vehicle: &str) -> bool {
        if self.count.load(Relaxed) == 0 {
            return false;
        }
        let key = VehicleKey { customer: customer.into(), vehicle: vehicle.into() };
        let mut names = self.names.lock();
        let known = names.remove(&key);
        self.count.store(names.len(), Relaxed);
        known
    }
}
