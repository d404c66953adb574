//! Who is signed in: every session in memory, so that no request waits for the database.
//! Fed by the logins from the store; asked through [`Access`] by every door. Bound: `SESSIONS_MAX` in logins.rs, about
//! 400 bytes each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use parking_lot::RwLock;

use super::Access;
use super::pepper::Pepper;
use crate::domain::access::{Denied, Principal, SessionId, bytes_of};
use crate::domain::time::Millis;
use crate::store::logins::{Holder, StoredSession};

/// A session in memory.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) stored: StoredSession,
    /// Who it is, when it is a user; the holder of a key is asked for at the keys, which may change.
    pub(super) user: Option<Principal>,
    /// Last use, and the last one that is written down.
    pub(super) used: AtomicI64,
    pub(super) noted: AtomicI64,
}

impl Known {
    pub(super) fn new(stored: StoredSession, user: Option<Principal>) -> Self {
        let (used, noted) = (AtomicI64::new(stored.seen_at), AtomicI64::new(stored.seen_at));
        Self { stored, user, used, noted }
    }

    pub(super) fn is_over(&self, now: Millis, idle: Millis) -> bool {
        self.stored.expires_at <= now || self.used.load(Relaxed).saturating_add(idle) <= now
    }
}

/// The sessions there are.
#[derive(Debug)]
pub(super) struct Sessions {
    pub(super) known: RwLock<BTreeMap<SessionId, Arc<Known>>>,
    /// One that is not used for so long is over.
    pub(super) idle: Millis,
}

impl Sessions {
    pub(super) fn new(idle: Millis) -> Self {
        Self { known: RwLock::default(), idle }
    }

    pub(super) fn find(&self, id: SessionId) -> Option<Arc<Known>> {
        self.known.read().get(&id).map(Arc::clone)
    }
}

/// The hash of a session's token, and the identifier in it.
pub(super) fn hash_of(pepper: &Pepper, token: &[u8; 32]) -> (SessionId, [u8; 32]) {
    let hash = pepper.seal("session", token);
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    (SessionId::new(u64::from_be_bytes(first)), hash)
}

impl Access {
    /// Who comes with the token of this session. Reads memory only, in about a microsecond, whatever is presented.
    ///
    /// # Errors
    /// `Ended` when there is no such session, or not any more; else why the key it hangs on is no good.
    pub fn session(&self, token: &str) -> Result<Arc<Principal>, Denied> {
        let found = self.look_up_session(token);
        found.inspect_err(|_| self.note_denied())
    }

    fn look_up_session(&self, token: &str) -> Result<Arc<Principal>, Denied> {
        let token = bytes_of(token).ok_or(Denied::Ended)?;
        let (id, hash) = hash_of(self.pepper.get().ok_or(Denied::Ended)?, &token);
        let known = self.sessions.find(id).filter(|known| known.stored.hash == hash).ok_or(Denied::Ended)?;
        let principal = self.principal_of(&known)?;
        known.used.fetch_max(self.clock.today(), Relaxed);
        Ok(Arc::new(principal))
    }

    /// Who this session is, while it is good.
    pub(super) fn principal_of(&self, known: &Known) -> Result<Principal, Denied> {
        let now = self.clock.today();
        if known.is_over(now, self.sessions.idle) {
            return Err(Denied::Ended);
        }
        let holder = match (&known.stored.holder, &known.user) {
            (Holder::Key(id), _) => {
                let key = self.keys.read().get(id).map(Arc::clone).ok_or(Denied::Ended)?;
                key.is_good(now)?;
                (*key.principal).clone()
            }
            (Holder::User(_), Some(user)) => user.clone(),
            (Holder::User(_), None) => return Err(Denied::Ended),
        };
        let ends = holder.expires_at.map_or(known.stored.expires_at, |at| at.min(known.stored.expires_at));
        Ok(Principal { session: Some(known.stored.id), expires_at: Some(ends), ..holder })
    }

    /// Whether the session of somebody who is here goes on; being here is using it.
    pub(super) fn still_signed_in(&self, id: SessionId, principal: &Principal) -> Result<(), Denied> {
        let known = self.sessions.find(id).ok_or(Denied::Ended)?;
        let now = self.principal_of(&known)?;
        known.used.fetch_max(self.clock.today(), Relaxed);
        if now == *principal { Ok(()) } else { Err(Denied::Ended) }
    }

    /// The sessions that are not over and that `fits` lets through, newest first, with who they are.
    pub fn sessions(&self, fits: impl Fn(&Principal) -> bool) -> Vec<(StoredSession, Principal)> {
        let known: Vec<Arc<Known>> = self.sessions.known.read().values().map(Arc::clone).collect();
        let shown = known.iter().filter_map(|known| {
            let principal = self.principal_of(known).ok().filter(&fits)?;
            let seen_at = known.used.load(Relaxed);
            Some((StoredSession { seen_at, ..known.stored.clone() }, principal))
        });
        let mut shown: Vec<_> = shown.collect();
        shown.sort_by_key(|(session, _)| (std::cmp::Reverse(session.made_at), session.id));
        shown
    }
}
