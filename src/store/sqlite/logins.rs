//! Users and sessions in Sqlite, each statement beside the function that binds it.
//! Fed by the access station and `rollcall user` through the trait; one transaction a write.

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;

use super::Sqlite;
use crate::domain::access::SessionId;
use crate::domain::time::Millis;
use crate::store::logins::{Holder, LoginStore, SessionRow, StoredSession, StoredUser, UserRow};

const REVISION: &str = "SELECT revision FROM login_revision";

const CHANGED: &str = "UPDATE login_revision SET revision = revision + 1";

async fn changed(connection: &mut SqliteConnection, rows: u64) -> anyhow::Result<bool> {
    if rows > 0 {
        sqlx::query(CHANGED).execute(connection).await?;
    }
    Ok(rows > 0)
}

const USERS: &str = "
    SELECT id, login, role, hash, pepper, made_at_ms, made_by, disabled_at_ms, issuer, subject
    FROM login_user ORDER BY id";

async fn users(connection: &mut SqliteConnection) -> anyhow::Result<Vec<StoredUser>> {
    let rows: Vec<UserRow> = sqlx::query_as(USERS).fetch_all(connection).await?;
    rows.into_iter().map(StoredUser::try_from).collect()
}

const SESSIONS: &str = "
    SELECT id, hash, user_id, key_id, address, made_at_ms, seen_at_ms, expires_at_ms FROM login_session ORDER BY id";

async fn sessions(connection: &mut SqliteConnection) -> anyhow::Result<Vec<StoredSession>> {
    let rows: Vec<SessionRow> = sqlx::query_as(SESSIONS).fetch_all(connection).await?;
    rows.into_iter().map(StoredSession::try_from).collect()
}

const ADD_USER: &str = "
    INSERT INTO login_user (id, login, role, hash, pepper, made_at_ms, made_by, disabled_at_ms, issuer, subject)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING";

async fn add_user(connection: &mut SqliteConnection, user: StoredUser) -> anyhow::Result<bool> {
    let add = sqlx::query(ADD_USER).bind(user.id.to_string()).bind(user.login.to_string()).bind(user.role.word());
    let add = add.bind(user.hash).bind(user.pepper).bind(user.made_at).bind(user.made_by).bind(user.disabled_at);
    let (issuer, subject) = user.identity.map(|identity| (identity.issuer, identity.subject)).unzip();
    let added = add.bind(issuer).bind(subject).execute(&mut *connection).await?;
    changed(connection, added.rows_affected()).await
}

const CHANGE_USER: &str = "
    UPDATE login_user SET role = ?2, hash = ?3, pepper = ?4, disabled_at_ms = ?5, login = ?6 WHERE id = ?1";

const END_OF_USER: &str = "DELETE FROM login_session WHERE user_id = ?1 AND id <> ?2";

async fn change_user(
    connection: &mut SqliteConnection,
    user: StoredUser,
    kept: Option<SessionId>,
) -> anyhow::Result<bool> {
    let id = user.id.to_string();
    let change = sqlx::query(CHANGE_USER).bind(id.clone()).bind(user.role.word()).bind(user.hash).bind(user.pepper);
    let rows = change.bind(user.disabled_at).bind(user.login.to_string()).execute(&mut *connection).await?;
    let kept = kept.map_or_else(String::new, |id| id.to_string());
    sqlx::query(END_OF_USER).bind(id).bind(kept).execute(&mut *connection).await?;
    changed(connection, rows.rows_affected()).await
}

const END_USERS_OF: &str = "
    UPDATE login_user SET disabled_at_ms = ?2
    WHERE substr(login, 1, length(?1) + 1) = ?1 || '/' AND disabled_at_ms IS NULL";

const END_SESSIONS_OF: &str = "
    DELETE FROM login_session
    WHERE user_id IN (SELECT id FROM login_user WHERE substr(login, 1, length(?1) + 1) = ?1 || '/')";

/// Nobody signs in any more as a user of this customer, and who did is out.
pub async fn end_users_of(connection: &mut SqliteConnection, customer: &str, at: Millis) -> anyhow::Result<()> {
    let users = sqlx::query(END_USERS_OF).bind(customer).bind(at).execute(&mut *connection).await?;
    let sessions = sqlx::query(END_SESSIONS_OF).bind(customer).execute(&mut *connection).await?;
    changed(connection, users.rows_affected() + sessions.rows_affected()).await.map(drop)
}

