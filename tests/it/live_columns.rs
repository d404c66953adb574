//! The dashboard's language from outside: the snapshot by HTTP, deltas by WebSocket, and a view that equals REST after
//! random traffic, broken connections and pauses (R47, R48). What a frame holds is read by columns.rs.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

use crate::columns::{View, decode, row_of};
use crate::mqtt::Raw;
use crate::support::{Live, PATIENCE, Service, until};

/// No frame on the socket is longer.
const FRAME_BYTES_MAX: usize = 64 * 1024;

/// A page: its view, and what it was told in text.
struct Page {
    live: Live,
    query: &'static str,
    view: View,
    told: Vec<Value>,
    transitions: usize,
}

impl Page {
    /// Connects; a view that is not empty is resumed.
    async fn open(service: &Service, query: &'static str, view: View) -> Self {
        let url = format!("ws://{}/api/v1/live{query}", service.http);
        let mut request = url.into_client_request().expect("a request");
        request.headers_mut().insert("Sec-WebSocket-Protocol", "rollcall.v1.bin".parse().expect("a header"));
        let (socket, response) = tokio_tungstenite::connect_async(request).await.expect("upgrades");
        let named = response.headers().get("Sec-WebSocket-Protocol").map(|value| value.as_bytes());
        assert_eq!(named, Some(&b"rollcall.v1.bin"[..]));
        let mut page = Self { live: Live { socket }, query, view, told: Vec::new(), transitions: 0 };
        if !page.view.epoch.is_empty() {
            page.resume().await;
        }
        page
    }

    async fn resume(&mut self) {
        self.view.frames = 0;
        let (epoch, version) = (&self.view.epoch, self.view.version);
        self.live.say(json!({"type": "resume", "epoch": epoch, "version": version})).await;
    }

    async fn fetch(&mut self, service: &Service) {
        let answer = reqwest::get(service.url(&format!("/api/v1/live/snapshot{}", self.query))).await.expect("answers");
        assert_eq!(answer.headers()["content-type"], "application/octet-stream");
        self.view.take(decode(&answer.bytes().await.expect("bytes")));
    }

    /// Takes one frame, and fetches the snapshot when it is told to. The type of the frame.
    async fn step(&mut self, service: &Service) -> String {
        let message = tokio::time::timeout(PATIENCE, self.live.socket.next()).await.expect("a frame within the limit");
        match message.expect("open").expect("a frame") {
            Message::Text(text) => {
                let frame: Value = serde_json::from_str(&text).expect("JSON");
                let kind = frame["type"].as_str().expect("a type").to_owned();
                if kind == "resync" {
                    self.fetch(service).await;
                    self.resume().await;
                }
                self.told.push(frame);
                kind
            }
            Message::Binary(bytes) => {
                assert!(bytes.len() <= FRAME_BYTES_MAX, "a frame of {} bytes", bytes.len());
                let frame = decode(&bytes);
                let kind = frame.kind.to_owned();
                self.transitions += if frame.kind == "transitions" { frame.rows.len() } else { 0 };
                self.view.take(frame);
                kind
            }
            _ => String::new(),
        }
    }

    fn was_told(&self, kind: &str) -> bool {
        self.told.iter().any(|frame| frame["type"] == kind)
    }

    /// Follows until the view is what REST shows; nothing changes any more.
    async fn ends_with_the_truth(&mut self, service: &Service) {
        let begun = Instant::now();
        loop {
            if self.step(service).await != "counts" {
                continue;
            }
            let query = self.query.trim_start_matches('?');
            let truth = service.all(&format!("/api/v1/vehicles?{query}")).await;
            let (truth, view) = (truth.iter().map(row_of).collect(), self.view.by_name());
            if view == truth {
                return;
            }
            let differs = truth.iter().find(|(name, row)| view.get(*name) != Some(row));
            let shown = differs.map(|(name, row)| (row, view.get(name)));
            let counts = (truth.len(), view.len());
            assert!(begun.elapsed() < PATIENCE, "{query}: {counts:?} vehicles; truth and view differ: {shown:?}");
        }
    }
}

