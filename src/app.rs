//! Start and stop of the service, top to bottom as the data flows; and the other commands.
//! Called by main.rs with checked settings.

mod access;
pub mod archive;
pub mod check;
pub mod cli;
pub mod demo;
mod earlier;
pub mod healthcheck;
mod history;
mod http;
pub mod key;
pub mod mosquitto_auth;
pub mod replay;
pub mod user;

use std::future::Future;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr};
use actix_web::dev::ServerHandle;
use actix_web::web;
use anyhow::Context;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::access::Access;
use crate::access::logins::Logins;
use crate::access::oidc::Oidc;
use crate::api::{self, Service, porter::Porter, rate::Rate, visitors::Visitors};
use crate::clock::Clock;
use crate::domain::limit::Limit;
use crate::exports::{self, Exports};
use crate::fleet::customers::Customers;
use crate::fleet::heartbeat_log::HeartbeatLog;
use crate::fleet::keeper::Keeper;
use crate::fleet::last_seen::LastSeen;
use crate::fleet::outbox::FleetCounters;
use crate::fleet::persister::Persister;
use crate::fleet::registry::{Admission, Registry};
use crate::fleet::rollups::Rollups;
use crate::fleet::supervisor::{DrainAll, Hearing, Plan, Stepped, Supervisor};
use crate::gate::certificate::Certificate;
use crate::ingest::broker::Broker;
use crate::ingest::canary::{Blind, Canary, Judge, Line, Own};
use crate::ingest::door::Door;
use crate::ingest::presence::Presence;
use crate::ingest::publisher::Publisher;
use crate::ingest::subscriber::{Link, Subscriber};
use crate::live::feed::Feed;
use crate::live::hub::{CloseAll, Hub};
use crate::settings::{Secret, Settings};
use crate::store::last_seen::{self, SeenFile};
use crate::store::local::{self, Local};
use crate::store::{self, Store};
use crate::telemetry::warnings::Warnings;

/// From the signal to the end: drained, committed, dashboards told.
const STOP_MAX: Duration = Duration::from_secs(9);
/// How long dashboards get to take their farewell.
const FAREWELL: Duration = Duration::from_millis(200);
/// The way heartbeats come in.
enum Intake {
    Embedded(Broker),
    External(Subscriber, String),
}

/// A running service.
pub struct Running {
    http: SocketAddr,
    /// HTTP is spoken over TLS there.
    https: bool,
    server: ServerHandle,
    intake: Intake,
    publisher: Publisher,
    line: Line,
    judge: JoinHandle<()>,
    supervisor: Addr<Supervisor>,
    persister: Persister,
    hub: Addr<Hub>,
    store: Arc<dyn Store>,
    demo: Arc<api::demo::Fleet>,
    last_seen: Option<LastSeen>,
    access: Arc<Access>,
    logins: Arc<Logins>,
    followers: access::Followers,
    rollups: Rollups,
    exports: exports::Worker,
    heartbeat_log: Option<HeartbeatLog>,
    keeper: Keeper,
    /// Ours until the process has nothing more to write.
    _local: Option<Local>,
}

