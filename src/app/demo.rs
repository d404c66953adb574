//! `rollcall demo`: the service with a simulated fleet in the same process, over real MQTT on loopback.
//! Called by main.rs.

use std::future::Future;

use anyhow::Context;

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
    let (control, fleet) = simulator::start(options)?;
    running.hand_over(control.clone());
    println!("{}", running.ready_line());
    println!("{vehicles} simulated vehicles are on the road; watch them at http://{}", running.http());
    stop.await;
    control.stop();
    let _ = fleet.await;
    running.stop().await;
    Ok(())
}
