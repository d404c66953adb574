//! The silence that a vehicle announces with a heartbeat (`next_in_s`): it means to sleep so long. Fed by heartbeats;
//! read by liveness, and kept with the last heartbeat wherever that is kept, for a sleeper must not be called offline
//! because Rollcall started anew.

use super::heartbeat::Heartbeat;
use super::policy::{Policy, Rules};
use super::time::Millis;

/// Silence announced with the last heartbeat, counted from it, milliseconds; 0 when none was. 49 days at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Announced(u32);

impl Announced {
    /// Nothing was announced.
    pub const NONE: Self = Self(0);

    /// So long; what is not positive is none.
    pub fn of(silence: Millis) -> Self {
        Self(silence.clamp(0, u32::MAX.into()) as u32)
    }

    /// What this beat announces: believed up to `sleep_max`, and with a tolerance.
    pub fn by(beat: &Heartbeat, rules: &Rules) -> Self {
        beat.next_in.map_or(Self::NONE, |next_in| Self::of(next_in.min(rules.sleep_max) + rules.sleep_grace))
    }

    /// The same sleep counted from a sign of life that came `elapsed` later.
    pub fn after(self, elapsed: Millis) -> Self {
        Self::of(self.millis() - elapsed)
    }

    /// How long the vehicle may be silent: an announcement never shortens its timeout.
    pub fn or(self, policy: Policy) -> Millis {
        policy.offline_after.max(self.millis())
    }

    /// In milliseconds, as it is stored.
    pub fn millis(self) -> Millis {
        self.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_is_believed_up_to_a_cap_and_never_shortens_the_timeout() {
        let rules = Rules { sleep_max: 1_000, sleep_grace: 10, ..Rules::default() };
        let policy = Policy { offline_after: 90, ..Policy::default() };
        for (next_in, silence) in [(None, 90), (Some(20), 90), (Some(500), 510), (Some(1_000_000), 1_010)] {
            let beat = Heartbeat { next_in, ..Heartbeat::default() };
            assert_eq!(Announced::by(&beat, &rules).or(policy), silence, "next_in {next_in:?}");
        }
    }

    #[test]
    fn a_sleep_goes_on_under_a_sign_of_life_and_ends() {
        let sleep = Announced::of(500);
        assert_eq!(
            (sleep.after(200), sleep.after(500), sleep.after(900)),
            (Announced(300), Announced(0), Announced(0))
        );
        assert_eq!((Announced::of(-5), Announced::of(Millis::MAX)), (Announced(0), Announced(u32::MAX)));
    }
}
