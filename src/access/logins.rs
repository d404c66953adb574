//! Who may sign in, and how: users with their passwords, and the sessions that begin and end.
//! Fed by the store at start and by each change in it, whichever process made it; asked by api and `rollcall user`.
//! Bounds: `USERS_MAX` users, `SESSIONS_MAX` sessions and `SESSIONS_EACH` of one holder; beyond them the session that
//! was used longest ago ends.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;
use parking_lot::RwLock;
use tokio::time::MissedTickBehavior;

use super::attempts::Attempts;
use super::password::{Crowded, Passwords};
use super::pepper::{Pepper, hex};
use super::sessions::{Known, hash_of};
use super::{Access, follow};
use crate::domain::access::{Denied, Principal, Role, SessionId, UserId, Who};
use crate::domain::login::{Login, PASSWORD_BYTES_MAX};
use crate::domain::time::Millis;
use crate::settings::Auth;
use crate::store::logins::{Holder, LoginStore, StoredSession, StoredUser};

/// Users there may be: people of all customers; each is about 300 bytes in memory.
pub(super) const USERS_MAX: usize = 20_000;
/// Sessions there may be.
const SESSIONS_MAX: usize = 20_000;
/// Sessions of one user or key: screens that one person leaves open.
const SESSIONS_EACH: usize = 20;
/// An address that is turned away is in the audit this often at most: a flood must not fill it.
const LIMITED_NOTE_EVERY: Millis = 60_000;

/// Somebody who has just signed in. The token is here and in the cookie, and nowhere else.
pub struct Begun {
    /// What the cookie carries.
    pub token: String,
    /// Who it is.
    pub principal: Principal,
}

/// Why somebody did not sign in.
#[derive(Debug)]
pub enum Refused {
    /// Wrong; and the user, when there is one of that name.
    Denied(Denied, Option<Box<StoredUser>>),
    /// Too often wrong: not even read. How long to wait, milliseconds; and whether the audit should be told.
    Limited(Millis, bool),
    /// Too many at once.
    Crowded,
    /// The name that an identity provider gives is another user's.
    Taken(Login),
    /// The store does not answer.
    Store(anyhow::Error),
}

/// What is to be changed of a user.
#[derive(Default)]
pub struct Change {
    /// Another role.
    pub role: Option<Role>,
    /// Another password.
    pub password: Option<String>,
    /// Whether somebody may sign in as this one.
    pub disabled: Option<bool>,
}

/// Who may sign in.
pub struct Logins {
    pub(super) access: Arc<Access>,
    pub(super) store: Arc<dyn LoginStore>,
    pub(super) users: RwLock<BTreeMap<UserId, StoredUser>>,
    revision: AtomicI64,
    /// One reading at a time, so that an older one never covers a newer.
    reading: tokio::sync::Mutex<()>,
    pub(super) attempts: Attempts,
    pub(super) passwords: Passwords,
    pub(super) session_max: Millis,
    limited: AtomicU64,
    limited_noted: AtomicI64,
}

impl Logins {
    /// Reads every user and session.
    ///
    /// # Errors
    /// A sentence saying what cannot be read.
    pub async fn open(settings: &Auth, access: Arc<Access>, store: Arc<dyn LoginStore>) -> anyhow::Result<Arc<Self>> {
        let logins = Self {
            passwords: Passwords::new(&access.random)?,
            access,
            store,
            users: RwLock::default(),
            revision: AtomicI64::new(-1),
            reading: tokio::sync::Mutex::default(),
            attempts: Attempts::new(settings.login_tries, settings.login_pause.0),
            session_max: settings.session_max.0,
            limited: AtomicU64::new(0),
            limited_noted: AtomicI64::new(0),
        };
        logins.look().await.context("cannot read users and sessions from the store")?;
        Ok(Arc::new(logins))
    }