/// Starts everything, in the order of the flow backwards: a heartbeat that comes in finds its whole way ready.
///
/// # Errors
/// One sentence saying which part cannot start and what to do.
pub async fn start(settings: &Settings) -> anyhow::Result<Running> {
    settings.map.find_file()?;
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let clock = Clock::start();
    let certificate = settings.tls.files().map(|(cert, key)| Certificate::watch(cert, key)).transpose()?;
    let listener = http::bind(settings.http.listen)?;
    // Before the store: a second process on the same folder must not bring its schema up to date beneath the first.
    let folder = local::folder(settings.store.url.expose(), settings.store.local_dir.as_deref());
    let local = folder.as_deref().map(Local::open).transpose()?;
    let replica = settings.store.replica_url.as_ref().map(Secret::expose);
    let store = store::open_with_replica(settings.store.url.expose(), replica).await?;
    store.take_over().await?;
    let identity = store.identity().await?;
    let seen_file = local.as_ref().map(|local| SeenFile::new(local.path(last_seen::FILE), identity.clone()));
    let spool = match &local {
        Some(local) => Some(earlier::open_spool(local, &*store, identity, settings).await?),
        None => None,
    };
    let (access, logins, followers) = access::start(&settings.auth, folder.clone(), &store, clock).await?;
    let exports = Exports::open(&settings.exports, folder, Arc::clone(&store), Arc::clone(&access), clock).await?;

    let oidc = Oidc::open(&settings.auth.oidc, &logins)?;
    let registry = Arc::new(Registry::new(shards(settings), admission(settings), clock));
    let warnings = Arc::<Warnings>::default();
    let proof = settings.mqtt.broker.is_some().then(|| Arc::clone(registry.proof()));
    let canary = Canary::new(&settings.mqtt, clock, proof);
    let door = Door::new(Arc::clone(&registry), &settings.mqtt.topics, clock, Arc::clone(&warnings));
    let door = Arc::new(door.map_err(anyhow::Error::msg)?.with_canary(Arc::clone(&canary)));
    let feed = Arc::new(Feed::new(clock, settings.live.tick.0));
    let hub = Hub::new(Arc::clone(&feed), settings.live.tick.std(), settings.live.dashboards_max).start();
    let persister = Persister::start(
        Arc::clone(&store),
        spool,
        Arc::clone(&feed),
        hub.clone(),
        Arc::clone(&registry),
        settings.store.checkpoint_interval.std(),
    );
    let counters = Arc::<FleetCounters>::default();
    let customers = Arc::<Customers>::default();
    let heartbeat_log = history::log(&settings.history, &store, &persister);
    let plan = Plan {
        store: Arc::clone(&store),
        registry: Arc::clone(&registry),
        rules: settings.fleet.rules(),
        clock,
        counters: Arc::clone(&counters),
        feed: Arc::clone(&feed),
        hub: hub.clone(),
        persister: persister.clone(),
        seen: seen_file.as_ref().and_then(earlier::read_seen),
        warnings: Arc::clone(&warnings),
        customers: Arc::clone(&customers),
        log: heartbeat_log.as_ref().map(HeartbeatLog::hand),
    };
    let (supervisor, desk) =
        Supervisor::start_fleet(plan).await.context("cannot bring the fleet to life from the store")?;
    let every = settings.store.last_seen_interval.std();
    let last_seen = seen_file.map(|file| LastSeen::start(file, Arc::clone(&feed), Arc::clone(&registry), every));

    let rules = history::rules(&settings.history, &exports);
    let keeper = Keeper::start(&store, persister.health(), clock, rules).await?;
    let every = settings.history.rollup_interval.0;
    let (health, on_board) = (persister.health(), Arc::clone(&feed));
    let rollups = Rollups::start(Arc::clone(&store), Arc::clone(&registry), on_board, health, every);
    let export_worker = exports::Worker::start(Arc::clone(&exports), Arc::clone(&feed));
    let rate = Arc::<Rate>::default();
    let intake = start_intake(settings, &door, certificate.as_ref(), &access, &supervisor).await?;
    let voice = if let Intake::Embedded(broker) = &intake { Some(broker.voice()) } else { None };
    let publisher = Publisher::start(&settings.mqtt, voice, &feed)?;
    let demo = Arc::<api::demo::Fleet>::default();
    let line = start_line(settings, &intake, &canary, clock)?;
    let judge = Judge {
        canary: Arc::clone(&canary),
        registry: Arc::clone(&registry),
        feed: Arc::clone(&feed),
        counters: Arc::clone(&counters),
        health: persister.health(),
        offline_after: settings.fleet.offline_after.0,
        clock,
    };
    let judge = judge.start(tell_intake(supervisor.clone()));
    let service = web::Data::new(Service {
        access: Arc::clone(&access),
        logins: Arc::clone(&logins),
        oidc,
        connections: connections_of(&intake),
        unwelcome: unwelcome_of(&intake),
        desk,
        feed,
        hub: hub.clone(),
        door: Arc::clone(&door),
        registry,
        store: Arc::clone(&store),
        counted: rollups.counted(),
        heartbeat_log: heartbeat_log.as_ref().map(HeartbeatLog::counts),
        heartbeats_kept: settings.history.heartbeats,
        horizons: keeper.horizons(),
        archives: keeper.archives(),
        streams: api::stats_stream::Streams::new(settings.history.streams_max),
        exports,
        health: persister.health(),
        counters,
        warnings,
        statuses: publisher.counts(),
        canary,
        customers,
        rules: settings.fleet.rules(),
        clock,
        rate: Arc::clone(&rate),
        visitors: Visitors::start(&settings.http, clock),
        porter: Porter::new(&settings.http, clock),
        web_dir: settings.http.web_dir.clone(),
        import_bytes_max: settings.http.import_bytes_max,
        map: settings.map.clone(),
        orders: Default::default(),
        demo: Arc::clone(&demo),
    });
    let http = listener.local_addr()?;
    let certificate = certificate.filter(|_| settings.tls.https);
    let https = certificate.is_some();
    let server = http::serve(listener, certificate, &settings.http, service)?;
    let handle = server.handle();
    tokio::spawn(server);
    actix::spawn(sample_rate(rate, door, clock));
    actix::spawn(follow_wall(clock, supervisor.clone()));
    Ok(Running {
        http,
        https,
        server: handle,
        intake,
        publisher,
        line,
        judge,
        supervisor,
        persister,
        hub,
        store,
        demo,
        last_seen,
        access,
        logins,
        followers,
        rollups,
        exports: export_worker,
        heartbeat_log,
        keeper,
        _local: local,
    })
}

