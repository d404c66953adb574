//! What the embedded broker asks before it lets anybody in, publish or subscribe. With keys the [`Logins`] decide;
//! without, everybody may do everything but one: wills that claim to be a status are refused, which the broker
//! publishes without asking the hook. Fed by the broker; feeds it with answers, and the door's count of what was
//! refused.

use std::future::{Future, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use mqtt5::broker::{AllowAllAuthProvider, AuthProvider, AuthResult};
use mqtt5::packet::connect::ConnectPacket;
use mqtt5::types::ReasonCode;

use super::connection;
use super::hook::Hook;
use super::logins::{Logins, may_publish, may_subscribe};

/// How often it is looked whether a key has ended by itself; that one was revoked is told at once.
const EXPIRY_LOOK: Duration = Duration::from_millis(500);

/// The guard of this hook's broker.
pub struct Guard {
    pub hook: Arc<Hook>,
    /// With `auth.mode = "keys"`.
    pub logins: Option<Arc<Logins>>,
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl AuthProvider for Guard {
    fn authenticate<'a>(
        &'a self,
        connect: &'a ConnectPacket,
        address: SocketAddr,
    ) -> Answer<'a, mqtt5::error::Result<AuthResult>> {
        if !self.hook.lobby.has_spoken() {
            return Box::pin(ready(Ok(AuthResult::fail(ReasonCode::ServerBusy))));
        }
        let Some(logins) = &self.logins else {
            return AllowAllAuthProvider.authenticate(connect, address);
        };
        Box::pin(async move {
            let taken_by = match self.hook.sessions.user_of(&connect.client_id) {
                Some(user) => Some(user),
                None => self.hook.left_by(&connect.client_id).await,
            };
            Ok(match logins.admit(connect, address, taken_by, self.hook.door()) {
                Ok(guest) => {
                    let user = guest.user.to_string();
                    connection::note_guest(guest);
                    AuthResult::success_with_user(user)
                }
                Err(refused) => refused,
            })
        })
    }

    /// Asked for messages and for wills alike, without saying which. Messages come to the hook next, which refuses
    /// statuses quietly, while a "no" here is a log line of the broker's. So of these only what may be a will is
    /// refused here: it comes from a session that has such a will, or, when it was delayed, from no session at all.
    fn authorize_publish<'a>(&'a self, _: &str, user: Option<&'a str>, topic: &'a str) -> Answer<'a, bool> {
        if self.logins.is_some() {
            // To a quiet one the broker would answer with a packet that its version does not know: the hook drops its
            // message instead. Its will was judged at CONNECT.
            let allowed = || user.is_some_and(|user| may_publish(user, topic, self.hook.door()));
            return Box::pin(ready(connection::is_quiet() || allowed()));
        }
        if !self.hook.owns_status() {
            return Box::pin(ready(true));
        }
        let may_be_will = || connection::session().is_none_or(|session| session.forges());
        Box::pin(ready(!(may_be_will() && self.hook.is_forged(topic, b""))))
    }

    fn authorize_subscribe<'a>(&'a self, _: &str, user: Option<&'a str>, filter: &'a str) -> Answer<'a, bool> {
        let asked = self.logins.is_some();
        Box::pin(ready(!asked || user.is_some_and(|user| may_subscribe(user, filter))))
    }
}

/// Ends the connections of keys that were revoked or have expired, for as long as it runs.
pub async fn show_out(hook: Arc<Hook>, logins: Arc<Logins>) {
    let access = logins.access();
    let (mut changes, mut expiry) = (access.changes(), tokio::time::interval(EXPIRY_LOOK));
    loop {
        let all = tokio::select! {
            changed = changes.changed() => if changed.is_ok() { true } else { return },
            _ = expiry.tick() => false,
        };
        for session in hook.sessions.all() {
            let Some(principal) = session.principal() else { continue };
            if (all || principal.expires_at.is_some()) && access.still(principal).is_err() {
                hook.show_out(&session).await;
            }
        }
    }
}
