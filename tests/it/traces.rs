//! Recorded buses (Route 14 in Liverpool, two and a half hours) over real MQTT at a hundred times their speed, on both
//! stacks at once: store, REST and WebSocket tell the same, and it is what an independent script says must happen.
//! The recording is not part of the repository: its folder is `ROLLCALL_DATA` or `../shared/data`; absent: skipped.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::history::{History, Step, rest, sorted, until_all_offline};
use crate::radio::{Beat, Radio};
use crate::stacks::{Dashboard, Kind, Stack};
use crate::support::until;

const SPEED: i64 = 100;
/// The recording's timeout of a minute, at that speed.
const OFFLINE_AFTER_MS: i64 = 60_000 / SPEED;
/// A transition may be dated so much after the publish that caused it, on a machine that never stands still.
const TOLERANCE_MS: i64 = 50;
/// The service's clock and ours are the same one, each cut to milliseconds, and slewed a little.
const CLOCK_MS: i64 = 10;
/// How often the bystander looks whether the machine stood still.
const BYSTANDER: Duration = Duration::from_millis(5);

/// A heartbeat of the recording; times are the recording's.
struct Recorded {
    at: i64,
    vehicle: String,
    payload: String,
}

/// A transition that must be.
struct Expected {
    at: i64,
    to: String,
    /// By how much the silence passed the timeout; none for the first and the last of a vehicle.
    margin: Option<i64>,
}

struct Trace {
    beats: Vec<Recorded>,
    expected: BTreeMap<String, Vec<Expected>>,
    /// Last heartbeats before a silence that is only just in time.
    near_misses: Vec<(i64, String)>,
}

fn folder() -> Option<PathBuf> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let folder = std::env::var_os("ROLLCALL_DATA").map_or_else(beside, PathBuf::from).join("liverpool-bus");
    if folder.join("replay.csv").exists() {
        return Some(folder);
    }
    eprintln!("skipped: no recording in {}; ROLLCALL_DATA names its folder", folder.display());
    None
}

fn table(path: PathBuf) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_path(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    reader.deserialize().map(|row| row.expect("a row")).collect()
}

impl Trace {
    fn read(folder: &std::path::Path) -> Self {
        let number = |row: &BTreeMap<String, String>, name: &str| row[name].parse::<i64>().ok();
        let beats = table(folder.join("replay.csv")).into_iter().map(|row| Recorded {
            at: number(&row, "arrival_ms").expect("a time"),
            vehicle: row["vehicle_id"].clone(),
            payload: json!({"lat": row["lat"].parse::<f64>().ok(), "lon": row["lon"].parse::<f64>().ok()}).to_string(),
        });
        let mut expected = BTreeMap::<String, Vec<Expected>>::new();
        for row in table(folder.join("expected-transitions-arrival-60s.csv")) {
            let at = number(&row, "t_ms").expect("a time");
            let step = Expected { at, to: row["state"].clone(), margin: number(&row, "margin_ms") };
            expected.entry(row["vehicle_id"].clone()).or_default().push(step);
        }
        let near = table(folder.join("near-misses-arrival-60s.csv")).into_iter();
        let near_misses = near.map(|row| (number(&row, "last_beat_ms").expect("a time"), row["vehicle_id"].clone()));
        Self { beats: beats.collect(), expected, near_misses: near_misses.collect() }
    }

    /// Which heartbeat of the recording this is.
    fn beat(&self, vehicle: &str, at: i64) -> usize {
        let found = self.beats.iter().position(|beat| beat.vehicle == vehicle && beat.at == at);
        found.unwrap_or_else(|| panic!("no heartbeat of {vehicle} at {at}"))
    }
}

