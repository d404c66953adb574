//! Start and stop of the service, top to bottom as the data flows; and the other commands.
//! Called by main.rs with checked settings.

pub mod check;
pub mod cli;
pub mod demo;
pub mod healthcheck;
pub mod replay;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr};
use actix_web::dev::{Server, ServerHandle};
use actix_web::rt::net::TcpStream;
use actix_web::{App, HttpServer, web};
use anyhow::Context;
use tokio::sync::watch;

use crate::api::{self, Service, rate::Rate};
use crate::clock::Clock;
use crate::fleet::limit::Limit;
use crate::fleet::outbox::FleetCounters;
use crate::fleet::persister::Persister;
use crate::fleet::registry::{Admission, Registry};
use crate::fleet::supervisor::{DrainAll, Hearing, Plan, Supervisor};
use crate::ingest::broker::Broker;
use crate::ingest::door::Door;
use crate::ingest::publisher::Publisher;
use crate::ingest::subscriber::{Link, Subscriber};
use crate::live::feed::Feed;
use crate::live::hub::{CloseAll, Hub};
use crate::settings::Settings;
use crate::store::{self, Store};
use crate::telemetry::warnings::Warnings;

/// From the signal to the end: drained, committed, dashboards told.
const STOP_MAX: Duration = Duration::from_secs(9);
/// How long dashboards get to take their farewell.
const FAREWELL: Duration = Duration::from_millis(200);
/// Send buffer of a connection: above what a session sends without an answer, so that it is never frozen.
const SEND_BUFFER_BYTES: usize = 512 * 1024;
/// A peer that acknowledges nothing for so long is gone, whatever its actor believes.
const PEER_SILENCE: Duration = Duration::from_secs(60);

/// The way heartbeats come in.
enum Intake {
    Embedded(Broker),
    External(Subscriber, String),
}

/// A running service.
pub struct Running {
    http: SocketAddr,
    server: ServerHandle,
    intake: Intake,
    publisher: Publisher,
    supervisor: Addr<Supervisor>,
    persister: Persister,
    hub: Addr<Hub>,
    store: Arc<dyn Store>,
}

/// Starts everything, in the order of the flow backwards: a heartbeat that comes in finds its whole way ready.
///
/// # Errors
/// One sentence saying which part cannot start and what to do.
pub async fn start(settings: &Settings) -> anyhow::Result<Running> {
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let clock = Clock::start();
    let listener = bind(settings.http.listen)?;
    let store = store::open(settings.store.url.expose()).await?;
    let customers = store.load_customers().await?.into_iter().map(|row| (row.customer.clone(), row));
    let customers: BTreeMap<_, _> = customers.collect();

    let registry = Arc::new(Registry::new(shards(settings), admission(settings), clock));
    let warnings = Arc::<Warnings>::default();
    let door = Door::new(Arc::clone(&registry), &settings.mqtt.topics, clock, Arc::clone(&warnings));
    let door = Arc::new(door.map_err(anyhow::Error::msg)?);
    let feed = Arc::new(Feed::new(clock, settings.live.tick.0));
    let hub = Hub::new(Arc::clone(&feed), settings.live.tick.std(), settings.live.dashboards_max).start();
    let persister = Persister::start(
        Arc::clone(&store),
        Arc::clone(&feed),
        hub.clone(),
        Arc::clone(&registry),
        settings.store.checkpoint_interval.std(),
    );
    let counters = Arc::<FleetCounters>::default();
    let plan = Plan {
        store: Arc::clone(&store),
        registry: Arc::clone(&registry),
        rules: settings.fleet.rules(),
        clock,
        counters: Arc::clone(&counters),
        feed: Arc::clone(&feed),
        hub: hub.clone(),
        persister: persister.clone(),
        warnings: Arc::clone(&warnings),
    };
    let supervisor = Supervisor::start_fleet(plan).await.context("cannot bring the fleet to life from the store")?;

    let rate = Arc::<Rate>::default();
    let intake = start_intake(settings, &door, &supervisor).await?;
    let voice = if let Intake::Embedded(broker) = &intake { Some(broker.voice()) } else { None };
    let publisher = Publisher::start(&settings.mqtt, voice, &feed)?;
    let service = web::Data::new(Service {
        connections: connections_of(&intake),
        unwelcome: unwelcome_of(&intake),
        supervisor: supervisor.clone(),
        feed,
        hub: hub.clone(),
        door: Arc::clone(&door),
        registry,
        store: Arc::clone(&store),
        health: persister.health(),
        counters,
        warnings,
        statuses: publisher.counts(),
        customers,
        rules: settings.fleet.rules(),
        clock,
        rate: Arc::clone(&rate),
        web_dir: settings.http.web_dir.clone(),
        orders: Default::default(),
    });
    let http = listener.local_addr()?;
    let server = serve(listener, service)?;
    let handle = server.handle();
    tokio::spawn(server);
    actix::spawn(sample_rate(rate, door, clock));
    Ok(Running { http, server: handle, intake, publisher, supervisor, persister, hub, store })
}

