//! A vehicle's status at the embedded broker: Rollcall alone speaks there. [`Voice`] is how it does, past the hook and
//! the guard, which refuse such messages from clients. Fed by the publisher; feeds the broker's router. The retained
//! statuses are bounded by `fleet.max_vehicles`, and not by the limit for what others retain: one that were silently
//! not kept would be a lie to the subscriber who comes late. What such a subscriber is given at once is bounded by the
//! broker's lane to it: 10,000 messages a subscription.

use std::sync::Arc;

use mqtt5::QoS;
use mqtt5::broker::router::MessageRouter;
use mqtt5::packet::publish::PublishPacket;

/// Publishes at the embedded broker, in process.
#[derive(Clone)]
pub struct Voice(pub(super) Arc<MessageRouter>);

impl Voice {
    /// Publishes with QoS 1 and retains. A subscriber that reads too slowly is waited for two seconds at most.
    pub async fn say(&self, topic: &str, payload: Vec<u8>) {
        let publish = PublishPacket::new(topic, payload, QoS::AtLeastOnce).with_retain(true);
        self.0.route_sys_message(&publish).await;
    }
}
