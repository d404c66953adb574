//! Who may do what: scopes, the roles made of them, keys, and the principal that stands behind a request.
//! Made by the access station from a key or a session; asked by every door before anything is read or taken.

use std::fmt;
use std::sync::Arc;

use super::ids;
use super::login::Login;
use super::time::Millis;

/// What every key begins with, so that one that leaked is found by a search.
const PREFIX: &str = "rk_";
/// Longest name of a key, characters.
pub const NAME_CHARS_MAX: usize = 100;

/// One kind of thing that may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// See vehicles, statuses and history.
    Read,
    /// Send heartbeats.
    Ingest,
    /// Change the registry, quarantine, vehicles.
    Manage,
    /// Everything, keys and users too.
    Admin,
}

impl Scope {
    /// Every scope, from the least powerful on.
    pub const ALL: [Self; 4] = [Self::Read, Self::Ingest, Self::Manage, Self::Admin];

    /// The word used in JSON, SQL and commands.
    pub fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Ingest => "ingest",
            Self::Manage => "manage",
            Self::Admin => "admin",
        }
    }

    /// The scope of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.word() == word)
    }
}

/// A set of scopes; `admin` holds all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Scopes(u8);

impl Scopes {
    /// A set of these.
    pub fn of(scopes: &[Scope]) -> Self {
        Self(scopes.iter().fold(0, |set, scope| set | 1 << *scope as u8))
    }

    /// Whether it holds this one.
    pub fn has(self, scope: Scope) -> bool {
        self.0 & (1 << Scope::Admin as u8 | 1 << scope as u8) != 0
    }

    /// Those that were given, without what `admin` implies.
    pub fn list(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.0 & (1 << *scope as u8) != 0)
    }

    /// As a comma list, such as `read,ingest`.
    pub fn words(self) -> String {
        self.list().map(Scope::word).collect::<Vec<_>>().join(",")
    }

    /// Reads a comma list.
    ///
    /// # Errors
    /// A sentence naming the word that is no scope, or saying that there is none.
    pub fn parse(list: &str) -> Result<Self, String> {
        let words = list.split(',').map(str::trim).filter(|word| !word.is_empty());
        let known = |word| {
            Scope::from_word(word).ok_or_else(|| format!("'{word}' is no scope; use read, ingest, manage, admin"))
        };
        let scopes: Vec<Scope> = words.map(known).collect::<Result<_, _>>()?;
        if scopes.is_empty() { Err("is empty; use read, ingest, manage, admin".into()) } else { Ok(Self::of(&scopes)) }
    }
}

/// What a person is to a customer, or to all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Looks.
    Viewer,
    /// Looks, and keeps the registry.
    Operator,
    /// Everything, keys and users too.
    Admin,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// The word used in JSON, SQL and commands.
    pub fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The role of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.word() == word)
    }

    /// What it may do.
    pub fn scopes(self) -> Scopes {
        match self {
            Self::Viewer => Scopes::of(&[Scope::Read]),
            Self::Operator => Scopes::of(&[Scope::Read, Scope::Manage]),
            Self::Admin => Scopes::of(&[Scope::Admin]),
        }
    }
}

/// Public identifiers of one form, each a type of its own so that none is taken for another.
macro_rules! identifiers {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(u64);

        impl $name {
            /// The identifier of these bits.
            pub fn new(bits: u64) -> Self {
                Self(bits)
            }

            /// Reads 16 lower case hexadecimal digits.
            pub fn parse(text: &str) -> Option<Self> {
                bytes_of(text).map(|bytes| Self(u64::from_be_bytes(bytes)))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "{:016x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, out)
            }
        }
    )*};
}
pub(super) use identifiers;

identifiers! {
    /// The public half of a key: 64 random bits, written as 16 hexadecimal digits.
    KeyId
    /// A person who may sign in: 64 random bits, written as 16 hexadecimal digits.
    UserId
    /// The public half of a session: the first 64 bits of its token's hash, which tell nothing of the token.
    SessionId
}

/// A key with its secret half, as it is shown once and presented ever after: `rk_<id>_<secret>`. It has no `Display`,
/// and its `Debug` hides the secret, so that it reaches no log by mistake.
#[derive(Clone, PartialEq, Eq)]
pub struct FullKey {
    /// Which key it claims to be.
    pub id: KeyId,
    /// 256 random bits.
    pub secret: [u8; 32],
}

impl FullKey {
    /// Reads `rk_<16 hexadecimal digits>_<64 hexadecimal digits>`.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        Some(Self { id: KeyId::parse(id)?, secret: bytes_of(secret)? })
    }

    /// The text to hand over, once.
    pub fn expose(&self) -> String {
        let secret: String = self.secret.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{PREFIX}{}_{secret}", self.id)
    }
}

impl fmt::Debug for FullKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{PREFIX}{}_***", self.id)
    }
}

/// Exactly so many bytes in lower case hexadecimal digits.
pub fn bytes_of<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    let mut bytes = [0; N];
    if !digits || text.len() != 2 * N {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

/// What a key is for; its secret is not in here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// For people.
    pub name: String,
    /// Whose vehicles; none: those of all customers.
    pub customer: Option<Arc<str>>,
    /// The one vehicle that sends with it; none: any.
    pub vehicle: Option<Arc<str>>,
    /// What may be done.
    pub scopes: Scopes,
    /// The first instant at which it is no longer good.
    pub expires_at: Option<Millis>,
}

