//! Who may come in, brought to life with the service: keys, users and sessions read, followed, and the audit kept
//! within its bound.
//! Called by app.rs once the store is open, and when the service stops.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::access::Access;
use crate::access::logins::Logins;
use crate::clock::Clock;
use crate::settings::Auth;
use crate::store::Store;

/// How often old entries of the audit are forgotten.
const PRUNE_EVERY: Duration = Duration::from_secs(3_600);

/// The tasks that follow the store; ended before it is closed, or they would warn of that.
pub type Followers = [JoinHandle<()>; 3];

/// Reads keys, users and sessions, and follows their changes.
///
/// # Errors
/// A sentence saying what cannot be read.
pub async fn start(
    settings: &Auth,
    folder: Option<PathBuf>,
    store: &Arc<dyn Store>,
    clock: Clock,
) -> anyhow::Result<(Arc<Access>, Arc<Logins>, Followers)> {
    let access = Access::open(settings, folder, Arc::clone(store) as _, clock).await?;
    if access.asks() && access.page(None, 1, |_| true).is_empty() {
        tracing::warn!("there is no key yet; make the first: rollcall key create --name ops --scopes admin");
    }
    let logins = Logins::open(settings, Arc::clone(&access), Arc::clone(store) as _).await?;
    let followers = [
        actix::spawn(Arc::clone(&access).follow()),
        actix::spawn(Arc::clone(&logins).follow()),
        actix::spawn(prune_audit(settings.clone(), Arc::clone(store), clock)),
    ];
    Ok((access, logins, followers))
}

async fn prune_audit(settings: Auth, store: Arc<dyn Store>, clock: Clock) {
    let mut hour = actix::clock::interval(PRUNE_EVERY);
    loop {
        hour.tick().await;
        let before = clock.today() - settings.audit_keep.0;
        if let Err(error) = store.prune_audit(before, settings.audit_rows_max).await {
            tracing::warn!("old entries of the audit could not be forgotten: {error:#}");
        }
    }
}