const ADD_SESSION: &str = "
    INSERT INTO login_session (id, hash, user_id, key_id, address, made_at_ms, seen_at_ms, expires_at_ms)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING";

async fn add_session(
    connection: &mut SqliteConnection,
    session: StoredSession,
    ended: Vec<SessionId>,
) -> anyhow::Result<()> {
    let (user, key) = match session.holder {
        Holder::User(id) => (Some(id.to_string()), None),
        Holder::Key(id) => (None, Some(id.to_string())),
    };
    let add = sqlx::query(ADD_SESSION).bind(session.id.to_string()).bind(session.hash.to_vec()).bind(user).bind(key);
    let add = add.bind(session.address).bind(session.made_at).bind(session.seen_at).bind(session.expires_at);
    let added = add.execute(&mut *connection).await?.rows_affected();
    let ended = end(connection, &ended).await?;
    changed(connection, added + ended).await.map(drop)
}

const END: &str = "DELETE FROM login_session WHERE id = ?1";

async fn end(connection: &mut SqliteConnection, ended: &[SessionId]) -> anyhow::Result<u64> {
    let mut rows = 0;
    for id in ended {
        rows += sqlx::query(END).bind(id.to_string()).execute(&mut *connection).await?.rows_affected();
    }
    Ok(rows)
}

async fn end_sessions(connection: &mut SqliteConnection, ended: Vec<SessionId>) -> anyhow::Result<()> {
    let rows = end(connection, &ended).await?;
    changed(connection, rows).await.map(drop)
}

const NOTE_USE: &str = "UPDATE login_session SET seen_at_ms = ?2 WHERE id = ?1 AND seen_at_ms < ?2";

async fn note_uses(connection: &mut SqliteConnection, uses: Vec<(SessionId, Millis)>) -> anyhow::Result<()> {
    for (id, at) in uses {
        sqlx::query(NOTE_USE).bind(id.to_string()).bind(at).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Every statement of this file.
#[cfg(test)]
pub const STATEMENTS: &[&str] = &[
    REVISION,
    CHANGED,
    USERS,
    SESSIONS,
    ADD_USER,
    CHANGE_USER,
    END_OF_USER,
    END_USERS_OF,
    END_SESSIONS_OF,
    ADD_SESSION,
    END,
    NOTE_USE,
];

#[async_trait]
impl LoginStore for Sqlite {
    async fn login_revision(&self) -> anyhow::Result<i64> {
        self.read(|connection| Box::pin(async { Ok(sqlx::query_scalar(REVISION).fetch_one(connection).await?) })).await
    }

    async fn load_users(&self) -> anyhow::Result<Vec<StoredUser>> {
        self.read(|connection| Box::pin(users(connection))).await
    }

    async fn load_sessions(&self) -> anyhow::Result<Vec<StoredSession>> {
        self.read(|connection| Box::pin(sessions(connection))).await
    }

    async fn add_user(&self, user: &StoredUser) -> anyhow::Result<bool> {
        let user = user.clone();
        self.write(|connection| Box::pin(add_user(connection, user))).await
    }

    async fn change_user(&self, user: &StoredUser, kept: Option<SessionId>) -> anyhow::Result<bool> {
        let user = user.clone();
        self.write(move |connection| Box::pin(change_user(connection, user, kept))).await
    }

    async fn add_session(&self, session: &StoredSession, ended: &[SessionId]) -> anyhow::Result<()> {
        let (session, ended) = (session.clone(), ended.to_vec());
        self.write(|connection| Box::pin(add_session(connection, session, ended))).await
    }

    async fn end_sessions(&self, ended: &[SessionId]) -> anyhow::Result<()> {
        let ended = ended.to_vec();
        self.write(|connection| Box::pin(end_sessions(connection, ended))).await
    }

    async fn note_session_uses(&self, uses: &[(SessionId, Millis)]) -> anyhow::Result<()> {
        let uses = uses.to_vec();
        self.write(|connection| Box::pin(note_uses(connection, uses))).await
    }
}
