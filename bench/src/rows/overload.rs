//! More than the service can take, for minutes: three connections that send QoS 0 without pause, and one that sends
//! QoS 1 as fast as it is acknowledged. Memory stays flat, nobody who speaks is called offline, nothing acknowledged is
//! lost, and soon afterwards everything is as before.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::traffic::fill;
use crate::packets::{Packets, customer, latitude, vehicle};
use crate::pipe::Pipe;
use crate::stage::{Product, Stage};
use crate::table::Line;

const ROW: &str = "overload";
/// Vehicles of each of the four connections.
const VEHICLES: usize = 25_000;
const FLOODS: usize = 3;
/// Of the vehicles that speak with QoS 1, so many are asked for.
const ASKED: usize = 200;
const NORMAL_LIMIT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(500);

/// The position of a vehicle is what it said last.
fn lost(product: &mut Product, packets: &Packets) -> anyhow::Result<usize> {
    let mut lost = 0;
    for n in (0..VEHICLES).step_by(VEHICLES / ASKED) {
        // The last round ended before `next`; those from there on spoke last in the round before.
        let round = packets.round() - u64::from(n >= packets.next());
        let path = format!("/api/v1/customers/{}/vehicles/{}", customer(n), vehicle(n));
        let lat = product.ask.json(&path)?.pointer("/position/lat").and_then(Value::as_f64);
        lost += usize::from(lat.is_none_or(|lat| (lat - latitude(round)).abs() > 1e-9));
    }
    Ok(lost)
}

fn transitions_to_offline(product: &mut Product) -> anyhow::Result<usize> {
    let page = product.ask.json("/api/v1/transitions?to_status=offline,unobserved&limit=1000")?;
    Ok(page["items"].as_array().context("no items")?.len())
}

/// Floods, and watches the memory meanwhile: resident bytes, twice a second.
fn flood(product: &Product, packets: &mut [Packets], how_long: Duration) -> anyhow::Result<(Vec<u64>, f64)> {
    let stop = AtomicBool::new(false);
    let from = product.usage();
    let rss = std::thread::scope(|scope| {
        let senders: Vec<_> = packets
            .iter_mut()
            .enumerate()
            .map(|(i, packets)| {
                let stop = &stop;
                scope.spawn(move || -> anyhow::Result<()> {
                    let mut pipe = Pipe::open(product.mqtt, &format!("bench-flood-{i}"))?;
                    let done = |_| stop.load(Relaxed);
                    if i == 0 { pipe.flood_acknowledged(packets, done) } else { pipe.flood(packets, done) }
                })
            })
            .collect();
        let (began, mut rss) = (Instant::now(), Vec::new());
        while began.elapsed() < how_long {
            std::thread::sleep(LOOK);
            rss.push(product.usage().rss_bytes);
        }
        stop.store(true, Relaxed);
        for sender in senders {
            sender.join().map_err(|_| anyhow::anyhow!("a generator panicked"))??;
        }
        anyhow::Ok(rss)
    })?;
    Ok((rss, product.usage().share_since(&from)))
}

/// All of it, and the four promises.
pub fn measure(stage: &Stage, tell: &mut dyn FnMut(Line)) -> anyhow::Result<()> {
    let how_long = Duration::from_secs(stage.size(300, 10));
    let mut product = stage.product(ROW, &["--store", "sqlite:rollcall.db"], &[])?;
    fill(&mut product, VEHICLES * (1 + FLOODS))?;
    let part = |i: usize| Packets::new(i * VEHICLES..(i + 1) * VEHICLES, i == 0);
    let mut packets: Vec<Packets> = (0..=FLOODS).map(part).collect();
    let (taken, refused) = (product.number("/intake/total")?, product.number("/intake/refused")?);
    let (rss, share) = flood(&product, &mut packets, how_long)?;
    let over = Instant::now();
    let quiet = |status: &Value| status["intake"]["waiting"] == 0 && status["listening"] == true;
    product.until("everything is as before", NORMAL_LIMIT, quiet)?;
    let normal_after = over.elapsed().as_secs_f64();
    let answered = Pipe::open(product.mqtt, "bench-after")?.fence()?;
    product.settle(NORMAL_LIMIT)?;
    ensure!(rss.len() >= 4, "too short to say anything about memory");
    let (early, late) = (rss[..rss.len() / 2].iter().max(), rss[rss.len() / 2..].iter().max());
    let (early, late) = (early.copied().unwrap_or(1) as f64, late.copied().unwrap_or(0) as f64);
    let (taken, refused) = (product.number("/intake/total")? - taken, product.number("/intake/refused")? - refused);
    let seconds = how_long.as_secs_f64();
    let rate = Line::new(ROW, "taken meanwhile", taken as f64 / seconds, "/s").using(late as u64, share);
    tell(rate.noted(format!("{refused} of QoS 0 refused for want of room in {seconds:.0} s")));
    let growth = Line::new(ROW, "peak memory of the second half over the first", late / early, "x");
    tell(growth.measured("<= 1.05", late / early <= 1.05));
    let lost = lost(&mut product, &packets[0])?;
    tell(
        Line::new(ROW, "vehicles whose last acknowledged heartbeat is lost", lost as f64, "").measured("0", lost == 0),
    );
    let falls = transitions_to_offline(&mut product)?;
    tell(Line::new(ROW, "vehicles called offline or unobserved", falls as f64, "").measured("0", falls == 0));
    let note = format!("the next heartbeat was acknowledged after {} ms", answered.as_millis());
    tell(Line::new(ROW, "back to normal after", normal_after, "s").at_most(10.0).noted(note));
    stage.end(product)
}
