//! Load bursts and the beat schedule under them. Fed by the options, feeds the device. Pure.

use std::time::Duration;

/// For `length_ms` out of every `every_ms` each vehicle beats `factor` times as often. The first burst comes half an
/// `every_ms` after the start, so that a run always begins and ends calm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Burst {
    pub factor: f64,
    pub length_ms: u64,
    pub every_ms: u64,
}

impl Burst {
    /// A burst every `every`, which has to be longer than the burst itself.
    pub fn new(factor: f64, length: Duration, every: Duration) -> Option<Self> {
        let (length_ms, every_ms) = (length.as_millis() as u64, every.as_millis() as u64);
        (factor >= 1.0 && factor.is_finite() && length_ms > 0 && every_ms > length_ms).then_some(Self {
            factor,
            length_ms,
            every_ms,
        })
    }

    /// The start of the burst that runs at `at_ms`, or of the next one.
    fn start_near(&self, at_ms: u64) -> u64 {
        let first = self.every_ms / 2;
        let round = at_ms.saturating_sub(first) / self.every_ms;
        let start = first + round * self.every_ms;
        if at_ms < start + self.length_ms { start } else { start + self.every_ms }
    }
}

/// When a vehicle that beat at `at_ms` beats next. `spread` in [0, 1) moves the beat by up to ±2 % of the interval,
/// and spreads the fleet over the first interval of a burst.
pub fn next_beat_ms(at_ms: u64, interval_ms: u64, burst: Option<&Burst>, spread: f64) -> u64 {
    let calm = at_ms + ((interval_ms as f64 * (0.98 + 0.04 * spread)) as u64).max(1);
    let Some(burst) = burst else { return calm };
    let start = burst.start_near(at_ms);
    let quick_ms = interval_ms as f64 / burst.factor;
    if at_ms >= start {
        return at_ms + (quick_ms as u64).max(1);
    }
    calm.min(start + (quick_ms * spread) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BURST: Burst = Burst { factor: 4.0, length_ms: 10_000, every_ms: 60_000 };

    fn beats_between(from_ms: u64, to_ms: u64) -> usize {
        let beats = std::iter::successors(Some(0), |&at| Some(next_beat_ms(at, 1_000, Some(&BURST), 0.5)));
        beats.skip_while(|&at| at < from_ms).take_while(|&at| at < to_ms).count()
    }

    #[test]
    fn burst_multiplies_the_beats_while_it_lasts() {
        assert_eq!(beats_between(0, 30_000), 30);
        assert!((39..=41).contains(&beats_between(30_000, 40_000)));
        assert_eq!(beats_between(41_000, 80_000), 39);
        assert!((39..=41).contains(&beats_between(90_000, 100_000)));
    }

    #[test]
    fn burst_longer_than_its_period_is_refused() {
        assert_eq!(Burst::new(2.0, Duration::from_secs(60), Duration::from_secs(60)), None);
        assert_eq!(Burst::new(0.5, Duration::from_secs(1), Duration::from_secs(60)), None);
    }
}
