//! The embedded MQTT broker: the front door for vehicles when there is no broker outside. MQTT 3.1.1 and 5, QoS 0 to 2.
//! Fed by the vehicles' connections; feeds the door through its hook. Only this file and its folder name the crate.
//! What it keeps for ordinary subscribers (retained messages, queues of sessions) is bounded below and lives in memory.

mod acks;
mod connection;
mod entrance;
#[cfg(test)]
mod gateway_tests;
mod guard;
mod hook;
mod logins;
mod sessions;
mod status;
#[cfg(test)]
mod tests;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::Context;
use mqtt5::broker::router::MessageRouter;
use mqtt5::broker::{
    BrokerConfig, DynamicStorage, MqttBroker, ResourceLimits, ResourceMonitor, StorageBackend, StorageBackendType,
    StorageConfig,
};
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use self::entrance::{Entrance, Lobby};
use self::guard::{Guard, show_out};
use self::hook::{Hook, Patience};
use self::logins::Logins;
pub use self::status::Voice;
use super::canary::Canary;
use super::door::Door;
use crate::access::Access;
use crate::gate::certificate::Certificate;
use crate::settings::Mqtt;

/// New connections taken in a second. A fleet that lost its network comes back all at once; more than this is turned
/// away and comes again.
const CONNECTIONS_PER_S_MAX: u32 = 20_000;
/// How long a session without a connection is kept: vehicles only publish, so this serves other subscribers.
const SESSION_KEPT: Duration = Duration::from_secs(3_600);
/// Messages kept for a subscriber that is away; beyond this they are refused for it.
const QUEUED_MESSAGES_MAX: usize = 1_000;
/// Bytes kept for a subscriber that is away.
const QUEUED_BYTES_MAX: usize = 1024 * 1024;
/// Retained messages of clients: about 50 MB at 500 bytes. Our own statuses may be more (status.rs).
const RETAINED_MAX: usize = 100_000;
/// How often sessions and messages whose time is over are forgotten.
const CLEAN_EVERY: Duration = Duration::from_secs(60);
/// How long `stop` waits for connections to say goodbye.
const STOP_LIMIT: Duration = Duration::from_secs(3);

/// A running broker.
pub struct Broker {
    address: SocketAddr,
    /// The listener for TLS, where there is one.
    tls_address: Option<SocketAddr>,
    hook: Arc<Hook>,
    voice: Voice,
    /// The client id of the canary.
    canary: String,
    logins: Option<Arc<Logins>>,
    shutdown: broadcast::Sender<()>,
    task: JoinHandle<()>,
    cleaner: JoinHandle<()>,
    /// Ends the connections of ended keys.
    usher: Option<JoinHandle<()>>,
}

impl Broker {
    /// Binds the listeners and serves them on the present runtime until [`Broker::stop`]; `mqtt.tls_listen` shows the
    /// certificate. Where there is an `access`, everybody is asked for a key.
    ///
    /// # Errors
    /// One sentence when a port is taken or a setting cannot be.
    pub async fn start(
        settings: &Mqtt,
        door: Arc<Door>,
        certificate: Option<&Arc<Certificate>>,
        access: Option<&Arc<Access>>,
    ) -> anyhow::Result<Self> {
        let login = |access| Arc::new(Logins::new(Arc::clone(access), Canary::client_id(settings), door.clock()));
        let logins = access.map(login);
        Self::start_with(settings, door, certificate, logins, Patience::default()).await
    }

    async fn start_with(
        settings: &Mqtt,
        door: Arc<Door>,
        certificate: Option<&Arc<Certificate>>,
        logins: Option<Arc<Logins>>,
        patience: Patience,
    ) -> anyhow::Result<Self> {
        let (listener, address) = bind(settings.listen).await?;
        let secure = match (settings.tls_listen, certificate) {
            (Some(listen), Some(certificate)) => {
                let acceptor = TlsAcceptor::from(Arc::new(certificate.server(b"mqtt")));
                Some((bind(listen).await?, acceptor))
            }
            _ => None,
        };
        let tls_address = secure.as_ref().map(|((_, address), _)| *address);
        let lobby = Arc::new(Lobby::new(settings));
        let hook = Hook::new(door, settings.publish_status, patience, Arc::clone(&lobby));
        let guard = Arc::new(Guard { hook: Arc::clone(&hook), logins: logins.clone() });
        let broker = MqttBroker::with_config(config(settings, &hook)).await.context("cannot start the MQTT broker")?;
        let broker = broker.with_auth_provider(guard);
        broker.resource_monitor().update_limits(limits(settings));
        let voice = Voice(broker.router());
        let _ = hook.router.set(broker.router());
        if let Some(storage) = broker.storage() {
            let _ = hook.storage.set(storage);
        }
        broker.router().initialize().await.context("cannot start the MQTT broker")?;
        let entrance = Entrance::new(lobby, settings, &broker, config(settings, &hook));
        let cleaner = tokio::spawn(clean_up(broker.storage(), broker.router(), broker.resource_monitor()));
        // Its parts are all we want of it; with it goes the listener that it insists on and nobody ever called.
        drop(broker);
        let (shutdown, _) = broadcast::channel(1);
        let stop = shutdown.clone();
        let task = tokio::spawn(async move {
            let secure = async {
                if let Some(((listener, _), acceptor)) = secure {
                    entrance.clone().run(listener, Some(acceptor), stop.clone()).await;
                }
            };
            tokio::join!(entrance.clone().run(listener, None, stop.clone()), secure);
        });
        let usher = logins.clone().map(|logins| tokio::spawn(show_out(Arc::clone(&hook), logins)));
        let canary = Canary::client_id(settings);
        Ok(Self { address, tls_address, hook, voice, canary, logins, shutdown, task, cleaner, usher })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens for TLS, if it does.
    pub fn tls_addr(&self) -> Option<SocketAddr> {
        self.tls_address
    }

    /// How Rollcall itself publishes here.
    pub fn voice(&self) -> Voice {
        self.voice.clone()
    }

    /// User and password with which our own line comes in, where anybody is asked.
    pub fn own_login(&self) -> Option<(String, String)> {
        self.logins.as_ref().map(|logins| logins.own())
    }

    /// Connections open at this moment.
    pub fn connections(&self) -> usize {
        self.hook.sessions.count()
    }

    /// Counts open connections for as long as it is kept, but not the canary's.
    pub fn connection_counter(&self) -> impl Fn() -> usize + Send + Sync + 'static {
        let (hook, canary) = (Arc::clone(&self.hook), self.canary.clone());
        move || hook.sessions.count().saturating_sub(usize::from(hook.sessions.has(&canary)))
    }

