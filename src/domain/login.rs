//! What a person signs in with: a name, `customer/name` or `name` for the operator's own staff, and a password.
//! Made from requests, commands and rows; carried by users and sessions. Names are unique within a customer, so no
//! customer learns who is known to another.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::ids;

/// Longest name, bytes: an address of mail fits.
pub const NAME_BYTES_MAX: usize = 64;
/// Shortest password, characters. NIST SP 800-63B asks for 8 at least; there are no other rules about its characters.
pub const PASSWORD_CHARS_LEAST: usize = 10;
/// Longest password, bytes: what is hashed is bounded before the hash.
pub const PASSWORD_BYTES_MAX: usize = 256;

/// The name somebody signs in as.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Login {
    /// Whose vehicles are seen; none: those of all customers.
    pub customer: Option<Arc<str>>,
    /// The name beside it, `[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}`, case-sensitive.
    pub name: Arc<str>,
}

impl Login {
    /// Checks both parts.
    ///
    /// # Errors
    /// The field, and a sentence saying what is allowed.
    pub fn new(customer: Option<&str>, name: &str) -> Result<Self, (&'static str, String)> {
        if let Some(customer) = customer {
            ids::check_customer(customer).map_err(|bad| ("customer", bad.to_string()))?;
        }
        let fits = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._@+-".contains(&byte))
            && name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
            && name.len() <= NAME_BYTES_MAX;
        if !fits {
            return Err(("name", "must match [A-Za-z0-9][A-Za-z0-9._@+-]{0,63}".into()));
        }
        Ok(Self { customer: customer.map(Arc::from), name: name.into() })
    }
}

impl FromStr for Login {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (customer, name) = text.split_once('/').map_or((None, text), |(customer, name)| (Some(customer), name));
        Self::new(customer, name).map_err(|(field, problem)| format!("{field} {problem}"))
    }
}

impl fmt::Display for Login {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.customer {
            Some(customer) => write!(out, "{customer}/{}", self.name),
            None => out.write_str(&self.name),
        }
    }
}

/// Whether this may become a password.
///
/// # Errors
/// A sentence saying what is allowed; the password is not in it.
pub fn check_password(password: &str) -> Result<(), String> {
    if password.chars().count() < PASSWORD_CHARS_LEAST || password.len() > PASSWORD_BYTES_MAX {
        return Err(format!(
            "must be {PASSWORD_CHARS_LEAST} characters at least and {PASSWORD_BYTES_MAX} bytes at most"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_a_name_of_a_customer_or_of_the_operators_staff() {
        for (text, customer, name) in [("acme/jo", Some("acme"), "jo"), ("jo@x.example", None, "jo@x.example")] {
            let login: Login = text.parse().expect("a login");
            assert_eq!((login.customer.as_deref(), &*login.name, login.to_string()), (customer, name, text.to_owned()));
        }
        for text in ["", "/jo", "acme/", "a/b/c", ".jo", "jo smith", "acme/j\u{f6}", &"a".repeat(65)] {
            assert!(text.parse::<Login>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_password_is_long_enough_and_bounded() {
        for (password, fits) in [("\u{1f511}".repeat(10), true), ("a".repeat(9), false), ("a".repeat(257), false)] {
            assert_eq!(check_password(&password).is_ok(), fits, "{password}");
        }
    }
}
