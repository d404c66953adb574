//! What an operator should mend: one warning a vehicle and kind, however often it shows.
//! Fed by every station that sees such a thing; read by `GET /api/v1/warnings` and the page. Bound: `WARNINGS_MAX`;
//! beyond it the one that showed longest ago is forgotten. One log line a new warning, never one a message.

use std::collections::HashMap;
use std::sync::Arc;

use compact_str::CompactString;
use parking_lot::Mutex;
use serde::Serialize;

use crate::domain::ids::VehicleKey;
use crate::domain::time::{self, Millis};

/// Warnings kept: more than anybody reads, and far less than a megabyte.
pub const WARNINGS_MAX: usize = 1_000;

/// What is wrong with a vehicle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Its last will is retained at the broker, though it is there (R36).
    RetainedWill,
    /// It speaks more often than `fleet.beats_per_s_max` (R45).
    Flooding,
    /// Two devices seem to use its name, or its client id (R35).
    DuplicateId,
}

impl Kind {
    /// The word used in JSON and logs.
    pub fn word(self) -> &'static str {
        match self {
            Self::RetainedWill => "retained_will",
            Self::Flooding => "flooding",
            Self::DuplicateId => "duplicate_id",
        }
    }
}

/// One warning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// Whose vehicle.
    pub customer: Arc<str>,
    /// Which one.
    pub vehicle: CompactString,
    /// What is wrong.
    pub kind: Kind,
    /// A sentence for the person who has to mend it.
    pub detail: String,
    /// When it showed first.
    #[serde(serialize_with = "time::as_text::serialize")]
    pub first_at: Millis,
    /// When it showed last.
    #[serde(serialize_with = "time::as_text::serialize")]
    pub last_at: Millis,
    /// How often it showed; for a flood, the heartbeats over the limit.
    pub count: u64,
}

/// All warnings.
#[derive(Debug, Default)]
pub struct Warnings {
    inside: Mutex<HashMap<(Kind, VehicleKey), Warning>>,
}

impl Warnings {
    /// Notes that a vehicle spoke so many times more than its limit allows.
    pub fn flooding(&self, at: Millis, key: &VehicleKey, beats: u32) {
        let detail = "speaks more often than fleet.beats_per_s_max; it stays online, but what these heartbeats say \
                      besides is not read";
        self.note(at, key, Kind::Flooding, u64::from(beats), detail);
    }

    /// Notes a warning that showed `times` times.
    pub fn note(&self, at: Millis, key: &VehicleKey, kind: Kind, times: u64, detail: &str) {
        let mut inside = self.inside.lock();
        if let Some(known) = inside.get_mut(&(kind, key.clone())) {
            known.last_at = known.last_at.max(at);
            known.count += times;
            return;
        }
        if inside.len() >= WARNINGS_MAX {
            let oldest = inside.iter().min_by_key(|(_, warning)| warning.last_at).map(|(known, _)| known.clone());
            oldest.map(|oldest| inside.remove(&oldest));
        } else {
            // Beyond the bound the log stays quiet: whoever sends ever new names must not be able to fill it.
            tracing::warn!(vehicle = %key, kind = kind.word(), "a vehicle {detail}");
        }
        let (customer, vehicle) = (Arc::clone(&key.customer), key.vehicle.clone());
        let detail = detail.to_owned();
        let warning = Warning { customer, vehicle, kind, detail, first_at: at, last_at: at, count: times };
        inside.insert((kind, key.clone()), warning);
    }

    /// Every warning, newest first.
    pub fn list(&self) -> Vec<Warning> {
        let mut list: Vec<Warning> = self.inside.lock().values().cloned().collect();
        list.sort_by(|a, b| {
            let newest_first = b.last_at.cmp(&a.last_at);
            newest_first.then_with(|| (&a.customer, &a.vehicle).cmp(&(&b.customer, &b.vehicle)))
        });
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(vehicle: &str) -> VehicleKey {
        VehicleKey::parse("acme", vehicle).expect("a key")
    }

    #[test]
    fn a_warning_is_kept_once_for_each_vehicle_and_kind() {
        let warnings = Warnings::default();
        warnings.flooding(10, &key("a"), 5);
        warnings.note(20, &key("b"), Kind::Flooding, 1, "");
        warnings.note(25, &key("a"), Kind::DuplicateId, 1, "");
        warnings.flooding(30, &key("a"), 7);
        let list: Vec<_> =
            warnings.list().iter().map(|w| (w.vehicle.to_string(), w.kind, w.first_at, w.last_at, w.count)).collect();
        let want =
            [("a", Kind::Flooding, 10, 30, 12), ("a", Kind::DuplicateId, 25, 25, 1), ("b", Kind::Flooding, 20, 20, 1)];
        assert_eq!(
            list,
            want.map(|(vehicle, kind, first, last, count)| (vehicle.to_owned(), kind, first, last, count))
        );
    }

    #[test]
    fn the_list_is_bounded_and_forgets_what_showed_longest_ago() {
        let warnings = Warnings::default();
        for number in 0..=WARNINGS_MAX {
            warnings.flooding(number as Millis, &key(&format!("v{number}")), 1);
        }
        let list = warnings.list();
        assert_eq!((list.len(), list[0].last_at, list[WARNINGS_MAX - 1].last_at), (WARNINGS_MAX, 1_000, 1));
    }
}
