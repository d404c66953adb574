//! Invariant 6 from outside: a dashboard's view equals REST, after random traffic, over thousands of vehicles, and
//! after it did not read for a while, which must not cost the service memory.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::mqtt::Raw;
use crate::support::{Live, PATIENCE, Service, until};

/// No frame is longer.
const FRAME_BYTES_MAX: usize = 64 * 1024;

/// Vehicles by customer and name.
type Rows = BTreeMap<(String, String), Value>;

/// What a client knows that follows the protocol to the letter.
#[derive(Default)]
struct View {
    version: u64,
    vehicles: Rows,
    parts: usize,
}

fn key(row: &Value) -> (String, String) {
    let text = |name: &str| row[name].as_str().expect("text").to_owned();
    (text("customer"), text("vehicle"))
}

fn list<'a>(frame: &'a Value, name: &str) -> &'a Vec<Value> {
    frame[name].as_array().unwrap_or_else(|| panic!("a list of {name} in {frame}"))
}

impl View {
    fn take(&mut self, frame: &Value) {
        let number = |name: &str| frame[name].as_u64().unwrap_or_else(|| panic!("{name} in {frame}"));
        match frame["type"].as_str().expect("a type") {
            "snapshot" => {
                if number("part") == 1 {
                    self.vehicles.clear();
                    self.parts = 0;
                }
                self.parts += 1;
                assert_eq!(number("part"), self.parts as u64, "parts come in order");
                self.vehicles.extend(list(frame, "vehicles").iter().map(|row| (key(row), row.clone())));
                self.version = number("version");
            }
            "delta" => {
                assert_eq!(number("from"), self.version, "from the version the client has");
                for row in list(frame, "changed") {
                    let known = self.vehicles.entry(key(row)).or_insert_with(|| json!({}));
                    let fields = row.as_object().expect("an object").clone();
                    known.as_object_mut().expect("an object").extend(fields);
                }
                for row in list(frame, "removed") {
                    self.vehicles.remove(&key(row));
                }
                self.version = number("version");
            }
            "bye" | "error" => panic!("{frame}"),
            _ => {}
        }
    }

    /// Follows until the view is what REST shows; nothing changes any more.
    async fn ends_with_the_truth(&mut self, live: &mut Live, service: &Service, query: &str) {
        let begun = Instant::now();
        loop {
            self.follow(live).await;
            if self.is_the_truth(&truth(service, query).await, begun) {
                return;
            }
        }
    }

    /// The same with a truth that was read once.
    async fn ends_with(&mut self, live: &mut Live, truth: &Rows) {
        let begun = Instant::now();
        while !self.is_the_truth(truth, begun) {
            self.follow(live).await;
        }
    }

    /// Takes frames until the next counts.
    async fn follow(&mut self, live: &mut Live) {
        loop {
            let text = live.next_text().await.expect("open");
            assert!(text.len() <= FRAME_BYTES_MAX, "a frame of {} bytes", text.len());
            let frame: Value = serde_json::from_str(&text).expect("JSON");
            self.take(&frame);
            if frame["type"] == "counts" {
                return;
            }
        }
    }

    /// Whether all rows are those; they have to be within our patience.
    fn is_the_truth(&self, truth: &Rows, begun: Instant) -> bool {
        if *truth == self.vehicles {
            return true;
        }
        let differs = truth.iter().find(|(key, row)| self.vehicles.get(key) != Some(row));
        let shown = differs.map(|(key, row)| (row, self.vehicles.get(key)));
        let counts = (truth.len(), self.vehicles.len());
        assert!(begun.elapsed() < PATIENCE, "{counts:?} vehicles; truth and view differ: {shown:?}");
        false
    }
}

/// What REST shows.
async fn truth(service: &Service, query: &str) -> Rows {
    let rows = service.all(&format!("/api/v1/vehicles?{query}")).await;
    rows.into_iter().map(|row| (key(&row), row)).collect()
}

async fn post(service: &Service, list: &[Value]) {
    for part in list.chunks(1_000) {
        let (status, answer) = service.post_heartbeats(&json!(part)).await;
        assert_eq!((status, &answer["accepted"]), (202, &part.len().into()), "{answer}");
    }
}

