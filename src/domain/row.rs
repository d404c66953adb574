//! One vehicle on the board: its newest state, what is registered of it, and with which version each group of its
//! fields changed last. Made and changed by the board; read by queries, REST and the WebSocket.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::board::Version;
use super::ids::VehicleKey;
use super::latest::{Fact, Latest};
use super::liveness::Liveness;
use super::policy::{Policy, PolicySource};
use super::search::Slot;
use super::sleep::Announced;
use super::tags::Tags;
use super::time::Millis;
use super::transition::Status;

/// What the registry knows of a vehicle beside its key.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Registered {
    /// Name for people.
    pub name: Option<Box<str>>,
    /// Number plate.
    pub registration: Option<Box<str>>,
    /// Vehicle identification number.
    pub vin: Option<Box<str>>,
    /// Free labels.
    pub tags: Tags,
    /// How often an operator wrote here; 0 for a vehicle that nobody registered.
    pub revision: u64,
}

/// The newest state of a vehicle, on its way from its actor to the board.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    /// Whose.
    pub slot: Slot,
    /// Status, since when, number of the last transition.
    pub status: Status,
    /// Since when the status holds.
    pub since: Option<Millis>,
    /// Number of the last transition.
    pub seq: u64,
    /// Arrival of the last heartbeat.
    pub last_seen: Option<Millis>,
    /// The silence that it announced.
    pub announced: Announced,
    /// Position and gauges.
    pub latest: Latest,
    /// The timeout in force.
    pub policy: Policy,
}

impl Update {
    /// The state of one vehicle as it stands.
    pub fn of(slot: Slot, liveness: &Liveness, latest: &Latest, policy: Policy) -> Self {
        Self {
            slot,
            status: liveness.status(),
            since: liveness.since(),
            seq: liveness.seq(),
            last_seen: liveness.last_seen(),
            announced: liveness.announced(),
            latest: latest.clone(),
            policy,
        }
    }
}

/// Groups of fields that change together and are pushed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// status, status_since, seq.
    Status,
    /// last_seen.
    Seen,
    /// position.
    Place,
    /// battery_pct, odometer_km, ignition, metrics, clock_skew_ms.
    Gauges,
    /// name, registration, vin, tags, offline_after_ms, policy_source.
    Registry,
}

/// One vehicle on the board.
#[derive(Debug)]
pub struct Row {
    /// Whose row it is.
    pub key: Arc<VehicleKey>,
    /// Names and tags, where there are any.
    pub registered: Option<Box<Registered>>,
    /// The newest state.
    pub state: Update,
    joined: Version,
    changed: [Version; 5],
}

impl Row {
    /// A row that joins with this version.
    pub(super) fn new(
        key: Arc<VehicleKey>,
        registered: Option<Box<Registered>>,
        state: Update,
        version: Version,
    ) -> Self {
        Self { key, registered, state, joined: version, changed: [version; 5] }
    }

    /// Takes the newest state and notes which groups it changes with this version.
    pub(super) fn take(&mut self, new: Update, version: Version) {
        let old = &self.state;
        let differs = [
            (Group::Status, old.status != new.status || old.seq != new.seq || old.since != new.since),
            (Group::Seen, old.last_seen != new.last_seen),
            (Group::Place, old.latest.position != new.latest.position),
            (Group::Gauges, gauges_differ(&old.latest, &new.latest)),
            (Group::Registry, old.policy != new.policy),
        ];
        for (group, _) in differs.iter().filter(|(_, differs)| *differs) {
            self.note(*group, version);
        }
        self.state = new;
    }

    /// A group of fields is another one with this version.
    pub(super) fn note(&mut self, group: Group, version: Version) {
        self.changed[group as usize] = version;
    }

    /// How often an operator wrote here.
    pub fn revision(&self) -> u64 {
        self.registered.as_ref().map_or(0, |registered| registered.revision)
    }

    /// The vehicle's own timeout, where it has one, milliseconds.
    pub fn own_timeout(&self) -> Option<Millis> {
        let policy = self.state.policy;
        (policy.source == PolicySource::Vehicle).then_some(policy.offline_after)
    }

    /// Whether any of this group's fields changed after `version`.
    pub fn changed_after(&self, group: Group, version: Version) -> bool {
        self.changed[group as usize] > version
    }

    /// The same vehicle in another state.
    pub fn with(&self, state: Update) -> Self {
        Self::new(Arc::clone(&self.key), self.registered.clone(), state, 0)
    }

    /// Whether the vehicle came onto the board after `version`.
    pub fn joined_after(&self, version: Version) -> bool {
        self.joined > version
    }

    /// The version with which anything of it changed last.
    pub(super) fn newest(&self) -> Version {
        self.changed.into_iter().fold(self.joined, Version::max)
    }

    /// Every text it is found by.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let registered = self.registered.as_deref();
        let more = registered.map(|r| [r.name.as_deref(), r.registration.as_deref(), r.vin.as_deref()]);
        std::iter::once(&*self.key.vehicle).chain(more.into_iter().flatten().flatten())
    }

    /// Whether it has this label.
    pub(super) fn has_tag(&self, tag: &str) -> bool {
        self.registered.as_ref().is_some_and(|r| r.tags.iter().any(|own| **own == *tag))
    }
}

/// Whether what is shown differs: a gauge that says the same again is no news.
fn gauges_differ(old: &Latest, new: &Latest) -> bool {
    fn value<T: Copy>(fact: Option<Fact<T>>) -> Option<T> {
        fact.map(Fact::value)
    }
    value(old.battery_pct) != value(new.battery_pct)
        || value(old.odometer_km) != value(new.odometer_km)
        || value(old.ignition) != value(new.ignition)
        || old.clock_skew_shown() != new.clock_skew_shown()
        || old.metrics.as_ref().map(|fact| &fact.value) != new.metrics.as_ref().map(|fact| &fact.value)
}
