//! Links that open one thing for a while, for whoever has them: sealed with the pepper, and kept nowhere.
//! Made and checked for the exports station.

use super::Access;
use super::pepper::hex;
use crate::domain::access::bytes_of;

/// Keeps the seal of a link from ever fitting anything else.
const WHAT: &str = "link";

impl Access {
    /// The seal of a link's text, hexadecimal digits.
    ///
    /// # Errors
    /// There is no pepper, and none can be kept.
    pub fn seal_link(&self, text: &str) -> anyhow::Result<String> {
        Ok(hex(&self.own_pepper()?.seal(WHAT, text.as_bytes())))
    }

    /// Whether we sealed this text so.
    ///
    /// # Errors
    /// As [`Access::seal_link`].
    pub fn is_own_link(&self, text: &str, seal: &str) -> anyhow::Result<bool> {
        let pepper = self.own_pepper()?;
        Ok(bytes_of(seal).is_some_and(|seal| pepper.is_seal(WHAT, text.as_bytes(), &seal)))
    }
}
