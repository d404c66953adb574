//! What one vehicle really sent, instant by instant, and what the broker acknowledged. Fed by the ledger during a run
//! of the oracle, read by its judge at the end. Twelve bytes an entry: 20,000 vehicles that beat every 5 s for
//! 30 minutes take 90 MB.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Something a vehicle did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Milliseconds since the start of the run: 49 days fit.
    pub at_ms: u32,
    pub act: Act,
    /// The broker said that it has it. What it did not say so about may have arrived all the same.
    pub acked: bool,
}

/// See `Entry`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Beat,
    /// A beat that announces the next one in so many tenths of a second (109 minutes at most).
    Nap(u16),
    /// A beat of the past, sent late.
    Backlog,
    Goodbye,
    /// Its own connection broke: a last will follows.
    Broke,
    /// A connection it shares broke, or a will may follow or not: its deadline may be shortened, need not.
    MayHint,
}

/// Where an entry is, to mark it later.
#[derive(Debug, Clone, Copy)]
pub struct Place(u32);

/// The records of a fleet; empty when nobody will ask.
#[derive(Debug, Default)]
pub struct Records(Vec<Mutex<Vec<Entry>>>);

impl Records {
    pub fn of(vehicles: u32) -> Self {
        Self((0..vehicles).map(|_| Mutex::default()).collect())
    }

    /// Adds an entry; nothing when no records are kept.
    pub fn note(&self, vehicle: u32, at_ms: u64, act: Act) -> Option<Place> {
        let mut record = self.lock(vehicle)?;
        record.push(Entry { at_ms: u32::try_from(at_ms).unwrap_or(u32::MAX), act, acked: false });
        Some(Place(record.len() as u32 - 1))
    }

    pub fn acknowledge(&self, vehicle: u32, place: Place) {
        if let Some(mut record) = self.lock(vehicle)
            && let Some(entry) = record.get_mut(place.0 as usize)
        {
            entry.acked = true;
        }
    }

    /// All that a vehicle did, in order.
    pub fn read(&self, vehicle: u32) -> Vec<Entry> {
        self.lock(vehicle).map(|record| record.clone()).unwrap_or_default()
    }

    fn lock(&self, vehicle: u32) -> Option<MutexGuard<'_, Vec<Entry>>> {
        Some(self.0.get(vehicle as usize)?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_is_small_and_is_marked_later() {
        assert!(size_of::<Entry>() <= 12);
        let records = Records::of(1);
        let first = records.note(0, 5, Act::Beat).unwrap();
        records.note(0, 6, Act::Nap(10)).unwrap();
        records.acknowledge(0, first);
        let acked: Vec<bool> = records.read(0).iter().map(|entry| entry.acked).collect();
        assert_eq!(acked, [true, false]);
        assert!(Records::default().note(0, 1, Act::Beat).is_none(), "nobody asked for records");
    }
}