impl Running {
    /// The dashboard's address.
    pub fn page(&self) -> String {
        format!("{}://{}", if self.https { "https" } else { "http" }, self.http)
    }

    /// Where its own broker listens, when it has one.
    pub fn mqtt(&self) -> Option<SocketAddr> {
        match &self.intake {
            Intake::Embedded(broker) => Some(broker.local_addr()),
            Intake::External(..) => None,
        }
    }

    /// Gives the dashboard's buttons a hand on the simulated fleet.
    pub fn hand_over(&self, fleet: simulator::Control) {
        let _ = self.demo.set(fleet);
    }

    /// The line that says that every listener answers; `https=` repeats the HTTP door's address when it speaks TLS.
    pub fn ready_line(&self) -> String {
        let mqtt = match &self.intake {
            Intake::Embedded(broker) => broker.local_addr().to_string(),
            Intake::External(_, place) => place.clone(),
        };
        let https = if self.https { format!(" https={}", self.http) } else { String::new() };
        let mqtts = match &self.intake {
            Intake::Embedded(broker) => broker.tls_addr().map(|address| format!(" mqtts={address}")),
            Intake::External(..) => None,
        };
        let (store, mqtts) = (self.store.kind(), mqtts.unwrap_or_default());
        format!("ready http={} mqtt={mqtt} store={store}{https}{mqtts}", self.http)
    }

    /// Stops in the order of the flow: no more heartbeats, what came is dealt with and written, dashboards are told.
    /// Statuses go out as late as their way allows: our own broker goes first, a client can wait for the last commit.
    pub async fn stop(mut self) {
        self.judge.abort();
        self.line.stop().await;
        let exports = tokio::spawn(self.exports.stop());
        match self.intake {
            Intake::Embedded(broker) => {
                self.publisher.stop().await;
                broker.stop().await;
            }
            Intake::External(subscriber, _) => subscriber.stop().await,
        }
        let _ = self.supervisor.send(DrainAll).await;
        if let Some(last_seen) = self.last_seen.take() {
            last_seen.stop().await;
        }
        if let Err(error) = self.access.note_uses().await {
            tracing::warn!("when keys were last used could not be written: {error:#}");
        }
        self.followers.iter().for_each(|follower| follower.abort());
        if let Err(error) = self.logins.note_uses().await {
            tracing::warn!("when sessions were last used could not be written: {error:#}");
        }
        self.keeper.stop();
        self.rollups.stop().await;
        let _ = exports.await;
        if let Some(log) = self.heartbeat_log.take() {
            log.stop().await;
        }
        self.persister.stop().await;
        self.publisher.stop().await;
        let _ = self.hub.send(CloseAll("the service is stopping")).await;
        tokio::time::sleep(FAREWELL).await;
        self.server.stop(false).await;
    }
}

/// Runs until `stop` resolves, then stops within ten seconds.
///
/// # Errors
/// What [`start`] says, or that stopping took too long.
pub async fn run_until(settings: &Settings, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let running = start(settings).await?;
    println!("{}", running.ready_line());
    let health = running.persister.health();
    tokio::select! {
        () = stop => {}
        // Nothing that we decide can be kept from now on, and two that judge the same vehicles help nobody.
        () = health.replaced() => anyhow::bail!("another Rollcall has taken this store over; this one ends"),
    }
    tracing::info!("stopping");
    tokio::time::timeout(STOP_MAX, running.stop()).await.context("stopping took too long; what was not durable is lost")
}

/// Runs one command on a runtime with all cores, and gives back its exit code.
pub fn run(command: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build();
    // invariant: a process that may start no thread cannot run at all
    let system = actix::System::with_tokio_rt(|| runtime().expect("invariant: threads can be started"));
    system.block_on(command)
}

