//! The embedded broker's listeners, plain and TLS: who may come in, and how long a newcomer may take to say who it is.
//! Fed by the kernel with new connections; hands each to the broker's own client handler, in a task of its own. The
//! broker's accept loop counts a connection only once it has sent its CONNECT, so that silent ones cost it sockets
//! without end, and its time limit is fixed; this one is in its place. Nothing of it is on the way of a message.
//!
//! Bound: `mqtt.connections_max` in all and `mqtt.connections_per_address_max` from one address. Full, a connection
//! that still has to say who it is makes room, the oldest first; when all have said it, the new one is turned away.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use mqtt5::broker::auth::AuthProvider;
use mqtt5::broker::client_handler::ClientHandler;
use mqtt5::broker::resource_monitor::ResourceMonitor;
use mqtt5::broker::router::MessageRouter;
use mqtt5::broker::sys_topics::BrokerStats;
use mqtt5::broker::transport::BrokerTransport;
use mqtt5::broker::{BrokerConfig, DynamicStorage, MqttBroker};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, mpsc};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

use super::connection;
use super::wire::{Line, Wire};
use crate::settings::Mqtt;

/// Connections that have yet to send their CONNECT; beyond it the one that waits longest is closed. A fleet that comes
/// back all at once sends CONNECT within a round trip, so this is some thousand connections a second.
const WAITING_MAX: usize = 2_000;
/// Pause after the system refused a connection, for instance because files are used up: asking on would only burn.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// Everybody inside, and who of them is still silent.
#[derive(Debug)]
pub struct Lobby {
    connections_max: usize,
    per_address_max: usize,
    /// By ticket, so by age; the handle is there once the task is.
    waiting: Mutex<BTreeMap<u64, Option<AbortHandle>>>,
    addresses: Mutex<HashMap<IpAddr, usize>>,
    inside: AtomicUsize,
    last_ticket: AtomicU64,
    turned_away: AtomicU64,
    timed_out: AtomicU64,
}

impl Lobby {
    /// An empty one.
    pub fn new(settings: &Mqtt) -> Self {
        Self {
            connections_max: settings.connections_max.max(1),
            per_address_max: settings.connections_per_address_max.max(1),
            waiting: Mutex::default(),
            addresses: Mutex::default(),
            inside: AtomicUsize::new(0),
            last_ticket: AtomicU64::new(0),
            turned_away: AtomicU64::new(0),
            timed_out: AtomicU64::new(0),
        }
    }

    /// The connection of the present task has sent its whole CONNECT. `false` when it had to make room meanwhile.
    pub fn has_spoken(&self) -> bool {
        connection::ticket().is_none_or(|ticket| self.waiting.lock().remove(&ticket).is_some())
    }

    /// Connections that were not let in, or had to make room.
    pub fn turned_away(&self) -> u64 {
        self.turned_away.load(Relaxed)
    }

    /// Connections closed because they did not say who they are in time.
    pub fn timed_out(&self) -> u64 {
        self.timed_out.load(Relaxed)
    }

    fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Visit> {
        let full = self.inside.load(Relaxed) >= self.connections_max;
        if full && !self.close_oldest() {
            self.turn_away(address, "mqtt.connections_max");
            return None;
        }
        let mut addresses = self.addresses.lock();
        let count = addresses.entry(address).or_default();
        if *count >= self.per_address_max {
            drop(addresses);
            self.turn_away(address, "mqtt.connections_per_address_max");
            return None;
        }
        *count += 1;
        drop(addresses);
        self.inside.fetch_add(1, Relaxed);
        let ticket = self.last_ticket.fetch_add(1, Relaxed) + 1;
        let waiting = {
            let mut waiting = self.waiting.lock();
            waiting.insert(ticket, None);
            waiting.len()
        };
        if waiting > WAITING_MAX {
            self.close_oldest();
        }
        Some(Visit { lobby: Arc::clone(self), ticket, address })
    }

    fn close_oldest(&self) -> bool {
        let Some((_, oldest)) = self.waiting.lock().pop_first() else { return false };
        self.turned_away.fetch_add(1, Relaxed);
        if let Some(task) = oldest {
            task.abort();
        }
        true
    }

    /// One line for the first, the second, the fourth and so on: an attack does not fill the log.
    fn turn_away(&self, address: IpAddr, limit: &str) {
        let count = self.turned_away.fetch_add(1, Relaxed) + 1;
        if count.is_power_of_two() {
            tracing::warn!(%address, limit, count, "MQTT connections were turned away");
        }
    }
}

