//! Who may come in at the embedded broker with `auth.mode = "keys"`, and what each may say and hear there.
//! Fed by the guard with each CONNECT, publish and subscription; asks the keys in memory (access), never the database.
//! What a connection may do is all in the user that the broker keeps for it and hands back with every question, so that
//! a question costs a look at two short texts, and no lock and no memory.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use mqtt5::broker::AuthResult;
use mqtt5::packet::connect::ConnectPacket;
use mqtt5::types::ReasonCode;
use rand::Rng;

use crate::access::Access;
use crate::clock::Clock;
use crate::domain::access::{Denied, Principal, Scope, Who};
use crate::domain::limit::Limit;
use crate::domain::time::Millis;
use crate::gate::buckets::{Buckets, network_of};
use crate::ingest::door::Door;

/// Wrong credentials of one address that are each told what was wrong; then one in so many milliseconds. The others
/// are told to wait: a key is 256 random bits, so that guessing is hopeless, and a right one gets in meanwhile, for
/// behind one address may be a whole fleet with one forgotten unit.
const WRONG_BURST: u32 = 100;
const WRONG_EVERY: Millis = 1_000;
/// The user of our own line. No customer begins with `$`.
const OWN_USER: &str = "$rollcall";
/// In place of a customer: every one.
const ALL: &str = "*";
/// Before the user of a connection that may hear, but not speak. No customer begins with it.
const LISTENER: char = '-';

/// The keeper of the list of guests.
pub struct Logins {
    access: Arc<Access>,
    own_password: String,
    /// The client id of our own line, which nobody else may have.
    own_client: String,
    wrong: Buckets<IpAddr>,
    clock: Clock,
}

/// Who came in.
#[derive(Debug, Clone)]
pub struct Guest {
    /// As the broker keeps it.
    pub user: Arc<str>,
    /// Who stands behind it; nobody behind our own line.
    pub principal: Option<Arc<Principal>>,
    /// It speaks MQTT 3.1.1, which knows no refusal of a publish: what it may not say is acknowledged and dropped.
    pub is_quiet: bool,
}

impl Logins {
    /// A keeper with a new password for our own line.
    pub fn new(access: Arc<Access>, own_client: String, clock: Clock) -> Self {
        let own_password = format!("{:032x}{:032x}", rand::rng().random::<u128>(), rand::rng().random::<u128>());
        let wrong = Buckets::new(Limit::every(WRONG_EVERY, WRONG_BURST));
        Self { access, own_password, own_client, wrong, clock }
    }

    /// User and password of our own line.
    pub fn own(&self) -> (String, String) {
        (OWN_USER.to_owned(), self.own_password.clone())
    }

    /// The keys.
    pub fn access(&self) -> &Arc<Access> {
        &self.access
    }

    /// Judges a CONNECT; `taken_by` is the user of an open connection, or of a waiting session, with the same client
    /// id.
    ///
    /// # Errors
    /// The answer to one that stays outside.
    pub fn admit(
        &self,
        connect: &ConnectPacket,
        address: SocketAddr,
        taken_by: Option<Arc<str>>,
        door: &Door,
    ) -> Result<Guest, AuthResult> {
        let refuse = |code| Err(AuthResult::fail(code));
        let guest = match self.identify(connect) {
            Ok(guest) => guest,
            Err(denied) => {
                let often = self.wrong.take(network_of(address.ip()), self.clock.now()).is_err();
                return refuse(match denied {
                    _ if often => ReasonCode::ConnectionRateExceeded,
                    Denied::Missing | Denied::Unknown => ReasonCode::BadUsernameOrPassword,
                    Denied::Expired | Denied::Revoked | Denied::Login | Denied::Ended => ReasonCode::NotAuthorized,
                });
            }
        };
        if !guest.principal.as_ref().is_none_or(|who| who.scopes.has(Scope::Ingest) || who.scopes.has(Scope::Read)) {
            return refuse(ReasonCode::NotAuthorized);
        }
        // Its will is a publish, and names a vehicle to us as soon as it is in.
        if connect.will.as_ref().is_some_and(|will| !may_publish(&guest.user, &will.topic, door)) {
            return refuse(ReasonCode::NotAuthorized);
        }
        // Client ids are one namespace: whoever takes another's would throw him out.
        let is_ours = guest.principal.is_none();
        let stolen = taken_by.is_some_and(|user| *user != *guest.user) || connect.client_id == self.own_client;
        if stolen && !is_ours {
            return refuse(ReasonCode::ClientIdentifierNotValid);
        }
        Ok(Guest { is_quiet: connect.protocol_version < 5, ..guest })
    }

