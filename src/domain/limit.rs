//! How often one vehicle may speak in full, or one address ask: a token bucket, kept in one number each (R45).
//! Made from the settings; asked by the registry for each heartbeat, and by the doors (gate) for each request.
//!
//! Picture: an hourglass that runs the wrong way. Each beat turns in one grain; the number kept is the instant at which
//! the bucket is full again. A beat fits while that instant lies no further ahead than a whole burst takes to refill.

use crate::domain::time::Millis;

/// Parts of a millisecond the instants are counted in, so that thousands of beats a second can be told apart.
const PER_MILLI: i64 = 1_000;
const PER_SECOND: i64 = 1_000_000;

/// The limit of every vehicle, or of every address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// What one beat, or request, costs, microseconds; 0 is no limit.
    cost: i64,
    /// A full bucket, microseconds.
    burst: i64,
}

impl Limit {
    /// Every beat fits.
    pub const NONE: Self = Self { cost: 0, burst: 0 };

    /// So many beats a second for ever, and so many at once after a pause; 0 for either is no limit.
    pub fn new(per_s: u32, burst: u32) -> Self {
        if per_s == 0 || burst == 0 {
            return Self::NONE;
        }
        let cost = (PER_SECOND / i64::from(per_s)).max(1);
        Self { cost, burst: cost * i64::from(burst) }
    }

    /// One in so many milliseconds for ever, and so many at once after a pause.
    pub fn every(span: Millis, burst: u32) -> Self {
        let cost = span * PER_MILLI;
        Self { cost, burst: cost * i64::from(burst) }
    }

    /// The number to keep after a beat at `now`; `None` when it is over the limit. A vehicle begins with 0.
    pub fn after(self, full_at: i64, now: Millis) -> Option<i64> {
        if self.cost == 0 {
            return Some(full_at);
        }
        let now = now.saturating_mul(PER_MILLI);
        let next = full_at.max(now) + self.cost;
        (next - now <= self.burst).then_some(next)
    }

    /// How long until one more fits; 0 when it does now.
    pub fn wait(self, full_at: i64, now: Millis) -> Millis {
        let now = now.saturating_mul(PER_MILLI);
        let over = full_at.max(now) + self.cost - now - self.burst;
        if self.cost == 0 { 0 } else { (over.max(0) + PER_MILLI - 1) / PER_MILLI }
    }

    /// Whether the bucket is full again: its number may be forgotten.
    pub fn is_full(full_at: i64, now: Millis) -> bool {
        full_at <= now.saturating_mul(PER_MILLI)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(limit: Limit, full_at: &mut i64, now: Millis, offered: usize) -> usize {
        let fits = |_: &usize| limit.after(*full_at, now).map(|next| *full_at = next).is_some();
        (0..offered).take_while(fits).count()
    }

    #[test]
    fn a_burst_fits_and_then_the_rate() {
        let (limit, mut full_at) = (Limit::new(10, 1_000), 0);
        assert_eq!(taken(limit, &mut full_at, 1_000_000, 5_000), 1_000);
        assert_eq!(taken(limit, &mut full_at, 1_000_099, 10), 0);
        assert_eq!(taken(limit, &mut full_at, 1_000_100, 10), 1);
        assert_eq!(taken(limit, &mut full_at, 1_001_100, 100), 10);
        // Two minutes in a tunnel at one beat a second: all of them come at once, and all fit.
        assert_eq!(taken(limit, &mut full_at, 1_121_100, 5_000), 1_000);
    }

    #[test]
    fn one_that_does_not_fit_is_told_when_it_will() {
        let (limit, mut full_at) = (Limit::new(10, 5), 0);
        assert_eq!(limit.wait(full_at, 1_000), 0);
        assert_eq!(taken(limit, &mut full_at, 1_000, 9), 5);
        assert_eq!(limit.wait(full_at, 1_000), 100);
        assert_eq!(taken(limit, &mut full_at, 1_099, 1), 0);
        assert_eq!((limit.wait(full_at, 1_100), taken(limit, &mut full_at, 1_100, 1)), (0, 1));
        assert!(!Limit::is_full(full_at, 1_599) && Limit::is_full(full_at, 1_600));
        assert_eq!(Limit::NONE.wait(Millis::MAX, 0), 0);
        assert_eq!(Limit::every(6_000, 1).wait(6_000 * PER_MILLI, 0), 6_000);
    }

    #[test]
    fn none_of_it_is_no_limit() {
        for limit in [Limit::NONE, Limit::new(0, 5), Limit::new(5, 0)] {
            assert_eq!(taken(limit, &mut 0, 5, 100_000), 100_000);
        }
        assert_eq!(taken(Limit::new(u32::MAX, u32::MAX), &mut 0, 5, 100_000), 100_000);
        assert_eq!(taken(Limit::new(1, 1), &mut 0, Millis::MAX / 2_000, 9), 1);
    }
}
