//! How long a vehicle may be silent, and which rule says so: vehicle, else customer, else default.
//! Fed by settings and the registry; read by liveness and shown in the vehicle's detail (R9).

use serde::{Deserialize, Serialize};

use super::time::Millis;

/// The shortest timeout that anything may have: below it the network's own delays would be taken for silence.
pub const TIMEOUT_LEAST: Millis = 100;
/// The longest duration that anything may have: ten years, so that no sum of them overflows.
pub const TIMEOUT_MAX: Millis = 3_650 * 86_400_000;

/// Which rule set a vehicle's timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicySource {
    /// The vehicle's own setting.
    Vehicle,
    /// Its customer's.
    Customer,
    /// The fleet's default.
    #[default]
    Default,
}

impl PolicySource {
    /// The word used in JSON, SQL and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Vehicle => "vehicle",
            Self::Customer => "customer",
            Self::Default => "default",
        }
    }
}

/// What holds for every vehicle alike; durations in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Silence longer than this is offline, unless the vehicle or its customer has its own.
    pub offline_after: Millis,
    /// After a will or an unclean disconnect a vehicle has this long to speak again.
    pub will_grace: Millis,
    /// The longest announced sleep (`next_in_s`) that is believed.
    pub sleep_max: Millis,
    /// Tolerance added to an announced sleep: waking up and finding a network takes a while.
    pub sleep_grace: Millis,
    /// A heartbeat whose device time is older than this waited somewhere: it is backlog.
    pub backlog_after: Millis,
    /// A device clock may run this far ahead before its times are no longer believed (R19).
    pub future_max: Millis,
    /// A device clock may be this far behind; what claims to be older is from a clock that is wrong, not from long ago.
    pub past_max: Millis,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            offline_after: 90_000,
            will_grace: 10_000,
            sleep_max: 86_400_000,
            sleep_grace: 10_000,
            backlog_after: 30_000,
            future_max: 120_000,
            past_max: 30 * 86_400_000,
        }
    }
}

/// One vehicle's timeout and where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// Silence longer than this is offline, in milliseconds.
    pub offline_after: Millis,
    /// Which rule set it.
    pub source: PolicySource,
}

impl Policy {
    /// The most specific rule wins.
    pub fn resolve(rules: &Rules, customer: Option<Millis>, vehicle: Option<Millis>) -> Self {
        let (offline_after, source) = match (vehicle, customer) {
            (Some(own), _) => (own, PolicySource::Vehicle),
            (None, Some(theirs)) => (theirs, PolicySource::Customer),
            (None, None) => (rules.offline_after, PolicySource::Default),
        };
        Self { offline_after, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_rule_wins_and_is_named() {
        let rules = Rules { offline_after: 90, ..Rules::default() };
        let resolved = |customer, vehicle| Policy::resolve(&rules, customer, vehicle);
        assert_eq!(resolved(None, None), Policy { offline_after: 90, source: PolicySource::Default });
        assert_eq!(resolved(Some(60), None), Policy { offline_after: 60, source: PolicySource::Customer });
        assert_eq!(resolved(Some(60), Some(5)), Policy { offline_after: 5, source: PolicySource::Vehicle });
    }
}
