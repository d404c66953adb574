//! The director: does to the stage what the scenario says, when it says so, and notes what really happened. Fed by the
//! scenario, feeds the judge with incidents. Every fault runs as a task of its own, so that they may overlap.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use nix::sys::signal::Signal;
use tokio::{
    task::JoinSet,
    time::{self, Instant},
};

use super::{
    incident::{Effect, Incident},
    proxy::Mode,
    scenario::{Between, Cut, Fault, Kind, Scenario, Stack},
    stage::Stage,
};
use crate::{control::Control, ledger::Clock, session, verify::client::Reader};

const ASK_PAUSE: Duration = Duration::from_millis(100);
/// The product does not notice a broken link in the same instant; what it says about itself before that counts little.
const NOTICE: Duration = Duration::from_millis(500);

/// See the head of this file.
pub struct Director {
    pub stage: Arc<Stage>,
    pub control: Control,
    pub clock: Clock,
    pub recovery: Duration,
    pub reader: Reader,
}

impl Director {
    /// Runs the whole timeline. An error means that the stage broke, not the product's verdicts.
    pub async fn run(self: Arc<Self>, scenario: &Scenario, begun: Instant) -> anyhow::Result<Vec<Incident>> {
        let mut running = JoinSet::new();
        for (at, index) in scenario.timeline() {
            let (director, fault) = (self.clone(), scenario.fault[index].clone());
            running.spawn(async move {
                time::sleep_until(begun + at).await;
                director.perform(&fault).await.with_context(|| format!("{:?}", fault.kind))
            });
        }
        let mut incidents = Vec::new();
        while let Some(ended) = running.join_next().await {
            incidents.push(ended.context("a fault broke down")??);
        }
        incidents.sort_by_key(|incident| incident.from_ms);
        Ok(incidents)
    }

    async fn perform(&self, fault: &Fault) -> anyhow::Result<Incident> {
        let effect = Effect::of(fault);
        let mut incident = Incident {
            kind: fault.kind,
            from_ms: self.clock.epoch_ms(),
            undone_ms: 0,
            hears_ms: 0,
            skipped: None,
            effect,
        };
        if let Some(reason) = self.cannot(fault) {
            eprintln!("skipped: {:?}: {reason}", fault.kind);
            let now_ms = self.clock.epoch_ms();
            let effect = Effect::default();
            return Ok(Incident { undone_ms: now_ms, hears_ms: now_ms, skipped: Some(reason), effect, ..incident });
        }
        tracing::info!(fault = ?fault.kind, "begins");
        match fault.kind {
            Kind::KillProduct | Kind::StopProduct => incident.from_ms = self.restart_product(fault).await?,
            Kind::SuspendProduct => incident.from_ms = self.suspend_product(fault).await?,
            Kind::KillBroker => incident.from_ms = self.kill_broker(fault).await?,
            Kind::StopStore => self.stop_store(fault).await?,
            Kind::CutNetwork => self.cut_network(fault).await,
            Kind::StepClock => self.step_clock(fault)?,
            Kind::RetainedReplay if self.stage.stack == Stack::Embedded => {
                Self::leave_retained(&self.stage, fault.vehicles).await?;
            }
            // They lie there since before the product began; each new subscription replays them.
            Kind::RetainedReplay => {}
            Kind::SilenceAll => {
                self.control.silence_all().await;
                time::sleep(fault.length).await;
                self.control.wake_all().await;
            }
        }
        incident.undone_ms = self.clock.epoch_ms();
        incident.hears_ms = if effect.deafens { self.hears_again().await } else { incident.undone_ms };
        tracing::info!(fault = ?fault.kind, took_ms = incident.hears_ms - incident.from_ms, "is over");
        Ok(incident)
    }

