//! The proof that we hear, from outside: the canary through the embedded broker and Mosquitto (R31), a cable pulled
//! silently (R39, R40), what a broker's queue kept while we were away (R16, R42), our own presence (R43).

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::history::{History, Step};
use crate::mqtt::{Client, Reader, Version, refused};
use crate::radio::Radio;
use crate::stacks::{CUSTOMER, Stack, free_port, listening_since, ms, wall_ms};
use crate::support::{PATIENCE, Service, from_environment, until};

async fn canary(service: &Service) -> Value {
    service.get("/api/v1/status").await["canary"].clone()
}

async fn until_canary_is(service: &Service, state: &'static str) {
    until(state, || async { canary(service).await["state"] == state }).await;
}

async fn metric(service: &Service, name: &str) -> Option<f64> {
    let text = service.send("GET", "/metrics", "", "").await.text;
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

/// R31: each stage is read back, and nobody sees the vehicle that does not exist.
#[tokio::test]
async fn the_canary_goes_the_whole_way_and_is_seen_in_no_list() {
    let service = Service::start(&["--store", "sqlite::memory:"]);
    let stages = ["acked", "heard", "board", "pushed"];
    let there = || async { !canary(&service).await["pushed"].is_null() };
    until("it has come to the end", there).await;
    let seen = canary(&service).await;
    assert_eq!((&seen["state"], &seen["cause"]), (&json!("well"), &Value::Null), "{seen}");
    for stage in stages {
        assert!(seen[stage]["lag_ms"].as_i64().is_some_and(|lag| (0..5_000).contains(&lag)), "{stage}: {seen}");
        let lag = metric(&service, &format!("rollcall_canary_lag_seconds{{stage=\"{stage}\"}}")).await;
        assert!(lag.is_some(), "{stage}");
    }
    for stage in ["board", "pushed", "durable"] {
        let age = metric(&service, &format!("rollcall_watermark_age_seconds{{stage=\"{stage}\"}}")).await;
        assert!(age.is_some_and(|age| age < 10.0), "{stage}: {age:?}");
    }
    // Another Rollcall's canary on the same broker is none of our business either.
    let client = Client::connect(&service, Version::V5, "other", None);
    let before = canary(&service).await["heard"]["at"].clone();
    for topic in ["fleet/$rollcall/canary-other/heartbeat", "fleet/$rollcall/canary-rollcall/heartbeat"] {
        client.publish(topic, 1, false, r#"{"boot":"another","seq":1}"#).await;
    }
    client.beat("REAL", 1).await;
    until("the real one is online", || async { service.status_of("acme", "REAL").await.is_some() }).await;
    until("the next canary came", || async { canary(&service).await["heard"]["at"] != before }).await;
    let status = service.get("/api/v1/status").await;
    assert_eq!((&status["intake"]["total"], &status["intake"]["refused"]), (&json!(1), &json!(0)), "{status}");
    assert_eq!(status["intake"]["connections"], 1, "{status}");
    assert_eq!(service.get("/api/v1/vehicles").await["total"], 1);
    assert_eq!(service.get("/api/v1/customers").await["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(refused(&service, "bad_identifier").await, 0);
}

#[tokio::test]
async fn without_a_canary_nothing_is_proved_and_nobody_is_blind_for_it() {
    let service = Service::with_settings(&[("ROLLCALL__MQTT__CANARY_INTERVAL", "0s")]);
    assert_eq!(canary(&service).await["state"], "off");
    let Some(broker) = from_environment("ROLLCALL_TEST_MOSQUITTO") else { return };
    let service = Stack::with_file(Some(&broker)).start(&[("MQTT__CANARY_INTERVAL", "0s")]).await;
    assert_eq!((&canary(&service).await["state"], service.answer("/readyz").await.0), (&json!("off"), 200));
}

/// A way to a server on which packets may vanish without a word, as on a cable that was pulled.
struct Cable {
    port: u16,
    pulled: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Cable {
    async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let (pulled, state) = watch::channel(false);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, server.clone(), state.clone()));
            }
        });
        Self { port, pulled, task }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Both ways until the cable is pulled. Then nothing goes through, and both ends believe that it is open, until it is
/// plugged in again: then both are told.
async fn carry(mut client: TcpStream, server: String, mut pulled: watch::Receiver<bool>) {
    let mut server = TcpStream::connect(server).await.expect("the server answers");
    let (mut up, mut down) = ([0; 4_096], [0; 4_096]);
    until_it_is(&mut pulled, false).await;
    loop {
        tokio::select! {
            biased;
            _ = until_it_is(&mut pulled, true) => break,
            read = client.read(&mut up) => match read {
                Ok(1..) => drop(server.write_all(&up[..read.unwrap_or(0)]).await),
                _ => return,
            },
            read = server.read(&mut down) => match read {
                Ok(1..) => drop(client.write_all(&down[..read.unwrap_or(0)]).await),
                _ => return,
            },
        }
    }
    until_it_is(&mut pulled, false).await;
}

async fn until_it_is(pulled: &mut watch::Receiver<bool>, state: bool) {
    let _ = pulled.wait_for(|pulled| *pulled == state).await;
}

/// Sends for every sender, ten times a second, until it is aborted.
async fn send(radio: Arc<Radio>, senders: usize) {
    loop {
        for index in 0..senders {
            radio.beat(&format!("sender-{index}"), &json!({ "ts": wall_ms() }).to_string());
        }
        tokio::time::sleep(Duration::from_millis(100)).await; // poll: the rhythm of the vehicles
    }
}

async fn gaps(service: &Service, scope: &str) -> Vec<Value> {
    let gaps = service.get("/api/v1/observation-gaps").await;
    let all = gaps["items"].as_array().expect("a list").iter();
    all.filter(|gap| gap["scope"] == scope).cloned().collect()
}

/// R31, R39, R40: no packet comes, and no error either. The canary finds it long before the keep-alive does, the gap
/// begins before the cable was pulled, and afterwards everything goes on by itself. A vehicle that speaks once in its
/// timeout, and whose deadline falls between the pull and its discovery, is not called offline either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cable_pulled_silently_makes_nobody_offline() {
    const TIMEOUT_MS: i64 = 6_000;
    const SENDERS: usize = 10;
    let Some(url) = from_environment("ROLLCALL_TEST_MOSQUITTO") else { return };
    let place = url.trim_start_matches("mqtt://").to_owned();
    let cable = Cable::to(place.clone()).await;
    let mut stack = Stack::with_file(Some(&format!("mqtt://127.0.0.1:{}", cable.port)));
    let port = place.rsplit_once(':').expect("a port").1.parse().expect("a port");
    stack.broker.1 = port;
    let service = stack.start(&[("FLEET__OFFLINE_AFTER", "6s")]).await;
    let radio = Arc::new(Radio::connect(&stack, "fleet").await);
    let sending = tokio::spawn(send(Arc::clone(&radio), SENDERS));
    let online =
        || async { service.get("/api/v1/status").await["vehicles"]["online"].as_u64() >= Some(SENDERS as u64) };
    until("the senders are online", online).await;
    until_canary_is(&service, "well").await;

    radio.beat_acked("rare").await;
    let rare = wall_ms();
    until("the next beat of the rare one is due", || async { wall_ms() > rare + TIMEOUT_MS - 1_500 }).await;

    let pulled = wall_ms();
    cable.pulled.send_replace(true);
    radio.beat_acked("rare").await;
    until("it is found", || async { service.get("/api/v1/status").await["listening"] == false }).await;
    let found = wall_ms() - pulled;
    let status = service.get("/api/v1/status").await;
    assert_eq!((&status["blind_scope"], &status["canary"]["state"]), (&json!("intake"), &json!("late")), "{status}");
    assert!(status["blind_cause"].as_str().is_some_and(|cause| cause.contains("our canary")), "{status}");
    assert!(found < TIMEOUT_MS, "found only after {found} ms, when the first deadlines had passed");
    assert_eq!(service.answer("/readyz").await.0, 503);
    let past = || async { wall_ms() > pulled + 2 * TIMEOUT_MS };
    until("every deadline has passed", past).await;
    assert_eq!(service.get("/api/v1/status").await["vehicles"]["unobserved"], SENDERS + 1);

    cable.pulled.send_replace(false);
    until("all are heard again", online).await;
    until("we listen again", || async { service.answer("/readyz").await.0 == 200 }).await;
    until_canary_is(&service, "well").await;
    let all = gaps(&service, "intake").await;
    let gap = all.iter().find(|gap| gap["to"].is_null() || ms(&gap["to"]) > pulled).expect("a gap");
    let from = ms(&gap["from"]);
    assert!((pulled - 3_000..pulled + 3_000).contains(&from), "pulled at {pulled}: {all:#?}");
    assert!(!gap["to"].is_null(), "{gap}");
    println!("found {found} ms after the cable was pulled; the gap begins {} ms after it", from - pulled);
    sending.abort();
    let history = History::read(&stack).await;
    history.check();
    for index in 0..SENDERS {
        let name = format!("sender-{index}");
        let words: Vec<&str> = history.of(&name).map(|step| step.to.as_str()).collect();
        assert_eq!(words, ["online", "unobserved", "online"], "no sender is called offline");
    }
    let of_rare = steps(&history, "rare");
    assert_eq!((of_rare[1].0, of_rare[1].2), ("unobserved", "blind"), "{of_rare:?}");
}

