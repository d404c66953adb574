//! A hostile hour in miniature: everything a stranger can do to the HTTP and MQTT doors without a credential, while
//! ordinary requests and heartbeats keep their pace and the memory stays where it was.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::doors::{connect, rest};
use crate::mqtt::Raw;
use crate::support::{Service, until};

/// Half-open connections of the attack, as far as this process may have so many files.
const HALF_OPEN: usize = 5_000;
/// What an attack may cost: 5,000 connections of some 17 KiB each, and the allocator's reserve.
const MEMORY_KIB: u64 = 192 * 1024;
/// How much slower ordinary traffic may be during an attack. Wide: attacker, service and other tests share a machine.
const SLOWER: u32 = 30;
/// What is always fast enough.
const FAST_ENOUGH: Duration = Duration::from_millis(300);

/// Ordinary traffic: the median of some rounds of a heartbeat by MQTT and a request for the status.
async fn pace(service: &Service, name: &str) -> Duration {
    let mut unit = Raw::connect(service, name).await;
    let client = reqwest::Client::new();
    let mut taken = Vec::new();
    for _ in 0..40 {
        let begun = Instant::now();
        unit.publish(&format!("fleet/acme/{name}/heartbeat"), b"{}").await;
        let answer = client.get(service.url("/api/v1/status")).send().await.expect("answers");
        assert_eq!(answer.status(), 200);
        taken.push(begun.elapsed());
    }
    taken.sort();
    taken[taken.len() / 2]
}

/// Ordinary traffic keeps its pace beside the attack and what it holds open; then memory is looked at. The attack says
/// how many blows it struck.
async fn unharmed<Held>(service: &Service, attack: &str, strike: impl Future<Output = (usize, Held)>) {
    let (calm, before) = (pace(service, "CALM").await, service.rss_kib());
    let strike = async {
        let begun = Instant::now();
        (strike.await, begun.elapsed())
    };
    let traffic = async {
        let begun = Instant::now();
        (pace(service, "BUSY").await, begun.elapsed())
    };
    let (((struck, held), lasted), (busy, watched)) = tokio::join!(strike, traffic);
    let grown = service.rss_kib().saturating_sub(before);
    drop(held);
    eprintln!(
        "{attack}: {struck} in {lasted:?}; a round {calm:?} calm, {busy:?} under it ({watched:?}); {grown} KiB more"
    );
    assert!(busy < FAST_ENOUGH.max(calm * SLOWER), "{attack}: {busy:?} a round, {calm:?} before");
    assert!(grown < MEMORY_KIB, "{attack}: {grown} KiB more");
    assert_eq!(service.answer("/healthz").await.0, 200);
    assert_eq!(service.status_of("acme", "BUSY").await.as_deref(), Some("online"));
}