/// A heartbeat of one of many vehicles, with readings of this round.
fn beat(n: usize, round: usize) -> Value {
    json!({
        "customer": format!("c{}", n % 3), "vehicle": format!("V{n:04}"), "lat": (n % 90) as f64, "lon": round % 180,
        "speed_kmh": round % 100, "battery_pct": n % 100, "metrics": {"round": round}
    })
}

#[tokio::test]
async fn a_large_snapshot_comes_in_parts_of_64_kib_and_is_the_truth() {
    let service = Service::start(&["--store", "sqlite::memory:", "--offline-after", "1h"]);
    post(&service, &(0..2_000).map(|n| beat(n, 1)).collect::<Vec<_>>()).await;
    until("all are there", || async { service.get("/api/v1/vehicles").await["total"] == 2_000 }).await;
    let (mut live, mut view) = (service.live("").await, View::default());
    view.ends_with_the_truth(&mut live, &service, "").await;
    assert!(view.parts > 5 && view.vehicles.len() == 2_000, "{} parts", view.parts);
}

#[tokio::test]
async fn after_random_traffic_every_view_equals_rest() {
    const VEHICLES: usize = 300;
    let service = Service::start(&["--store", "sqlite::memory:", "--offline-after", "1h"]);
    let mut clients = Vec::new();
    let queries = ["", "customer=c1", "status=offline", "status=online&customer=c0,c2", "status=unobserved"];
    post(&service, &(0..VEHICLES / 2).map(|n| beat(n, 0)).collect::<Vec<_>>()).await;
    until("c2 is known", || async { service.get("/api/v1/vehicles").await["total"] == VEHICLES / 2 }).await;
    for query in queries {
        clients.push((service.live(&format!("?{query}")).await, View::default(), query));
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
        // Some read now and then, as it happens; the others have it all before them.
        for (live, view, _) in &mut clients {
            if chance.random_bool(0.5) {
                view.take(&live.next().await.expect("open"));
            }
        }
    }
    for (live, view, query) in &mut clients {
        view.ends_with_the_truth(live, &service, query).await;
    }
}

/// Dashboards that do not read are held in bounded memory, and end with the newest state once they read again.
#[tokio::test]
async fn dashboards_that_do_not_read_cost_little_and_lose_nothing() {
    const VEHICLES: usize = 5_000;
    const DASHBOARDS: usize = 10;
    const STALL: Duration = Duration::from_secs(6);
    let service = Service::start(&["--store", "sqlite::memory:", "--offline-after", "1h"]);
    post(&service, &(0..VEHICLES).map(|n| beat(n, 0)).collect::<Vec<_>>()).await;
    until("all are there", || async { service.get("/api/v1/vehicles").await["total"] == VEHICLES }).await;
    let mut clients = Vec::new();
    for _ in 0..DASHBOARDS {
        let (mut live, mut view) = (service.live("").await, View::default());
        view.ends_with_the_truth(&mut live, &service, "").await;
        clients.push((live, view));
    }
    let mut round = 1;
    let mut change = async |limit: Duration| {
        let begun = Instant::now();
        while begun.elapsed() < limit {
            post(&service, &(0..VEHICLES).map(|n| beat(n, round)).collect::<Vec<_>>()).await;
            round += 1;
        }
    };
    // The first rounds fill what is filled once; each later one is about 1.5 MB of JSON for each dashboard.
    change(Duration::from_secs(2)).await;
    let before = service.rss_kib();
    change(STALL).await;
    let after = service.rss_kib();
    assert!(after < before + 64 * 1024, "{before} KiB, and {after} KiB after {round} rounds nobody read");
    // All at once: who says nothing for half a minute is taken for gone.
    let ((first, view), others) = clients.split_first_mut().expect("ten");
    view.ends_with_the_truth(first, &service, "").await;
    let ends = others.iter_mut().map(|(live, other)| other.ends_with(live, &view.vehicles));
    futures_util::future::join_all(ends).await;
    assert!(clients.iter().all(|(_, view)| view.vehicles.len() == VEHICLES));
    assert!(round > 3, "{round} rounds");
}