/// Steps of a vehicle: status, when, and why.
fn steps<'a>(history: &'a History, vehicle: &'a str) -> Vec<(&'a str, i64, &'a str)> {
    history.of(vehicle).map(|Step { to, at, cause, .. }| (to.as_str(), *at, cause.as_str())).collect()
}

/// R16, R42: stopped for twice the timeout while the broker keeps what vehicles say. Who goes on sending never was
/// offline; what waited proves only that a vehicle lived then; positions end at the newest by the vehicles' own time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waited_in_the_brokers_queue_is_no_sign_of_life_now() {
    const TIMEOUT_MS: i64 = 3_000;
    const SENDERS: usize = 10;
    let settings = [("FLEET__OFFLINE_AFTER", "3s")];
    let Some(url) = from_environment("ROLLCALL_TEST_MOSQUITTO") else { return };
    let stack = Stack::with_file(Some(&url));
    let mut service = stack.start(&settings).await;
    let radio = Arc::new(Radio::connect(&stack, "fleet").await);
    radio.beat_acked("once").await;
    let once = || async { service.status_of(CUSTOMER, "once").await.as_deref() == Some("offline") };
    until("who speaks once is offline", once).await;
    let sending = tokio::spawn(send(Arc::clone(&radio), SENDERS));
    radio.beat_acked("silent").await;
    let all = || async { service.get("/api/v1/status").await["vehicles"]["online"] == SENDERS + 1 };
    until("the others are online", all).await;

    service.signal("TERM");
    let asked = wall_ms();
    assert!(tokio::task::block_in_place(|| service.wait(Duration::from_secs(10))).success());
    let stopped = wall_ms();
    // Meanwhile: three places out of order, a vehicle that was offline, one that nobody knew, and one without a clock.
    for (place, age) in [(1.0, 900), (3.0, 100), (2.0, 500)] {
        let body = json!({ "ts": wall_ms() - age, "lat": place, "lon": place });
        radio.beat("silent", &body.to_string()).expect("connected");
    }
    radio.beat("once", &json!({ "ts": wall_ms() }).to_string()).expect("connected");
    radio.beat_acked("new").await;
    let spoken = wall_ms();
    until("every deadline has passed", || async { wall_ms() > stopped + 2 * TIMEOUT_MS }).await;

    let service = stack.start(&settings).await;
    let listening = listening_since(&service).await;
    let senders = || async { service.get("/api/v1/status").await["vehicles"]["online"] == SENDERS };
    until("the senders are heard", senders).await;
    let backlog = metric(&service, "rollcall_backlog_total").await.expect("counted");
    assert!(backlog >= (5 + 30 * SENDERS) as f64, "six seconds of ten a second: {backlog}");
    let silent = || async { service.get("/api/v1/status").await["vehicles"]["offline"] == 3 };
    until("who is silent is found", silent).await;

    let history = History::read(&stack).await;
    history.check();
    for index in 0..SENDERS {
        let name = format!("sender-{index}");
        let words: Vec<&str> = history.of(&name).map(|step| step.to.as_str()).collect();
        assert_eq!(words, ["online", "unobserved", "online"], "no sender is called offline");
    }
    let offline = ("offline", listening + TIMEOUT_MS, "silence");
    let of_once = steps(&history, "once");
    assert_eq!((of_once.len(), of_once[3]), (4, offline), "one full timeout from listening again: {of_once:?}");
    let (status, at, cause) = of_once[2];
    assert_eq!((status, cause), ("unobserved", "blind"), "{of_once:?}");
    assert!((stopped - 10..=spoken).contains(&at), "by its own time: {of_once:?}");
    let of_new = steps(&history, "new");
    assert_eq!((of_new.len(), of_new[0].0, of_new[1]), (2, "unobserved", offline), "{of_new:?}");
    assert!((asked - 1_000..=stopped).contains(&of_new[0].1), "without a clock when we went deaf: {of_new:?}");
    assert_eq!(steps(&history, "silent").last(), Some(&offline));
    let seen = service.get("/api/v1/customers/acme/vehicles/silent").await;
    assert_eq!(seen["position"]["lat"], 3.0, "the newest by its own time: {seen}");
    sending.abort();
}

