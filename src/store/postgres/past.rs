//! Where history is read: at a replica, when there is one and it answers, so that no question about the past costs the
//! server that the fleet writes to; otherwise there. What a replica answers is as old as its lag.
//! Fed by the store with reads of transitions, heartbeats and turns; statistics and everything live stay at the server.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::lane::Lane;

/// A replica that did not answer is not asked again for so long.
const AGAIN: Duration = Duration::from_secs(15);

/// The replica, if there is one.
#[derive(Debug)]
pub struct Past {
    replica: Option<Lane>,
    away_until: Mutex<Option<Instant>>,
}

impl Past {
    /// One that is not asked yet.
    pub fn new(replica: Option<Lane>) -> Self {
        Self { replica, away_until: Mutex::default() }
    }

    /// The replica's connections, or these.
    pub async fn or<'a>(&'a self, readers: &'a Lane) -> &'a Lane {
        let Some(replica) = &self.replica else { return readers };
        let away = self.away_until.lock().is_some_and(|until| Instant::now() < until);
        if away {
            return readers;
        }
        match replica.check().await {
            Ok(()) => {
                if self.away_until.lock().take().is_some() {
                    tracing::info!("history is read at store.replica_url again");
                }
                replica
            }
            Err(error) => {
                if self.away_until.lock().replace(Instant::now() + AGAIN).is_none() {
                    tracing::warn!("history is read at store.url meanwhile: {error:#}");
                }
                readers
            }
        }
    }

    /// Waits for the reads under way, and says goodbye.
    pub async fn close(&self) {
        if let Some(replica) = &self.replica {
            replica.close().await;
        }
    }
}