    fn identify(&self, connect: &ConnectPacket) -> Result<Guest, Denied> {
        let (Some(user), Some(password)) = (&connect.username, &connect.password) else { return Err(Denied::Missing) };
        let password = std::str::from_utf8(password).map_err(|_| Denied::Unknown)?;
        if user == OWN_USER {
            let is_ours = is_same(password.as_bytes(), self.own_password.as_bytes());
            return is_ours
                .then(|| Guest { user: OWN_USER.into(), principal: None, is_quiet: false })
                .ok_or(Denied::Unknown);
        }
        let principal = match user.strip_prefix("rk_") {
            // The key's own identifier: the user name in the files for Mosquitto (docs/brokers.md).
            Some(id) => self.access.key(password).and_then(|principal| match &principal.who {
                Who::Key { id: own, .. } if own.to_string() == id => Ok(principal),
                _ => Err(Denied::Unknown),
            })?,
            None => self.access.authenticate(user, password)?,
        };
        Ok(Guest { user: user_of(&principal).into(), principal: Some(principal), is_quiet: false })
    }
}

/// The user that says what a principal may do: `acme`, `acme/truck-1`, `*`, and `-acme` for who may only hear.
fn user_of(principal: &Principal) -> String {
    let customer = principal.customer.as_deref().unwrap_or(ALL);
    let listener = if principal.scopes.has(Scope::Ingest) { String::new() } else { LISTENER.to_string() };
    match &principal.vehicle {
        Some(vehicle) => format!("{listener}{customer}/{vehicle}"),
        None => format!("{listener}{customer}"),
    }
}

/// In a time that says nothing about where they differ.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differ, (one, other)| differ | (one ^ other)) == 0
}

/// Whether a user may speak of this customer's vehicle.
fn is_own(user: &str, customer: &str, vehicle: &str) -> bool {
    let (own, only) = user.split_once('/').map_or((user, None), |(own, only)| (own, Some(only)));
    (own == ALL || own == customer) && only.is_none_or(|only| only == vehicle)
}

/// Whether a user may publish on a topic: one that we read as its own vehicle's, and no other.
pub fn may_publish(user: &str, topic: &str, door: &Door) -> bool {
    if user == OWN_USER {
        return true;
    }
    if user.starts_with(LISTENER) {
        return false;
    }
    door.vehicle_of(topic).is_some_and(|(customer, vehicle)| is_own(user, customer, vehicle))
}

/// Whether a user may subscribe to a filter: to the statuses of its own vehicles, one or all, and to nothing else.
pub fn may_subscribe(user: &str, filter: &str) -> bool {
    if user == OWN_USER {
        return true;
    }
    let user = user.strip_prefix(LISTENER).unwrap_or(user);
    let shared = filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/'));
    let mut levels = shared.map_or(filter, |(_, filter)| filter).split('/');
    let (Some("fleet"), Some(customer), Some(vehicle), Some("status"), None) =
        (levels.next(), levels.next(), levels.next(), levels.next(), levels.next())
    else {
        return false;
    };
    // A wildcard stands for every customer or vehicle, so that only who may hear all of them may use it.
    let (own, only) = user.split_once('/').map_or((user, None), |(own, only)| (own, Some(only)));
    (own == ALL || own == customer) && only.is_none_or(|only| only == vehicle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_hears_the_statuses_of_its_own_vehicles_only() {
        for (user, filter) in [
            ("acme", "fleet/acme/+/status"),
            ("acme", "fleet/acme/v 1/status"),
            ("acme", "$share/group/fleet/acme/+/status"),
            ("-acme", "fleet/acme/+/status"),
            ("acme/v1", "fleet/acme/v1/status"),
            ("*", "fleet/+/+/status"),
            ("*", "fleet/acme/+/status"),
        ] {
            assert!(may_subscribe(user, filter), "{user} {filter}");
        }
        for (user, filter) in [
            ("acme", "#"),
            ("acme", "fleet/#"),
            ("acme", "fleet/acme/#"),
            ("acme", "fleet/acme/+/#"),
            ("acme", "fleet/+/+/status"),
            ("acme", "fleet/globex/+/status"),
            ("acme", "$share/group/fleet/+/+/status"),
            ("acme", "$share/fleet/acme/+/status"),
            ("acme", "fleet/acme/v1/heartbeat"),
            ("acme", "+/acme/+/status"),
            ("acme", "fleet/acme/status"),
            ("acme", "fleet/acme/a/b/status"),
            ("acme", "$SYS/#"),
            ("acme", "rollcall/rollcall/presence"),
            ("acme/v1", "fleet/acme/+/status"),
            ("acme/v1", "fleet/acme/v2/status"),
            ("*", "#"),
            ("", "fleet//+/status"),
        ] {
            assert!(!may_subscribe(user, filter) || user.is_empty(), "{user} {filter}");
        }
    }

    #[test]
    fn a_user_speaks_for_its_own_vehicles_only() {
        assert!(is_own("acme", "acme", "v") && is_own("acme/v", "acme", "v") && is_own("*", "acme", "v"));
        assert!(!is_own("acme", "globex", "v") && !is_own("acme/v", "acme", "w") && !is_own("", "acme", "v"));
        assert!(!is_own("acme", "*", "v") && !is_own("-acme", "acme", "v"));
    }
}