fn service() -> Service {
    Service::start(&["--store", "sqlite::memory:", "--offline-after", "1h"])
}

async fn post(service: &Service, list: &[Value]) {
    for part in list.chunks(1_000) {
        let (status, answer) = service.post_heartbeats(&json!(part)).await;
        assert_eq!((status, &answer["accepted"]), (202, &part.len().into()), "{answer}");
    }
}

fn beat(n: usize, round: usize) -> Value {
    json!({
        "customer": format!("c{}", n % 3), "vehicle": format!("V{n:04}"), "lat": (n % 90) as f64 + 0.123_456_7,
        "lon": round % 180, "speed_kmh": round % 100, "battery_pct": n % 100
    })
}

#[tokio::test]
async fn a_page_fetches_its_snapshot_is_followed_from_it_and_resumes_without_another() {
    let service = service();
    post(&service, &(0..2_000).map(|n| beat(n, 1)).collect::<Vec<_>>()).await;
    until("all are there", || async { service.get("/api/v1/vehicles").await["total"] == 2_000 }).await;
    let mut page = Page::open(&service, "", View::default()).await;
    assert_eq!(page.step(&service).await, "hello");
    page.ends_with_the_truth(&service).await;
    assert!(page.was_told("resync") && page.was_told("observation"), "{:?}", page.told);
    assert_eq!(page.told[0]["epoch"], page.view.epoch.as_str());

    let view = std::mem::take(&mut page.view);
    drop(page);
    post(&service, &[beat(7, 9), beat(2_000, 9)]).await;
    until("it is there", || async { service.get("/api/v1/vehicles").await["total"] == 2_001 }).await;
    let mut page = Page::open(&service, "", view).await;
    page.ends_with_the_truth(&service).await;
    assert!(!page.was_told("resync"), "{:?}", page.told);
    while page.transitions < 1 {
        page.step(&service).await;
    }

    let other = View { epoch: "of another run".into(), ..View::default() };
    let mut page = Page::open(&service, "", other).await;
    page.ends_with_the_truth(&service).await;
    assert!(page.was_told("resync"), "a place that is unknown begins anew");
}

#[tokio::test]
async fn after_random_traffic_and_broken_connections_every_page_equals_rest() {
    const VEHICLES: usize = 300;
    let service = service();
    post(&service, &(0..VEHICLES / 2).map(|n| beat(n, 0)).collect::<Vec<_>>()).await;
    until("c2 is known", || async { service.get("/api/v1/vehicles").await["total"] == VEHICLES / 2 }).await;
    let mut pages = Vec::new();
    for query in ["", "?customer=c1", "?status=offline", "?status=online&customer=c0,c2"] {
        pages.push(Page::open(&service, query, View::default()).await);
    }
    let mut connection = Raw::connect(&service, "unit").await;
    let mut chance = StdRng::seed_from_u64(42);
    for round in 1..40 {
        let some: Vec<Value> = (0..30).map(|_| beat(chance.random_range(0..VEHICLES), round)).collect();
        post(&service, &some).await;
        for _ in 0..10 {
            let n = chance.random_range(0..VEHICLES / 2);
            connection.publish(&format!("fleet/c{}/V{n:04}/goodbye", n % 3), b"").await;
        }
        for page in &mut pages {
            match chance.random_range(0..4) {
                0 => *page = Page::open(&service, page.query, std::mem::take(&mut page.view)).await,
                1 | 2 => drop(page.step(&service).await),
                _ => {} // does not read for now
            }
        }
    }
    for page in &mut pages {
        page.ends_with_the_truth(&service).await;
    }
}

