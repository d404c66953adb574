//! Statistics as server-sent events: computed once however many listen, and nothing is missed by one who comes back.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{PATIENCE, Service, until};

const OFTEN: (&str, &str) = ("ROLLCALL__HISTORY__ROLLUP_INTERVAL", "100ms");

/// One client, with the buckets it knows.
struct Stream {
    response: reqwest::Response,
    text: String,
    id: String,
    buckets: BTreeMap<String, Value>,
}

impl Stream {
    async fn open(service: &Service, query: &str, last: Option<&str>) -> Self {
        let mut request = reqwest::Client::new().get(service.url(&format!("/api/v1/stats/stream?{query}")));
        if let Some(id) = last {
            request = request.header("Last-Event-ID", id);
        }
        let response = request.send().await.expect("answers");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new(), id: String::new(), buckets: BTreeMap::new() }
    }

    /// Takes the next event; answers its name.
    async fn next(&mut self) -> String {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                if !event.starts_with(':') {
                    return self.take(&event);
                }
                continue;
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await.expect("an event in time");
            let chunk = chunk.expect("readable").expect("it goes on");
            self.text.push_str(std::str::from_utf8(&chunk).expect("text"));
        }
    }

    fn take(&mut self, event: &str) -> String {
        let field = |name: &str| {
            let mut lines = event.lines();
            lines.find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name} in {event}")).to_owned()
        };
        self.id = field("id: ");
        let (name, data): (_, Value) = (field("event: "), serde_json::from_str(&field("data: ")).expect("JSON"));
        if name == "window" {
            self.buckets.clear();
        }
        for bucket in data["items"].as_array().expect("a list") {
            self.buckets.insert(bucket["at"].as_str().expect("a time").to_owned(), bucket.clone());
        }
        let from = data["from"].as_str().expect("a time").to_owned();
        self.buckets = self.buckets.split_off(&from);
        name
    }

    fn heartbeats(&self) -> i64 {
        self.buckets.values().map(|bucket| bucket["heartbeats"].as_i64().expect("a number")).sum()
    }

    /// Takes events until so many heartbeats are counted.
    async fn until_heartbeats(&mut self, count: i64) {
        while self.heartbeats() < count {
            assert_eq!(self.next().await, "buckets");
        }
        assert_eq!(self.heartbeats(), count);
    }
}

async fn beat(service: &Service, customer: &str) {
    service.post_heartbeats(&json!({"customer": customer, "vehicle": "1"})).await;
}

async fn metric(service: &Service, name: &str) -> u64 {
    let text = reqwest::get(service.url("/metrics")).await.expect("answers").text().await.expect("text");
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("rollcall_{name} ")).map(str::to_owned));
    line.unwrap_or_else(|| panic!("{name} in {text}")).parse().expect("a number")
}

fn version(stream: &Stream) -> u64 {
    stream.id.rsplit_once('.').expect("an id").1.parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_listeners_cost_one_computation() {
    let service = Service::with_settings(&[OFTEN]);
    beat(&service, "acme").await;
    until("acme is known", || async { service.status_of("acme", "1").await.is_some() }).await;
    let mut streams = Vec::new();
    for _ in 0..500 {
        streams.push(Stream::open(&service, "customer=acme", None).await);
    }
    for stream in &mut streams {
        assert_eq!(stream.next().await, "window");
        assert!(stream.buckets.len() >= 1_440);
    }
    beat(&service, "acme").await;
    for stream in &mut streams {
        stream.until_heartbeats(2).await;
    }
    assert_eq!(metric(&service, "stats_streams").await, 500);
    // Every computation has a version of its own, which everybody got.
    let before = streams.iter().map(version).max().expect("streams");
    let computed = metric(&service, "stats_computations_total").await;
    let mut late = Stream::open(&service, "customer=acme", None).await;
    assert_eq!(late.next().await, "window");
    assert!((before..=version(&late)).contains(&computed), "{before} {computed} {}", late.id);
    drop(late);
    drop(streams);
    until("all are gone", || async { metric(&service, "stats_streams").await == 0 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_comes_back_misses_nothing() {
    let service = Service::with_settings(&[OFTEN]);
    beat(&service, "acme").await;
    let mut stream = Stream::open(&service, "resolution=hour", None).await;
    assert_eq!(stream.next().await, "window");
    stream.until_heartbeats(1).await;
    let (id, known) = (stream.id.clone(), stream.buckets.clone());
    drop(stream);
    for _ in 0..3 {
        beat(&service, "acme").await;
    }
    let counted = || async {
        let answer = service.get("/api/v1/stats?resolution=hour").await;
        let counts = answer["items"].as_array().expect("a list").iter();
        counts.map(|bucket| bucket["heartbeats"].as_i64().expect("a number")).sum::<i64>() == 4
    };
    until("they are counted", counted).await;
    let mut back = Stream::open(&service, "resolution=hour", Some(&id)).await;
    back.buckets = known;
    assert_eq!(back.next().await, "buckets");
    back.until_heartbeats(4).await;
    // What it knows is what REST says, but for the running bucket, whose time goes on.
    let answer = service.get("/api/v1/stats?resolution=hour").await;
    for bucket in answer["items"].as_array().expect("a list").iter().filter(|bucket| bucket["complete"] == true) {
        assert_eq!(back.buckets[bucket["at"].as_str().expect("a time")], *bucket);
    }
    for unknown in ["made up", "abc.7", &format!("{}0000000", back.id)] {
        let mut fresh = Stream::open(&service, "resolution=hour", Some(unknown)).await;
        assert_eq!(fresh.next().await, "window", "{unknown}");
    }
}

#[tokio::test]
async fn streams_are_limited_and_a_wrong_question_is_named() {
    let service = Service::with_settings(&[OFTEN, ("ROLLCALL__HISTORY__STREAMS_MAX", "2")]);
    let (mut one, _two) = (Stream::open(&service, "", None).await, Stream::open(&service, "", None).await);
    let (status, problem) = service.answer("/api/v1/stats/stream").await;
    assert_eq!(status, 429, "{problem}");
    assert_eq!(one.next().await, "window", "the others go on");
    drop(one);
    let free = || async { metric(&service, "stats_streams").await == 1 };
    until("there is a place again", free).await;
    Stream::open(&service, "resolution=day&tz=Asia/Kolkata", None).await;
    for query in ["resolution=year", "customer=nobody", "from=0", "tz=Mars"] {
        assert_eq!(service.answer(&format!("/api/v1/stats/stream?{query}")).await.0, 422, "{query}");
    }
}
