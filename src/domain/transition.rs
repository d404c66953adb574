//! A change of status with its evidence: the record that is stored, pushed and shown.
//! Made by liveness (the bare [`Change`]) and the vehicle actor (the full [`Transition`]); read by store, hub and REST.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ids::VehicleKey;
use super::latest::Position;
use super::policy::PolicySource;
use super::time::{self, Millis};

/// Whether a vehicle is there, as far as we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Registered, but never heard of (R3).
    #[default]
    NeverSeen,
    /// Heard of within its timeout.
    Online,
    /// Silent past its deadline, or said goodbye.
    Offline,
    /// Its deadline passed while we could not hear.
    Unobserved,
}

impl Status {
    /// All four, in the order of their numbers.
    pub const ALL: [Status; 4] = [Status::NeverSeen, Status::Online, Status::Offline, Status::Unobserved];

    /// The word used in JSON, SQL and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::NeverSeen => "never_seen",
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Unobserved => "unobserved",
        }
    }

    /// The status of that word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.word() == word)
    }
}

/// Why a status changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A heartbeat arrived.
    Heartbeat,
    /// No heartbeat until the deadline.
    Silence,
    /// A will or an unclean disconnect, and no heartbeat within the grace.
    LastWill,
    /// The vehicle said that it switches off.
    Goodbye,
    /// The deadline passed while we could not hear.
    Blind,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Cause; 5] = [Cause::Heartbeat, Cause::Silence, Cause::LastWill, Cause::Goodbye, Cause::Blind];

    /// The word used in JSON, SQL and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Heartbeat => "heartbeat",
            Self::Silence => "silence",
            Self::LastWill => "last_will",
            Self::Goodbye => "goodbye",
            Self::Blind => "blind",
        }
    }

    /// The cause of that word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.word() == word)
    }
}

/// A change of status as the pure core decides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Number of this change of this vehicle; starts at 1, no gaps.
    pub seq: u64,
    /// Status before.
    pub from: Status,
    /// Status after; never the same as before.
    pub to: Status,
    /// When it holds from: the arrival, or the deadline to the millisecond (R20).
    pub at: Millis,
    /// Why.
    pub cause: Cause,
    /// Last heartbeat that was known when it was decided.
    pub last_seen: Option<Millis>,
    /// The deadline in force when it was decided.
    pub deadline: Option<Millis>,
}

/// What the decision rested on, kept with every transition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Evidence {
    /// Last heartbeat known, epoch milliseconds.
    pub last_seen_ms: Option<Millis>,
    /// Deadline in force, epoch milliseconds.
    pub deadline_ms: Option<Millis>,
    /// The timeout that set the deadline.
    pub offline_after_ms: Millis,
    /// Whose timeout it was.
    pub policy_source: PolicySource,
    /// Where the vehicle was last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// Usual gap between its heartbeats (a moving average).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usual_gap_ms: Option<Millis>,
    /// Its MQTT session, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<u64>,
    /// Device clock minus ours at the last heartbeat that carried a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_skew_ms: Option<Millis>,
}

/// A change of status of one vehicle, with its evidence: what is stored and pushed.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// Whose.
    pub key: Arc<VehicleKey>,
    /// What changed.
    pub change: Change,
    /// When it was decided; at or after `change.at`.
    pub decided_at: Millis,
    /// What it rested on.
    pub evidence: Evidence,
}

/// The JSON form of a transition, as REST and the WebSocket show it.
#[derive(Debug, Serialize)]
pub struct TransitionView<'a> {
    /// The customer's identifier.
    pub customer: &'a str,
    /// The vehicle's identifier.
    pub vehicle: &'a str,
    /// Number within the vehicle.
    pub seq: u64,
    /// Status before.
    pub from: Status,
    /// Status after.
    pub to: Status,
    /// When it holds from.
    #[serde(serialize_with = "time::as_text::serialize")]
    pub at: Millis,
    /// When it was decided.
    #[serde(serialize_with = "time::as_text::serialize")]
    pub decided_at: Millis,
    /// Why.
    pub cause: Cause,
}

impl Transition {
    /// Its JSON form, without the evidence.
    pub fn view(&self) -> TransitionView<'_> {
        TransitionView {
            customer: &self.key.customer,
            vehicle: &self.key.vehicle,
            seq: self.change.seq,
            from: self.change.from,
            to: self.change.to,
            at: self.change.at,
            decided_at: self.decided_at,
            cause: self.change.cause,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_leads_back_to_its_status_and_cause() {
        for status in Status::ALL {
            assert_eq!(Status::from_word(status.word()), Some(status));
        }
        for cause in Cause::ALL {
            assert_eq!(Cause::from_word(cause.word()), Some(cause));
        }
        assert_eq!(Status::from_word("late"), None);
    }
}
