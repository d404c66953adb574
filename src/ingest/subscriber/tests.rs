//! The subscriber against a real Mosquitto on a free port: `$MOSQUITTO_BIN` or /usr/sbin/mosquitto. Without one these
//! tests say so and pass, except where `CI` is set.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{AsyncClient, Event, Incoming, MqttOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::{Link, Subscriber, Tuning};
use crate::domain::heartbeat::Refusal;
use crate::fleet::token::Token;
use crate::ingest::testing::{Bench, Mode, until};
use crate::settings::Mqtt;

/// Quick attempts; the other times as in the product.
fn tuning() -> Tuning {
    Tuning {
        backoff: (Duration::from_millis(20), Duration::from_millis(200)),
        pause: Duration::from_millis(20),
        ..Tuning::default()
    }
}

/// A Mosquitto of our own.
struct Mosquitto {
    binary: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Mosquitto {
    async fn start(extra: &str) -> Option<Self> {
        let binary = std::env::var_os("MOSQUITTO_BIN").map_or_else(|| "/usr/sbin/mosquitto".into(), PathBuf::from);
        if !binary.exists() {
            assert!(std::env::var_os("CI").is_none(), "no Mosquitto at {}", binary.display());
            eprintln!("skipped: no Mosquitto at {}", binary.display());
            return None;
        }
        let folder = tempfile::tempdir().expect("folder");
        let port =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("free port").port();
        let place = folder.path().display();
        let config = format!(
            "listener {port} 127.0.0.1\npersistence true\npersistence_location {place}/\nmax_queued_messages 0\n\
             {}\n{extra}\n",
            if extra.contains("allow_anonymous") { "" } else { "allow_anonymous true" }
        );
        std::fs::write(folder.path().join("passwords"), "").expect("written");
        std::fs::write(folder.path().join("mosquitto.conf"), config.replace("FOLDER", &place.to_string()))
            .expect("written");
        let mut broker = Self { binary, folder, port, child: None };
        broker.run().await;
        Some(broker)
    }

    async fn run(&mut self) {
        let config = self.folder.path().join("mosquitto.conf");
        let mut command = Command::new(&self.binary);
        command.arg("-c").arg(config).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().expect("Mosquitto starts"));
        let port = self.port;
        until("Mosquitto listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
    }

    /// Ends it as a planned restart would, with its sessions saved.
    fn terminate(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = child.id().to_string();
            let _ = Command::new("kill").arg(pid).status();
            let _ = child.wait();
        }
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn settings(&self) -> Mqtt {
        Mqtt {
            broker: Some(format!("mqtt://127.0.0.1:{}", self.port).as_str().into()),
            client_id: "rollcall-test".into(),
            ..Mqtt::default()
        }
    }

    /// Publishes heartbeats with these sequence numbers and returns when the broker has acknowledged all of them.
    async fn publish(&self, seqs: impl IntoIterator<Item = u64>, retain: bool) {
        let mut options = MqttOptions::new(format!("vehicle{}", rand::random::<u32>()), "127.0.0.1", self.port);
        options.set_keep_alive(Duration::from_secs(30));
        let (client, mut eventloop) = AsyncClient::new(options, 100);
        let seqs: Vec<u64> = seqs.into_iter().collect();
        let count = seqs.len();
        let poll = async {
            let mut acked = 0;
            while acked < count {
                acked +=
                    usize::from(matches!(eventloop.poll().await.expect("polls"), Event::Incoming(Incoming::PubAck(_))));
            }
        };
        let send = async {
            for seq in seqs {
                let topic = format!("fleet/acme/bus{}/heartbeat", seq % 50);
                client.publish(topic, QoS::AtLeastOnce, retain, format!("{{\"seq\":{seq}}}")).await.expect("queued");
            }
        };
        tokio::time::timeout(Duration::from_secs(30), async { tokio::join!(send, poll) }).await.expect("published");
    }
}

/// A subscriber with a bench behind it.
struct Running {
    subscriber: Subscriber,
    link: watch::Receiver<Link>,
}

impl Running {
    fn start(settings: &Mqtt, bench: &Bench) -> Self {
        let (sender, link) = watch::channel(Link::Down { cause: "not yet".into(), since: None });
        let subscriber = Subscriber::start_with(settings, Arc::clone(&bench.door), sender, tuning()).expect("starts");
        Self { subscriber, link }
    }

