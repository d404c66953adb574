//! One MQTT connection from CONNECT to its end, and the only file that names the MQTT crate. Fed by a lane, feeds the
//! broker and the ledger. A session is never revived: after an error the lane opens a new one, so no half-sent
//! request of the old connection can surface in the new one, and each CONNECT announces the last will again.
//!
//! Two tasks share it: the lane publishes (and may wait), the pump polls (and never waits for anything but the
//! network).

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, bail};
use rumqttc::{AsyncClient, Event, EventLoop, LastWill, MqttOptions, NetworkOptions, Outgoing, Packet, QoS};
use tokio::{sync::Notify, task::JoinHandle, time};

use crate::{
    ledger::{Ledger, Note, Receipt, bump},
    options::{Broker, Qos},
};

/// Connecting takes no longer than this, in seconds; a dead broker must not hold up a lane for long.
const CONNECT_LIMIT_S: u64 = 5;
/// How long a planned end waits for queued messages and their acknowledgements.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Unacknowledged messages in flight. Enough for 20,000/s at 25 ms round trip; far below the protocol's 65,535.
const IN_FLIGHT_MAX: u16 = 500;
/// Messages waiting for the pump. Small: what waits here is not sent yet, and when it is full the lane waits.
const QUEUE_MAX: usize = 64;
const PACKET_MAX_BYTES: usize = 16 * 1024;

/// How to connect; the same for every session of a lane.
#[derive(Debug, Clone)]
pub struct Link {
    pub broker: Broker,
    pub client_id: String,
    pub qos: Qos,
    /// The vehicle this connection belongs to alone, with the topic of its last will.
    pub own: Option<(u32, String)>,
    /// Whether a last will is announced.
    pub will: bool,
    /// Instead of breaking, the connection hangs for so long.
    pub hang: Option<Duration>,
    /// Every vehicle that speaks through it.
    pub crew: Arc<[u32]>,
}

/// An open connection.
pub struct Session {
    client: AsyncClient,
    qos: QoS,
    handed: Arc<Handed>,
    pump: JoinHandle<()>,
}

/// What the lane has handed over and the pump has not yet sent or seen acknowledged. The pump sends in order, so the
/// front of `notes` is always what leaves next.
#[derive(Default)]
struct Handed {
    notes: Mutex<VecDeque<Note>>,
    unacked: AtomicU64,
    ended: Notify,
    /// The modem hangs: nothing is sent or read any more, and the socket stays open for this long.
    hung: Mutex<Option<Duration>>,
    hang: Notify,
}

impl Session {
    /// Connects and waits for the broker's consent.
    pub async fn open(link: &Link, ledger: Arc<Ledger>) -> anyhow::Result<Self> {
        let (client, mut events) = AsyncClient::new(mqtt_options(link), QUEUE_MAX);
        let mut network = NetworkOptions::new();
        // Many small packets: without this the last one of a batch waits up to 40 ms for an acknowledgement.
        network.set_tcp_nodelay(true);
        network.set_connection_timeout(CONNECT_LIMIT_S);
        events.set_network_options(network);
        match events.poll().await.with_context(|| format!("cannot connect to the broker at {}", link.broker))? {
            Event::Incoming(Packet::ConnAck(_)) => bump(&ledger.counters.connects),
            other => bail!("the broker at {} answered CONNECT with {other:?}", link.broker),
        }
        let handed = Arc::new(Handed::default());
        let own = link.own.as_ref().filter(|_| link.will).map(|own| own.0);
        let pump = Pump { handed: handed.clone(), ledger, own, crew: link.crew.clone(), flying: HashMap::new() };
        let pump = tokio::spawn(pump.run(events));
        Ok(Self { client, qos: mqtt_qos(link.qos), handed, pump })
    }

    /// False once the connection is lost.
    pub fn is_open(&self) -> bool {
        !self.pump.is_finished()
    }

    /// Returns once the connection is lost.
    pub async fn lost(&self) {
        self.handed.ended.notified().await;
    }

    /// Hands over a message; waits while the broker is slower than the fleet. False when the connection is lost.
    pub async fn publish(&self, topic: &str, payload: Vec<u8>, note: Note) -> bool {
        self.handed.push(note);
        if self.qos != QoS::AtMostOnce {
            self.handed.unacked.fetch_add(1, Ordering::Relaxed);
        }
        self.client.publish(topic, self.qos, false, payload).await.is_ok()
    }

    /// Ends in peace: waits for what is under way, then DISCONNECT, so that no last will is published.
    pub async fn disconnect(mut self) {
        let drained = async {
            while self.is_open() && !self.handed.is_empty() {
                time::sleep(Duration::from_millis(5)).await;
            }
            if self.client.disconnect().await.is_ok() {
                let _ = (&mut self.pump).await;
            }
        };
        if time::timeout(DRAIN_LIMIT, drained).await.is_err() {
            self.pump.abort();
        }
    }