/// Listens for SIGTERM and SIGINT from now on, so that no signal after the ready line finds nobody. The future resolves
/// at the first one; a second one ends the process at once, also while it is still starting.
pub fn signal() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let told = match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut term), Ok(mut int)) => {
            let (tell, told) = tokio::sync::oneshot::channel();
            tokio::spawn(async move {
                tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
                let _ = tell.send(());
                tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
                std::process::exit(130);
            });
            Some(told)
        }
        _ => {
            tracing::error!("cannot listen for signals; SIGTERM ends the process without a clean stop");
            None
        }
    };
    async move {
        match told {
            Some(told) => drop(told.await),
            None => std::future::pending().await,
        }
    }
}

fn shards(settings: &Settings) -> usize {
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    if settings.fleet.shards > 0 { settings.fleet.shards } else { (cores / 2).max(1) }
}

fn admission(settings: &Settings) -> Admission {
    Admission {
        vehicles_max: settings.fleet.max_vehicles,
        customer_vehicles_max: settings.fleet.max_vehicles_per_customer,
        auto_register: settings.fleet.auto_register,
        limit: Limit::new(settings.fleet.beats_per_s_max, settings.fleet.beats_burst),
    }
}

async fn start_intake(
    settings: &Settings,
    door: &Arc<Door>,
    certificate: Option<&Arc<Certificate>>,
    access: &Arc<Access>,
    supervisor: &Addr<Supervisor>,
) -> anyhow::Result<Intake> {
    let Some(url) = &settings.mqtt.broker else {
        let broker =
            Broker::start(&settings.mqtt, Arc::clone(door), certificate, access.asks().then_some(access)).await?;
        supervisor.send(Hearing { scope: "process", blind: None, since: None }).await?;
        return Ok(Intake::Embedded(broker));
    };
    let (tell, link) = watch::channel(Link::Down { cause: "not connected yet".into(), since: None });
    let subscriber = Subscriber::start(&settings.mqtt, Arc::clone(door), tell)?;
    actix::spawn(follow_link(link, supervisor.clone()));
    Ok(Intake::External(subscriber, url.shown()))
}

/// Tells the supervisor whether the external broker can be heard. The first time it can, the start is over too.
async fn follow_link(mut link: watch::Receiver<Link>, supervisor: Addr<Supervisor>) {
    let mut scope = "process";
    loop {
        let state = link.borrow_and_update().clone();
        let (blind, since) = match state {
            Link::Up => (None, None),
            Link::Down { cause, since } => (Some(cause), since),
        };
        let up = blind.is_none();
        supervisor.do_send(Hearing { scope, blind, since });
        if up {
            scope = "link";
        }
        if link.changed().await.is_err() {
            return;
        }
    }
}

/// The client that carries the canary and tells of our presence. At the embedded broker there is always a link.
fn start_line(settings: &Settings, intake: &Intake, canary: &Arc<Canary>, clock: Clock) -> anyhow::Result<Line> {
    let own = match intake {
        Intake::Embedded(broker) => {
            canary.grant(true);
            Some(Own { address: broker.local_addr(), voice: broker.voice(), login: broker.own_login() })
        }
        Intake::External(..) => None,
    };
    Line::start(&settings.mqtt, own, canary, Presence::new(&settings.mqtt, clock))
}

/// Tells the supervisor what the canary proves.
fn tell_intake(supervisor: Addr<Supervisor>) -> impl Fn(Option<Blind>) + Send + 'static {
    move |blind| {
        let (since, blind) = blind.map_or((None, None), |Blind { since, cause }| (Some(since), Some(cause)));
        supervisor.do_send(Hearing { scope: "intake", blind, since });
    }
}

fn connections_of(intake: &Intake) -> Box<dyn Fn() -> usize + Send + Sync> {
    match intake {
        Intake::Embedded(broker) => Box::new(broker.connection_counter()),
        Intake::External(..) => Box::new(|| 0),
    }
}

fn unwelcome_of(intake: &Intake) -> Box<dyn Fn() -> (u64, u64) + Send + Sync> {
    match intake {
        Intake::Embedded(broker) => Box::new(broker.door_counter()),
        Intake::External(..) => Box::new(|| (0, 0)),
    }
}

/// Dates follow the wall clock when somebody sets it.
async fn follow_wall(clock: Clock, supervisor: Addr<Supervisor>) {
    let mut second = actix::clock::interval(Duration::from_secs(1));
    loop {
        second.tick().await;
        if let Some(by) = clock.follow_wall() {
            supervisor.do_send(Stepped { by });
        }
    }
}

async fn sample_rate(rate: Arc<Rate>, door: Arc<Door>, clock: Clock) {
    let mut second = actix::clock::interval(Duration::from_secs(1));
    loop {
        second.tick().await;
        rate.sample(clock.now(), door.taken());
    }
}