#[tokio::test]
async fn a_snapshot_is_compressed_filtered_and_refuses_what_it_does_not_know() {
    let service = service();
    post(&service, &(0..1_000).map(|n| beat(n, 1)).collect::<Vec<_>>()).await;
    until("all are there", || async { service.get("/api/v1/vehicles").await["total"] == 1_000 }).await;
    let frame = |query: &'static str| {
        let url = service.url(&format!("/api/v1/live/snapshot{query}"));
        async move { decode(&reqwest::get(url).await.expect("answers").bytes().await.expect("bytes")) }
    };
    let (all, some) = (frame("").await, frame("?customer=c1").await);
    assert_eq!((all.rows.len(), some.rows.len()), (1_000, 333));
    assert_ne!(all.epoch, some.epoch, "another filter, another epoch");
    let seen = all.rows.iter().filter_map(|row| row["last_seen"].as_f64()).fold(0.0, f64::max);
    assert!((seen..seen + 60_000.0).contains(&all.server_ms), "our time is in it, for ages");
    let request = reqwest::Client::new().get(service.url("/api/v1/live/snapshot")).header("accept-encoding", "gzip");
    let answer = request.send().await.expect("answers");
    assert_eq!(answer.headers()["content-encoding"], "gzip");
    let packed = answer.bytes().await.expect("bytes").len();
    assert!(packed < 30_000, "{packed} bytes of about 53,000");
    for query in ["?status=late", "?customer=a%20b", "?color=red"] {
        assert_eq!(service.send("GET", &format!("/api/v1/live/snapshot{query}"), "", "").await.status, 422, "{query}");
    }
}

/// Pages that do not read are held in bounded memory, and end with the newest state once they read again.
#[tokio::test]
async fn pages_that_do_not_read_cost_little_and_lose_nothing() {
    const VEHICLES: usize = 5_000;
    const PAGES: usize = 10;
    let service = service();
    let round_of = |round: usize| (0..VEHICLES).map(|n| beat(n, round)).collect::<Vec<_>>();
    post(&service, &round_of(0)).await;
    until("all are there", || async { service.get("/api/v1/vehicles").await["total"] == VEHICLES }).await;
    let mut pages = Vec::new();
    for _ in 0..PAGES {
        let mut page = Page::open(&service, "", View::default()).await;
        page.ends_with_the_truth(&service).await;
        pages.push(page);
    }
    let mut round = 1;
    let mut change = async |limit: Duration| {
        let begun = Instant::now();
        while begun.elapsed() < limit {
            post(&service, &round_of(round)).await;
            round += 1;
        }
    };
    // The first rounds fill what is filled once; each later one is 125 KB for each page.
    change(Duration::from_secs(2)).await;
    let before = service.rss_kib();
    change(Duration::from_secs(5)).await;
    let after = service.rss_kib();
    assert!(after < before + 64 * 1024, "{before} KiB, and {after} KiB after {round} rounds nobody read");
    for page in &mut pages {
        page.ends_with_the_truth(&service).await;
    }
    assert!(round > 3, "{round} rounds");
}

/// A client that asks for a language we do not speak gets JSON and no name in the answer, so its library says so.
#[tokio::test]
async fn a_sub_protocol_that_is_unknown_is_not_named() {
    let service = service();
    let request = |asked: &str| {
        let mut request = format!("ws://{}/api/v1/live", service.http).into_client_request().expect("a request");
        request.headers_mut().insert("Sec-WebSocket-Protocol", asked.parse().expect("a header"));
        tokio_tungstenite::connect_async(request)
    };
    for asked in ["rollcall.v2.bin", "binary, json"] {
        assert!(request(asked).await.is_err(), "{asked}: this library refuses a server that names none");
    }
    let (_, response) = request("x, rollcall.v1.bin, rollcall.v1.json").await.expect("upgrades");
    assert_eq!(response.headers()["Sec-WebSocket-Protocol"], "rollcall.v1.bin");
}