impl Grant {
    /// Whether such a key may be made.
    ///
    /// # Errors
    /// The field, and a sentence saying what is wrong with it.
    pub fn check(&self, now: Millis) -> Result<(), (&'static str, String)> {
        let wrong = |field, problem: &str| Err((field, problem.to_owned()));
        let length = self.name.chars().count();
        if !(1..=NAME_CHARS_MAX).contains(&length) || self.name.chars().any(char::is_control) {
            return wrong("name", "must be 1 to 100 characters without control characters");
        }
        if let Some(customer) = &self.customer {
            ids::check_customer(customer).map_err(|bad| ("customer", bad.to_string()))?;
        }
        if let Some(vehicle) = &self.vehicle {
            ids::check_vehicle(vehicle).map_err(|bad| ("vehicle", bad.to_string()))?;
            if self.customer.is_none() {
                return wrong("vehicle", "needs its customer");
            }
            if self.scopes != Scopes::of(&[Scope::Ingest]) {
                return wrong("scopes", "must be ingest alone for the key of one vehicle");
            }
        }
        if self.scopes.list().next().is_none() {
            return wrong("scopes", "is empty; use read, ingest, manage, admin");
        }
        if self.scopes.has(Scope::Admin) && self.customer.is_some() {
            return wrong("scopes", "admin is for all customers; leave the customer out, or admin");
        }
        if self.expires_at.is_some_and(|at| at <= now) {
            return wrong("expires_at", "is in the past");
        }
        Ok(())
    }
}

/// Who a principal is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// Nobody was asked.
    Anybody,
    /// The holder of a key.
    Key {
        /// Which one.
        id: KeyId,
        /// Its name.
        name: Arc<str>,
    },
    /// A person who signed in.
    User {
        /// Which one.
        id: UserId,
        /// What that one signs in as, such as `acme/jo`.
        name: Arc<str>,
    },
}

impl fmt::Display for Who {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anybody => out.write_str("anybody"),
            Self::Key { id, name } => write!(out, "key {id} ({name})"),
            Self::User { name, .. } => write!(out, "user {name}"),
        }
    }
}

/// Who stands behind a request, and what that one may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Who.
    pub who: Who,
    /// Whose vehicles; none: those of all customers.
    pub customer: Option<Arc<str>>,
    /// The one vehicle it may speak for; none: any.
    pub vehicle: Option<Arc<str>>,
    /// What it may do with them.
    pub scopes: Scopes,
    /// The first instant at which it is nobody any more.
    pub expires_at: Option<Millis>,
    /// The session it came in by; none: with a key in hand, or unasked.
    pub session: Option<SessionId>,
}

impl Principal {
    /// Where nobody is asked, everybody may do everything.
    pub fn anybody() -> Self {
        let scopes = Scopes::of(&[Scope::Admin]);
        Self { who: Who::Anybody, customer: None, vehicle: None, scopes, expires_at: None, session: None }
    }

    /// The holder of a key.
    pub fn of_key(id: KeyId, grant: &Grant) -> Self {
        let Grant { name, customer, vehicle, scopes, expires_at } = grant;
        let who = Who::Key { id, name: name.as_str().into() };
        let (customer, vehicle) = (customer.clone(), vehicle.clone());
        Self { who, customer, vehicle, scopes: *scopes, expires_at: *expires_at, session: None }
    }

    /// A person.
    pub fn of_user(id: UserId, login: &Login, role: Role) -> Self {
        let who = Who::User { id, name: login.to_string().into() };
        let (customer, scopes) = (login.customer.clone(), role.scopes());
        Self { who, customer, vehicle: None, scopes, expires_at: None, session: None }
    }

    /// Whether this customer exists for it at all.
    pub fn sees(&self, customer: &str) -> bool {
        self.customer.as_deref().is_none_or(|own| own == customer)
    }

    /// Whether it may do this to vehicles of that customer.
    pub fn may(&self, scope: Scope, customer: &str) -> bool {
        self.scopes.has(scope) && self.sees(customer)
    }

    /// Whether it may send heartbeats as this vehicle.
    pub fn may_send(&self, customer: &str, vehicle: &str) -> bool {
        self.may(Scope::Ingest, customer) && self.vehicle.as_deref().is_none_or(|own| own == vehicle)
    }
}

/// Why nobody stands behind a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Nothing was presented.
    #[error("a key is needed")]
    Missing,
    /// It is not of the form of a key, unknown, or its secret is wrong; which of them is not told.
    #[error("the key is not one of ours")]
    Unknown,
    /// It was good until then.
    #[error("the key has expired")]
    Expired,
    /// It was taken back.
    #[error("the key was revoked")]
    Revoked,
    /// The user is unknown or disabled, or the password is another one; which of them is not told.
    #[error("the user name or the password is wrong")]
    Login,
    /// No such session, not for so long, or not any more.
    #[error("the session has ended; sign in again")]
    Ended,
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
