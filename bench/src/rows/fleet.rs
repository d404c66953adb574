//! One large fleet, registered with two tags each, every vehicle with a position, at 50,000 heartbeats a second: memory
//! a vehicle, how late silence is noticed, how fast lists and searches are answered, what a heartbeat costs beside a
//! small fleet, and how soon everybody is looked after again when the service was killed.

use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::traffic::{beside, fill, online};
use crate::http::Http;
use crate::packets::{Packets, customer, vehicle};
use crate::stage::{Product, Stage};
use crate::table::{Line, percentile};

const ROW: &str = "fleet";
const PER_S: f64 = 50_000.0;
/// The small fleet of the same traffic.
const SMALL: usize = 10_000;
/// Vehicles whose silence is timed.
const SILENT: usize = 20_000;
const IMPORT_ROWS: usize = 100_000;
const LIMIT: Duration = Duration::from_secs(300);
/// REST answers that are timed, of each kind.
const QUESTIONS: usize = 1_000;

/// Registers the fleet, each with a name and two tags.
fn register(product: &mut Product, vehicles: usize) -> anyhow::Result<()> {
    for from in (0..vehicles).step_by(IMPORT_ROWS) {
        let mut rows = String::from("customer,vehicle,name,tags\n");
        for n in from..(from + IMPORT_ROWS).min(vehicles) {
            let (customer, vehicle) = (customer(n), vehicle(n));
            writeln!(rows, "{customer},{vehicle},Truck {n},north;diesel")?;
        }
        product.ask.post("/api/v1/vehicles/import", "text/csv", rows.as_bytes())?;
    }
    Ok(())
}

/// Waits until the statistics have counted that so many came online. That is done once, some seconds after it is
/// stored, and has nothing to do with the steady pace.
fn counted(product: &mut Product, vehicles: usize) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let stats = product.ask.json("/api/v1/stats?resolution=hour")?;
        let hours = stats["items"].as_array().context("no hours")?;
        let online: u64 = hours.iter().flat_map(|hour| hour["went_online"].as_u64()).sum();
        if online >= vehicles as u64 {
            return Ok(());
        }
        ensure!(began.elapsed() < LIMIT, "the statistics know of {online} of {vehicles} vehicles after {LIMIT:?}");
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// CPU microseconds a heartbeat at the steady pace, store and checkpoints included.
fn cost(product: &mut Product, how_long: Duration) -> anyhow::Result<f64> {
    let (taken, from) = (product.number("/intake/total")?, product.usage());
    std::thread::sleep(how_long);
    let taken = product.number("/intake/total")? - taken;
    Ok(product.usage().cpu_since(&from) / taken as f64 * 1e6)
}

/// Milliseconds of so many answers, sorted.
fn questions(product: &Product, path: impl Fn(usize) -> String) -> anyhow::Result<Vec<f64>> {
    let mut ask = Http::open(product.http)?;
    let mut all = Vec::with_capacity(QUESTIONS);
    for n in 0..QUESTIONS {
        let path = path(n);
        let began = Instant::now();
        ask.get(&path)?;
        all.push(began.elapsed().as_secs_f64() * 1e3);
    }
    all.sort_by(f64::total_cmp);
    Ok(all)
}

