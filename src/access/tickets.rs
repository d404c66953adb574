//! One-use tickets for the WebSocket: a browser can send no header there, and a key has no place in an address, which
//! every proxy writes down. A ticket is worth nothing once it was used, nor after half a minute.
//! Issued and redeemed by api. Bound: `TICKETS_MAX`; beyond it the oldest is forgotten, and its holder asks again.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use ring::rand::{SecureRandom, SystemRandom};

use super::pepper::hex;
use crate::domain::access::Principal;
use crate::domain::time::Millis;

/// Tickets kept: as many as dashboards may open at once.
const TICKETS_MAX: usize = 10_000;
/// How long a ticket is good: a handshake takes less than a second.
const LIFE: Millis = 30_000;

#[derive(Debug)]
struct Ticket {
    text: String,
    principal: Arc<Principal>,
    until: Millis,
}

/// The tickets that are out, oldest first.
#[derive(Debug, Default)]
pub struct Tickets(Mutex<VecDeque<Ticket>>);

impl Tickets {
    /// A new ticket, and when it ends.
    pub fn issue(&self, principal: Arc<Principal>, now: Millis, random: &SystemRandom) -> Option<(String, Millis)> {
        let mut bytes = [0; 32];
        random.fill(&mut bytes).ok()?;
        let (text, until) = (hex(&bytes), now + LIFE);
        let mut out = self.0.lock();
        out.retain(|ticket| ticket.until > now);
        if out.len() >= TICKETS_MAX {
            out.pop_front();
        }
        out.push_back(Ticket { text: text.clone(), principal, until });
        Some((text, until))
    }

    /// Whose it is; takes it out of the world.
    pub fn redeem(&self, text: &str, now: Millis) -> Option<Arc<Principal>> {
        let mut out = self.0.lock();
        let place = out.iter().position(|ticket| ticket.text == text)?;
        out.remove(place).filter(|ticket| ticket.until > now).map(|ticket| ticket.principal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_good_once_and_for_half_a_minute() {
        let (tickets, random) = (Tickets::default(), SystemRandom::new());
        let issue = |now| tickets.issue(Arc::new(Principal::anybody()), now, &random).expect("random bytes").0;
        let ticket = issue(0);
        assert_eq!(tickets.redeem("", 1), None);
        assert!(tickets.redeem(&ticket, LIFE - 1).is_some());
        assert_eq!(tickets.redeem(&ticket, LIFE - 1), None, "used");
        assert_eq!(tickets.redeem(&issue(0), LIFE), None, "too old");
        let first = issue(0);
        (0..TICKETS_MAX).for_each(|_| drop(issue(0)));
        assert_eq!((tickets.redeem(&first, 1), tickets.0.lock().len()), (None, TICKETS_MAX));
    }
}