/// A Mosquitto with an access list.
struct Guarded {
    _folder: tempfile::TempDir,
    url: String,
    process: Child,
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn guarded(rights: &str) -> Option<Guarded> {
    from_environment("ROLLCALL_TEST_MOSQUITTO")?;
    let (folder, port) = (tempfile::tempdir().expect("folder"), free_port());
    let place = folder.path();
    std::fs::write(place.join("acl"), rights).expect("file");
    let acl = place.join("acl");
    let settings = format!("listener {port} 127.0.0.1\nallow_anonymous true\nuser root\nacl_file {}\n", acl.display());
    std::fs::write(place.join("conf"), settings).expect("file");
    let program = std::env::var("MOSQUITTO_BIN").unwrap_or_else(|_| "/usr/sbin/mosquitto".into());
    let mut command = Command::new(program);
    command.arg("-c").arg(place.join("conf")).stdout(Stdio::null()).stderr(Stdio::null());
    let process = command.spawn().expect("Mosquitto starts");
    until("it answers", || async { TcpStream::connect(("127.0.0.1", port)).await.is_ok() }).await;
    Some(Guarded { _folder: folder, url: format!("mqtt://127.0.0.1:{port}"), process })
}

/// An access list made before there was a canary: it is off, and the vehicles are heard as ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_refuses_the_canary_blinds_nobody() {
    let Some(broker) = guarded("topic read #\npattern write +/acme/+/heartbeat\n").await else { return };
    let stack = Stack::with_file(Some(&broker.url));
    let service = stack.start(&[("FLEET__OFFLINE_AFTER", "3s")]).await;
    until_canary_is(&service, "refused").await;
    let cause = canary(&service).await["cause"].as_str().expect("words").to_owned();
    assert!(cause.contains("does not let us publish on"), "{cause}");
    assert_eq!(metric(&service, "rollcall_canary_state{state=\"refused\"}").await, Some(1.0));
    let radio = Radio::connect(&stack, "fleet").await;
    radio.beat_acked("real").await;
    let status = |word: &'static str| {
        let service = &service;
        move || async move { service.status_of(CUSTOMER, "real").await.as_deref() == Some(word) }
    };
    until("it is online", status("online")).await;
    until("it is offline", status("offline")).await;
    assert_eq!((service.answer("/readyz").await.0, gaps(&service, "intake").await.len()), (200, 0));
}