    /// Ends as a vehicle does whose modem dies: the socket closes without a DISCONNECT.
    pub async fn vanish(mut self) {
        self.pump.abort();
        let _ = (&mut self.pump).await;
    }
}

impl Session {
    /// Ends as a vehicle does whose modem hangs: silent, but the socket stays open for `hold`, so that nobody at the
    /// other end notices. When it closes, the broker publishes the last will, if one was announced.
    pub fn hang(self, hold: Duration) {
        *self.handed.hung.lock().unwrap_or_else(PoisonError::into_inner) = Some(hold);
        self.handed.hang.notify_one();
    }
}

impl Handed {
    fn push(&self, note: Note) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push_back(note);
    }

    fn pop(&self) -> Option<Note> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    fn len(&self) -> usize {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0 && self.unacked.load(Ordering::Relaxed) == 0
    }
}

/// What the task that polls a connection holds.
struct Pump {
    handed: Arc<Handed>,
    ledger: Arc<Ledger>,
    /// The vehicle that owns the connection alone.
    own: Option<u32>,
    crew: Arc<[u32]>,
    /// What is sent and not yet acknowledged, by packet number.
    flying: HashMap<u16, Receipt>,
}

impl Pump {
    /// Polls until the connection ends.
    async fn run(mut self, mut events: EventLoop) {
        let handed = self.handed.clone();
        loop {
            let event = tokio::select! {
                event = events.poll() => event,
                () = handed.hang.notified() => return self.hang(events).await,
            };
            match event {
                Ok(Event::Outgoing(Outgoing::Publish(packet))) => self.left(packet),
                Ok(Event::Incoming(Packet::PubAck(ack))) => self.acknowledged(ack.pkid),
                Ok(Event::Outgoing(Outgoing::Disconnect)) => return,
                Ok(_) => {}
                Err(error) => return self.broke(&error),
            }
        }
    }

    fn left(&mut self, packet: u16) {
        if let Some(note) = self.handed.pop()
            && let Some(receipt) = self.ledger.sent(note)
            && packet != 0
        {
            self.flying.insert(packet, receipt);
        }
    }

    fn acknowledged(&mut self, packet: u16) {
        self.handed.unacked.fetch_sub(1, Ordering::Relaxed);
        bump(&self.ledger.counters.acked);
        if let Some(receipt) = self.flying.remove(&packet) {
            self.ledger.acknowledged(receipt);
        }
    }

    fn broke(&self, error: &dyn std::fmt::Display) {
        tracing::debug!(%error, "connection lost");
        bump(&self.ledger.counters.connections_lost);
        self.ledger.counters.unsent.fetch_add(self.handed.len() as u64, Ordering::Relaxed);
        self.ledger.connection_lost(self.own, &self.crew);
        self.handed.ended.notify_one();
    }

    async fn hang(self, events: EventLoop) {
        let hold = self.handed.hung.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or_default();
        time::sleep(hold).await;
        drop(events);
        self.ledger.connection_lost(None, &self.crew);
    }
}

/// Leaves a retained heartbeat on each topic, at QoS 0, and takes leave of the broker.
pub async fn retain(broker: &Broker, topics: Vec<String>) -> anyhow::Result<()> {
    let mut options = MqttOptions::new("retained-replay", &broker.host, broker.port);
    if let Some((user, password)) = &broker.login {
        options.set_credentials(user, password);
    }
    let (client, mut events) = AsyncClient::new(options, QUEUE_MAX);
    let publishing = tokio::spawn(async move {
        for topic in topics {
            client.publish(topic, QoS::AtMostOnce, true, "{}").await?;
        }
        client.disconnect().await
    });
    while !matches!(
        events.poll().await.context("cannot leave retained heartbeats")?,
        Event::Outgoing(Outgoing::Disconnect)
    ) {}
    publishing.await?.context("cannot leave retained heartbeats")
}

fn mqtt_options(link: &Link) -> MqttOptions {
    let mut options = MqttOptions::new(&link.client_id, &link.broker.host, link.broker.port);
    options.set_keep_alive(KEEP_ALIVE).set_clean_session(true).set_inflight(IN_FLIGHT_MAX);
    options.set_max_packet_size(PACKET_MAX_BYTES, PACKET_MAX_BYTES);
    if let Some((user, password)) = &link.broker.login {
        options.set_credentials(user, password);
    }
    if let Some((_, topic)) = link.own.as_ref().filter(|_| link.will) {
        options.set_last_will(LastWill::new(topic, "{}", mqtt_qos(link.qos), false));
    }
    options
}

fn mqtt_qos(qos: Qos) -> QoS {
    match qos {
        Qos::AtMostOnce => QoS::AtMostOnce,
        Qos::AtLeastOnce => QoS::AtLeastOnce,
    }
}