/// How many files this process may still open, less some for everything else.
fn sockets_at_most(wanted: usize) -> usize {
    let limit = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1_024) as usize;
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let most = limit.saturating_sub(open + 500);
    if most < wanted {
        eprintln!("only {most} of {wanted} connections: the limit of open files is {limit}");
    }
    most.min(wanted)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_half_open_connections_hold_up_nobody() {
    let service = Service::with_settings(&[]);
    let many = sockets_at_most(HALF_OPEN);
    let strike = async {
        let mut held = Vec::with_capacity(many);
        for number in 0..many {
            let (place, half): (_, &[u8]) = match number % 4 {
                0 => (&service.mqtt, b"\x10\x0f\x00\x04MQ"),
                1 => (&service.http, b""),
                _ => (&service.http, b"GET /api/v1/status HTTP/1.1\r\nHost: x\r\nX-Half: "),
            };
            let Ok(mut stream) = TcpStream::connect(place).await else { continue };
            let _ = stream.write_all(half).await;
            held.push(stream);
        }
        (held.len(), held)
    };
    unharmed(&service, "half-open connections", strike).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oversize_heads_are_refused_and_read_no_further() {
    let service = Service::with_settings(&[]);
    let strike = async {
        let mut refused = 0;
        for round in 0..60 {
            let mut stream = connect(&service).await;
            let head = match round % 3 {
                0 => format!("GET / HTTP/1.1\r\nHost: x\r\nX-Large: {}\r\n\r\n", "a".repeat(1 << 20)),
                1 => format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X-Many: 1\r\n".repeat(10_000)),
                _ => format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(1 << 20)),
            };
            // It may be closed while we are still writing.
            let _ = stream.write_all(head.as_bytes()).await;
            let said = rest(&mut stream).await;
            assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}");
            refused += 1;
        }
        (refused, ())
    };
    unharmed(&service, "oversize heads", strike).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_never_end_hold_up_nobody() {
    let service = Service::with_settings(&[("ROLLCALL__HTTP__BODY_TIMEOUT", "1s")]);
    let strike = async {
        let mut held = Vec::new();
        for _ in 0..sockets_at_most(500) {
            let mut stream = connect(&service).await;
            let head = "POST /api/v1/heartbeats HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                        Content-Length: 8000000\r\n\r\n[{";
            let _ = stream.write_all(head.as_bytes()).await;
            held.push(stream);
        }
        let mut timed_out = 0;
        for stream in &mut held {
            timed_out += usize::from(rest(stream).await.starts_with("HTTP/1.1 408"));
        }
        assert_eq!(timed_out, held.len());
        (timed_out, held)
    };
    unharmed(&service, "slow bodies", strike).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_websockets_and_of_what_they_say_holds_up_nobody() {
    let service = Service::with_settings(&[("ROLLCALL__LIVE__DASHBOARDS_MAX", "200")]);
    let strike = async {
        let mut flooded = 0;
        let mut held = Vec::new();
        for number in 0..400 {
            let url = format!("ws://{}/api/v1/live", service.http);
            let Ok((mut socket, _)) = tokio_tungstenite::connect_async(url).await else { continue };
            for _ in 0..20 {
                let text = json!({"type": "filter", "customer": [format!("c{number}")]}).to_string();
                let _ = socket.feed(Message::text(text)).await;
            }
            let _ = socket.flush().await;
            flooded += 1;
            // Half of them never read; the others go on and on.
            if number % 2 == 0 {
                held.push(socket);
            }
        }
        for socket in &mut held {
            for _ in 0..1_000 {
                if socket.feed(Message::text("{\"type\":")).await.is_err() {
                    break;
                }
            }
            let _ = socket.flush().await;
        }
        (flooded, held)
    };
    unharmed(&service, "WebSocket flood", strike).await;
    let mut orderly = None;
    until("there is room for an orderly one", || async { service.get("/api/v1/status").await["dashboards"] == 0 })
        .await;
    orderly.replace(service.live("").await);
    let frame = orderly.as_mut().expect("connected").next_of("hello").await;
    assert!(frame["epoch"].is_string(), "{frame}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_bombs_are_refused_in_words() {
    let service = Service::with_settings(&[]);
    let deep = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let bombs = [
        deep(1_000_000),
        format!("{}1{}", r#"{"a":"#.repeat(500_000), "}".repeat(500_000)),
        format!(r#"{{"customer":"acme","vehicle":"v","metrics":{{"a":{}}}}}"#, deep(100_000)),
        format!(r#"{{"customer":"acme","vehicle":"v","lat":{}}}"#, "9".repeat(1_000_000)),
        format!(r#"{{"customer":"acme","vehicle":"v","seq":1e{}}}"#, "9".repeat(100_000)),
        format!(r#"{{"customer":"acme","vehicle":"{}"}}"#, "\\u0041".repeat(300_000)),
        "[".repeat(7_000_000),
    ];
    let strike = async {
        for bomb in &bombs {
            let reply = service.send("POST", "/api/v1/heartbeats", "application/json", bomb.clone()).await;
            // A list is taken apart, and what is no heartbeat in it is named.
            assert!(matches!(reply.status, 202 | 400 | 422), "{} for {}", reply.status, &bomb[..60]);
            assert!(reply.status != 202 || reply.json()["accepted"] == 0, "{}", &bomb[..60]);
            assert!(reply.text.len() < 10_000, "an answer of {} bytes", reply.text.len());
        }
        let mut unit = Raw::connect(&service, "bomber").await;
        for bomb in &bombs {
            unit.publish("fleet/acme/BOMB/heartbeat", bomb.get(..8_000).unwrap_or(bomb).as_bytes()).await;
        }
        (bombs.len(), ())
    };
    unharmed(&service, "JSON bombs", strike).await;
    assert_eq!(service.status_of("acme", "BOMB").await, None, "a refused payload makes no vehicle");
}

/// Raw paths, as no client library sends them.
#[tokio::test]
async fn no_path_climbs_out_of_the_dashboards_files() {
    let folder = tempfile::tempdir().expect("folder");
    let web = folder.path().join("web");
    std::fs::create_dir(&web).expect("folder");
    std::fs::write(folder.path().join("secret.txt"), "the secret").expect("file");
    std::fs::write(web.join("index.html"), "<p>home</p>").expect("file");
    std::os::unix::fs::symlink(folder.path().join("secret.txt"), web.join("link.txt")).expect("link");
    let text = web.display().to_string();
    for settings in [&[][..], &[("ROLLCALL__HTTP__WEB_DIR", text.as_str())]] {
        let service = Service::with_settings(settings);
        for path in [
            "/../secret.txt",
            "/%2e%2e/secret.txt",
            "/..%2fsecret.txt",
            "/%2e%2e%2fsecret.txt",
            "/js/../../secret.txt",
            "//secret.txt",
            "/..\\secret.txt",
            "/%00/../secret.txt",
            "/link.txt",
            "/....//secret.txt",
            "/../../../../../../etc/passwd",
            "//etc/passwd",
            "/api/v1/docs/../../../secret.txt",
        ] {
            let mut stream = connect(&service).await;
            let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.expect("writes");
            let said = rest(&mut stream).await;
            assert!(said.starts_with("HTTP/1.1 4") || said.starts_with("HTTP/1.1 3"), "{path}: {said}");
            assert!(!said.contains("the secret") && !said.contains("root:"), "{path}: {said}");
        }
    }
}

/// Requests that two readers could understand differently: each is refused, or answered once and the connection ended.
#[tokio::test]
async fn a_request_that_could_be_two_is_one_or_none() {
    let service = Service::with_settings(&[]);
    for head in [
        "POST /api/v1/heartbeats HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n\
         0\r\n\r\n",
        "POST /api/v1/heartbeats HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "POST /api/v1/heartbeats HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : x\r\n\r\n",
    ] {
        let mut stream = connect(&service).await;
        stream.write_all(head.as_bytes()).await.expect("writes");
        let _ = stream.shutdown().await;
        let said = rest(&mut stream).await;
        assert!(said.matches("HTTP/1.1 ").count() <= 1, "{head}: {said}");
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{head}: {said}");
    }
    let (mut read, _) = tokio_tungstenite::connect_async(format!("ws://{}/api/v1/live", service.http))
        .await
        .map(|(socket, answer)| (socket.split().1, answer))
        .expect("and it goes on");
    assert!(read.next().await.is_some_and(|frame| frame.is_ok()));
}
