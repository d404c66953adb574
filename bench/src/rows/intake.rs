//! Intake through the embedded broker, one connection as fast as it is taken, 100,000 vehicles: beside the bare publish
//! hook of the same broker. Counted is what the service took; what it refused for want of room is told apart.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::traffic::fill;
use crate::floors::{Floor, Kind};
use crate::packets::Packets;
use crate::pipe::Pipe;
use crate::stage::Stage;
use crate::table::{Line, median};

const ROW: &str = "intake";
const VEHICLES: usize = 100_000;
const SETTLE_LIMIT: Duration = Duration::from_secs(60);

/// Sends for so long and waits until the server has looked at all of it; how long that took.
fn flood(addr: SocketAddr, packets: &mut Packets, acknowledged: bool, how_long: Duration) -> anyhow::Result<Duration> {
    let mut pipe = Pipe::open(addr, "bench-intake")?;
    let began = Instant::now();
    let done = |_| began.elapsed() >= how_long;
    if acknowledged {
        pipe.flood_acknowledged(packets, done)?;
    } else {
        pipe.flood(packets, done)?;
        pipe.fence()?;
    }
    Ok(began.elapsed())
}

/// Floor and service in turn, so that both meet the same machine.
pub fn measure(stage: &Stage, tell: &mut dyn FnMut(Line)) -> anyhow::Result<()> {
    let mut product = stage.product(ROW, &["--store", "sqlite:rollcall.db"], &["fleet.offline_after=10m"])?;
    fill(&mut product, VEHICLES)?;
    let mut bare = Floor::start(stage, &Kind::Hook)?;
    let (rounds, how_long) = (stage.size(5, 2), Duration::from_secs(stage.size(5, 2)));
    for (acknowledged, what, share) in [(false, "QoS 0, one pipe", 0.5), (true, "QoS 1, one pipe", 0.85)] {
        let mut packets = Packets::new(0..VEHICLES, acknowledged);
        let (mut figures, mut floors, mut refused, mut micros) = (Vec::new(), Vec::new(), 0, Vec::new());
        let mut last = (0, 0.0);
        for _ in 0..rounds {
            let before = bare.count()?;
            let took = flood(bare.addr, &mut packets, acknowledged, how_long)?;
            floors.push((bare.count()? - before) as f64 / took.as_secs_f64());

            let (taken, not, usage) =
                (product.number("/intake/total")?, product.number("/intake/refused")?, product.usage());
            let began = Instant::now();
            flood(product.mqtt, &mut packets, acknowledged, how_long)?;
            product.until("the lanes are empty", SETTLE_LIMIT, |status| status["intake"]["waiting"] == 0)?;
            let took = began.elapsed().as_secs_f64();
            let now = product.usage();
            let taken = (product.number("/intake/total")? - taken) as f64;
            refused += product.number("/intake/refused")? - not;
            figures.push(taken / took);
            micros.push(now.cpu_since(&usage) / taken * 1e6);
            last = (now.rss_bytes, now.share_since(&usage));
        }
        let micros = median(micros);
        let note = format!("{micros:.2} us of CPU a heartbeat, broker included; {refused} refused for want of room");
        let line = Line::new(ROW, what, median(figures), "/s").at_least_of(median(floors), share);
        tell(line.using(last.0, last.1).noted(note));
    }
    bare.end(stage)?;
    stage.end(product)
}
