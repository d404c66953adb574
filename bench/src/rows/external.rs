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
const LOOK: Duration = Duration::from_millis(10);

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

const QOS: [(bool, &str); 2] = [(false, "QoS 0 behind Mosquitto"), (true, "QoS 1 behind Mosquitto")];

/// The floor first, then the service: one Mosquitto serves one of them at a time.
pub fn measure(stage: &Stage, tell: &mut dyn FnMut(Line)) -> anyhow::Result<()> {
    let mut broker = stage.mosquitto()?;
    let rounds = stage.size(3, 2);
    let messages = |acknowledged| stage.size(1_000_000, 400_000) / if acknowledged { 2 } else { 1 };
    let mut floors = Vec::new();
    let mut bare = Floor::start(stage, &Kind::Drain { broker: broker.addr })?;
    for (acknowledged, _) in QOS {
        let each = (0..rounds).map(|_| drain(broker.addr, acknowledged, messages(acknowledged), || bare.count()));
        floors.push(median(each.collect::<anyhow::Result<_>>()?));
    }
    bare.end(stage)?;
    let url = format!("mqtt://{}", broker.addr);
    let flags = ["--store", "sqlite:rollcall.db", "--broker", &url];
    let mut product = stage.product(ROW, &flags, &["fleet.offline_after=10m"])?;
    product.until("it hears", STALLED, |status| status["listening"] == true)?;
    fill(&mut product, VEHICLES)?;
    for ((acknowledged, what), floor) in QOS.into_iter().zip(floors) {
        let from = product.usage();
        let counts = (0..rounds)
            .map(|_| drain(broker.addr, acknowledged, messages(acknowledged), || product.number("/intake/total")));
        let figure = median(counts.collect::<anyhow::Result<_>>()?);
        let to = product.usage();
        let line = Line::new(ROW, what, figure, "/s").at_least_of(floor, 0.9);
        tell(line.using(to.rss_bytes, to.share_since(&from)));
    }
    stage.end(product)?;
    stage.wait(broker.stop())
}