    async fn up(mut self) -> Self {
        let up = self.link.wait_for(|link| *link == Link::Up);
        tokio::time::timeout(Duration::from_secs(10), up).await.expect("in time").expect("up");
        self
    }

    /// Waits for a cause that holds this text.
    async fn down(&mut self, text: &str) {
        let down = self.link.wait_for(|link| matches!(link, Link::Down { cause, .. } if cause.contains(text)));
        let found = tokio::time::timeout(Duration::from_secs(10), down).await.map(|link| link.expect("link").clone());
        assert!(found.is_ok(), "no cause with '{text}' but {:?}", self.link.borrow());
    }

    /// The process dies: nothing is said, nothing is sent.
    async fn crash(self) {
        self.subscriber.task.abort();
        let _ = self.subscriber.task.await;
    }
}

fn accept(tokens: Vec<Token>) {
    tokens.into_iter().for_each(Token::accept);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_session_survives_our_restart_and_only_what_was_unacknowledged_comes_again() {
    let Some(broker) = Mosquitto::start("max_inflight_messages 100").await else { return };
    for crash in [false, true] {
        let bench = Bench::new(Mode::Hold);
        let running = Running::start(&broker.settings(), &bench).up().await;
        broker.publish(0..50, false).await;
        until("50 tokens", || bench.held() == 50).await;
        accept(bench.take_held(10));
        // The acknowledgements are on their way when a later message has made the round.
        broker.publish([50], false).await;
        until("one more", || bench.held() == 41).await;
        if crash {
            running.crash().await
        } else {
            running.subscriber.stop().await
        }
        broker.publish(51..55, false).await;

        let bench = Bench::new(Mode::Accept);
        let running = Running::start(&broker.settings(), &bench).up().await;
        until("the rest", || bench.seen_len() >= 45).await;
        broker.publish([99], false).await;
        until("the last", || bench.seqs().contains(&99)).await;
        assert_eq!(bench.seqs(), (10..55).chain([99]).collect::<Vec<_>>(), "crash: {crash}");
        running.subscriber.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_messages_arrive_in_order_exactly_once() {
    let Some(broker) = Mosquitto::start("").await else { return };
    let bench = Bench::new(Mode::Accept);
    let running = Running::start(&broker.settings(), &bench).up().await;
    broker.publish(0..20_000, false).await;
    until("all of them", || bench.seen_len() >= 20_000).await;
    running.subscriber.stop().await;
    // All were acknowledged: nothing comes again.
    let running = Running::start(&broker.settings(), &bench).up().await;
    broker.publish([20_000], false).await;
    until("the last", || bench.seqs().last() == Some(&20_000)).await;
    assert!(bench.seqs().into_iter().eq(0..=20_000));
    running.subscriber.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_the_broker_is_told_and_messages_flow_again() {
    for keep_sessions in [true, false] {
        let Some(mut broker) = Mosquitto::start("").await else { return };
        let bench = Bench::new(Mode::Accept);
        let mut running = Running::start(&broker.settings(), &bench).up().await;
        broker.publish([1], false).await;
        until("the first", || bench.seqs() == [1]).await;
        if keep_sessions {
            broker.terminate()
        } else {
            broker.kill()
        }
        running.down("127.0.0.1").await;
        broker.run().await;
        let running = running.up().await;
        broker.publish([2], false).await;
        until("the second", || bench.seqs() == [1, 2]).await;
        running.subscriber.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retained_heartbeats_do_not_count() {
    let Some(broker) = Mosquitto::start("").await else { return };
    broker.publish(0..20, true).await;
    let bench = Bench::new(Mode::Accept);
    for live in [100, 101] {
        let running = Running::start(&broker.settings(), &bench).up().await;
        broker.publish([live], false).await;
        until("the live one", || bench.seqs().last() == Some(&live)).await;
        running.subscriber.stop().await;
    }
    assert_eq!((bench.seqs(), bench.refused(Refusal::Retained)), (vec![100, 101], 0), "not even sent at subscribe");
    let running = Running::start(&broker.settings(), &bench).up().await;
    broker.publish([102], true).await;
    until("a live one with the flag is refused", || bench.refused(Refusal::Retained) == 1).await;
    running.subscriber.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_told_without_showing_it_and_tried_again() {
    // The password file is empty and refuses everybody.
    let Some(mut broker) = Mosquitto::start("allow_anonymous false\npassword_file FOLDER/passwords").await else {
        return;
    };
    let bench = Bench::new(Mode::Accept);
    let url = format!("mqtt://me:hunter2@127.0.0.1:{}", broker.port);
    let settings = Mqtt { broker: Some(url.as_str().into()), ..broker.settings() };
    let mut running = Running::start(&settings, &bench);
    running.down("refused the user name or password").await;
    assert!(!format!("{:?}", running.link.borrow()).contains("hunter2"));
    let open = "allow_anonymous true\nlistener PORT 127.0.0.1\n".replace("PORT", &broker.port.to_string());
    std::fs::write(broker.folder.path().join("mosquitto.conf"), open).expect("written");
    broker.kill();
    broker.run().await;
    running.up().await.subscriber.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_is_not_granted_is_a_link_that_is_down() {
    let Some(broker) = Mosquitto::start("max_qos 0").await else { return };
    let bench = Bench::new(Mode::Accept);
    // A will of QoS 1 would be refused before.
    let settings = Mqtt { presence_topic: String::new(), ..broker.settings() };
    let mut running = Running::start(&settings, &bench);
    running.down("does not grant the subscription fleet/+/+/goodbye with QoS 1").await;
    running.subscriber.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_tokens_and_a_full_door_lose_nothing() {
    let Some(broker) = Mosquitto::start("max_inflight_messages 100").await else { return };
    let bench = Bench::new(Mode::Drop(5));
    let running = Running::start(&broker.settings(), &bench).up().await;
    broker.publish(0..10, false).await;
    until("fifteen", || bench.seen_len() == 15).await;
    bench.set(Mode::Stall);
    bench.fill();
    broker.publish(10..60, false).await;
    bench.set(Mode::Accept);
    until("the others", || bench.seqs().len() == 65).await;
    assert_eq!(bench.seqs()[15..], (10..60).collect::<Vec<_>>(), "in order");
    running.subscriber.stop().await;
    // Everything was acknowledged.
    let bench = Bench::new(Mode::Accept);
    let running = Running::start(&broker.settings(), &bench).up().await;
    broker.publish([99], false).await;
    until("the last", || bench.seqs() == [99]).await;
    running.subscriber.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_falls_silent_or_throws_us_out_is_left_and_a_fresh_connection_made() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let settings = Mqtt {
        broker: Some(format!("mqtt://{}", listener.local_addr().expect("address")).as_str().into()),
        ..Mqtt::default()
    };
    let bench = Bench::new(Mode::Accept);
    let (sender, mut link) = watch::channel(Link::Down { cause: "not yet".into(), since: None });
    let tuning =
        Tuning { silence_max: Duration::from_millis(300), subscribe_max: Duration::from_millis(300), ..tuning() };
    let subscriber = Subscriber::start_with(&settings, Arc::clone(&bench.door), sender, tuning).expect("starts");
    let silent = fake_broker(&listener, true).await;
    tokio::time::timeout(Duration::from_secs(5), link.wait_for(|link| *link == Link::Up))
        .await
        .expect("in time")
        .expect("up");
    let fell = |link: &Link| matches!(link, Link::Down { cause, .. } if cause.contains("silent"));
    tokio::time::timeout(Duration::from_secs(5), link.wait_for(fell)).await.expect("in time").expect("down");
    let never_granted = fake_broker(&listener, false).await;
    let mut again = fake_broker(&listener, true).await;
    tokio::time::timeout(Duration::from_secs(5), link.wait_for(|link| *link == Link::Up))
        .await
        .expect("in time")
        .expect("up");
    again.write_all(&[0xE0, 2, 0x8E, 0]).await.expect("sent");
    let thrown_out = |link: &Link| matches!(link, Link::Down { cause, .. } if cause.contains("must be unique"));
    tokio::time::timeout(Duration::from_secs(5), link.wait_for(thrown_out)).await.expect("in time").expect("down");
    drop((silent, never_granted, again));
    subscriber.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_sends_more_than_the_receive_maximum_loses_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let broker = Some(format!("mqtt://{}", listener.local_addr().expect("address")).as_str().into());
    let settings = Mqtt { broker, ..Mqtt::default() };
    let bench = Bench::new(Mode::Hold);
    let (sender, _link) = watch::channel(Link::Up);
    let subscriber = Subscriber::start_with(&settings, Arc::clone(&bench.door), sender, tuning()).expect("starts");
    let mut socket = fake_broker(&listener, true).await;
    const COUNT: u16 = 3 * super::RECEIVE_MAXIMUM;
    let topic = b"fleet/acme/bus/heartbeat";
    for id in 1..=COUNT {
        let mut publish = vec![0x32, topic.len() as u8 + 5, 0, topic.len() as u8];
        publish.extend(topic);
        publish.extend(id.to_be_bytes());
        publish.push(0);
        socket.write_all(&publish).await.expect("sent");
    }
    until("all tokens are held", || bench.held() == usize::from(COUNT)).await;
    bench.take_held(COUNT.into()).into_iter().rev().for_each(Token::accept);
    for id in 1..=COUNT {
        let mut puback = [0; 4];
        socket.read_exact(&mut puback).await.expect("acknowledged");
        assert_eq!((puback[0], u16::from_be_bytes([puback[2], puback[3]])), (0x40, id));
    }
    subscriber.stop().await;
}

/// Takes one connection, and answers CONNECT and, if wanted, SUBSCRIBE.
async fn fake_broker(listener: &TcpListener, answers_subscribe: bool) -> tokio::net::TcpStream {
    let (mut socket, _) = listener.accept().await.expect("accepts");
    let mut buffer = [0; 1_024];
    assert_ne!(socket.read(&mut buffer).await.expect("connect"), 0);
    socket.write_all(&[0x20, 3, 0, 0, 0]).await.expect("sent");
    assert_ne!(socket.read(&mut buffer).await.expect("subscribe"), 0);
    if answers_subscribe {
        socket.write_all(&[0x90, 6, 0, 1, 0, 1, 1, 1]).await.expect("sent");
    }
    socket
}

#[tokio::test]
async fn settings_that_cannot_be_are_one_sentence() {
    let bench = Bench::new(Mode::Accept);
    let sentence = |settings: Mqtt| {
        let (sender, _link) = watch::channel(Link::Up);
        Subscriber::start(&settings, Arc::clone(&bench.door), sender).err().expect("refused").to_string()
    };
    assert!(sentence(Mqtt::default()).contains("mqtt.broker"));
    let ca_file = Some("/no/such.pem".into());
    let unbelieving = Mqtt { broker: Some("mqtts://h".into()), ca_file, ..Mqtt::default() };
    assert!(sentence(unbelieving).contains("mqtt.ca_file"));
    let nameless = Mqtt { broker: Some("mqtt://h".into()), client_id: String::new(), ..Mqtt::default() };
    assert!(sentence(nameless).contains("mqtt.client_id"));
}
