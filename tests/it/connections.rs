//! Connections to the embedded broker that say nothing, too little, too much, or are too many (R46), by raw sockets.
//! The numbers are those of docs/operations.md.

use std::time::{Duration, Instant};

use crate::mqtt::Raw;
use crate::support::{Service, until};

/// CONNECT of MQTT 3.1.1 with a keep-alive of one second.
const CONNECT: &[u8] = b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x01\x00\x03abc";

fn service(settings: &[(&str, &str)]) -> Service {
    let all: Vec<(String, &str)> =
        settings.iter().map(|(name, value)| (format!("ROLLCALL__MQTT__{name}"), *value)).collect();
    let all: Vec<(&str, &str)> = all.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    Service::with_settings(&all)
}

/// How long until the service closes a connection on which only these bytes were sent.
async fn closed_after(service: &Service, bytes: &[u8]) -> Duration {
    let mut stranger = Raw::stranger(service).await;
    stranger.write(bytes).await;
    let begun = Instant::now();
    stranger.closed().await;
    begun.elapsed()
}

/// Waits until the service's own line is in and proves something.
async fn settled(service: &Service) {
    until("the canary is in", || async { service.get("/api/v1/status").await["canary"]["state"] == "well" }).await;
}

/// Open files of the service.
fn files(service: &Service) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", service.pid())).expect("readable").count()
}

#[tokio::test]
async fn who_does_not_say_who_it_is_in_time_is_closed() {
    let service = service(&[("CONNECT_TIMEOUT", "1s")]);
    let (nothing, half) = tokio::join!(closed_after(&service, b""), closed_after(&service, &CONNECT[..9]));
    for taken in [nothing, half] {
        assert!((Duration::from_millis(900)..Duration::from_secs(5)).contains(&taken), "{taken:?}");
    }
    // Who did say it stays, though it is silent for longer than that.
    let mut patient = Raw::connect(&service, "patient").await;
    tokio::time::sleep(Duration::from_millis(1_500)).await; // poll: it is there after the time of the others
    patient.publish("fleet/acme/P/heartbeat", b"{}").await;
    let metrics = service.send("GET", "/metrics", "", "").await.text;
    assert!(metrics.contains("rollcall_mqtt_connect_timeouts_total 2"), "{metrics}");
}

/// The default of ten seconds, and drops of bytes that never become a packet.
#[tokio::test]
async fn a_slow_loris_is_closed_after_ten_seconds() {
    let service = service(&[]);
    let mut loris = Raw::stranger(&service).await;
    let begun = Instant::now();
    let feed = async {
        for byte in CONNECT.iter().take(CONNECT.len() - 1).cycle().take(30) {
            loris.write(&[*byte]).await;
            tokio::time::sleep(Duration::from_millis(700)).await; // poll: the pace of the attack
            if begun.elapsed() > Duration::from_secs(9) {
                break;
            }
        }
        loris.closed().await;
        begun.elapsed()
    };
    let taken = feed.await;
    assert!(taken < Duration::from_secs(15), "{taken:?}");
}

#[tokio::test]
async fn half_a_packet_and_silence_end_with_the_keep_alive() {
    let service = service(&[]);
    for rest in [&b""[..], &b"\x30\x7f\x00\x05fleet"[..]] {
        let taken = closed_after(&service, &[CONNECT, rest].concat()).await;
        assert!((Duration::from_millis(1_400)..Duration::from_secs(6)).contains(&taken), "keep-alive 1 s: {taken:?}");
    }
}

#[tokio::test]
async fn a_packet_over_the_limit_closes_its_connection_alone() {
    let service = service(&[("PACKET_BYTES_MAX", "4096")]);
    let mut other = Raw::connect(&service, "other").await;
    let mut large = Raw::connect(&service, "large").await;
    large.write(&crate::mqtt::publish("fleet/acme/L/heartbeat", &[b' '; 5_000], Some(1), false)).await;
    large.closed().await;
    let huge = closed_after(&service, b"\x10\xff\xff\xff\x7f").await;
    assert!(huge < Duration::from_secs(5), "a CONNECT that claims 256 MB: {huge:?}");
    other.publish("fleet/acme/O/heartbeat", b"{}").await;
}

#[tokio::test]
async fn an_address_has_its_share_and_gets_it_back() {
    // The service's own line, which proves that its listener works, comes from this address too.
    let service = service(&[("CONNECTIONS_PER_ADDRESS_MAX", "4")]);
    settled(&service).await;
    let mut inside = Vec::new();
    for number in 0..3 {
        inside.push(Raw::connect(&service, &format!("unit{number}")).await);
    }
    assert!(closed_after(&service, CONNECT).await < Duration::from_secs(5));
    drop(inside.pop());
    until("there is room again", || async {
        let mut stranger = Raw::stranger(&service).await;
        stranger.write(CONNECT).await;
        stranger.answers().await
    })
    .await;
}

/// R46: thousands that connect and say nothing hold a bounded number of sockets, and others get in among them.
#[tokio::test]
async fn abandoned_connections_keep_nobody_out_and_leak_nothing() {
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let service = service(&[("CONNECTIONS_MAX", "300"), ("CONNECT_TIMEOUT", "5s")]);
    // Files of its own that it opens only after the ready line, among them the canary's.
    settled(&service).await;
    let before = files(&service);
    let mut abandoned = Vec::new();
    for _ in 0..2_000 {
        abandoned.push(Raw::stranger(&service).await);
    }
    let open = files(&service);
    assert!(open < before + 400, "{before} files before, {open} now");
    let mut unit = Raw::connect(&service, "unit").await;
    unit.publish("fleet/acme/U/heartbeat", b"{}").await;
    drop((abandoned, unit));
    until("the files are closed", || async { files(&service) <= before + 10 }).await;
}

/// Coming and going leaves neither files nor memory behind.
#[tokio::test]
async fn thousands_of_connections_one_after_another_leave_nothing_behind() {
    let service = service(&[]);
    let round = |count: usize| {
        let service = &service;
        async move {
            for number in 0..count {
                let mut unit = Raw::connect(service, &format!("unit{number}")).await;
                if number % 10 == 0 {
                    unit.publish("fleet/acme/U/heartbeat", b"{}").await;
                }
            }
        }
    };
    round(1_000).await;
    let (files_before, memory) = (files(&service), service.rss_kib());
    round(4_000).await;
    until("the files are closed", || async { files(&service) <= files_before + 10 }).await;
    let grown = service.rss_kib().saturating_sub(memory);
    assert!(grown < 8 * 1_024, "grew by {grown} KiB");
}
