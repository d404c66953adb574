//! In place of `oidc` in a build without that feature: there is never a provider. The settings refuse one that is set.
//! Asked by app at start and by `check`.

use std::sync::Arc;

use super::logins::Logins;
use crate::settings::Oidc as Settings;

/// There is none.
pub enum Oidc {}

impl Oidc {
    /// None.
    ///
    /// # Errors
    /// Never.
    pub fn open(_: &Settings, _: &Arc<Logins>) -> anyhow::Result<Option<Arc<Self>>> {
        Ok(None)
    }

    /// There is nobody to ask.
    ///
    /// # Errors
    /// Never.
    pub async fn probe(_: &Settings) -> anyhow::Result<()> {
        Ok(())
    }
}
