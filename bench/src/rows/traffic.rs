//! What the rows have in common: filling a fleet, and heartbeats at a steady pace in the background of a measurement.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use crate::packets::Packets;
use crate::pipe::Pipe;
use crate::stage::Product;

/// How fast a fleet is filled. Each vehicle's first heartbeat is a transition that has to be stored.
const FILL_PER_S: f64 = 50_000.0;
/// A million transitions on a slow disk.
const FILL_LIMIT: Duration = Duration::from_secs(300);

/// Heartbeats in the background.
pub struct Traffic {
    stop: AtomicBool,
    speaking: AtomicUsize,
}

impl Traffic {
    /// Of the first `speaking` vehicles.
    pub fn of(speaking: usize) -> Self {
        Self { stop: AtomicBool::new(false), speaking: AtomicUsize::new(speaking) }
    }

    /// From now on only the first so many speak.
    pub fn silence_all_but(&self, speaking: usize) {
        self.speaking.store(speaking, Relaxed);
    }

    /// No more.
    pub fn stop(&self) {
        self.stop.store(true, Relaxed);
    }

    /// Sends until it is stopped.
    pub fn run(&self, pipe: &mut Pipe, packets: &mut Packets, per_s: f64) -> anyhow::Result<()> {
        pipe.pace(packets, per_s, || self.speaking.load(Relaxed), || self.stop.load(Relaxed), |_, _| ())
    }
}

/// Does something while heartbeats go on; they end when it does.
pub fn beside<T>(
    product: &mut Product,
    packets: &mut Packets,
    per_s: f64,
    work: impl FnOnce(&mut Product, &Traffic) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let mut pipe = Pipe::open(product.mqtt, "bench-traffic")?;
    let traffic = Traffic::of(packets.count());
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| traffic.run(&mut pipe, packets, per_s));
        let outcome = work(product, &traffic);
        traffic.stop();
        let sent = sender.join().map_err(|_| anyhow::anyhow!("the generator panicked"))?;
        sent.context("heartbeats could not be sent")?;
        outcome
    })
}

/// Makes so many vehicles known and online, and waits until that is stored.
pub fn fill(product: &mut Product, vehicles: usize) -> anyhow::Result<()> {
    let mut packets = Packets::new(0..vehicles, false);
    beside(product, &mut packets, FILL_PER_S, |product, _| online(product, vehicles))?;
    product.settle(FILL_LIMIT)
}

/// Waits until at least so many are online.
pub fn online(product: &mut Product, vehicles: usize) -> anyhow::Result<()> {
    let is_online = |status: &Value| status["vehicles"]["online"].as_u64() >= Some(vehicles as u64);
    product.until("every vehicle is online", FILL_LIMIT, is_online).map(drop)
}
