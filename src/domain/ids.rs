//! Names of customers and vehicles, parsed once at the edge and trusted inside.
//! Fed by topics, requests and rows; carried by every key in the system.

use std::fmt;
use std::sync::Arc;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

/// Longest customer or vehicle identifier, in bytes.
pub const ID_BYTES_MAX: usize = 64;

/// Why a text is not an identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadId {
    /// Empty, too long, or with a character the grammar does not allow.
    #[error("customer must match [A-Za-z0-9][A-Za-z0-9._-]{{0,63}}")]
    Customer,
    /// Empty, over 64 bytes, or with a character the grammar does not allow.
    #[error(
        "vehicle must be 1 to 64 bytes without control characters, '/', '+', '#', \
         not start with '$' and have no space at either end"
    )]
    Vehicle,
}

/// Checks a customer's identifier: `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`, case-sensitive.
///
/// # Errors
/// [`BadId::Customer`] when the text is not one.
pub fn check_customer(text: &str) -> Result<&str, BadId> {
    let bytes = text.as_bytes();
    let first_fits = bytes.first().is_some_and(u8::is_ascii_alphanumeric);
    let rest_fits = bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte));
    if first_fits && rest_fits && bytes.len() <= ID_BYTES_MAX { Ok(text) } else { Err(BadId::Customer) }
}

/// Checks a vehicle's identifier; real ones look like `MTA NYCT_7326`, so spaces inside are fine. Case-sensitive.
///
/// # Errors
/// [`BadId::Vehicle`] when the text is not one.
pub fn check_vehicle(text: &str) -> Result<&str, BadId> {
    if is_plain(text) {
        return Ok(text);
    }
    let fits = !text.is_empty()
        && text.len() <= ID_BYTES_MAX
        && !text.starts_with('$')
        && text.trim() == text
        && !text.chars().any(|c| c.is_control() || matches!(c, '/' | '+' | '#'));
    if fits { Ok(text) } else { Err(BadId::Vehicle) }
}

/// What nearly all vehicles are called, and what no part of the grammar forbids: told with one look a byte.
fn is_plain(text: &str) -> bool {
    (1..=ID_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':'))
}

/// One vehicle of one customer: the key of everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VehicleKey {
    /// The customer's identifier, shared by all its vehicles.
    pub customer: Arc<str>,
    /// The vehicle's identifier, unique within its customer. One of up to 24 bytes lies here, and not elsewhere.
    pub vehicle: CompactString,
}

impl VehicleKey {
    /// Parses both parts.
    ///
    /// # Errors
    /// [`BadId`] naming the part that does not fit.
    pub fn parse(customer: &str, vehicle: &str) -> Result<Self, BadId> {
        Ok(Self { customer: check_customer(customer)?.into(), vehicle: check_vehicle(vehicle)?.into() })
    }
}

impl fmt::Display for VehicleKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.customer, self.vehicle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_identifiers_are_taken_as_they_are() {
        for (customer, vehicle) in [("acme", "TRK-1"), ("A.b_c-9", "MTA NYCT_7326"), ("7", "Über-Bus 4")] {
            assert_eq!(
                VehicleKey::parse(customer, vehicle).map(|key| key.to_string()),
                Ok(format!("{customer}/{vehicle}"))
            );
        }
    }

    #[test]
    fn bad_identifiers_are_refused_by_the_part_that_is_bad() {
        let long = "x".repeat(65);
        for customer in ["", "-acme", ".a", "a b", "ac/me", "ümlaut", "$sys", &long] {
            assert_eq!(check_customer(customer), Err(BadId::Customer), "{customer}");
        }
        for vehicle in ["", " a", "a ", "a/b", "a+b", "#", "$SYS", "a\u{7}b", "a\nb", &long] {
            assert_eq!(check_vehicle(vehicle), Err(BadId::Vehicle), "{vehicle}");
        }
        assert!(check_vehicle(&"é".repeat(32)).is_ok() && check_vehicle(&"é".repeat(33)).is_err());
    }
}