/// `decided_at - at` of the newest transitions to offline, milliseconds, sorted.
fn lags(product: &mut Product, how_many: usize) -> anyhow::Result<Vec<f64>> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    while all.len() < how_many {
        let page = product.ask.json(&format!("/api/v1/transitions?to_status=offline&limit=1000{cursor}"))?;
        for item in page["items"].as_array().context("no items")? {
            let at = |name: &str| -> anyhow::Result<i64> {
                let text = item[name].as_str().context("no time")?;
                Ok(chrono::DateTime::parse_from_rfc3339(text)?.timestamp_millis())
            };
            all.push((at("decided_at")? - at("at")?) as f64);
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    all.sort_by(f64::total_cmp);
    Ok(all)
}

/// All of them on one fleet.
pub fn measure(stage: &Stage, tell: &mut dyn FnMut(Line)) -> anyhow::Result<()> {
    let how_long = Duration::from_secs(stage.size(40, 4));
    let mut small = stage.product("fleet-small", &["--store", "sqlite:rollcall.db"], &[])?;
    fill(&mut small, SMALL)?;
    let mut packets = Packets::new(0..SMALL, false);
    let cheap = beside(&mut small, &mut packets, PER_S, |small, _| cost(small, how_long))?;
    stage.end(small)?;

    let vehicles = stage.vehicles();
    // Each vehicle speaks three times in it.
    let timeout_s = (3.0 * vehicles as f64 / PER_S).ceil().max(6.0);
    let timeout = format!("fleet.offline_after={timeout_s}s");
    let mut product = stage.product(ROW, &["--store", "sqlite:rollcall.db"], &[&timeout])?;
    let began = Instant::now();
    register(&mut product, vehicles)?;
    let import = Line::new(ROW, format!("import of {vehicles} vehicles"), began.elapsed().as_secs_f64(), "s");
    tell(import.using(product.usage().rss_bytes, 0.0));
    let mut packets = Packets::new(0..vehicles, false);
    beside(&mut product, &mut packets, PER_S, |product, traffic| {
        online(product, vehicles)?;
        product.settle(LIMIT)?;
        counted(product, vehicles)?;
        let dear = cost(product, how_long)?;
        let usage = product.usage();
        let each = usage.rss_bytes as f64 / vehicles as f64;
        let whole = |what: &str| format!("{what}, {vehicles} vehicles");
        let line = Line::new(ROW, whole("memory a vehicle, all in"), each, "bytes").at_most(1.6 * 1024.0);
        tell(line.using(usage.rss_bytes, 0.0).noted("with position, name and two tags"));
        let line = Line::new(ROW, whole("CPU a heartbeat beside 10,000 vehicles"), dear / cheap, "x");
        tell(line.at_most(1.5).noted(format!("{dear:.2} us beside {cheap:.2} us, checkpoints included")));

        let list = questions(product, |n| format!("/api/v1/vehicles?customer={}&limit=50", customer(n)))?;
        tell(Line::new(ROW, whole("list of one customer, p99"), percentile(&list, 0.99), "ms").at_most(5.0));
        let search = questions(product, |n| format!("/api/v1/vehicles?q={}", vehicle(n * 97 % vehicles)))?;
        tell(Line::new(ROW, whole("search, p99"), percentile(&search, 0.99), "ms").at_most(30.0));

        traffic.silence_all_but(vehicles - SILENT);
        let fell = |status: &Value| status["vehicles"]["offline"].as_u64() >= Some(SILENT as u64);
        product.until("the silent are offline", LIMIT, fell)?;
        product.settle(LIMIT)?;
        let lags = lags(product, SILENT)?;
        ensure!(lags.len() >= SILENT, "{} of {SILENT} transitions are told", lags.len());
        let lag = |share| percentile(&lags, share);
        tell(Line::new(ROW, whole("detection lag, p50"), lag(0.5), "ms").measured("< 20", lag(0.5) < 20.0));
        tell(Line::new(ROW, whole("detection lag, p99"), lag(0.99), "ms").measured("< 100", lag(0.99) < 100.0));
        Ok(())
    })?;

    let mut product = stage.restart(product)?;
    let ready = product.ready_after.as_secs_f64();
    let known: u64 =
        product.status()?["vehicles"].as_object().context("no counts")?.values().flat_map(Value::as_u64).sum();
    ensure!(known as usize >= vehicles, "{known} of {vehicles} vehicles are there after the restart");
    let line = Line::new(ROW, format!("ready after kill -9, {vehicles} vehicles"), ready, "s").at_most(8.0);
    tell(line.using(product.usage().rss_bytes, 0.0));
    stage.end(product)
}
