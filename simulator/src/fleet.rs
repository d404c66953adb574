//! The fleet: builds vehicles, lanes and the hand on them from the options, runs them, and reports. Fed by `main` or
//! the service's demo; the flow of a run reads from top to bottom in `run_to_end`.

use std::{collections::HashMap, sync::Arc, time::Duration};

use anyhow::{Context, anyhow};
use tokio::{
    net::TcpStream,
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time,
};

use crate::{
    backoff::BackOff,
    control::{Control, Name},
    device::{Device, FleetFacts},
    dice::{Dice, Stream},
    lane::{Lane, ORDERS_MAX, Order, Seat, told},
    ledger::{Clock, Ledger},
    names::{self, Kind},
    options::{Broker, Options, WillFate},
    plan::{self, Behaviour},
    progress,
    report::Report,
    session::Link,
    verify::Verifier,
};

/// A broker that takes longer to accept a connection is not reachable.
const PROBE_LIMIT: Duration = Duration::from_secs(5);
/// After the stop signal lanes get this long to say goodbye (a session drains for 2 s at most).
const STOP_LIMIT: Duration = Duration::from_secs(6);

/// A hung modem that nobody misses: longer than any keep-alive of the broker, which ends it.
const HANG_FOR_GOOD: Duration = Duration::from_secs(3_600);

/// Starts a fleet on the current tokio runtime. The handle ends with the report after `Control::stop` or the duration.
pub fn start(options: Options) -> anyhow::Result<(Control, JoinHandle<anyhow::Result<Report>>)> {
    options.check()?;
    let ledger = Ledger::new(Clock::start(), options.vehicles, options.rules());
    let ledger = Arc::new(if options.record { ledger.recording() } else { ledger });
    let mut fleet = Fleet::build(options, ledger);
    let (stop, stopped) = watch::channel(false);
    let (senders, orders) = fleet.lanes.iter().map(|_| mpsc::channel(ORDERS_MAX)).unzip();
    let control = Control::new(std::mem::take(&mut fleet.places), senders, stop, fleet.ledger.clone());
    let handle = tokio::spawn(fleet.run_to_end(orders, stopped, control.clone()));
    Ok((control, handle))
}

/// Runs a fleet until its duration is over or `stop` is ready.
pub async fn run(options: Options, stop: impl Future<Output = ()> + Send) -> anyhow::Result<Report> {
    let (control, mut handle) = start(options)?;
    let ended = tokio::select! {
        ended = &mut handle => ended,
        () = stop => {
            control.stop();
            handle.await
        }
    };
    ended.map_err(|error| anyhow!("the fleet broke down: {error}"))?
}

struct Fleet {
    options: Options,
    ledger: Arc<Ledger>,
    behaviours: Vec<Behaviour>,
    names: Vec<Name>,
    places: HashMap<Name, Vec<(usize, usize)>>,
    lanes: Vec<Lane>,
}

impl Fleet {
    fn build(options: Options, ledger: Arc<Ledger>) -> Self {
        let behaviours = plan::behaviours(options.seed, options.vehicles, &options.shares);
        let kinds = kinds(&options);
        let names = names(&options);
        let crowd = Crowd { options: &options, ledger: &ledger, behaviours: &behaviours, kinds: &kinds, names: &names };
        let (lanes, places) = if options.one_connection_a_vehicle() { crowd.own_lanes() } else { crowd.shared_lanes() };
        Self { ledger, behaviours, names, places, lanes, options }
    }

    async fn run_to_end(
        self,
        orders: Vec<mpsc::Receiver<Order>>,
        mut stopped: watch::Receiver<bool>,
        control: Control,
    ) -> anyhow::Result<Report> {
        let Self { options, ledger, behaviours, names, lanes, .. } = self;
        probe(&options.broker).await?;
        let mut verifier = Verifier::begin(&options, ledger.clone(), names).await?;
        let connections = lanes.len() as u32;
        let begun = time::Instant::now();

        let mut running = JoinSet::new();
        for (lane, orders) in lanes.into_iter().zip(orders) {
            running.spawn(lane.run(orders, stopped.clone()));
        }
        let shown = tokio::spawn(progress::show(options.clone(), ledger.clone()));
        let length = options.duration.unwrap_or(Duration::MAX);
        tokio::select! {
            () = told(&mut stopped) => {}
            () = time::sleep(length) => {}
            () = verifier.watch() => {}
        }
        let cut_ms = ledger.clock.epoch_ms();
        shown.abort();
        let mut report = Report::new(&options, connections, &behaviours, &ledger, begun.elapsed());
        control.stop();
        if time::timeout(STOP_LIMIT, join(&mut running)).await.is_err() {
            running.shutdown().await;
        }
        report.counts = ledger.counts();
        report.verify = verifier.conclude(cut_ms).await;
        Ok(report)
    }
}

fn kinds(options: &Options) -> Vec<Kind> {
    let mut dice = Dice::new(options.seed, Stream::Fleet, 1);
    (0..options.vehicles).map(|_| Kind::roll(&mut dice)).collect()
}

