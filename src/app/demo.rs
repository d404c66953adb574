//! `rollcall demo`: the service with a simulated fleet in the same process, over real MQTT on loopback.
//! Called by main.rs.

use std::future::Future;

use anyhow::Context;

use crate::access::Access;
use crate::domain::access::{Grant, KeyId, Scope, Scopes};
use crate::settings::Settings;

/// What the demo sets before the user's flags: data in memory, and timeouts short enough to watch.
pub const PRESET: [(&str, &str); 4] = [
    ("store.url", "sqlite::memory:"),
    ("fleet.offline_after", "10s"),
    ("fleet.will_grace", "4s"),
    ("history.heartbeats", "sampled"),
];

/// Runs service and fleet until `stop` resolves.
///
/// # Errors
/// What cannot start, in one sentence.
pub async fn run_until(
    settings: &Settings,
    vehicles: u32,
    customers: u32,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let running = super::start(settings).await?;
    let broker = running.mqtt().context("the demo brings its own broker; leave --broker out")?;
    let mut options = simulator::Options::demo(broker, vehicles, customers);
    options.offline_after = settings.fleet.offline_after.std();
    options.will_grace = settings.fleet.will_grace.std();
    // In memory there is no other process that could make one.
    let keys = if running.access.asks() { Some(Keys::make(&running.access).await?) } else { None };
    options.broker = options.broker.with_key(keys.as_ref().map(|keys| &keys.fleet.1));
    let (control, fleet) = simulator::start(options)?;
    running.hand_over(control.clone());
    println!("{}", running.ready_line());
    println!("{vehicles} simulated vehicles are on the road; watch them at {}", running.page());
    if let Some(Keys { operator, .. }) = &keys {
        println!("sign in there with this key, which is good until the demo ends: {}", operator.1.expose());
    }
    stop.await;
    control.stop();
    let _ = fleet.await;
    if let Some(keys) = keys {
        keys.end(&running.access).await;
    }
    running.stop().await;
    Ok(())
}

/// The keys of a demo where everybody is asked for one.
struct Keys {
    /// The simulated fleet sends with it.
    fleet: (KeyId, simulator::Key),
    /// Whoever watches signs in with it.
    operator: (KeyId, simulator::Key),
}

impl Keys {
    async fn make(access: &Access) -> anyhow::Result<Self> {
        let key = async |name: &str, scope| {
            let scopes = Scopes::of(&[scope]);
            let grant = Grant { name: name.to_owned(), customer: None, vehicle: None, scopes, expires_at: None };
            let (key, full) = access.create(grant, "demo").await?;
            anyhow::Ok((key.id, simulator::Key::parse(&full.expose())?))
        };
        Ok(Self { fleet: key("demo fleet", Scope::Ingest).await?, operator: key("demo operator", Scope::Admin).await? })
    }

    /// A store in a file outlives the demo, its keys do not.
    async fn end(self, access: &Access) {
        for (id, _) in [self.fleet, self.operator] {
            if let Err(error) = access.revoke(id).await {
                tracing::warn!("the demo's key {id} could not be revoked: {error:#}");
            }
        }
    }
}
