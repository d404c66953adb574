//! The fleet against a real broker: what the report says was sent is what a subscriber received.

mod support;

use std::{collections::HashMap, time::Duration};

use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use simulator::{Broker, Options, Shares, run, start};
use support::Mosquitto;
use tokio::time::{sleep, timeout};

/// Messages by the last level of their topic, and heartbeats by vehicle.
#[derive(Default)]
struct Received {
    kinds: HashMap<String, u64>,
    beats_of: HashMap<String, u64>,
}

/// Listens until nothing has come for a while after `ended`.
async fn listen(broker: &Mosquitto) -> (tokio::sync::oneshot::Sender<()>, tokio::task::JoinHandle<Received>) {
    let mut options = MqttOptions::new("listener", "127.0.0.1", broker.addr.port());
    options.set_keep_alive(Duration::from_secs(5));
    let (client, mut events) = AsyncClient::new(options, 10);
    client.subscribe("fleet/#", QoS::AtLeastOnce).await.unwrap();
    while !matches!(events.poll().await.unwrap(), Event::Incoming(Packet::SubAck(_))) {}
    let (ended, mut end) = tokio::sync::oneshot::channel();
    let listening = tokio::spawn(async move {
        let _client = client;
        let mut received = Received::default();
        loop {
            let quiet = Duration::from_millis(500);
            match timeout(quiet, events.poll()).await {
                Ok(Ok(Event::Incoming(Packet::Publish(publish)))) => {
                    let mut levels = publish.topic.rsplit('/');
                    let (kind, vehicle) = (levels.next().unwrap().to_owned(), levels.next().unwrap().to_owned());
                    if kind == "heartbeat" {
                        *received.beats_of.entry(vehicle).or_default() += 1;
                    }
                    *received.kinds.entry(kind).or_default() += 1;
                }
                Ok(other) => drop(other.unwrap()),
                Err(_) if end.try_recv().is_ok() => return received,
                Err(_) => {}
            }
        }
    });
    (ended, listening)
}

fn options(broker: &Mosquitto) -> Options {
    Options {
        broker: Broker { host: "127.0.0.1".to_owned(), port: broker.addr.port(), login: None },
        vehicles: 30,
        interval: Duration::from_millis(200),
        offline_after: Duration::from_secs(1),
        will_grace: Duration::from_millis(500),
        duration: Some(Duration::from_secs(6)),
        ..Options::default()
    }
}

#[tokio::test]
async fn everything_sent_is_received_once_from_own_connections() {
    let shares = Shares { silence: 0.1, tunnel: 0.2, goodbye: 0.1, clone: 0.1, will: 0.2, ..Shares::default() };
    everything_sent_is_received_once(0, shares).await;
}

#[tokio::test]
async fn everything_sent_is_received_once_from_shared_connections() {
    let shares = Shares { silence: 0.1, tunnel: 0.2, goodbye: 0.1, clone: 0.1, ..Shares::default() };
    everything_sent_is_received_once(3, shares).await;
}

async fn everything_sent_is_received_once(connections: u32, shares: Shares) {
    let Some(broker) = Mosquitto::start() else { return };
    let (ended, listening) = listen(&broker).await;
    let report = run(Options { connections, shares, ..options(&broker) }, std::future::pending()).await.unwrap();
    ended.send(()).unwrap();
    let received = listening.await.unwrap();

    let kind = |name: &str| received.kinds.get(name).copied().unwrap_or_default();
    let counts = report.counts;
    assert_eq!(kind("heartbeat"), counts.beats + counts.backlog, "{counts:?}");
    assert_eq!(kind("goodbye"), counts.goodbyes);
    assert_eq!(kind("will"), counts.wills, "a clean end publishes no last will");
    assert_eq!(counts.acked, counts.beats + counts.backlog + counts.goodbyes);
    assert!(counts.backlog > 0 && counts.goodbyes > 0 && (counts.wills > 0) == (connections == 0), "{counts:?}");
    assert_eq!((counts.unsent, counts.connections_lost), (0, 0));
    assert!(!report.failed());
}

/// Until the fleet has beaten so many times more.
async fn until_beats(control: &simulator::Control, more: u64) {
    let wanted = control.counts().beats + more;
    while control.counts().beats < wanted {
        sleep(Duration::from_millis(10)).await; // poll: the fleet beats
    }
}

#[tokio::test]
async fn vehicle_is_silenced_and_woken_by_hand() {
    let Some(broker) = Mosquitto::start() else { return };
    let (ended, listening) = listen(&broker).await;
    let (control, fleet) = start(Options { vehicles: 2, duration: None, ..options(&broker) }).unwrap();
    let mut names: Vec<_> = control.vehicles().cloned().collect();
    names.sort();
    let (customer, silenced) = &names[0];

    control.silence(customer, silenced).unwrap();
    until_beats(&control, 10).await;
    control.wake(customer, silenced).unwrap();
    until_beats(&control, 4).await;
    assert!(control.silence(customer, "TRK-9999").is_err(), "unknown vehicles are refused");
    control.stop();
    fleet.await.unwrap().unwrap();

    ended.send(()).unwrap();
    let received = listening.await.unwrap();
    let (quiet, steady) = (received.beats_of[silenced], received.beats_of[&names[1].1]);
    assert!((1..=6).contains(&quiet) && steady >= 10, "{silenced} beat {quiet} times, the other {steady}");
}

#[tokio::test]
async fn absent_broker_is_one_clear_sentence() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let broker = Broker { host: "127.0.0.1".to_owned(), port: free.port(), login: None };
    let error = run(Options { broker, ..Options::default() }, std::future::pending()).await;
    let error = error.err().unwrap().to_string();
    assert!(error.contains(&format!("mqtt://{free}")), "{error}");
}
