//! Who may come in: every key and session in memory, so that no door ever waits for the database.
//! Fed by the store at start and by each change in it, whichever process made it; asked by ingest and api, which are
//! told too when a key ends. Bound: one entry a key, about 300 bytes; 100,000 vehicles with a key each are 30 MB.

mod attempts;
mod follow;
pub mod logins;
pub mod mosquitto;
#[cfg(feature = "oidc")]
pub mod oidc;
#[cfg(not(feature = "oidc"))]
#[path = "no_oidc.rs"]
pub mod oidc;
mod password;
pub mod people;
mod pepper;
mod sessions;
mod tickets;

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use parking_lot::RwLock;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::domain::access::{Denied, FullKey, Grant, KeyId, Principal, Who};
use crate::domain::time::Millis;
use crate::settings::{Auth, AuthMode, Secret};
use crate::store::access::{AccessStore, StoredKey};
use pepper::Pepper;
use sessions::Sessions;
use tickets::Tickets;

/// A wait for the end of a principal looks at the clock at least this often: the wall clock may be set.
const LOOK_EVERY: Millis = 60_000;

/// A key in memory.
#[derive(Debug)]
struct Known {
    stored: StoredKey,
    principal: Arc<Principal>,
    /// Last use, and the last one that is written down.
    used: AtomicI64,
    noted: AtomicI64,
}

impl Known {
    fn new(stored: StoredKey) -> Self {
        let principal = Arc::new(Principal::of_key(stored.id, &stored.grant));
        let used = stored.last_used_at.unwrap_or(0);
        Self { stored, principal, used: AtomicI64::new(used), noted: AtomicI64::new(used) }
    }

    fn is_good(&self, now: Millis) -> Result<(), Denied> {
        match (self.stored.revoked_at, self.stored.grant.expires_at) {
            (Some(_), _) => Err(Denied::Revoked),
            (None, Some(at)) if at <= now => Err(Denied::Expired),
            _ => Ok(()),
        }
    }

    fn shown(&self) -> StoredKey {
        let used = self.used.load(Relaxed);
        StoredKey { last_used_at: (used > 0).then_some(used), ..self.stored.clone() }
    }
}

/// Who may come in.
pub struct Access {
    asks: bool,
    set_pepper: Secret,
    folder: Option<PathBuf>,
    pepper: OnceLock<Pepper>,
    store: Arc<dyn AccessStore>,
    clock: Clock,
    keys: RwLock<BTreeMap<KeyId, Arc<Known>>>,
    revision: AtomicI64,
    /// Counts the changes of `keys`, users and sessions.
    changes: watch::Sender<u64>,
    /// One reading of all keys at a time, so that an older one never covers a newer.
    reading: tokio::sync::Mutex<()>,
    sessions: Sessions,
    tickets: Tickets,
    denied: AtomicU64,
    random: SystemRandom,
}

impl Access {
    /// Reads every key. `folder` is where a pepper of our own is kept; none beside a store in memory.
    ///
    /// # Errors
    /// A sentence saying what cannot be read.
    pub async fn open(
        settings: &Auth,
        folder: Option<PathBuf>,
        store: Arc<dyn AccessStore>,
        clock: Clock,
    ) -> anyhow::Result<Arc<Self>> {
        let access = Self {
            asks: settings.mode == Some(AuthMode::Keys),
            set_pepper: settings.pepper.clone(),
            folder,
            pepper: OnceLock::new(),
            store,
            clock,
            keys: RwLock::default(),
            revision: AtomicI64::new(-1),
            changes: watch::Sender::new(0),
            reading: tokio::sync::Mutex::default(),
            sessions: Sessions::new(settings.session_idle.0),
            tickets: Tickets::default(),
            denied: AtomicU64::new(0),
            random: SystemRandom::new(),
        };
        access.reload().await.context("cannot read the keys from the store")?;
        Ok(Arc::new(access))
    }

    /// Whether anybody is asked for a key at all (`auth.mode = "keys"`).
    pub fn asks(&self) -> bool {
        self.asks
    }

    /// Who presents this key. Reads memory only, in about a microsecond.
    ///
    /// # Errors
    /// Why nobody does; that a key is expired or revoked is told only to whoever knows its secret.
    pub fn key(&self, presented: &str) -> Result<Arc<Principal>, Denied> {
        self.look_up(presented).inspect_err(|_| self.note_denied())
    }

    fn look_up(&self, presented: &str) -> Result<Arc<Principal>, Denied> {
        let full = FullKey::parse(presented).ok_or(Denied::Unknown)?;
        let known = self.keys.read().get(&full.id).map(Arc::clone).ok_or(Denied::Unknown)?;
        let pepper = self.pepper.get().ok_or(Denied::Unknown)?;
        if !pepper.matches(&full, &known.stored.hash) {
            return Err(Denied::Unknown);
        }
        let now = self.clock.today();
        known.is_good(now)?;
        known.used.fetch_max(now, Relaxed);
        Ok(Arc::clone(&known.principal))
    }

    /// Who logs in at the MQTT door: the password is a key; the user is its customer, or `customer/vehicle` for the key
    /// of one vehicle. The key of all customers may come with any user name.
    ///
    /// # Errors
    /// As [`Access::key`]; `Unknown` too when the user is not the key's.
    pub fn authenticate(&self, user: &str, password: &str) -> Result<Arc<Principal>, Denied> {
        let principal = self.key(password)?;
        let is_own = match (&principal.customer, &principal.vehicle) {
            (None, _) => true,
            (Some(customer), None) => user == &**customer,
            (Some(customer), Some(vehicle)) => user.split_once('/') == Some((customer, vehicle)),
        };
        if is_own {
            return Ok(principal);
        }
        self.note_denied();
        Err(Denied::Unknown)
    }

