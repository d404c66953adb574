//! The HTTP door from outside: how often, how slowly, how large, from which page and behind which proxy one may ask.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::access::Keyed;
use crate::support::{PATIENCE, Reply, Service, until};

/// A service with these settings of `[http]`.
fn service(settings: &[(&str, &str)]) -> Service {
    let all: Vec<(String, &str)> =
        settings.iter().map(|(name, value)| (format!("ROLLCALL__HTTP__{name}"), *value)).collect();
    let all: Vec<(&str, &str)> = all.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    Service::with_settings(&all)
}

/// A bare connection.
pub async fn connect(service: &Service) -> TcpStream {
    TcpStream::connect(&service.http).await.expect("connects")
}

/// Everything the service says until it closes.
pub async fn rest(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut all)).await.expect("the service closes");
    drop(read);
    String::from_utf8_lossy(&all).into_owned()
}

async fn send(service: &Service, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
    let mut request = reqwest::Client::new().request(method.parse().expect("a method"), service.url(path));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Reply::of(request).await
}

#[tokio::test]
async fn an_address_that_asks_too_often_is_told_when_to_come_again() {
    let limits = [("REQUESTS_PER_S_MAX", "1"), ("REQUESTS_BURST", "5"), ("TRUSTED_PROXIES", "127.0.0.1, ::1")];
    let service = service(&limits);
    let ask = |address: &'static str| {
        let service = &service;
        async move { send(service, "GET", "/api/v1/status", &[("x-forwarded-for", address)]).await }
    };
    for _ in 0..5 {
        assert_eq!(ask("203.0.113.7").await.status, 200);
    }
    let refused = ask("203.0.113.7").await;
    assert_eq!((refused.status, refused.header("content-type")), (429, "application/problem+json"));
    assert!(refused.header("retry-after").parse::<u64>().is_ok_and(|wait| (1..=5).contains(&wait)), "{refused:?}");
    assert!(refused.header("content-security-policy").contains("default-src"), "{refused:?}");
    // Others are not meant; and what somebody claims before the proxy's own word does not count.
    assert_eq!(ask("203.0.113.8").await.status, 200);
    assert_eq!(ask("198.51.100.1, 203.0.113.7").await.status, 429);
    assert_eq!(ask("203.0.113.7, 198.51.100.1").await.status, 200);
    until("it may ask again", || async { ask("203.0.113.7").await.status == 200 }).await;
}

#[tokio::test]
async fn a_key_that_asks_too_often_is_told_so_and_another_is_not() {
    let limits = [("ROLLCALL__HTTP__KEY_REQUESTS_PER_S_MAX", "1"), ("ROLLCALL__HTTP__KEY_REQUESTS_BURST", "5")];
    let keyed = Keyed::start(&limits);
    let busy = keyed.key(json!({"name": "busy", "customer": "acme", "scopes": ["read"]})).await;
    let calm = keyed.key(json!({"name": "calm", "customer": "acme", "scopes": ["read"]})).await;
    let mut told = Vec::new();
    for _ in 0..20 {
        told.push(keyed.get(&busy, "/api/v1/status").await);
    }
    assert_eq!(told[..5].iter().map(|reply| reply.status).collect::<Vec<_>>(), [200; 5]);
    let refused = told.iter().find(|reply| reply.status == 429).expect("over the limit");
    assert!(refused.header("retry-after").parse::<u64>().is_ok_and(|wait| (1..=5).contains(&wait)), "{refused:?}");
    assert_eq!(keyed.get(&calm, "/api/v1/status").await.status, 200);
}

#[tokio::test]
async fn wrong_keys_are_soon_told_to_wait_and_the_right_one_is_let_through() {
    let keyed = Keyed::start(&[]);
    let mut statuses = Vec::new();
    for number in 0..600 {
        let wrong = format!("rk_{number:016x}_{}", "0".repeat(64));
        statuses.push(keyed.get(&wrong, "/api/v1/status").await.status);
    }
    assert_eq!((statuses[0], statuses[599]), (401, 429));
    assert!(statuses.iter().all(|status| [401, 429].contains(status)), "{statuses:?}");
    assert_eq!(keyed.get(&keyed.admin, "/api/v1/status").await.status, 200);
}

#[tokio::test]
async fn nobody_can_say_that_he_is_another_unless_he_is_a_trusted_proxy() {
    let service = service(&[("REQUESTS_PER_S_MAX", "1"), ("REQUESTS_BURST", "2")]);
    for _ in 0..20 {
        let reply = send(&service, "GET", "/api/v1/status", &[("x-forwarded-for", "203.0.113.7")]).await;
        assert_eq!(reply.status, 200, "this machine is not limited, whatever it says");
    }
}

