//! No row of the table: a few seconds of every part of the benchmark, for the test that it runs at all. `--only smoke`.

use std::time::{Duration, Instant};

use super::traffic::{beside, fill};
use crate::dashboards::{Dashboards, Kind as Frame, version};
use crate::floors::{Floor, Kind};
use crate::packets::Packets;
use crate::pipe::Pipe;
use crate::stage::Stage;
use crate::table::Line;

const ROW: &str = "smoke";
const VEHICLES: usize = 200;
const BEATS: u64 = 2_000;
const HOW_LONG: Duration = Duration::from_secs(1);
const SETTLE_LIMIT: Duration = Duration::from_secs(30);

/// The hook counts what was sent, the service takes the same, and a dashboard sees it.
pub fn measure(stage: &Stage, tell: &mut dyn FnMut(Line)) -> anyhow::Result<()> {
    let mut bare = Floor::start(stage, &Kind::Hook)?;
    let mut product = stage.product(ROW, &["--store", "sqlite:rollcall.db"], &[])?;
    fill(&mut product, VEHICLES)?;
    let (mut counts, taken) = (Vec::new(), product.number("/intake/total")?);
    // A connection that ends is a hint about its vehicles, which is counted too: they stay open until the count.
    let mut open = Vec::new();
    for addr in [bare.addr, product.mqtt] {
        let mut pipe = Pipe::open(addr, "bench-smoke")?;
        let began = Instant::now();
        pipe.flood_acknowledged(&mut Packets::new(0..VEHICLES, true), |sent| sent >= BEATS)?;
        counts.push((pipe.sent as f64, pipe.sent as f64 / began.elapsed().as_secs_f64()));
        open.push(pipe);
    }
    product.settle(SETTLE_LIMIT)?;
    let taken = (product.number("/intake/total")? - taken) as f64;
    let line = Line::new(ROW, "QoS 1", counts[1].1, "/s").beside(counts[0].1);
    tell(line.noted(format!("sent {}, taken {taken}, the hook counted {}", counts[1].0, bare.count()?)));
    drop(open);
    bare.end(stage)?;

    let mut dashboards = Dashboards::new()?;
    dashboards.open(product.http, Some("rollcall.v1.bin"), true)?;
    let (mut frames, mut packets) = (0, Packets::new(0..VEHICLES, false));
    beside(&mut product, &mut packets, 1_000.0, |_, _| {
        dashboards.read(HOW_LONG, |_, kind, payload, _| {
            frames += u32::from(kind == Frame::Binary && version(payload).is_some());
        })
    })?;
    tell(Line::new(ROW, "frames of one dashboard in a second", frames.into(), ""));
    stage.end(product)
}
