//! How much of the store a file may take that nobody waits for: after each page a rest as long as the page took, so
//! that it takes half of one of the store's connections at most. Used by run.rs and archive.rs.

use std::time::{Duration, Instant};

/// Shorter rests are saved up: a timer is no better than that.
const REST_LEAST: Duration = Duration::from_millis(5);
/// A store that was slow for another reason is not waited for as long again.
const REST_MAX: Duration = Duration::from_millis(200);

/// The rests that are owed.
#[derive(Debug, Default)]
pub struct Pace(Duration);

impl Pace {
    /// A page was begun then, and is there now.
    pub fn read_since(&mut self, began: Instant) {
        self.0 += began.elapsed().min(REST_MAX);
    }

    /// Rests, when there is enough to rest for.
    pub async fn rest(&mut self) {
        if self.0 >= REST_LEAST {
            tokio::time::sleep(std::mem::take(&mut self.0)).await;
        }
    }
}