    /// Whether whoever came in may still be here.
    ///
    /// # Errors
    /// Why not.
    pub fn still(&self, principal: &Principal) -> Result<(), Denied> {
        if let Some(session) = principal.session {
            return self.still_signed_in(session, principal);
        }
        let now = self.clock.today();
        if let Who::Key { id, .. } = &principal.who {
            let known = self.keys.read().get(id).map(Arc::clone).ok_or(Denied::Revoked)?;
            known.is_good(now)?;
            return if *known.principal == *principal { Ok(()) } else { Err(Denied::Revoked) };
        }
        if principal.expires_at.is_some_and(|at| at <= now) { Err(Denied::Expired) } else { Ok(()) }
    }

    /// Counts up whenever keys, users or sessions changed; whoever holds principals then asks [`Access::still`] for
    /// each.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Resolves when whoever came in must leave: within a second of the revocation, and at the expiry.
    pub async fn ended(self: Arc<Self>, principal: Arc<Principal>) -> Denied {
        let mut changes = self.changes();
        loop {
            if let Err(denied) = self.still(&principal) {
                return denied;
            }
            let left = principal.expires_at.map_or(LOOK_EVERY, |at| at - self.clock.today());
            // Looking is using the session, so it has to be done before it is idle.
            let every = LOOK_EVERY.min(self.sessions.idle / 2).max(1);
            let wait = Duration::from_millis(left.clamp(1, every).unsigned_abs());
            // The sender is ours, so it outlives the wait.
            let _ = tokio::time::timeout(wait, changes.changed()).await;
        }
    }

    /// A one-use ticket that stands for this principal at the WebSocket, where browsers can send no key; and the
    /// instant it ends at. None when the system has no random bytes.
    pub fn ticket(&self, principal: Arc<Principal>) -> Option<(String, Millis)> {
        self.tickets.issue(principal, self.clock.today(), &self.random)
    }

    /// Who comes with this ticket; it is worth nothing afterwards.
    ///
    /// # Errors
    /// `Unknown` when it is none, used or too old; else why its principal may not be here any more.
    pub fn redeem(&self, ticket: &str) -> Result<Arc<Principal>, Denied> {
        let principal = self.tickets.redeem(ticket, self.clock.today()).ok_or(Denied::Unknown);
        let principal = principal.and_then(|principal| self.still(&principal).map(|()| principal));
        principal.inspect_err(|_| self.note_denied())
    }

    /// How many were turned away since the start.
    pub fn denied(&self) -> u64 {
        self.denied.load(Relaxed)
    }

    fn note_denied(&self) {
        self.denied.fetch_add(1, Relaxed);
    }

    /// Makes a key that [`Grant::check`] allows, for whom `by` names. The full key is in the answer and nowhere else.
    ///
    /// # Errors
    /// The store, the pepper or the system's source of randomness does not answer.
    pub async fn create(&self, grant: Grant, by: &str) -> anyhow::Result<(StoredKey, FullKey)> {
        let pepper = self.own_pepper()?;
        loop {
            let full = FullKey { id: KeyId::new(u64::from_be_bytes(self.bytes()?)), secret: self.bytes()? };
            let stored = StoredKey {
                id: full.id,
                grant: grant.clone(),
                hash: pepper.hash(&full),
                pepper: pepper.id().to_owned(),
                made_at: self.clock.today(),
                made_by: by.to_owned(),
                revoked_at: None,
                last_used_at: None,
            };
            if self.store.add_key(&stored).await? {
                let hash = mosquitto::hash(&full.expose(), &self.random).context("the system has no random bytes")?;
                self.store.keep_mosquitto_hash(full.id, &hash).await?;
                self.reload().await?;
                return Ok((stored, full));
            }
        }
    }

    /// Ends all keys and users of a customer, whatever becomes of it; [`Logins`](logins::Logins) has to look then.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn end_of(&self, customer: &str) -> anyhow::Result<()> {
        self.store.end_access_of(customer, self.clock.today()).await?;
        self.reload().await
    }

    /// Ends a key; `false` when there is none, or it was ended before.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn revoke(&self, id: KeyId) -> anyhow::Result<bool> {
        let ended = self.store.revoke_key(id, self.clock.today()).await?;
        self.reload().await?;
        Ok(ended)
    }

    /// One key.
    pub fn find(&self, id: KeyId) -> Option<StoredKey> {
        self.keys.read().get(&id).map(|known| known.shown())
    }

    /// At most so many keys that `fits` lets through, by identifier, after this one.
    pub fn page(&self, after: Option<KeyId>, limit: usize, fits: impl Fn(&Grant) -> bool) -> Vec<StoredKey> {
        let keys = self.keys.read();
        let later = keys.range((after.map_or(Unbounded, Excluded), Unbounded)).map(|(_, known)| known);
        later.filter(|known| fits(&known.stored.grant)).take(limit).map(|known| known.shown()).collect()
    }

    fn bytes<const N: usize>(&self) -> anyhow::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.random.fill(&mut bytes).map_err(|_| anyhow::anyhow!("the system has no random bytes"))?;
        Ok(bytes)
    }

    /// The pepper, made when there is none yet.
    fn own_pepper(&self) -> anyhow::Result<&Pepper> {
        if let Some(known) = self.pepper.get() {
            return Ok(known);
        }
        let made = Pepper::find_or_make(self.set_pepper.expose(), self.folder.as_deref(), &self.random)?;
        Ok(self.pepper.get_or_init(|| made))
    }
}

#[cfg(test)]
mod tests;
