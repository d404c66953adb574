//! The process is suspended for longer than the timeout (SIGSTOP, as a paused virtual machine does): nobody who keeps
//! sending is called offline for it, and who is silent gets one full timeout first (R15).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};

use crate::support::{Service, until};

const OFFLINE_AFTER: Duration = Duration::from_secs(2);
const SENDERS: usize = 5;

/// Beats for every sender five times a second until told to stop, through one connection that waits out a pause.
async fn keep_sending(mqtt: String, quiet: Arc<AtomicBool>, silent_too: Arc<AtomicBool>) {
    let (host, port) = mqtt.rsplit_once(':').expect("an address");
    let mut options = MqttOptions::new("gateway", host, port.parse().expect("a port"));
    options.set_keep_alive(Duration::from_secs(60));
    let (client, mut connection) = AsyncClient::new(options, 1_000);
    tokio::spawn(async move { while !matches!(connection.poll().await, Ok(Event::Incoming(Packet::Disconnect))) {} });
    while !quiet.load(Relaxed) {
        let silent = silent_too.load(Relaxed).then(|| "silent".to_owned());
        for vehicle in (0..SENDERS).map(|i| format!("sender-{i}")).chain(silent) {
            let _ = client.try_publish(format!("fleet/acme/{vehicle}/heartbeat"), QoS::AtLeastOnce, false, "{}");
        }
        tokio::time::sleep(Duration::from_millis(200)).await; // poll: the beat of the vehicles
    }
}

#[tokio::test]
async fn a_suspended_process_calls_nobody_offline() {
    let service = Service::start(&["--store", "sqlite::memory:", "--offline-after", "2s"]);
    let (quiet, silent_too) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(true)));
    tokio::spawn(keep_sending(service.mqtt.clone(), Arc::clone(&quiet), Arc::clone(&silent_too)));
    let online = || async { service.status_of("acme", "silent").await.as_deref() == Some("online") };
    until("everybody is online", online).await;
    silent_too.store(false, Relaxed);
    service.signal("STOP");
    let stopped = Instant::now();
    until("three timeouts have passed", || async { stopped.elapsed() > 3 * OFFLINE_AFTER }).await;
    service.signal("CONT");

    let silent = || async { service.status_of("acme", "silent").await.as_deref() == Some("offline") };
    until("the silent one is offline", silent).await;
    let offline = service.all("/api/v1/transitions?to_status=offline").await;
    let named: Vec<_> = offline.iter().map(|t| t["vehicle"].as_str().unwrap_or_default()).collect();
    assert_eq!(named, ["silent"], "nobody else");
    let gaps = service.get("/api/v1/observation-gaps").await;
    let gap = gaps["items"].as_array().and_then(|gaps| gaps.iter().find(|gap| gap["cause"] == "suspended"));
    let end = gap.expect("the pause is written down")["to"].as_str().expect("over").to_owned();
    let full_timeout = |text: &str| chrono::DateTime::parse_from_rfc3339(text).expect("a time") + OFFLINE_AFTER;
    assert_eq!(
        full_timeout(&end),
        chrono::DateTime::parse_from_rfc3339(offline[0]["at"].as_str().expect("at")).expect("a time")
    );
    for i in 0..SENDERS {
        let again = || async { service.status_of("acme", &format!("sender-{i}")).await.as_deref() == Some("online") };
        until("the senders are online", again).await;
    }
    quiet.store(true, Relaxed);
}
