//! The one place that asks the operating system for the time.
//! Liveness runs on a steady timeline: the wall clock is read once at start, and from then on only the monotonic clock
//! moves it. A wall clock that is set while we run moves no deadline (R14).

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::domain::time::Millis;

/// A steady clock that reads as milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started_wall: Millis,
    started: Instant,
}

impl Clock {
    /// Starts the timeline at the wall clock's present time.
    pub fn start() -> Self {
        Self { started_wall: wall(), started: Instant::now() }
    }

    /// The present instant on the steady timeline; never goes back.
    pub fn now(&self) -> Millis {
        self.started_wall + self.started.elapsed().as_millis() as Millis
    }

    /// When this timeline began.
    pub fn started_at(&self) -> Millis {
        self.started_wall
    }
}

fn wall() -> Millis {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as Millis)
}