impl Running {
    /// Where it answers HTTP.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where its own broker listens, when it has one.
    pub fn mqtt(&self) -> Option<SocketAddr> {
        match &self.intake {
            Intake::Embedded(broker) => Some(broker.local_addr()),
            Intake::External(..) => None,
        }
    }

    /// The line that says that every listener answers.
    pub fn ready_line(&self) -> String {
        let mqtt = match &self.intake {
            Intake::Embedded(broker) => broker.local_addr().to_string(),
            Intake::External(_, place) => place.clone(),
        };
        format!("ready http={} mqtt={mqtt} store={}", self.http, self.store.kind())
    }

    /// Stops in the order of the flow: no more heartbeats, what came is dealt with and written, dashboards are told.
    /// Statuses go out as late as their way allows: our own broker goes first, a client can wait for the last commit.
    pub async fn stop(mut self) {
        match self.intake {
            Intake::Embedded(broker) => {
                self.publisher.stop().await;
                broker.stop().await;
            }
            Intake::External(subscriber, _) => subscriber.stop().await,
        }
        let _ = self.supervisor.send(DrainAll).await;
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
    stop.await;
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

fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .with_context(|| format!("cannot listen for HTTP on {address}; free it or choose another with --http"))
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

async fn start_intake(settings: &Settings, door: &Arc<Door>, supervisor: &Addr<Supervisor>) -> anyhow::Result<Intake> {
    let Some(url) = &settings.mqtt.broker else {
        let broker = Broker::start(&settings.mqtt, Arc::clone(door)).await?;
        supervisor.send(Hearing { scope: "process", blind: None }).await?;
        return Ok(Intake::Embedded(broker));
    };
    let (tell, link) = watch::channel(Link::Down { cause: "not connected yet".into() });
    let subscriber = Subscriber::start(&settings.mqtt, Arc::clone(door), tell)?;
    actix::spawn(follow_link(link, supervisor.clone()));
    Ok(Intake::External(subscriber, url.shown()))
}

/// Tells the supervisor whether the external broker can be heard. The first time it can, the start is over too.
async fn follow_link(mut link: watch::Receiver<Link>, supervisor: Addr<Supervisor>) {
    let mut was_up = false;
    loop {
        let state = link.borrow_and_update().clone();
        match state {
            Link::Up => {
                supervisor.do_send(Hearing { scope: if was_up { "link" } else { "process" }, blind: None });
                was_up = true;
            }
            Link::Down { cause } if was_up => supervisor.do_send(Hearing { scope: "link", blind: Some(cause) }),
            Link::Down { .. } => {}
        }
        if link.changed().await.is_err() {
            return;
        }
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

fn serve(listener: TcpListener, service: web::Data<Service>) -> anyhow::Result<Server> {
    let server = HttpServer::new(move || {
        let service = service.clone();
        App::new().wrap(api::compression()).wrap(api::headers()).configure(move |config| api::routes(config, service))
    });
    Ok(server
        .workers(std::thread::available_parallelism().map_or(2, std::num::NonZero::get))
        .on_connect(|connection, _| {
            if let Some(stream) = connection.downcast_ref::<TcpStream>() {
                harden(stream);
            }
        })
        .disable_signals()
        .shutdown_timeout(1)
        .listen(listener)?
        .run())
}

/// Dead peers are found by the kernel, and a dashboard that does not read cannot freeze its session.
fn harden(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    let set = [
        socket.set_keepalive(true),
        socket.set_tcp_nodelay(true),
        socket.set_send_buffer_size(SEND_BUFFER_BYTES),
        socket.set_tcp_user_timeout(Some(PEER_SILENCE)),
    ];
    for outcome in set.into_iter().filter(Result::is_err) {
        tracing::debug!(?outcome, "a socket option could not be set");
    }
}

async fn sample_rate(rate: Arc<Rate>, door: Arc<Door>, clock: Clock) {
    let mut second = actix::clock::interval(Duration::from_secs(1));
    loop {
        second.tick().await;
        rate.sample(clock.now(), door.taken());
    }
}
