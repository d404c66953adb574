//! Vehicles that come and go, and what the acknowledgements of their heartbeats promise. Used where the service or the
//! store is broken under load.
//!
//! What an acknowledgement promises depends on who gives it. The embedded broker is ours: at that instant the heartbeat
//! has had its effect. Mosquitto only promises to deliver it, in order: markers (a vehicle that beats once) published
//! after it bound the arrival.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinHandle;

use crate::history::{History, Step};
use crate::radio::{Beat, Radio};
use crate::stacks::{CUSTOMER, Kind, Stack, wall_ms};
use crate::support::{PATIENCE, Service, until};

/// Two clocks cut to milliseconds.
const CLOCK_MS: i64 = 10;

/// A vehicle that beats ten times a second for a while, falls silent for a while, and so on, until it is aborted.
async fn come_and_go(vehicle: String, radio: Arc<Radio>, mut chance: SmallRng) {
    loop {
        for _ in 0..chance.random_range(1..12) {
            radio.beat(&vehicle, "{}");
            tokio::time::sleep(Duration::from_millis(100)).await; // poll: the rhythm of the vehicle
        }
        let silence = Duration::from_millis(chance.random_range(250..1_200));
        tokio::time::sleep(silence).await; // poll: the vehicle is silent
    }
}

/// A new vehicle every 50 ms that beats once.
async fn mark(radio: Arc<Radio>) {
    let mut number = 0;
    loop {
        number += 1;
        radio.beat(&format!("marker-{number}"), "{}");
        tokio::time::sleep(Duration::from_millis(50)).await; // poll: the rhythm of the markers
    }
}

/// Everybody who sends.
pub struct Load {
    radios: Vec<Arc<Radio>>,
    marker: Arc<Radio>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts so many vehicles, spread over connections of about ten.
    pub async fn start(stack: &Stack, vehicles: usize, chance: &mut SmallRng) -> Self {
        let mut radios = Vec::new();
        for index in 0..vehicles.div_ceil(10) {
            radios.push(Arc::new(Radio::connect(stack, &index.to_string()).await));
        }
        let marker = Arc::new(Radio::connect(stack, "marker").await);
        let vehicle = |index: usize| {
            let radio = Arc::clone(&radios[index % radios.len()]);
            tokio::spawn(come_and_go(format!("v-{index}"), radio, SmallRng::from_rng(chance)))
        };
        let mut tasks: Vec<_> = (0..vehicles).map(vehicle).collect();
        tasks.push(tokio::spawn(mark(Arc::clone(&marker))));
        Self { radios, marker, tasks }
    }

    /// Sends the first heartbeat of a new vehicle and returns at the very moment of its acknowledgement.
    pub async fn last_word(&self, vehicle: &str) {
        until("the radio is connected", || async { self.marker.is_connected() }).await;
        let number = self.marker.beat(vehicle, "{}").expect("connected");
        let begun = Instant::now();
        while self.marker.of(number).acked.is_none() {
            assert!(begun.elapsed() < PATIENCE, "{vehicle} is not acknowledged");
            tokio::task::yield_now().await;
        }
    }

    /// Everybody falls silent, and whatever was sent has arrived.
    pub async fn end(&self, service: &Service) {
        self.tasks.iter().for_each(JoinHandle::abort);
        until("nothing is under way", || async { self.radios.iter().all(|radio| radio.is_settled()) }).await;
        until("the radio is back", || async { self.marker.is_connected() }).await;
        let settled = wall_ms();
        until("the next millisecond", || async { wall_ms() > settled }).await;
        self.marker.beat_acked("marker-last").await;
        until("the last marker arrived", || async { service.status_of(CUSTOMER, "marker-last").await.is_some() }).await;
    }

    fn beats(&self) -> Vec<Beat> {
        self.radios.iter().flat_map(|radio| radio.beats()).collect()
    }

    /// Every acknowledged heartbeat found its vehicle online, or made it so, and that is stored. (What our death
    /// cut off may be stored as unobserved from its last checkpoint on, never as offline.)
    pub fn check_acknowledged(&self, kind: Kind, history: &History) -> (usize, usize) {
        let by_vehicle = history.by_vehicle();
        let markers = self.marker.beats();
        // A marker's acknowledgement, and when it arrived.
        let arrived: Vec<(i64, i64)> = markers
            .iter()
            .filter(|marker| marker.acked.is_some())
            .map(|marker| {
                let first = history.of(&marker.vehicle).next();
                let first = first.unwrap_or_else(|| panic!("{marker:?} was acknowledged and is lost"));
                // One that waited in the broker's queue is dated back to when we went deaf (R42).
                (marker.sent, if first.to == "unobserved" { first.decided_at } else { first.at })
            })
            .collect();
        let beats = self.beats();
        let mut count = 0;
        for beat in &beats {
            let Some(acked) = beat.acked else { continue };
            count += 1;
            let until = match kind {
                Kind::Embedded => acked,
                // Within one millisecond either may have been first.
                Kind::External => arrived.iter().find(|(sent, _)| *sent > acked).expect("the last marker").1,
            };
            let steps = by_vehicle.get(beat.vehicle.as_str()).map_or(&[][..], Vec::as_slice);
            assert!(
                was_there(steps, beat.sent - CLOCK_MS, until + CLOCK_MS),
                "{beat:?} was acknowledged, arrived until {until}, and is not in {:#?}",
                steps.iter().filter(|step| (step.at - acked).abs() < 3_000).collect::<Vec<_>>()
            );
        }
        (count, beats.len())
    }
}

/// Whether the stored history has the vehicle online (or unobserved after that) at some instant of `[from, to]`.
fn was_there(steps: &[&Step], from: i64, to: i64) -> bool {
    steps.iter().enumerate().any(|(index, step)| {
        let ends = steps.get(index + 1).map_or(i64::MAX, |next| next.at);
        step.to != "offline" && step.at <= to && ends >= from
    })
}
