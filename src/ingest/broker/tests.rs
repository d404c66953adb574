//! The embedded broker through real sockets: rumqttc as the vehicles, a bench as the shard.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::QoS as QoS5;
use rumqttc::{QoS, v5};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Broker;
use super::hook::Patience;
use super::sessions::VEHICLES_MAX;
use crate::domain::heartbeat::Refusal;
use crate::ingest::testing::{Bench, Mode, until};
use crate::settings::Mqtt;

const QUICK: Patience = Patience { limit: Duration::from_millis(600), pause: Duration::from_millis(20) };

pub fn settings() -> Mqtt {
    Mqtt { listen: "127.0.0.1:0".parse().expect("address"), ..Mqtt::default() }
}

async fn start(mode: Mode) -> (Bench, Broker) {
    let bench = Bench::new(mode);
    let broker = Broker::start_with(&settings(), Arc::clone(&bench.door), None, None, QUICK).await.expect("starts");
    (bench, broker)
}

/// A vehicle's unit on MQTT 3.1.1; what it receives comes out of the channel.
struct Unit {
    client: rumqttc::AsyncClient,
    events: tokio::sync::mpsc::UnboundedReceiver<Result<rumqttc::Event, String>>,
    task: tokio::task::JoinHandle<()>,
}

impl Unit {
    async fn connect(broker: &Broker, id: &str) -> Self {
        Self::connect_with(broker, id, |_| {}).await
    }

    async fn connect_with(broker: &Broker, id: &str, change: impl FnOnce(&mut rumqttc::MqttOptions)) -> Self {
        let mut options = rumqttc::MqttOptions::new(id, "127.0.0.1", broker.local_addr().port());
        options.set_max_packet_size(4 << 20, 4 << 20).set_keep_alive(Duration::from_secs(30));
        change(&mut options);
        let (client, mut eventloop) = rumqttc::AsyncClient::new(options, 1_000);
        let (sender, mut events) = tokio::sync::mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            loop {
                let event = eventloop.poll().await.map_err(|error| error.to_string());
                let over = event.is_err();
                if sender.send(event).is_err() || over {
                    return;
                }
            }
        });
        let connected = |event: &_| matches!(event, Ok(rumqttc::Event::Incoming(rumqttc::Packet::ConnAck(_))));
        assert!(wait_for(&mut events, connected).await.is_some(), "connects");
        Self { client, events, task }
    }

    async fn beat(&self, vehicle: &str, seq: u64, qos: QoS) {
        let payload = format!("{{\"seq\":{seq}}}");
        self.client.publish(format!("fleet/acme/{vehicle}/heartbeat"), qos, false, payload).await.expect("queued");
    }

    async fn acked(&mut self) {
        let acked = |event: &_| {
            matches!(event, Ok(rumqttc::Event::Incoming(rumqttc::Packet::PubAck(_) | rumqttc::Packet::PubComp(_))))
        };
        assert!(wait_for(&mut self.events, acked).await.is_some(), "acknowledged");
    }

    /// Cuts the connection without a goodbye.
    fn cut(self) {
        self.task.abort();
    }

    async fn closed(&mut self) {
        assert!(wait_for(&mut self.events, |event| event.is_err()).await.is_some(), "closed");
    }
}

type Events = tokio::sync::mpsc::UnboundedReceiver<Result<rumqttc::Event, String>>;

