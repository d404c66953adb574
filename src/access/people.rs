//! What people do about themselves: come from an identity provider, and change their own password.
//! Fed by api, the former through access::oidc; changes users and sessions through the logins.

use std::net::IpAddr;

use anyhow::anyhow;

use super::logins::{Begun, Change, Logins, Refused, USERS_MAX};
use crate::domain::access::{Denied, SessionId, UserId};
use crate::domain::oidc::Person;
use crate::domain::time::Millis;
use crate::store::logins::{Holder, Identity, StoredUser};

/// Why somebody's password stayed as it was.
#[derive(Debug)]
pub enum Unchanged {
    /// There is none: the user signs in elsewhere.
    NoPassword,
    /// The one that was named is wrong.
    Wrong,
    /// As when signing in.
    Refused(Refused),
}

impl Logins {
    /// Signs in somebody whom a provider vouches for: as the user who came by the same identity before, under the name
    /// and with the role that the provider gives now, or as a new one. Answers too what was done to the user, if
    /// anything, in the word of the audit.
    ///
    /// # Errors
    /// Why not.
    pub async fn with_person(
        &self,
        issuer: &str,
        person: Person,
        life: Millis,
        from: IpAddr,
    ) -> Result<(Begun, Option<&'static str>), Refused> {
        let Person { subject, login, role } = person;
        let identity = Identity { issuer: issuer.to_owned(), subject };
        let known = self.find_identity(&identity);
        if let Some(user) = known.as_ref().filter(|user| user.disabled_at.is_some()) {
            self.access.note_denied();
            return Err(Refused::Denied(Denied::Login, Some(Box::new(user.clone()))));
        }
        let is_same = known.as_ref().is_some_and(|user| user.login == login);
        if !is_same && self.find_login(&login).is_some() {
            return Err(Refused::Taken(login));
        }
        let (id, news) = match known {
            Some(user) if is_same && user.role == role => (user.id, None),
            Some(user) => {
                let user = StoredUser { login, role, ..user };
                self.store.change_user(&user, None).await.map_err(Refused::Store)?;
                (user.id, Some("user.changed"))
            }
            None => {
                if self.users.read().len() >= USERS_MAX {
                    return Err(Refused::Store(anyhow!("there are {USERS_MAX} users already")));
                }
                let user = StoredUser {
                    id: UserId::new(u64::from_be_bytes(self.access.bytes().map_err(Refused::Store)?)),
                    login: login.clone(),
                    role,
                    hash: String::new(),
                    pepper: String::new(),
                    made_at: self.access.clock.today(),
                    made_by: issuer.to_owned(),
                    disabled_at: None,
                    identity: Some(identity.clone()),
                };
                if self.store.add_user(&user).await.map_err(Refused::Store)? {
                    (user.id, Some("user.created"))
                } else {
                    // Two windows of one person may come at the same moment.
                    self.look().await.map_err(Refused::Store)?;
                    (self.find_identity(&identity).ok_or(Refused::Taken(login))?.id, None)
                }
            }
        };
        let begun = self.begin(Holder::User(id), from, life.min(self.session_max)).await?;
        Ok((begun, news))
    }

    fn find_identity(&self, identity: &Identity) -> Option<StoredUser> {
        self.users.read().values().find(|user| user.identity.as_ref() == Some(identity)).cloned()
    }

    /// Gives a user who is signed in another password. All other sessions of that one end.
    ///
    /// # Errors
    /// Why not; guesses are limited as those of a sign-in are.
    pub async fn change_own_password(
        &self,
        id: UserId,
        session: Option<SessionId>,
        current: &str,
        new: String,
        from: IpAddr,
    ) -> Result<StoredUser, Unchanged> {
        let ended = || Unchanged::Refused(Refused::Denied(Denied::Ended, None));
        let user = self.find(id).ok_or_else(ended)?;
        if user.identity.is_some() {
            return Err(Unchanged::NoPassword);
        }
        let name = user.login.to_string();
        if !self.judge(&name, Some(&user), current, from).await.map_err(Unchanged::Refused)? {
            self.access.note_denied();
            return Err(Unchanged::Wrong);
        }
        let change = Change { password: Some(new), ..Change::default() };
        self.change(user, change, session).await.map_err(|error| Unchanged::Refused(Refused::Store(error)))
    }
}
