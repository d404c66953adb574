//! Up to when it is proved that we hear: a verdict about a later instant waits, because a link that swallows everything
//! without an error looks like silent vehicles (R31). Raised by the canary whenever a beat of its own came back through
//! the broker; read by the shards before they judge. A verdict that waits asks for the next beat at once.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use tokio::sync::Notify;

use crate::domain::time::Millis;

/// Shared by the canary and every shard.
#[derive(Debug)]
pub struct Proof {
    until: AtomicI64,
    /// The newest deadline that waits to be judged.
    wanted: AtomicI64,
    asked: Notify,
}

impl Default for Proof {
    /// Nothing has to be proved.
    fn default() -> Self {
        Self { until: AtomicI64::new(Millis::MAX), wanted: AtomicI64::new(Millis::MIN), asked: Notify::new() }
    }
}

impl Proof {
    /// From now on nothing is proved but what [`Proof::reach`] says.
    pub fn require(&self) {
        self.until.store(Millis::MIN, Relaxed);
    }

    /// There is nobody who could prove anything: verdicts do not wait any more.
    pub fn release(&self) {
        self.until.store(Millis::MAX, Relaxed);
    }

    /// What was published at that instant came back, so all that vehicles had sent before it has come too.
    pub fn reach(&self, published: Millis) {
        self.until.fetch_max(published, Relaxed);
    }

    /// Up to when deadlines may be judged; `Millis::MAX` when nothing has to be proved.
    pub fn until(&self) -> Millis {
        self.until.load(Relaxed)
    }

    /// A verdict about this deadline waits.
    pub fn want(&self, deadline: Millis) {
        if deadline >= self.until() && self.wanted.fetch_max(deadline, Relaxed) < deadline {
            self.asked.notify_one();
        }
    }

    /// Whether a verdict waits.
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Relaxed) >= self.until()
    }

    /// Returns when a verdict begins to wait.
    pub async fn asked(&self) {
        self.asked.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_verdict_waits_until_something_later_came_back() {
        let proof = Proof::default();
        proof.want(10);
        assert!(!proof.is_wanted(), "nothing has to be proved");
        proof.require();
        proof.want(20);
        proof.asked().await;
        assert!(proof.is_wanted());
        proof.reach(20);
        assert!(proof.is_wanted(), "what was sent at the deadline itself may follow");
        proof.reach(21);
        proof.reach(5);
        assert_eq!((proof.is_wanted(), proof.until()), (false, 21));
        proof.want(30);
        proof.release();
        assert!(!proof.is_wanted());
    }
}
