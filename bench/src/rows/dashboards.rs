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

/// What the follower learns: which changes came with which version.
fn note(text: &[u8], sent: &Mutex<Sent>, shown: &mut Vec<(u32, Instant)>) {
    if !text.starts_with(br#"{"type":"delta""#) {
        return;
    }
    let Ok(delta) = serde_json::from_slice::<Delta>(text) else { return };
    let Ok(sent) = sent.lock() else { return };
    for change in delta.changed {
        let digits = change.position.map(|position| ((position.lat - 53.0) * 100_000.0).round() as u32);
        let vehicle = change.vehicle.trim_start_matches('v').parse().ok();
        if let (Some(vehicle), Some(digits)) = (vehicle, digits)
            && let Some(at) = sent.get(&(vehicle, digits))
        {
            shown.push((delta.version, *at));
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
    let (mut shown, mut arrivals, mut frames) = (Vec::new(), vec![Vec::new(); count], 0_u64);
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
            Kind::Text if number == follower => note(payload, &sent, &mut shown),
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
    let all = latencies(&shown, &arrivals);
    let what = |which| format!("heartbeat to frame, {which}, {count} dashboards of 10,000 vehicles, 5,000 changes/s");
    let (p50, p99) = (percentile(&all, 0.5), percentile(&all, 0.99));
    let per_s = frames as f64 / how_long.as_secs_f64();
    let note = format!("{} changes seen, {per_s:.0} frames/s", shown.len());
    tell(Line::new(ROW, what("p50"), p50, "ms").at_most(300.0).using(usage.0, usage.1).noted(note));
    tell(Line::new(ROW, what("p99"), p99, "ms").at_most(500.0));
    drop(dashboards);
    stage.end(product)
}

#[cfg(test)]
mod tests {
    use super::*;

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
