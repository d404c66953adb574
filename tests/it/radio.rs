//! A vehicle's radio: one MQTT connection that publishes heartbeats with QoS 1 and notes for each when it was handed
//! over and when it was acknowledged. When the connection breaks it opens a new one, and what was not acknowledged is
//! not sent again: a test knows exactly what was promised. Used by traces, crash, outage and restart.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Outgoing, Packet, QoS};
use tokio::task::JoinHandle;

use crate::stacks::{Stack, wall_ms};
use crate::support::until;

/// Heartbeats that may wait for the connection.
const QUEUE: usize = 1_000;
/// Pause before a broken connection is opened again.
const AGAIN: Duration = Duration::from_millis(20);

/// One heartbeat as the vehicle knows it; milliseconds of the wall clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    /// Whose.
    pub vehicle: String,
    /// Just before it was handed to the connection.
    pub sent: i64,
    /// Just after the broker's acknowledgement was read.
    pub acked: Option<i64>,
}

/// One connection; it closes when the radio is dropped.
pub struct Radio {
    state: Arc<Mutex<State>>,
    topic: Box<dyn Fn(&str) -> String + Send + Sync>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    client: Option<AsyncClient>,
    beats: Vec<Beat>,
    /// Handed over, not yet given a packet id; in order.
    queued: VecDeque<usize>,
    /// Sent under this packet id.
    open: HashMap<u16, usize>,
}

impl Radio {
    /// Connects to the stack's broker, and waits until it is.
    pub async fn connect(stack: &Stack, name: &str) -> Self {
        let radio = Self::open(stack, name);
        until("the radio is connected", || async { radio.is_connected() }).await;
        radio
    }

    /// Begins to connect to the stack's broker.
    pub fn open(stack: &Stack, name: &str) -> Self {
        let mut options = MqttOptions::new(format!("{}-{name}", stack.name), &stack.broker.0, stack.broker.1);
        options.set_keep_alive(Duration::from_secs(30)).set_inflight(u16::MAX);
        let prefix = stack.topic("+");
        let topic = Box::new(move |vehicle: &str| prefix.replace('+', vehicle));
        let state = Arc::<Mutex<State>>::default();
        let task = tokio::spawn(keep(Arc::clone(&state), options));
        Self { state, topic, task }
    }

    /// Whether it is connected.
    pub fn is_connected(&self) -> bool {
        self.state.lock().client.is_some()
    }

    /// Whether no heartbeat is under way: each is acknowledged, or was cut off by the end of its connection.
    pub fn is_settled(&self) -> bool {
        let state = self.state.lock();
        state.queued.is_empty() && state.open.is_empty()
    }

    /// Sends a heartbeat now; its number, or nothing when there is no connection to send it by.
    pub fn beat(&self, vehicle: &str, payload: &str) -> Option<usize> {
        let mut state = self.state.lock();
        let client = state.client.as_ref()?;
        let sent = wall_ms();
        client.try_publish((self.topic)(vehicle), QoS::AtLeastOnce, false, payload).ok()?;
        let number = state.beats.len();
        state.beats.push(Beat { vehicle: vehicle.to_owned(), sent, acked: None });
        state.queued.push_back(number);
        Some(number)
    }

    /// Sends a heartbeat and waits until it is acknowledged.
    pub async fn beat_acked(&self, vehicle: &str) -> Beat {
        let number = self.beat(vehicle, "{}").expect("connected");
        until("the heartbeat is acknowledged", || async { self.of(number).acked.is_some() }).await;
        self.of(number)
    }

    /// One heartbeat.
    pub fn of(&self, number: usize) -> Beat {
        self.state.lock().beats[number].clone()
    }

    /// Every heartbeat, in the order they were sent.
    pub fn beats(&self) -> Vec<Beat> {
        self.state.lock().beats.clone()
    }
}

impl Drop for Radio {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Keeps the radio connected, each time with nothing carried over.
async fn keep(state: Arc<Mutex<State>>, options: MqttOptions) {
    loop {
        let (client, mut events) = AsyncClient::new(options.clone(), QUEUE);
        let mut network = events.network_options();
        network.set_tcp_nodelay(true);
        events.set_network_options(network);
        serve(&state, client, &mut events).await;
        {
            let mut state = state.lock();
            state.client = None;
            state.queued.clear();
            state.open.clear();
        }
        tokio::time::sleep(AGAIN).await; // poll: the broker answers again
    }
}

/// One connection, until it breaks.
async fn serve(state: &Mutex<State>, client: AsyncClient, events: &mut EventLoop) {
    while let Ok(event) = events.poll().await {
        let mut state = state.lock();
        match event {
            Event::Incoming(Packet::ConnAck(_)) => state.client = Some(client.clone()),
            Event::Outgoing(Outgoing::Publish(id)) => {
                let number = state.queued.pop_front().expect("only queued ones are sent");
                state.open.insert(id, number);
            }
            Event::Incoming(Packet::PubAck(ack)) => {
                if let Some(number) = state.open.remove(&ack.pkid) {
                    state.beats[number].acked = Some(wall_ms());
                }
            }
            _ => {}
        }
    }
}
