//! Where it is kept who may sign in, and who is: users and sessions, and the number by which a running service sees
//! that somebody changed them. Fed by the access station and by `rollcall user`; read at start and after each change.

use anyhow::{Context, anyhow};
use async_trait::async_trait;

use crate::domain::access::{KeyId, Role, SessionId, UserId};
use crate::domain::login::Login;
use crate::domain::time::Millis;

/// Who somebody is to an identity provider; the two never change together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Which provider.
    pub issuer: String,
    /// Who to it.
    pub subject: String,
}

/// A person who may sign in, without the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredUser {
    /// Which one.
    pub id: UserId,
    /// What that one signs in as.
    pub login: Login,
    /// What that one may do.
    pub role: Role,
    /// The password's hash, with its salt and costs; empty where there is none.
    pub hash: String,
    /// Which pepper keyed the hash: with another one no password can match.
    pub pepper: String,
    /// When it was made.
    pub made_at: Millis,
    /// By whom, for people.
    pub made_by: String,
    /// Since when nobody signs in as this one.
    pub disabled_at: Option<Millis>,
    /// With what that one signs in in place of a password.
    pub identity: Option<Identity>,
}

/// Whose a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// Somebody who gave a password, or came from an identity provider.
    User(UserId),
    /// Somebody who gave a key.
    Key(KeyId),
}

/// Somebody who is signed in: everything but the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSession {
    /// Its public half.
    pub id: SessionId,
    /// Keyed hash of its token.
    pub hash: [u8; 32],
    /// Whose it is.
    pub holder: Holder,
    /// From where it was begun.
    pub address: String,
    /// When.
    pub made_at: Millis,
    /// When it was last used, to the minute.
    pub seen_at: Millis,
    /// The first instant at which it is over, however much it is used.
    pub expires_at: Millis,
}

/// What the stores can do for who may sign in. Every write may be repeated without a second effect; see
/// [`Store`](super::Store) for what holds for these futures.
#[async_trait]
pub trait LoginStore: Send + Sync {
    /// Grows with every change of a user, and every session that begins or ends, whichever process does it.
    async fn login_revision(&self) -> anyhow::Result<i64>;

    /// Every user, disabled ones too, by identifier.
    async fn load_users(&self) -> anyhow::Result<Vec<StoredUser>>;

    /// Every session, by identifier.
    async fn load_sessions(&self) -> anyhow::Result<Vec<StoredSession>>;

    /// Keeps a user; `false` when there is one of this identifier, login or identity already, which stays as it is.
    async fn add_user(&self, user: &StoredUser) -> anyhow::Result<bool>;

    /// Gives a user this login, role, password and end, and ends all of that one's sessions but this; `false` when
    /// there is none.
    async fn change_user(&self, user: &StoredUser, kept: Option<SessionId>) -> anyhow::Result<bool>;

    /// Keeps a session and ends these others, which make room for it.
    async fn add_session(&self, session: &StoredSession, ended: &[SessionId]) -> anyhow::Result<()>;

    /// Ends these sessions; those that are not there are no fault.
    async fn end_sessions(&self, ended: &[SessionId]) -> anyhow::Result<()>;

    /// Writes down when sessions were last used; only forward in time, and without a new revision.
    async fn note_session_uses(&self, uses: &[(SessionId, Millis)]) -> anyhow::Result<()>;
}

/// A user as it lies in a table.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct UserRow {
    id: String,
    login: String,
    role: String,
    hash: String,
    pepper: String,
    made_at_ms: Millis,
    made_by: String,
    disabled_at_ms: Option<Millis>,
    issuer: Option<String>,
    subject: Option<String>,
}

impl TryFrom<UserRow> for StoredUser {
    type Error = anyhow::Error;

    fn try_from(row: UserRow) -> anyhow::Result<Self> {
        let bad = |problem: &str| anyhow!("the stored user {} cannot be read: {problem}", row.id);
        Ok(Self {
            id: UserId::parse(&row.id).with_context(|| bad("its identifier"))?,
            login: row.login.parse().map_err(|problem: String| bad(&problem))?,
            role: Role::from_word(&row.role).with_context(|| bad("its role"))?,
            hash: row.hash,
            pepper: row.pepper,
            made_at: row.made_at_ms,
            made_by: row.made_by,
            disabled_at: row.disabled_at_ms,
            identity: row.issuer.zip(row.subject).map(|(issuer, subject)| Identity { issuer, subject }),
        })
    }
}

/// A session as it lies in a table.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct SessionRow {
    id: String,
    hash: Vec<u8>,
    user_id: Option<String>,
    key_id: Option<String>,
    address: String,
    made_at_ms: Millis,
    seen_at_ms: Millis,
    expires_at_ms: Millis,
}

impl TryFrom<SessionRow> for StoredSession {
    type Error = anyhow::Error;

    fn try_from(row: SessionRow) -> anyhow::Result<Self> {
        let bad = |problem: &str| anyhow!("the stored session {} cannot be read: {problem}", row.id);
        let user = row.user_id.as_deref().and_then(UserId::parse).map(Holder::User);
        let key = row.key_id.as_deref().and_then(KeyId::parse).map(Holder::Key);
        Ok(Self {
            id: SessionId::parse(&row.id).with_context(|| bad("its identifier"))?,
            holder: user.or(key).with_context(|| bad("whose it is"))?,
            hash: row.hash.try_into().map_err(|_| bad("its hash"))?,
            address: row.address,
            made_at: row.made_at_ms,
            seen_at: row.seen_at_ms,
            expires_at: row.expires_at_ms,
        })
    }
}
