//! A vehicle's status at the embedded broker: Rollcall alone speaks there. [`Voice`] is how it does, past the hook that
//! refuses such messages from clients; [`Guard`] refuses wills, which the broker publishes without asking the hook.
//! Fed by the publisher and by the broker; feeds the broker's router and the door's count of what was refused. The
//! retained statuses are bounded by `fleet.max_vehicles`, and not by the limit for what others retain: one that were
//! silently not kept would be a lie to the subscriber who comes late. What such a subscriber is given at once is
//! bounded by the broker's lane to it: 10,000 messages a subscription.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use mqtt5::QoS;
use mqtt5::broker::router::MessageRouter;
use mqtt5::broker::{AllowAllAuthProvider, AuthProvider, AuthResult};
use mqtt5::packet::connect::ConnectPacket;
use mqtt5::packet::publish::PublishPacket;
use mqtt5::types::ReasonCode;

use super::hook::Hook;

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

/// Lets everybody in, as the broker's own rule does, notes that they said who they are, and refuses wills that claim
/// to be a status.
pub struct Guard(pub(super) Arc<Hook>);

type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl AuthProvider for Guard {
    fn authenticate<'a>(
        &'a self,
        connect: &'a ConnectPacket,
        address: SocketAddr,
    ) -> Answer<'a, mqtt5::error::Result<AuthResult>> {
        if self.0.lobby.has_spoken() {
            return AllowAllAuthProvider.authenticate(connect, address);
        }
        Box::pin(std::future::ready(Ok(AuthResult::fail(ReasonCode::ServerBusy))))
    }

    /// Asked for messages and for wills alike, without saying which. Messages come to the hook next, which refuses
    /// quietly, while a "no" here is a log line of the broker's. So only what may be a will is refused here: it comes
    /// from a session that has such a will, or, when it was delayed, from no session at all.
    fn authorize_publish<'a>(&'a self, _: &str, _: Option<&'a str>, topic: &'a str) -> Answer<'a, bool> {
        if !self.0.owns_status() {
            return Box::pin(std::future::ready(true));
        }
        let may_be_will = || self.0.sessions.current().is_none_or(|session| session.forges());
        Box::pin(std::future::ready(!(may_be_will() && self.0.is_forged(topic, b""))))
    }

    fn authorize_subscribe<'a>(&'a self, _: &str, _: Option<&'a str>, _: &'a str) -> Answer<'a, bool> {
        Box::pin(std::future::ready(true))
    }
}
