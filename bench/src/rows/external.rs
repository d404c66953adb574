//! Intake through a Mosquitto: how fast the service drains it beside a bare rumqttc client that counts.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::ensure;

use super::traffic::fill;
use crate::floors::{Floor, Kind};
use crate::packets::Packets;
use crate::pipe::Pipe;
use crate::stage::Stage;
use crate::table::{Line, median};

const ROW: &str = "external";
const VEHICLES: usize = 100_000;
/// Nothing more comes after so long.
const STALLED: Duration = Duration::from_secs(10);
/// A status costs the service some time, and so does not come more often than the length of a run needs.
const LOOK: Duration = Duration::from_millis(50);

/// Publishes so many messages and waits until all were counted; messages a second from the first to the last.
fn drain(
    broker: SocketAddr,
    acknowledged: bool,
    messages: u64,
    mut count: impl FnMut() -> anyhow::Result<u64>,
) -> anyhow::Result<f64> {
    let mut packets = Packets::new(0..VEHICLES, acknowledged);
    let before = count()?;
    let began = Instant::now();
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| -> anyhow::Result<u64> {
            let mut pipe = Pipe::open(broker, "bench-external")?;
            let done = |sent| sent >= messages;
            if acknowledged { pipe.flood_acknowledged(&mut packets, done) } else { pipe.flood(&mut packets, done) }?;
            Ok(pipe.sent)
        });
        let (mut seen, mut changed) = (before, Instant::now());
        loop {
            let now = count()?;
            if now != seen {
                (seen, changed) = (now, Instant::now());
            }
            if seen - before >= messages {
                break;
            }
            ensure!(changed.elapsed() < STALLED, "{} of {messages} messages arrived", seen - before);
            std::thread::sleep(LOOK);
        }
        let took = began.elapsed().as_secs_f64();
        sender.join().map_err(|_| anyhow::anyhow!("the generator panicked"))??;
        Ok((seen - before) as f64 / took)
    })
}

/// Floor and service in turn, so that both meet the same machine, each behind a Mosquitto of its own.
pub fn measure(stage: &Stage, tell: &mut dyn FnMut(Line)) -> anyhow::Result<()> {
    let mut brokers = [stage.mosquitto("mosquitto-floor")?, stage.mosquitto("mosquitto-service")?];
    let [below, behind] = [brokers[0].addr, brokers[1].addr];
    let mut bare = Floor::start(stage, &Kind::Drain { broker: below })?;
    let url = format!("mqtt://{behind}");
    let flags = ["--store", "sqlite:rollcall.db", "--broker", &url];
    let mut product = stage.product(ROW, &flags, &["fleet.offline_after=10m"])?;
    product.until("it hears", STALLED, |status| status["listening"] == true)?;
    fill(&mut product, VEHICLES)?;
    for (acknowledged, what) in [(false, "QoS 0 behind Mosquitto"), (true, "QoS 1 behind Mosquitto")] {
        let messages = stage.size(1_000_000, 200_000) / if acknowledged { 2 } else { 1 };
        let (mut figures, mut floors, mut last) = (Vec::new(), Vec::new(), (0, 0.0));
        for _ in 0..stage.size(5, 2) {
            floors.push(drain(below, acknowledged, messages, || bare.count())?);
            let from = product.usage();
            figures.push(drain(behind, acknowledged, messages, || product.number("/intake/total"))?);
            let to = product.usage();
            last = (to.rss_bytes, to.share_since(&from));
        }
        let line = Line::new(ROW, what, median(figures), "/s").at_least_of(median(floors), 0.9);
        tell(line.using(last.0, last.1));
    }
    stage.end(product)?;
    bare.end(stage)?;
    brokers.iter_mut().try_for_each(|broker| stage.wait(broker.stop()))
}
