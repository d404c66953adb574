//! How many heartbeats come in a second, over the last ten.
//! Fed once a second by app.rs with the door's counter; read by /status.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::domain::time::Millis;

/// Samples kept: ten seconds and the one before.
const SAMPLES: usize = 11;

/// A counter seen over time.
#[derive(Debug, Default)]
pub struct Rate(Mutex<VecDeque<(Millis, u64)>>);

impl Rate {
    /// Notes the counter at an instant.
    pub fn sample(&self, now: Millis, count: u64) {
        let mut samples = self.0.lock();
        samples.push_back((now, count));
        if samples.len() > SAMPLES {
            samples.pop_front();
        }
    }

    /// The mean per second over the samples kept.
    pub fn per_s(&self) -> f64 {
        let samples = self.0.lock();
        let (Some(first), Some(last)) = (samples.front(), samples.back()) else { return 0.0 };
        let seconds = (last.0 - first.0) as f64 / 1_000.0;
        if seconds > 0.0 { ((last.1 - first.1) as f64 / seconds * 10.0).round() / 10.0 } else { 0.0 }
    }
}