    /// Follows the store until the task that runs it is aborted. While the store is away, everything stays as it was.
    pub async fn follow(self: Arc<Self>) {
        let (mut look, mut note) =
            (tokio::time::interval(follow::LOOK_EVERY), tokio::time::interval(follow::NOTE_EVERY));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let outcome = tokio::select! {
                _ = look.tick() => self.look().await,
                _ = note.tick() => self.note_uses().await,
            };
            if let Err(error) = outcome {
                tracing::debug!("users and sessions stay as they were: {error:#}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }

    /// Reads everything anew when the store's number says that somebody changed it.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn look(&self) -> anyhow::Result<()> {
        let _one = self.reading.lock().await;
        let revision = self.store.login_revision().await?;
        if revision == self.revision.load(Relaxed) {
            return Ok(());
        }
        let (users, stored) = (self.store.load_users().await?, self.store.load_sessions().await?);
        let users: BTreeMap<UserId, StoredUser> = users.into_iter().map(|user| (user.id, user)).collect();
        let person = |session: &StoredSession| match session.holder {
            Holder::User(id) => users.get(&id).filter(|user| user.disabled_at.is_none()).map(principal),
            Holder::Key(_) => None,
        };
        let sessions: BTreeMap<_, _> = stored
            .into_iter()
            .map(|session| (session.id, Arc::new(Known::new(session.clone(), person(&session)))))
            .collect();
        let mut inside = self.access.sessions.known.write();
        for (id, before) in inside.iter() {
            if let Some(now) = sessions.get(id) {
                now.used.fetch_max(before.used.load(Relaxed), Relaxed);
            }
        }
        *inside = sessions;
        drop(inside);
        *self.users.write() = users;
        self.revision.store(revision, Relaxed);
        self.access.changes.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Writes down when sessions were last used, where that is news, and forgets those that are over.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn note_uses(&self) -> anyhow::Result<()> {
        let known: Vec<Arc<Known>> = self.access.sessions.known.read().values().map(Arc::clone).collect();
        let now = self.access.clock.today();
        let (over, here): (Vec<_>, Vec<_>) =
            known.iter().partition(|session| session.is_over(now, self.access.sessions.idle));
        let is_news = |session: &&&Arc<Known>| session.used.load(Relaxed) > session.noted.load(Relaxed);
        let news: Vec<_> =
            here.iter().filter(is_news).map(|known| (known.stored.id, known.used.load(Relaxed))).collect();
        if !news.is_empty() {
            self.store.note_session_uses(&news).await?;
            for (id, used) in news {
                if let Some(known) = self.access.sessions.find(id) {
                    known.noted.fetch_max(used, Relaxed);
                }
            }
        }
        let over: Vec<SessionId> = over.iter().map(|session| session.stored.id).collect();
        if over.is_empty() { Ok(()) } else { self.end(&over).await }
    }

    /// Signs somebody in with a password.
    ///
    /// # Errors
    /// Why not. Whether there is such a user is told neither by the answer nor by how long it takes.
    pub async fn with_password(&self, user: &str, password: &str, from: IpAddr) -> Result<Begun, Refused> {
        let found = user.parse::<Login>().ok().and_then(|login| self.find_login(&login));
        match (self.judge(user, found.as_ref(), password, from).await?, found) {
            (true, Some(found)) => self.begin(Holder::User(found.id), from, self.session_max).await,
            (_, found) => {
                self.access.note_denied();
                Err(Refused::Denied(Denied::Login, found.map(Box::new)))
            }
        }
    }

    /// Whether this is the password of a user, who was asked for by this name; takes as long for nobody's.
    ///
    /// # Errors
    /// It is not judged.
    pub(super) async fn judge(
        &self,
        name: &str,
        user: Option<&StoredUser>,
        password: &str,
        from: IpAddr,
    ) -> Result<bool, Refused> {
        self.take(Some(name), from)?;
        let pepper = self.access.own_pepper().map_err(Refused::Store)?;
        let good = user.filter(|user| user.disabled_at.is_none() && user.pepper == pepper.id());
        let hash = good.filter(|_| password.len() <= PASSWORD_BYTES_MAX).map(|user| user.hash.clone());
        let id = good.map_or(UserId::new(0), |user| user.id);
        let fits = self.passwords.fits(keyed(pepper, id, password), hash).await;
        if !matches!(fits, Ok(false)) {
            self.attempts.give_back(Some(name), from);
        }
        fits.map_err(|Crowded| Refused::Crowded)
    }

    /// Signs the holder of a key in.
    ///
    /// # Errors
    /// Why not.
    pub async fn with_key(&self, key: &str, from: IpAddr) -> Result<Begun, Refused> {
        self.take(None, from)?;
        let principal = self.access.key(key).map_err(|denied| Refused::Denied(denied, None))?;
        self.attempts.give_back(None, from);
        let Who::Key { id, .. } = principal.who else { return Err(Refused::Denied(Denied::Unknown, None)) };
        self.begin(Holder::Key(id), from, self.session_max).await
    }

    /// Takes a try; see [`Attempts::take`].
    pub(super) fn take(&self, user: Option<&str>, from: IpAddr) -> Result<(), Refused> {
        let now = self.access.clock.now();
        self.attempts.take(user, from, now).map_err(|wait| {
            self.limited.fetch_add(1, Relaxed);
            let noted = self.limited_noted.load(Relaxed);
            let is_due = noted == 0 || now - noted >= LIMITED_NOTE_EVERY;
            let is_ours = is_due && self.limited_noted.compare_exchange(noted, now.max(1), Relaxed, Relaxed).is_ok();
            Refused::Limited(wait, is_ours)
        })
    }

    /// How many attempts were not even read, since the start.
    pub fn limited(&self) -> u64 {
        self.limited.load(Relaxed)
    }

    /// Begins a session that is over after so long.
    pub(super) async fn begin(&self, holder: Holder, from: IpAddr, life: Millis) -> Result<Begun, Refused> {
        let pepper = self.access.own_pepper().map_err(Refused::Store)?;
        let token: [u8; 32] = self.access.bytes().map_err(Refused::Store)?;
        let (id, hash) = hash_of(pepper, &token);
        let now = self.access.clock.today();
        let expires_at = now + life;
        let address = from.to_canonical().to_string();
        let session = StoredSession { id, hash, holder, address, made_at: now, seen_at: now, expires_at };
        self.store.add_session(&session, &self.displaced(holder)).await.map_err(Refused::Store)?;
        self.look().await.map_err(Refused::Store)?;
        let known = self.access.sessions.find(id).ok_or(Denied::Ended);
        let principal = known.and_then(|known| self.access.principal_of(&known));
        let principal = principal.map_err(|denied| Refused::Denied(denied, None))?;
        Ok(Begun { token: hex(&token), principal })
    }

    /// Which sessions make room for one more of this holder: those that were used longest ago.
    fn displaced(&self, holder: Holder) -> Vec<SessionId> {
        let known: Vec<Arc<Known>> = self.access.sessions.known.read().values().map(Arc::clone).collect();
        let longest_ago = |mut some: Vec<&Arc<Known>>, room: usize| {
            some.sort_by_key(|session| session.used.load(Relaxed));
            let excess = (some.len() + 1).saturating_sub(room);
            some.into_iter().take(excess).map(|session| session.stored.id).collect::<Vec<_>>()
        };
        let own = known.iter().filter(|session| session.stored.holder == holder).collect();
        let own = longest_ago(own, SESSIONS_EACH);
        if own.is_empty() { longest_ago(known.iter().collect(), SESSIONS_MAX) } else { own }
    }

    /// Ends sessions: from now on nobody comes in by them, and who did is out at once.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn end(&self, sessions: &[SessionId]) -> anyhow::Result<()> {
        self.store.end_sessions(sessions).await?;
        self.look().await
    }

    /// Makes a user; `None` when the login is taken.
    ///
    /// # Errors
    /// There is no room, or the store does not answer.
    pub async fn create(
        &self,
        login: Login,
        role: Role,
        password: &str,
        by: &str,
    ) -> anyhow::Result<Option<StoredUser>> {
        anyhow::ensure!(self.users.read().len() < USERS_MAX, "there are {USERS_MAX} users already");
        let id = UserId::new(u64::from_be_bytes(self.access.bytes()?));
        let (hash, pepper) = self.hash(id, password).await?;
        let (made_at, made_by) = (self.access.clock.today(), by.to_owned());
        let user = StoredUser { id, login, role, hash, pepper, made_at, made_by, disabled_at: None, identity: None };
        let is_new = self.store.add_user(&user).await?;
        self.look().await?;
        Ok(is_new.then_some(user))
    }

    /// Changes a user, and ends all of that one's sessions, but for one that is kept.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn change(
        &self,
        mut user: StoredUser,
        change: Change,
        kept: Option<SessionId>,
    ) -> anyhow::Result<StoredUser> {
        user.role = change.role.unwrap_or(user.role);
        if let Some(password) = change.password {
            (user.hash, user.pepper) = self.hash(user.id, &password).await?;
        }
        user.disabled_at = match change.disabled {
            Some(true) => user.disabled_at.or_else(|| Some(self.access.clock.today())),
            Some(false) => None,
            None => user.disabled_at,
        };
        self.store.change_user(&user, kept).await?;
        self.look().await?;
        Ok(user)
    }

    async fn hash(&self, id: UserId, password: &str) -> anyhow::Result<(String, String)> {
        let pepper = self.access.own_pepper()?;
        let hash = self.passwords.hash(keyed(pepper, id, password)).await;
        let hash = hash.map_err(|Crowded| anyhow::anyhow!("too many passwords are being hashed; try again"))??;
        Ok((hash, pepper.id().to_owned()))
    }

    /// One user.
    pub fn find(&self, id: UserId) -> Option<StoredUser> {
        self.users.read().get(&id).cloned()
    }

    /// The user who signs in as this.
    pub fn find_login(&self, login: &Login) -> Option<StoredUser> {
        self.users.read().values().find(|user| user.login == *login).cloned()
    }

    /// At most so many users that `fits` lets through, by identifier, after this one.
    pub fn page(&self, after: Option<UserId>, limit: usize, fits: impl Fn(&StoredUser) -> bool) -> Vec<StoredUser> {
        let users = self.users.read();
        let later = users.range((after.map_or(Unbounded, Excluded), Unbounded)).map(|(_, user)| user);
        later.filter(|user| fits(user)).take(limit).cloned().collect()
    }
}

fn principal(user: &StoredUser) -> Principal {
    Principal::of_user(user.id, &user.login, user.role)
}

/// What is hashed slowly: the pepper and the user are in it, so a hash that is moved to another row fits nothing there,
/// and whoever can write to the database but has not the pepper can make no password.
pub(super) fn keyed(pepper: &Pepper, id: UserId, password: &str) -> [u8; 32] {
    pepper.seal("password", format!("{id}:{password}").as_bytes())
}

#[cfg(test)]
#[path = "logins_tests.rs"]
mod tests;