    /// Connections closed because a message could not be made safe in time.
    pub fn given_up(&self) -> u64 {
        self.hook.given_up.load(Relaxed)
    }

    /// Connections that were not let in or had to make room, and those that did not say who they are in time.
    pub fn door_counter(&self) -> impl Fn() -> (u64, u64) + Send + Sync + 'static {
        let hook = Arc::clone(&self.hook);
        move || (hook.lobby.turned_away(), hook.lobby.timed_out())
    }

    /// Closes the listeners and all connections. From the first moment on nothing is acknowledged that is not safe
    /// yet, and the connections that end are no hints.
    pub async fn stop(mut self) {
        self.hook.stopping.send_replace(true);
        let _ = self.shutdown.send(());
        self.cleaner.abort();
        if let Some(usher) = &self.usher {
            usher.abort();
        }
        if tokio::time::timeout(STOP_LIMIT, &mut self.task).await.is_err() {
            tracing::warn!(connections = self.connections(), "MQTT connections did not end in time");
            self.task.abort();
        }
    }
}

async fn bind(listen: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(listen).await.map_err(|error| {
        anyhow::anyhow!(
            "cannot listen for MQTT on {listen}: {error}; choose another mqtt.listen (for TLS, mqtt.tls_listen), or \
             name the broker that runs there with --broker mqtt://{listen}"
        )
    })?;
    let address = listener.local_addr().context("the MQTT listener has no address")?;
    Ok((listener, address))
}

/// Forgets sessions and retained messages whose time is over.
async fn clean_up(storage: Option<Arc<DynamicStorage>>, router: Arc<MessageRouter>, monitor: Arc<ResourceMonitor>) {
    let mut interval = tokio::time::interval(CLEAN_EVERY);
    loop {
        interval.tick().await;
        if let Some(storage) = &storage
            && let Err(error) = storage.cleanup_expired().await
        {
            tracing::warn!(%error, "the MQTT broker could not clean up");
        }
        router.sweep_sessions().await;
        monitor.cleanup_expired_windows().await;
    }
}

fn config(settings: &Mqtt, hook: &Arc<Hook>) -> BrokerConfig {
    let storage = StorageConfig::new()
        .with_backend(StorageBackendType::Memory)
        .with_max_queued_messages_per_client(QUEUED_MESSAGES_MAX)
        .with_max_queued_bytes_per_client(QUEUED_BYTES_MAX);
    BrokerConfig::new()
        .with_bind_address(([127, 0, 0, 1], 0))
        .with_max_clients(settings.connections_max.max(1))
        .with_max_packet_size(settings.packet_bytes_max as usize)
        .with_session_expiry(SESSION_KEPT)
        .with_max_retained_messages(RETAINED_MAX)
        .with_max_retained_message_size(settings.packet_bytes_max as usize)
        .with_sys_topics_enabled(false)
        .with_storage(storage)
        .with_event_handler(Arc::clone(hook) as _)
}

/// The broker's own limits are 10,000 an address and 10,000 a second: behind a gateway or NAT all vehicles share one
/// address. Message and byte rates are not limited (0): the door's lanes are the brake.
fn limits(settings: &Mqtt) -> ResourceLimits {
    ResourceLimits {
        max_connections: settings.connections_max,
        max_connections_per_ip: settings.connections_per_address_max.max(1),
        max_message_rate_per_client: 0,
        max_bandwidth_per_client: 0,
        max_connection_rate: CONNECTIONS_PER_S_MAX,
        rate_limit_window: Duration::from_secs(1),
    }
}