#[tokio::test]
async fn a_page_of_another_origin_may_change_nothing_and_read_only_when_it_is_listed() {
    let service = service(&[("ALLOWED_ORIGINS", "https://fleet.example.org")]);
    let own = format!("http://{}", service.http);
    let post = |origin: String| {
        let service = &service;
        async move { send(service, "POST", "/api/v1/heartbeats", &[("origin", &origin)]).await.status }
    };
    // 415: it came as far as the handler, which wants JSON.
    assert_eq!((post(own.clone()).await, post("https://fleet.example.org".into()).await), (415, 415));
    for stranger in ["https://evil.example", "null", "http://127.0.0.1:1", "https://fleet.example.org.evil.example"] {
        assert_eq!(post(stranger.into()).await, 403, "{stranger}");
    }
    let get = |origin: &'static str| {
        let service = &service;
        async move {
            let reply = send(service, "GET", "/api/v1/status", &[("origin", origin)]).await;
            reply.header("access-control-allow-origin").to_owned()
        }
    };
    assert_eq!(get("https://fleet.example.org").await, "https://fleet.example.org");
    assert_eq!(get("https://evil.example").await, "");
    let asked = [("origin", "https://fleet.example.org"), ("access-control-request-method", "PUT")];
    let preflight = send(&service, "OPTIONS", "/api/v1/status", &asked).await;
    assert_eq!(preflight.status, 200);
    assert!(preflight.header("access-control-allow-methods").contains("PUT"), "{preflight:?}");
}

#[tokio::test]
async fn without_a_list_no_page_elsewhere_is_told_anything() {
    let service = service(&[]);
    let reply = send(&service, "GET", "/api/v1/status", &[("origin", "https://fleet.example.org")]).await;
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (200, ""));
    let reply = send(&service, "GET", "/", &[]).await;
    for (name, value) in [
        ("x-frame-options", "DENY"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
    ] {
        assert_eq!(reply.header(name), value);
    }
}

/// The first line of the answer to a WebSocket handshake from a page of this origin.
async fn handshake(service: &Service, origin: &str) -> String {
    let mut stream = connect(service).await;
    let request = format!(
        "GET /api/v1/live HTTP/1.1\r\nHost: {}\r\nOrigin: {origin}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        service.http
    );
    stream.write_all(request.as_bytes()).await.expect("writes");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_page_of_another_origin_opens_no_websocket() {
    let service = service(&[("ALLOWED_ORIGINS", "https://fleet.example.org")]);
    assert_eq!(handshake(&service, &format!("http://{}", service.http)).await, "HTTP/1.1 101");
    assert_eq!(handshake(&service, "https://fleet.example.org").await, "HTTP/1.1 101");
    assert_eq!(handshake(&service, "https://evil.example").await, "HTTP/1.1 403");
}

/// The web server's own limit is for a connection's first request; the second one is ours.
#[tokio::test]
async fn half_a_head_is_not_waited_for_neither_the_first_nor_the_second() {
    let service = service(&[("HEADER_TIMEOUT", "1s")]);
    let mut first = connect(&service).await;
    let begun = Instant::now();
    first.write_all(b"GET /healthz HTTP/1.1\r\nHost:").await.expect("writes");
    let said = rest(&mut first).await;
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let mut second = connect(&service).await;
    let begun = Instant::now();
    second.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nHo").await.expect("writes");
    assert!(rest(&mut second).await.starts_with("HTTP/1.1 200"));
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_body_that_trickles_is_given_up_and_one_that_flows_is_not() {
    let service = service(&[("BODY_TIMEOUT", "1s")]);
    let head = "POST /api/v1/heartbeats HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ";
    let mut stream = connect(&service).await;
    // That it wants to become something else excuses nobody.
    stream.write_all(format!("{head}1000\r\nUpgrade: websocket\r\n\r\n[").as_bytes()).await.expect("writes");
    let begun = Instant::now();
    let (mut read, mut write) = stream.split();
    let mut said = Vec::new();
    let trickle = async {
        // Its end is the service's: writing fails, or the other half has read the answer.
        while write.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(200)).await; // poll: the pace of the attack
        }
    };
    tokio::select! {
        () = trickle => {}
        read = tokio::time::timeout(PATIENCE, read.read_to_end(&mut said)) => drop(read.expect("the service closes")),
    }
    let said = String::from_utf8_lossy(&said);
    assert!(said.starts_with("HTTP/1.1 408") && said.contains("application/problem+json"), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    // Slower than the limit in all, but each piece earns its time.
    let mut steady = connect(&service).await;
    steady.write_all(format!("{head}24576\r\nConnection: close\r\n\r\n").as_bytes()).await.expect("writes");
    for _ in 0..6 {
        steady.write_all(&[b' '; 4_096]).await.expect("writes");
        tokio::time::sleep(Duration::from_millis(400)).await; // poll: the pace of a slow line
    }
    assert!(rest(&mut steady).await.starts_with("HTTP/1.1 400"), "an empty body is no heartbeat");
}

#[tokio::test]
async fn more_connections_than_allowed_are_closed_at_once_and_those_before_them_work_on() {
    let service = service(&[("CONNECTIONS_MAX", "20"), ("HEADER_TIMEOUT", "10s")]);
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(connect(&service).await);
    }
    let mut first = held.remove(0);
    first.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("writes");
    let mut answer = [0; 12];
    first.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200");
    // Two threads take connections, so that the last of the twenty may not be in yet.
    until("one more is closed", || async {
        let mut late = connect(&service).await;
        let _ = late.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        rest(&mut late).await.is_empty()
    })
    .await;
    drop((held, first));
    // The service may learn of one closed connection before the others: whoever comes next may still be one too many.
    let metrics = RefCell::new(String::new());
    until("there is room again", || async {
        let Ok(reply) = reqwest::get(service.url("/metrics")).await else { return false };
        *metrics.borrow_mut() = reply.text().await.unwrap_or_default();
        metrics.borrow().contains("rollcall_http_turned_away_total")
    })
    .await;
    let metrics = metrics.into_inner();
    assert!(!metrics.contains("rollcall_http_turned_away_total 0"), "{metrics}");
}
