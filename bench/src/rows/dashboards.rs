//! From a heartbeat to the frame in which a dashboard shows it: 1,000 dashboards of 10,000 vehicles, 5,000 changes a
//! second. Every change is sent at a known instant; one follower in JSON says with which version it was shown, and for
//! every other dashboard the first frame that leads to that version or a later one is its arrival.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::traffic::fill;
use crate::dashboards::{Dashboards, Kind, version};
use crate::packets::Packets;
use crate::pipe::Pipe;
use crate::stage::Stage;
use crate::table::{Line, percentile};

const ROW: &str = "dashboards";
const VEHICLES: usize = 10_000;
const CHANGES_PER_S: f64 = 5_000.0;
/// Of all changes, every so many-th is followed to every dashboard.
const SAMPLE: usize = 50;
const WARM_UP: Duration = Duration::from_secs(2);

#[derive(Deserialize)]
struct Delta {
    from: u32,
    version: u32,
    #[serde(default)]
    changed: Vec<Changed>,
}

#[derive(Deserialize)]
struct Changed {
    vehicle: String,
    position: Option<Position>,
}

#[derive(Deserialize)]
struct Position {
    lat: f64,
}

/// When a vehicle said something: vehicle and the five digits of its latitude.
type Sent = HashMap<(usize, u32), Instant>;

/// What the follower learns: which changes came with which version. A long delta comes in parts, and only the last one
/// leads to the new version, so changes wait for it.
#[derive(Default)]
struct Follower {
    waiting: Vec<Instant>,
    shown: Vec<(u32, Instant)>,
}

impl Follower {
    fn note(&mut self, text: &[u8], sent: &Mutex<Sent>) {
        if !text.starts_with(br#"{"type":"delta""#) {
            return;
        }
        let Ok(delta) = serde_json::from_slice::<Delta>(text) else { return };
        let Ok(sent) = sent.lock() else { return };
        for change in delta.changed {
            let digits = change.position.map(|position| ((position.lat - 53.0) * 100_000.0).round() as u32);
            let vehicle = change.vehicle.trim_start_matches('v').parse().ok();
            let key = vehicle.zip(digits);
            self.waiting.extend(key.and_then(|key| sent.get(&key)));
        }
        if delta.version != delta.from {
            self.shown.extend(self.waiting.drain(..).map(|at| (delta.version, at)));
        }
    }
}

/// Latencies in milliseconds, sorted: for each change and dashboard the first frame with the version or a later one.
fn latencies(shown: &[(u32, Instant)], arrivals: &[Vec<(u32, Instant)>]) -> Vec<f64> {
    let mut all = Vec::new();
    for (version, sent) in shown.iter().step_by(SAMPLE) {
        for frames in arrivals {
            let first = frames.partition_point(|(shown, _)| shown < version);
            if let Some((_, at)) = frames.get(first) {
                all.push(at.saturating_duration_since(*sent).as_secs_f64() * 1e3);
            }
        }
    }
    all.sort_by(f64::total_cmp);
    all
}

/// All of it.
pub fn measure(stage: &Stage, tell: &mut dyn FnMut(Line)) -> anyhow::Result<()> {
    let count = 1_000;
    let mut product = stage.product(ROW, &["--store", "sqlite:rollcall.db"], &[])?;
    fill(&mut product, VEHICLES)?;
    let mut dashboards = Dashboards::new()?;
    let follower = dashboards.open(product.http, None, true)?;
    for _ in 0..count {
        dashboards.open(product.http, Some("rollcall.v1.bin"), true)?;
    }
    let sent = Mutex::new(Sent::new());
    let (mut seen, mut arrivals, mut frames) = (Follower::default(), vec![Vec::new(); count], 0_u64);
    let how_long = Duration::from_secs(stage.size(30, 6));
    let mut packets = Packets::new(0..VEHICLES, false);
    let mut pipe = Pipe::open(product.mqtt, "bench-changes")?;
    let began = Instant::now();
    let usage = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let done = || began.elapsed() > WARM_UP + how_long;
            pipe.pace(
                &mut packets,
                CHANGES_PER_S,
                || VEHICLES,
                done,
                |round, vehicles| {
                    let (now, digits) = (Instant::now(), (round % 100_000) as u32);
                    if let Ok(mut sent) = sent.lock() {
                        sent.extend(vehicles.map(|vehicle| ((vehicle, digits), now)));
                    }
                },
            )
        });
        dashboards.read(WARM_UP, |_, _, _, _| ())?;
        let from = product.usage();
        dashboards.read(how_long, |number, kind, payload, at| match kind {
            Kind::Text if number == follower => seen.note(payload, &sent),
            Kind::Binary => {
                frames += 1;
                if let Some(version) = version(payload) {
                    arrivals[number - 1].push((version, at));
                }
            }
            Kind::Text => {}
        })?;
        let usage = (product.usage().rss_bytes, product.usage().share_since(&from));
        sender.join().map_err(|_| anyhow::anyhow!("the generator panicked"))??;
        anyhow::Ok(usage)
    })?;
    let all = latencies(&seen.shown, &arrivals);
    let what = |which| format!("heartbeat to frame, {which}, {count} dashboards of 10,000 vehicles, 5,000 changes/s");
    let (p50, p99) = (percentile(&all, 0.5), percentile(&all, 0.99));
    let per_s = frames as f64 / how_long.as_secs_f64();
    let note = format!("{} changes followed, {per_s:.0} frames/s", seen.shown.len());
    tell(Line::new(ROW, what("p50"), p50, "ms").at_most(300.0).using(usage.0, usage.1).noted(note));
    tell(Line::new(ROW, what("p99"), p99, "ms").at_most(500.0));
    drop(dashboards);
    stage.end(product)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_a_long_delta_belong_to_the_version_of_its_last_part() {
        let (now, mut follower) = (Instant::now(), Follower::default());
        let sent = Mutex::new(Sent::from([((7, 1), now), ((8, 1), now)]));
        let part = |version: u32, vehicle: &str| {
            let changed = serde_json::json!([{"customer": "c", "vehicle": vehicle, "position": {"lat": 53.00001}}]);
            format!(r#"{{"type":"delta","from":4,"version":{version},"changed":{changed},"removed":[]}}"#)
        };
        follower.note(part(4, "v0000007").as_bytes(), &sent);
        assert!(follower.shown.is_empty());
        follower.note(part(5, "v0000008").as_bytes(), &sent);
        assert_eq!(follower.shown, [(5, now), (5, now)]);
    }

    #[test]
    fn a_change_has_arrived_with_the_first_frame_that_reaches_its_version() {
        let now = Instant::now();
        let at = |ms| now + Duration::from_millis(ms);
        let shown = [(5, at(0))];
        let arrivals = [vec![(4, at(10)), (6, at(30))], vec![(5, at(20))], vec![(4, at(1))]];
        let all = latencies(&shown, &arrivals);
        assert_eq!(all.iter().map(|ms| ms.round() as u64).collect::<Vec<_>>(), [20, 30]);
    }
}