/// The names of all vehicles, by index.
pub fn names(options: &Options) -> Vec<Name> {
    let name = |(index, kind): (u32, &Kind)| (names::customer(index % options.customers), names::vehicle(*kind, index));
    (0..).zip(&kinds(options)).map(name).collect()
}

async fn join(running: &mut JoinSet<()>) {
    while running.join_next().await.is_some() {}
}

/// Fails early, in one sentence, when nobody listens at the broker's address.
async fn probe(broker: &Broker) -> anyhow::Result<()> {
    let connecting = TcpStream::connect(format!("{}:{}", broker.host, broker.port));
    match time::timeout(PROBE_LIMIT, connecting).await {
        Ok(connected) => {
            connected.map(drop).with_context(|| format!("nobody answers at the broker's address {broker}"))
        }
        Err(_) => Err(anyhow!("the broker at {broker} does not answer within {} s", PROBE_LIMIT.as_secs())),
    }
}

/// The vehicles before they are seated in lanes.
struct Crowd<'a> {
    options: &'a Options,
    ledger: &'a Arc<Ledger>,
    behaviours: &'a [Behaviour],
    kinds: &'a [Kind],
    names: &'a [Name],
}

type Seating = (Vec<Lane>, HashMap<Name, Vec<(usize, usize)>>);

impl Crowd<'_> {
    /// One connection a device, with the vehicle's last will. A double connects under a name of its own, as the broker
    /// would otherwise let the two throw each other out.
    fn own_lanes(&self) -> Seating {
        let (mut lanes, mut places) = (Vec::new(), HashMap::<Name, Vec<_>>::new());
        for (vehicle, double) in self.devices() {
            let (customer, name) = &self.names[vehicle as usize];
            places.entry(self.names[vehicle as usize].clone()).or_default().push((lanes.len(), 0));
            let client_id = format!("{customer}-{name}{}", if double { "-double" } else { "" });
            let will = (!double).then(|| (vehicle, format!("fleet/{customer}/{name}/will")));
            lanes.push(self.lane(lanes.len(), client_id, will, vec![self.seat(vehicle, double)]));
        }
        (lanes, places)
    }

    /// Devices dealt out over a few connections in turn. The two devices of a clone sit in different lanes, where there
    /// are two: the double follows one place later.
    fn shared_lanes(&self) -> Seating {
        let count = self.options.shared_connections() as usize;
        let mut seats: Vec<Vec<Seat>> = (0..count).map(|_| Vec::new()).collect();
        let mut places = HashMap::<Name, Vec<_>>::new();
        for (vehicle, double) in self.devices() {
            let lane = (vehicle as usize + usize::from(double)) % count;
            places.entry(self.names[vehicle as usize].clone()).or_default().push((lane, seats[lane].len()));
            seats[lane].push(self.seat(vehicle, double));
        }
        let client_id = |lane| format!("gateway-{}-{lane}", std::process::id());
        let lanes = seats.into_iter().enumerate();
        (lanes.map(|(index, seats)| self.lane(index, client_id(index), None, seats)).collect(), places)
    }

    /// Every device: the vehicle it belongs to, and whether it is the double of a cloned identity.
    fn devices(&self) -> impl Iterator<Item = (u32, bool)> {
        (0..self.options.vehicles).flat_map(|vehicle| {
            let double = (self.behaviours[vehicle as usize] == Behaviour::Clone).then_some((vehicle, true));
            std::iter::once((vehicle, false)).chain(double)
        })
    }

    fn lane(&self, index: usize, client_id: String, own: Option<(u32, String)>, seats: Vec<Seat>) -> Lane {
        let options = self.options;
        let crew = seats.iter().map(|seat| seat.vehicle).collect();
        // Only a broken modem (behaviour will) asks what becomes of the will.
        let mut dice = Dice::new(options.seed, Stream::Wills, index as u64);
        let fate = if own.is_some() { options.wills.roll(dice.unit()) } else { WillFate::Prompt };
        let (will, hang) = match fate {
            WillFate::Prompt => (true, None),
            WillFate::Late => (true, Some(options.wills.late_by)),
            WillFate::Never => (false, Some(HANG_FOR_GOOD)),
        };
        let link = Link { broker: options.broker.clone(), client_id, qos: options.qos, own, will, hang, crew };
        let longest_ms = options.reconnect_max.as_millis() as u64;
        let back_off = BackOff::new(Dice::new(options.seed, Stream::BackOff, index as u64), longest_ms);
        Lane::new(link, seats, back_off, self.ledger.clone())
    }

    fn seat(&self, vehicle: u32, double: bool) -> Seat {
        let facts = FleetFacts {
            seed: self.options.seed,
            rhythm: self.options.rhythm(),
            burst: self.options.burst,
            started_epoch_ms: self.ledger.clock.started_epoch_ms(),
        };
        let index = vehicle as usize;
        let (customer, name) = &self.names[index];
        Seat {
            vehicle,
            device: Device::new(&facts, vehicle, self.kinds[index], self.behaviours[index], double),
            heartbeat_topic: format!("fleet/{customer}/{name}/heartbeat"),
            goodbye_topic: format!("fleet/{customer}/{name}/goodbye"),
        }
    }
}
