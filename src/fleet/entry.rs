//! A vehicle that is known: its names, its places, and the few numbers by which ingest can tell that a heartbeat
//! changes nothing. Made by the registry; shared by ingest, which asks, and the vehicle's actor, which tells. Nothing
//! is locked.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering::Relaxed};

use super::beats::Tally;
use crate::domain::board::Slot;
use crate::domain::ids::VehicleKey;
use crate::domain::time::Millis;

/// A vehicle that is known, shared by ingest and its actor. With the counts of its [`Arc`] it fills one cache line: a
/// heartbeat of a large fleet finds it in no cache.
#[derive(Debug)]
pub struct Entry {
    /// Its two names.
    pub key: Arc<VehicleKey>,
    /// Its row on the board.
    pub slot: Slot,
    /// Its place among the vehicles of its shard.
    pub local: u32,
    /// A heartbeat that arrives until then changes no status, so it may be acknowledged at once.
    steady_until: AtomicI64,
    /// Its token bucket, as [`Limit`](crate::domain::limit::Limit) writes it.
    pub(super) full_at: AtomicI64,
    /// Newest arrival of a beat over the limit that the actor has not taken into account yet.
    pub(super) sign_of_life: AtomicI64,
    /// Queued inputs other than heartbeats, and [`LEAVING`]; while there are any, nothing is steady.
    pub(super) unsteady_inputs: AtomicU32,
    /// Where its customer's heartbeats are counted.
    pub(super) tally: Tally,
}

/// No sign of life waits.
const NO_SIGN: Millis = Millis::MIN;
/// It is being deleted: what arrives for it is heard and forgotten. Above any number of queued inputs.
const LEAVING: u32 = 1 << 31;

impl Entry {
    /// One that was never heard.
    pub(super) fn new(key: Arc<VehicleKey>, slot: Slot, local: u32, tally: Tally) -> Self {
        Self {
            key,
            slot,
            local,
            steady_until: AtomicI64::new(Millis::MIN),
            full_at: AtomicI64::new(0),
            sign_of_life: AtomicI64::new(NO_SIGN),
            unsteady_inputs: AtomicU32::new(0),
            tally,
        }
    }

    /// Whether it is being deleted.
    pub fn is_leaving(&self) -> bool {
        self.unsteady_inputs.load(Relaxed) & LEAVING != 0
    }

    /// It is to be deleted, or stays after all.
    pub(super) fn set_leaving(&self, leaving: bool) {
        if leaving {
            self.unsteady_inputs.fetch_or(LEAVING, Relaxed);
        } else {
            self.unsteady_inputs.fetch_and(!LEAVING, Relaxed);
        }
    }

    /// The actor tells until when a heartbeat cannot change the status.
    pub fn set_steady_until(&self, instant: Millis) {
        self.steady_until.store(instant, Relaxed);
    }

    /// A hint or goodbye was dealt with, or died with its actor.
    pub fn settled_one(&self) {
        self.unsteady_inputs.fetch_sub(1, Relaxed);
    }

    /// The newest arrival that was only noted, if there is one. Whoever asked for the lane's horizon before sees every
    /// one up to it: it is noted under the lane's lock.
    pub fn take_sign_of_life(&self) -> Option<Millis> {
        if self.sign_of_life.load(Relaxed) == NO_SIGN {
            return None;
        }
        Some(self.sign_of_life.swap(NO_SIGN, Relaxed)).filter(|sign| *sign != NO_SIGN)
    }

    /// Whether a heartbeat that arrives now changes no status.
    pub(super) fn is_steady_at(&self, arrival: Millis) -> bool {
        self.unsteady_inputs.load(Relaxed) == 0 && arrival <= self.steady_until.load(Relaxed)
    }
}