/// One connection inside, until it ends in whatever way.
struct Visit {
    lobby: Arc<Lobby>,
    ticket: u64,
    address: IpAddr,
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.lobby.waiting.lock().remove(&self.ticket);
        self.lobby.inside.fetch_sub(1, Relaxed);
        let mut addresses = self.lobby.addresses.lock();
        if let Some(count) = addresses.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&self.address);
            }
        }
    }
}

/// What a connection's handler is made of; the same for every listener.
#[derive(Clone)]
pub struct Entrance {
    lobby: Arc<Lobby>,
    connect_timeout: Duration,
    config: Arc<BrokerConfig>,
    router: Arc<MessageRouter>,
    auth: Arc<dyn AuthProvider>,
    storage: Option<Arc<DynamicStorage>>,
    stats: Arc<BrokerStats>,
    monitor: Arc<ResourceMonitor>,
}

impl Entrance {
    /// The entrance of this broker, which has no listener of its own.
    pub fn new(lobby: Arc<Lobby>, settings: &Mqtt, broker: &MqttBroker, config: BrokerConfig) -> Self {
        Self {
            lobby,
            connect_timeout: settings.connect_timeout.std(),
            config: Arc::new(config),
            router: broker.router(),
            auth: broker.auth_provider(),
            storage: broker.storage(),
            stats: broker.stats(),
            monitor: broker.resource_monitor(),
        }
    }

    /// Lets connections in at one listener until told to stop; returns when all of them have ended.
    pub async fn run(self, listener: TcpListener, tls: Option<TlsAcceptor>, stop: broadcast::Sender<()>) {
        let (open, mut closed) = mpsc::channel::<()>(1);
        let mut stopped = stop.subscribe();
        let mut refused = 0_u64;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stopped.recv() => break,
            };
            match accepted {
                Ok((stream, address)) => {
                    if self.monitor.can_accept_connection(address.ip()).await
                        && let Some(visit) = self.lobby.admit(address.ip())
                    {
                        self.serve((stream, address), tls.clone(), visit, &stop, open.clone());
                    }
                }
                Err(error) => {
                    refused += 1;
                    if refused.is_power_of_two() {
                        tracing::error!(%error, refused, "the system refuses MQTT connections; is the limit of open \
                                                          files above mqtt.connections_max?");
                    }
                    tokio::time::sleep(REFUSED_PAUSE).await;
                }
            }
        }
        drop(listener);
        drop(open);
        let _ = closed.recv().await;
    }

    fn serve(
        &self,
        (stream, address): (TcpStream, std::net::SocketAddr),
        tls: Option<TlsAcceptor>,
        visit: Visit,
        stop: &broadcast::Sender<()>,
        open: mpsc::Sender<()>,
    ) {
        // A vehicle waits for its acknowledgement, which is a packet of four bytes.
        let _ = stream.set_nodelay(true);
        let (this, stop) = (self.clone(), stop.subscribe());
        let line = Arc::<Line>::default();
        let to_client = Arc::clone(&line);
        // The handshake is part of the time a newcomer has to say who it is. In a box: what is moved into a task that
        // waits has room in it twice, and this is most of what a connection takes.
        let handling = Box::pin(async move {
            // The broker's only transport that takes a stream of ours; it is never a WebSocket.
            let transport = BrokerTransport::WebSocket(match tls {
                None => Box::new(Wire::new(stream, address, to_client)),
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => Box::new(Wire::new(stream, address, to_client)),
                    Err(error) => return tracing::debug!(%address, %error, "a TLS handshake failed"),
                },
            });
            let (config, stats, monitor) = (this.config, this.stats, this.monitor);
            let (router, auth, storage) = (this.router, this.auth, this.storage);
            let handler = ClientHandler::new(transport, address, config, router, auth, storage, stats, monitor, stop);
            let _ = handler.run().await;
        });
        let (ticket, limit) = (visit.ticket, self.connect_timeout);
        let task = tokio::spawn(async move {
            let serving = connection::serve(ticket, line, handling);
            tokio::pin!(serving);
            let ended = tokio::time::timeout(limit, &mut serving).await.is_ok();
            // Until its CONNECT is whole nothing is known of it outside this task, so it can simply be dropped.
            let silent = !ended && visit.lobby.waiting.lock().remove(&ticket).is_some();
            if silent {
                visit.lobby.timed_out.fetch_add(1, Relaxed);
            } else if !ended {
                let _ = serving.await;
            }
            drop((visit, open));
        });
        if let Some(waiting) = self.lobby.waiting.lock().get_mut(&ticket) {
            *waiting = Some(task.abort_handle());
        }
    }
}