async fn wait_for(
    events: &mut Events,
    wanted: impl Fn(&Result<rumqttc::Event, String>) -> bool,
) -> Option<Result<rumqttc::Event, String>> {
    let found = async {
        while let Some(event) = events.recv().await {
            if wanted(&event) {
                return Some(event);
            }
        }
        None
    };
    tokio::time::timeout(Duration::from_secs(10), found).await.ok().flatten()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_arrive_with_every_qos_of_both_versions() {
    let (bench, broker) = start(Mode::Accept).await;
    let mut unit = Unit::connect(&broker, "v4").await;
    for (seq, qos) in [(1, QoS::AtMostOnce), (2, QoS::AtLeastOnce), (3, QoS::ExactlyOnce)] {
        unit.beat("bus 7", seq, qos).await;
        if qos != QoS::AtMostOnce {
            unit.acked().await;
        }
    }
    let mut options = v5::MqttOptions::new("v5", "127.0.0.1", broker.local_addr().port());
    options.set_keep_alive(Duration::from_secs(30));
    let (client, mut eventloop) = v5::AsyncClient::new(options, 10);
    for (seq, qos) in [(4, QoS5::AtMostOnce), (5, QoS5::AtLeastOnce), (6, QoS5::ExactlyOnce)] {
        client.publish("fleet/acme/bus 7/heartbeat", qos, false, format!("{{\"seq\":{seq}}}")).await.expect("queued");
    }
    let completed = async {
        loop {
            if let v5::Event::Incoming(v5::Incoming::PubComp(_)) = eventloop.poll().await.expect("polls") {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), completed).await.expect("completed");
    assert_eq!(bench.seqs(), [1, 2, 3, 4, 5, 6]);
    let sessions: Vec<_> = bench.seen().iter().map(|seen| seen.session).collect();
    assert!(
        sessions[0].is_some() && sessions[0] == sessions[2] && sessions[3] == sessions[5] && sessions[2] != sessions[3]
    );
    assert_eq!(broker.connections(), 2);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledgement_waits_for_the_token() {
    let (bench, broker) = start(Mode::Hold).await;
    for (id, qos) in [("one", QoS::AtLeastOnce), ("two", QoS::ExactlyOnce)] {
        let mut unit = Unit::connect(&broker, id).await;
        unit.beat(id, 1, qos).await;
        until("the token is held", || bench.held() == 1).await;
        let mut other = Unit::connect(&broker, "other").await;
        bench.set(Mode::Accept);
        other.beat("other", 1, QoS::AtLeastOnce).await;
        other.acked().await; // another vehicle is not kept waiting
        bench.set(Mode::Hold);
        while let Ok(event) = unit.events.try_recv() {
            assert!(!matches!(
                event,
                Ok(rumqttc::Event::Incoming(rumqttc::Packet::PubAck(_) | rumqttc::Packet::PubRec(_)))
            ));
        }
        bench.take_held(1).into_iter().for_each(crate::fleet::token::Token::accept);
        unit.acked().await;
    }
    assert_eq!(broker.given_up(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_token_is_offered_again_until_it_is_accepted() {
    let (bench, broker) = start(Mode::Drop(3)).await;
    let mut unit = Unit::connect(&broker, "u").await;
    unit.beat("bus", 9, QoS::AtLeastOnce).await;
    unit.acked().await;
    assert_eq!(bench.seqs(), [9, 9, 9, 9]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_never_becomes_safe_is_never_acknowledged() {
    let (bench, broker) = start(Mode::Hold).await;
    for qos in [1, 2] {
        let mut raw = connect_raw(&broker, "u").await;
        let started = Instant::now();
        publish_raw(&mut raw, "bus", qos, 1).await;
        let mut answer = Vec::new();
        raw.read_to_end(&mut answer).await.expect("closed");
        assert!(
            started.elapsed() < Duration::from_secs(7) && started.elapsed() >= QUICK.limit,
            "{:?}",
            started.elapsed()
        );
        assert!(answer.is_empty(), "neither PUBACK nor PUBREC: {answer:?}");
    }
    until("both are gone", || broker.connections() == 0).await;
    assert_eq!(broker.given_up(), 2);
    bench.settle().await;
    assert_eq!(bench.hints(), [], "it was we who closed the connection");
    // The same unit comes again and is served.
    bench.set(Mode::Accept);
    let mut unit = Unit::connect(&broker, "u").await;
    unit.beat("bus", 3, QoS::AtLeastOnce).await;
    unit.acked().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_lane_makes_qos_1_wait_and_drops_qos_0() {
    let (bench, broker) = start(Mode::Stall).await;
    bench.fill();
    let mut unit = Unit::connect(&broker, "u").await;
    unit.beat("bus", 1, QoS::AtMostOnce).await;
    unit.beat("bus", 2, QoS::AtLeastOnce).await;
    until("the QoS 0 beat is dropped", || bench.refused(Refusal::Overloaded) == 1).await;
    bench.set(Mode::Accept);
    unit.acked().await;
    assert_eq!(bench.seqs(), [2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retained_heartbeat_is_refused_and_not_kept() {
    let (bench, broker) = start(Mode::Accept).await;
    let mut unit = Unit::connect(&broker, "u").await;
    unit.client.publish("fleet/acme/bus/heartbeat", QoS::AtLeastOnce, true, "{}").await.expect("queued");
    unit.acked().await;
    unit.client.publish("other/topic", QoS::AtLeastOnce, true, "kept").await.expect("queued");
    unit.acked().await;
    assert_eq!((bench.refused(Refusal::Retained), bench.seen_len()), (1, 0));
    let mut reader = Unit::connect(&broker, "reader").await;
    reader.client.subscribe("#", QoS::AtLeastOnce).await.expect("queued");
    let publish = |event: &_| matches!(event, Ok(rumqttc::Event::Incoming(rumqttc::Packet::Publish(_))));
    let first = wait_for(&mut reader.events, publish).await;
    let Some(Ok(rumqttc::Event::Incoming(rumqttc::Packet::Publish(first)))) = first else { panic!("nothing came") };
    assert_eq!(first.topic, "other/topic", "other topics work as at any broker; a heartbeat is not kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unclean_end_is_a_hint_for_every_vehicle_of_that_session() {
    let (bench, broker) = start(Mode::Accept).await;
    let mut unit = Unit::connect_with(&broker, "u", |options| {
        options.set_last_will(rumqttc::LastWill::new("fleet/acme/willed/will", "", QoS::AtLeastOnce, false));
    })
    .await;
    unit.beat("a", 1, QoS::AtLeastOnce).await;
    unit.acked().await;
    unit.beat("b", 1, QoS::AtLeastOnce).await;
    unit.acked().await;
    let session = bench.seen()[0].session;
    bench.introduce("willed");
    unit.cut();
    until("it is gone", || broker.connections() == 0).await;
    bench.settle().await;
    let mut hints: Vec<_> = bench.hints().into_iter().map(|seen| (seen.vehicle, seen.session)).collect();
    hints.sort();
    let expected = ["a", "b", "willed"].map(|vehicle| (vehicle.to_owned(), session));
    assert_eq!(hints, expected, "each once: the published will does not double it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_a_clean_end_nor_a_takeover_nor_our_own_stop_is_a_hint() {
    let (bench, broker) = start(Mode::Accept).await;
    let mut clean = Unit::connect(&broker, "clean").await;
    clean.beat("clean", 1, QoS::AtLeastOnce).await;
    clean.acked().await;
    clean.client.disconnect().await.expect("queued");
    clean.closed().await;
    until("it is gone", || broker.connections() == 0).await;

    let mut old = Unit::connect(&broker, "same").await;
    old.beat("same", 1, QoS::AtLeastOnce).await;
    old.acked().await;
    let mut new = Unit::connect(&broker, "same").await;
    old.closed().await;
    new.beat("same", 2, QoS::AtLeastOnce).await;
    new.acked().await;
    until("the old one is gone", || broker.connections() == 1).await;
    bench.settle().await;
    let seen = bench.seen();
    assert_eq!(bench.hints(), []);
    let [old_session, new_session] = [seen[1].session, seen[2].session];
    assert!(old_session.is_some() && new_session.is_some() && old_session != new_session);

    // The new session's own break is a hint, with its own number.
    new.cut();
    until("one hint", || bench.hints().len() == 1).await;
    assert_eq!(bench.hints()[0].session, new_session);

    let mut last = Unit::connect(&broker, "last").await;
    last.beat("last", 1, QoS::AtLeastOnce).await;
    last.acked().await;
    broker.stop().await;
    last.closed().await;
    bench.settle().await;
    assert_eq!(bench.hints().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_given_up_connection_does_not_take_its_successor_with_it() {
    let (bench, broker) = start(Mode::Hold).await;
    let old = Unit::connect(&broker, "same").await;
    // Only QoS 2 holds up its connection, so that it is still there when it is given up.
    old.beat("bus", 1, QoS::ExactlyOnce).await;
    until("the token is held", || bench.held() == 1).await;
    let mut new = Unit::connect(&broker, "same").await;
    until("the old one is given up", || broker.given_up() == 1 && broker.connections() == 1).await;
    bench.set(Mode::Accept);
    new.beat("bus", 2, QoS::AtLeastOnce).await;
    new.acked().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_is_remembered_up_to_its_bound() {
    let (bench, broker) = start(Mode::Accept).await;
    let mut gateway = Unit::connect(&broker, "gateway").await;
    for vehicle in 0..VEHICLES_MAX + 10 {
        gateway.beat(&format!("v{vehicle}"), 1, QoS::AtMostOnce).await;
    }
    gateway.beat("v0", 2, QoS::AtLeastOnce).await;
    gateway.acked().await;
    gateway.cut();
    until("it is gone", || broker.connections() == 0).await;
    bench.settle().await;
    assert_eq!(bench.hints().len(), VEHICLES_MAX);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_faulty_device_sends_harms_nobody_else() {
    let (bench, broker) = start(Mode::Accept).await;
    let mut good = Unit::connect(&broker, "good").await;

    // A packet over the limit closes its connection only.
    let mut large = Unit::connect(&broker, "large").await;
    large
        .client
        .publish("fleet/acme/large/heartbeat", QoS::AtLeastOnce, false, vec![b'x'; 1 << 20])
        .await
        .expect("queued");
    large.closed().await;

    // Wildcards in a publish topic are a protocol error.
    let mut raw = connect_raw(&broker, "raw").await;
    let topic = b"fleet/+/#/heartbeat";
    let mut publish = vec![0x30, topic.len() as u8 + 2, 0, topic.len() as u8];
    publish.extend(topic);
    raw.write_all(&publish).await.expect("sent");
    assert_eq!(raw.read(&mut [0; 16]).await.unwrap_or(0), 0, "closed");

    // A connection cut in the middle of a packet.
    let mut raw = connect_raw(&broker, "mid").await;
    raw.write_all(&[0x30, 100, 0, 20, b'f', b'l']).await.expect("sent");
    drop(raw);

    // Bytes that are no MQTT at all, left open.
    let mut raw = TcpStream::connect(broker.local_addr()).await.expect("connects");
    raw.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("sent");

    good.beat("good", 1, QoS::AtLeastOnce).await;
    good.acked().await;
    assert_eq!(bench.seqs(), [1]);
    until("only the good one is left", || broker.connections() == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_packet_is_taken_where_the_setting_allows_it_and_its_payload_refused() {
    let bench = Bench::new(Mode::Accept);
    let settings = Mqtt { packet_bytes_max: 2 << 20, ..settings() };
    let broker = Broker::start_with(&settings, Arc::clone(&bench.door), None, None, QUICK).await.expect("starts");
    let mut unit = Unit::connect(&broker, "large").await;
    unit.client
        .publish("fleet/acme/large/heartbeat", QoS::AtLeastOnce, false, vec![b'x'; 1 << 20])
        .await
        .expect("queued");
    unit.acked().await;
    assert_eq!((bench.refused(Refusal::TooLong), bench.seen_len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_random_payloads_are_counted_and_nothing_breaks() {
    use rand::{Rng, SeedableRng, rngs::SmallRng};
    let (bench, broker) = start(Mode::Accept).await;
    let mut unit = Unit::connect(&broker, "noise").await;
    let mut random = SmallRng::seed_from_u64(7);
    for _ in 0..10_000 {
        let mut payload = vec![0_u8; random.random_range(1..300)];
        random.fill(payload.as_mut_slice());
        unit.client.publish("fleet/acme/noise/heartbeat", QoS::AtMostOnce, false, payload).await.expect("queued");
    }
    unit.beat("noise", 1, QoS::AtLeastOnce).await;
    unit.acked().await;
    assert_eq!(bench.door.refused().total() + bench.door.taken(), 10_001);
    assert_eq!(bench.seqs(), [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_connections_are_served_and_counted() {
    let (bench, broker) = start(Mode::Accept).await;
    let mut units = Vec::new();
    for number in 0..500 {
        let mut raw = connect_raw(&broker, &format!("unit{number:03}")).await;
        publish_raw(&mut raw, &format!("v{number:03}"), 1, 1).await;
        units.push(raw);
    }
    for unit in &mut units {
        let mut puback = [0; 4];
        unit.read_exact(&mut puback).await.expect("acknowledged");
        assert_eq!(puback, [0x40, 2, 0, 1]);
    }
    assert_eq!((broker.connections(), bench.seen_len()), (500, 500));
    drop(units);
    until("500 hints", || bench.hints().len() == 500 && broker.connections() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_port_is_one_sentence() {
    let (bench, broker) = start(Mode::Accept).await;
    let settings = Mqtt { listen: broker.local_addr(), ..settings() };
    let error = Broker::start(&settings, Arc::clone(&bench.door), None, None).await.err().expect("taken").to_string();
    assert!(
        error.contains(&broker.local_addr().to_string()) && error.contains("--broker") && !error.contains('\n'),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stop_is_quick_and_acknowledges_nothing_that_is_not_safe() {
    let (bench, broker) = start(Mode::Hold).await;
    let mut raw = connect_raw(&broker, "u").await;
    publish_raw(&mut raw, "bus", 1, 1).await;
    until("the token is held", || bench.held() == 1).await;
    let (address, started) = (broker.local_addr(), Instant::now());
    broker.stop().await;
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    let mut answer = Vec::new();
    raw.read_to_end(&mut answer).await.expect("closed");
    assert!(answer.is_empty(), "no PUBACK: {answer:?}");
    assert!(TcpStream::connect(address).await.is_err(), "the port is free");
}

/// A bare MQTT 3.1.1 connection.
pub async fn connect_raw(broker: &Broker, id: &str) -> TcpStream {
    let mut raw = TcpStream::connect(broker.local_addr()).await.expect("connects");
    let mut connect = vec![0x10, id.len() as u8 + 12, 0, 4];
    connect.extend(b"MQTT\x04\x02\x00\x1e\x00");
    connect.push(id.len() as u8);
    connect.extend(id.as_bytes());
    raw.write_all(&connect).await.expect("sent");
    let mut connack = [0; 4];
    raw.read_exact(&mut connack).await.expect("answered");
    assert_eq!(connack, [0x20, 2, 0, 0]);
    raw
}

/// An empty heartbeat on a bare connection.
pub async fn publish_raw(raw: &mut TcpStream, vehicle: &str, qos: u8, id: u8) {
    let topic = format!("fleet/acme/{vehicle}/heartbeat");
    let mut publish = vec![0x30 | qos << 1, topic.len() as u8 + 4, 0, topic.len() as u8];
    publish.extend(topic.as_bytes());
    publish.extend([0, id]);
    raw.write_all(&publish).await.expect("sent");
}