/// One whose beats are taken but never come back cannot prove anything: blind, and it says which right is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_that_is_hidden_from_us_is_said_in_words() {
    let Some(broker) = guarded("pattern readwrite +/acme/+/heartbeat\npattern write +/+/+/heartbeat\n").await else {
        return;
    };
    let url = &broker.url;
    let service = Service::start(&["--store", "sqlite::memory:", "--broker", url, "--offline-after", "3s"]);
    until("it is said", || async {
        let ready = service.answer("/readyz").await;
        let words = ready.1["reasons"][0].as_str().unwrap_or_default().to_owned();
        ready.0 == 503 && words.contains("canary") && words.contains("fleet/$rollcall/canary-rollcall/heartbeat")
    })
    .await;
}

/// The next message on the presence topic: whether it was retained, what it says, and its time.
async fn presence(reader: &mut Reader, retained: bool) -> (String, i64) {
    let (_, retain, payload) = reader.next().await;
    let said: Value = serde_json::from_str(&payload).expect("JSON");
    assert_eq!(retain, retained, "{payload}");
    (said["status"].as_str().expect("text").to_owned(), said["timestamp"].as_i64().expect("a number"))
}

/// R43: online while it is there, offline by its last will, online again over a stale offline, offline at a stop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_own_presence_is_told_at_mosquitto() {
    let Some(url) = from_environment("ROLLCALL_TEST_MOSQUITTO") else { return };
    let stack = Stack::with_file(Some(&url));
    let topic = format!("rollcall/{}/presence", stack.name);
    let mut reader = Reader::start(&url, Version::V5, &topic).await;
    let begun = wall_ms();
    let mut service = stack.start(&[]).await;
    let (status, first) = presence(&mut reader, false).await;
    assert!(status == "online" && (begun..=wall_ms()).contains(&first), "{status} {first}");
    let mut late = Reader::start(&url, Version::V5, &topic).await;
    assert_eq!(presence(&mut late, true).await, ("online".into(), first));

    // Somebody says that we are gone, with a clock ahead of ours.
    let ahead = wall_ms() + 60_000;
    let options = rumqttc::MqttOptions::new(format!("{}-stranger", stack.name), &stack.broker.0, stack.broker.1);
    let (stranger, mut events) = rumqttc::AsyncClient::new(options, 10);
    let said = json!({ "status": "offline", "timestamp": ahead }).to_string();
    stranger.publish(&topic, rumqttc::QoS::AtLeastOnce, true, said).await.expect("queued");
    let _stranger = tokio::spawn(async move { while events.poll().await.is_ok() {} });
    assert_eq!(presence(&mut reader, false).await, ("offline".into(), ahead));
    let (status, answer) = presence(&mut reader, false).await;
    assert!(status == "online" && answer > ahead, "a newer time wins: {status} {answer}");

    service.kill();
    assert_eq!(presence(&mut reader, false).await.0, "offline", "the will");
    let mut service = stack.start(&[]).await;
    assert_eq!(presence(&mut reader, false).await.0, "online", "it comes back");
    service.signal("TERM");
    assert!(tokio::task::block_in_place(|| service.wait(PATIENCE)).success());
    assert_eq!(presence(&mut reader, false).await.0, "offline", "a planned stop");
    let mut late = Reader::start(&url, Version::V5, &topic).await;
    assert_eq!(presence(&mut late, true).await.0, "offline");
}

#[tokio::test]
async fn our_own_presence_is_told_at_the_embedded_broker() {
    let service = Service::start(&["--store", "sqlite::memory:"]);
    let topic = "rollcall/rollcall/presence";
    until_canary_is(&service, "well").await;
    let mut reader = Reader::start(&service.mqtt, Version::V5, topic).await;
    let (status, first) = presence(&mut reader, true).await;
    assert_eq!(status, "online");
    let stranger = Client::connect(&service, Version::V5, "stranger", None);
    stranger.publish(topic, 1, true, r#"{"status":"offline","timestamp":1}"#).await;
    assert_eq!(presence(&mut reader, false).await.0, "offline");
    let (status, answer) = presence(&mut reader, false).await;
    assert!(status == "online" && answer >= first, "{status} {answer}");
}
