//! When to try to connect again: exponential, with full jitter. Fed by a lane. Pure: time is an argument.

use crate::dice::Dice;

const FIRST_MS: f64 = 100.0;
/// The longest wait, unless told otherwise.
pub const LONGEST_MS: u64 = 30_000;
/// A connection that held this long was a good one: after it waiting starts small again.
const HEALTHY_MS: u64 = 10_000;

/// The waiting of one lane.
#[derive(Debug)]
pub struct BackOff {
    dice: Dice,
    longest_ms: f64,
    failures: i32,
    retry_at_ms: u64,
    connected_at_ms: Option<u64>,
}

impl BackOff {
    pub fn new(dice: Dice, longest_ms: u64) -> Self {
        Self { dice, longest_ms: longest_ms as f64, failures: 0, retry_at_ms: 0, connected_at_ms: None }
    }

    /// The earliest instant at which to try.
    pub fn retry_at_ms(&self) -> u64 {
        self.retry_at_ms
    }

    pub fn connected(&mut self, now_ms: u64) {
        self.connected_at_ms = Some(now_ms);
    }

    /// Waits anything up to twice as long as last time. Full jitter: a whole fleet that lost its broker at once must
    /// not come back at once.
    pub fn failed(&mut self, now_ms: u64) {
        if self.connected_at_ms.take().is_some_and(|at_ms| now_ms >= at_ms + HEALTHY_MS) {
            self.failures = 0;
        }
        let limit_ms = (FIRST_MS * 2f64.powi(self.failures)).min(self.longest_ms);
        self.failures = (self.failures + 1).min(16);
        self.retry_at_ms = now_ms + self.dice.between(0.0, limit_ms) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Stream;

    #[test]
    fn waits_grow_up_to_half_a_minute_and_start_small_after_a_healthy_connection() {
        let mut back_off = BackOff::new(Dice::new(1, Stream::BackOff, 0), LONGEST_MS);
        let waits: Vec<u64> = (0..200)
            .map(|_| {
                back_off.failed(0);
                back_off.retry_at_ms
            })
            .collect();
        assert!(waits[0] <= 100);
        assert!(waits.iter().any(|&wait| wait > 15_000) && waits.iter().all(|&wait| wait <= 30_000));
        back_off.connected(0);
        back_off.failed(HEALTHY_MS);
        assert!(back_off.retry_at_ms <= HEALTHY_MS + 100);
    }

    #[test]
    fn broker_that_drops_every_connection_at_once_is_not_hammered() {
        let mut back_off = BackOff::new(Dice::new(2, Stream::BackOff, 0), LONGEST_MS);
        for _ in 0..200 {
            back_off.connected(0);
            back_off.failed(1);
        }
        let waits = (0..20).map(|_| {
            back_off.connected(0);
            back_off.failed(1);
            back_off.retry_at_ms
        });
        assert!(waits.max().is_some_and(|wait| wait > 5_000));
    }
}