/// The largest deviations found, milliseconds.
#[derive(Default)]
struct Measured {
    transitions: usize,
    publish_behind_schedule: i64,
    online_after_publish: i64,
    offline_after_due: i64,
    decided_after_at: i64,
    set_aside: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recorded_buses_come_and_go_as_the_recording_says() {
    let Some(folder) = folder() else { return };
    let trace = Arc::new(Trace::read(&folder));
    assert_eq!((trace.beats.len(), trace.expected.len()), (1_533, 8), "the recording is whole");
    let stood_still = Arc::new(AtomicI64::new(0));
    let bystander = tokio::spawn(watch_the_machine(Arc::clone(&stood_still)));
    let run = |kind| tokio::spawn(drive(kind, Arc::clone(&trace), Arc::clone(&stood_still)));
    let (embedded, external) = (run(Kind::Embedded), run(Kind::External));
    for (kind, run) in [(Kind::Embedded, embedded), (Kind::External, external)] {
        if let Some(measured) = run.await.expect("holds") {
            println!("{kind:?}: {measured}; the machine stood still for {} ms at most", stood_still.load(Relaxed));
        }
    }
    bystander.abort();
}

/// Notes the longest time in which this machine let nobody run: no service can be better than that.
async fn watch_the_machine(longest: Arc<AtomicI64>) {
    loop {
        let begun = Instant::now();
        tokio::time::sleep(BYSTANDER).await; // poll: does the machine let us run
        let late = begun.elapsed().saturating_sub(BYSTANDER).as_millis() as i64;
        longest.fetch_max(late, Relaxed);
    }
}

async fn drive(kind: Kind, trace: Arc<Trace>, stood_still: Arc<AtomicI64>) -> Option<Measured> {
    let stack = Stack::of(kind).await?;
    // Each deadline is wanted to the millisecond; to a canary a machine that is busy for a second is blindness.
    let timeout = format!("{OFFLINE_AFTER_MS}ms");
    let service = stack.start(&[("FLEET__OFFLINE_AFTER", &timeout), ("MQTT__CANARY_INTERVAL", "0s")]).await;
    let dashboard = Dashboard::open(&service).await;
    let radio = Radio::connect(&stack, "trace").await;
    let mut measured = Measured { publish_behind_schedule: publish(&trace, &radio).await, ..Measured::default() };
    let acked = || async { radio.beats().iter().all(|beat| beat.acked.is_some()) };
    until("every heartbeat is acknowledged", acked).await;
    until_all_offline(&service).await;
    let history = History::read(&stack).await;
    until("the dashboard has it all", || async { dashboard.all("transition").len() == history.steps.len() }).await;
    history.check();
    assert_eq!(sorted(&dashboard.all("transition")), history.steps, "the WebSocket tells what is stored");
    assert_eq!(rest(&service).await, history.steps, "REST tells what is stored");
    history.check_rest(&service).await;
    for (step, last_seen) in history.steps.iter().zip(&history.last_seen).filter(|(step, _)| step.to == "offline") {
        assert_eq!(step.at, last_seen.expect("heard") + OFFLINE_AFTER_MS, "to the millisecond: {step:?}");
    }
    let tolerance = TOLERANCE_MS + stood_still.load(Relaxed);
    let comparison = Comparison { trace: &trace, beats: &radio.beats(), tolerance };
    for (vehicle, steps) in history.by_vehicle() {
        comparison.compare(vehicle, &steps, &mut measured);
    }
    assert_eq!(history.vehicles.len(), trace.expected.len());
    measured.transitions = history.steps.len();
    Some(measured)
}

/// Publishes the recording on its schedule; the largest delay behind it.
async fn publish(trace: &Trace, radio: &Radio) -> i64 {
    let (begun, first) = (Instant::now(), trace.beats[0].at);
    let mut behind = Duration::ZERO;
    for recorded in &trace.beats {
        let due = begun + Duration::from_millis(((recorded.at - first) / SPEED).unsigned_abs());
        tokio::time::sleep_until(due).await; // poll: the schedule of the recording
        behind = behind.max(due.elapsed());
        radio.beat(&recorded.vehicle, &recorded.payload).expect("connected all the time");
    }
    behind.as_millis() as i64
}

/// What was told against what must be; heartbeats are those of the recording, in its order.
struct Comparison<'a> {
    trace: &'a Trace,
    beats: &'a [Beat],
    tolerance: i64,
}

impl Comparison<'_> {
    /// When this transition was due: at the publish, or a timeout after it.
    fn due(&self, vehicle: &str, expected: &Expected) -> i64 {
        if expected.to == "online" {
            return self.beats[self.trace.beat(vehicle, expected.at)].sent;
        }
        let last_beat = self.trace.beat(vehicle, expected.at - OFFLINE_AFTER_MS * SPEED);
        self.beats[last_beat].sent + OFFLINE_AFTER_MS
    }

    fn is_near(&self, at: i64, due: i64) -> bool {
        (-CLOCK_MS..=self.tolerance).contains(&(at - due))
    }

    /// The end of a silence that was only just in time: false, and forgiven at this speed.
    fn is_near_miss(&self, vehicle: &str, step: &Step) -> bool {
        let near = self.trace.near_misses.iter().filter(|(_, name)| name == vehicle);
        let mut due = near.map(|(at, _)| self.beats[self.trace.beat(vehicle, *at)].sent + OFFLINE_AFTER_MS);
        step.to == "offline" && due.any(|due| self.is_near(step.at, due))
    }

    fn compare(&self, vehicle: &str, steps: &[&Step], measured: &mut Measured) {
        let mut told = steps.iter().copied().peekable();
        for expected in &self.trace.expected[vehicle] {
            if told.peek().is_some_and(|step| self.is_near_miss(vehicle, step)) {
                measured.set_aside += told.by_ref().take(2).count();
            }
            let due = self.due(vehicle, expected);
            match told.next_if(|step| step.to == expected.to && self.is_near(step.at, due)) {
                Some(step) => measured.note(step, due),
                None if expected.margin.is_some_and(|margin| margin / SPEED < self.tolerance) => {
                    measured.set_aside += 1
                }
                None => panic!(
                    "{vehicle} must be {} at {due}, within {} ms, but {:?} follows in {steps:#?}",
                    expected.to,
                    self.tolerance,
                    told.peek()
                ),
            }
        }
        assert_eq!(told.next(), None, "nothing more may happen to {vehicle}");
    }
}

impl std::fmt::Display for Measured {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "{} transitions, {} set aside; at most: publish {} ms behind schedule, online {} ms after the publish, \
             offline {} ms after it was due, decided {} ms after it held",
            self.transitions,
            self.set_aside,
            self.publish_behind_schedule,
            self.online_after_publish,
            self.offline_after_due,
            self.decided_after_at
        )
    }
}

impl Measured {
    fn note(&mut self, step: &Step, due: i64) {
        let deviation = step.at - due;
        if step.to == "online" {
            self.online_after_publish = self.online_after_publish.max(deviation);
        } else {
            self.offline_after_due = self.offline_after_due.max(deviation);
        }
        self.decided_after_at = self.decided_after_at.max(step.decided_at - step.at);
    }
}