    /// Why this machine or this stack cannot do it.
    fn cannot(&self, fault: &Fault) -> Option<String> {
        let embedded = self.stage.stack == Stack::Embedded;
        let why = match fault.kind {
            Kind::KillBroker if embedded => "the embedded broker ends with the product: see kill_product",
            Kind::KillBroker if self.stage.mosquitto.is_none() => "the broker is not ours to kill",
            Kind::StopStore if !embedded && self.stage.postgres.is_none() => "the store is not ours to stop",
            Kind::CutNetwork if embedded && fault.between == Between::Product => "there is no network in between",
            Kind::StepClock if self.stage.faketime.is_none() => "libfaketime is not installed",
            _ => return None,
        };
        Some(why.to_owned())
    }

    /// Returns when it began.
    async fn restart_product(&self, fault: &Fault) -> anyhow::Result<u64> {
        let mut product = self.stage.product.lock().await;
        let from_ms = self.clock.epoch_ms();
        let Some(mut process) = product.take() else { return Ok(from_ms) };
        match fault.kind {
            Kind::KillProduct => process.kill().await?,
            _ => process.end(Signal::SIGTERM).await?,
        }
        time::sleep(fault.length).await;
        *product = Some(self.stage.start_product(self.recovery).await?);
        Ok(from_ms)
    }

    async fn suspend_product(&self, fault: &Fault) -> anyhow::Result<u64> {
        let product = self.stage.product.lock().await;
        let from_ms = self.clock.epoch_ms();
        let Some(process) = product.as_ref() else { return Ok(from_ms) };
        process.signal(Signal::SIGSTOP)?;
        time::sleep(fault.length).await;
        process.signal(Signal::SIGCONT)?;
        Ok(from_ms)
    }

    async fn kill_broker(&self, fault: &Fault) -> anyhow::Result<u64> {
        let Some(mosquitto) = &self.stage.mosquitto else { return Ok(self.clock.epoch_ms()) };
        let mut mosquitto = mosquitto.lock().await;
        let from_ms = self.clock.epoch_ms();
        mosquitto.kill().await?;
        time::sleep(fault.length).await;
        mosquitto.start().await?;
        Ok(from_ms)
    }

    async fn stop_store(&self, fault: &Fault) -> anyhow::Result<()> {
        let Some(postgres) = &self.stage.postgres else {
            let lock = self.stage.lock_sqlite().await?;
            time::sleep(fault.length).await;
            drop(lock);
            return Ok(());
        };
        let mut postgres = postgres.lock().await;
        postgres.stop().await?;
        time::sleep(fault.length).await;
        postgres.start().await
    }

    async fn cut_network(&self, fault: &Fault) {
        let proxy = match fault.between {
            Between::Vehicles => &self.stage.vehicles_proxy,
            Between::Product => &self.stage.product_proxy,
        };
        let Some(proxy) = proxy else { return };
        proxy.set(match fault.cut {
            Some(Cut::Swallow) => Mode::Swallow,
            Some(Cut::Delay) => Mode::Delay(fault.delay),
            Some(Cut::Close) | None => Mode::Close,
        });
        time::sleep(fault.length).await;
        proxy.set(Mode::Pass);
    }

    /// libfaketime reads an offset such as `+63072000` from its file.
    fn step_clock(&self, fault: &Fault) -> anyhow::Result<()> {
        let step = fault.step_s().unwrap_or_default();
        std::fs::write(self.stage.clock_file(), format!("{step:+}\n")).context("cannot step the clock")
    }

    /// Heartbeats of vehicles that do not exist. At QoS 0, so that no queue holds them for a product that is away.
    pub async fn leave_retained(stage: &Stage, vehicles: u32) -> anyhow::Result<()> {
        let topics = (0..vehicles).map(|ghost| format!("fleet/acme-logistics/GHOST-{ghost:05}/heartbeat"));
        session::retain(&stage.broker_itself, topics.collect()).await
    }

    /// Waits until the product says that it hears, but never longer than it may take.
    async fn hears_again(&self) -> u64 {
        let undone = Instant::now();
        time::sleep(NOTICE).await;
        while undone.elapsed() < self.recovery {
            if self.reader.status().await.is_ok_and(|status| status.listening) {
                break;
            }
            time::sleep(ASK_PAUSE).await;
        }
        self.clock.epoch_ms()
    }
}
