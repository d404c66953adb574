//! WebSocket fan-out: frames a second to many dashboards, beside bare actix-web-actors with frames of the same length.
//! Both are asked for more than two cores can give, so that what is measured is what they can.

use std::net::SocketAddr;
use std::time::Duration;

use super::traffic::{beside, fill};
use crate::dashboards::{Dashboards, Kind};
use crate::floors::{Floor, Kind as FloorKind};
use crate::packets::Packets;
use crate::stage::{Product, Stage};
use crate::table::Line;

const ROW: &str = "fanout";
const DASHBOARDS: usize = 8_000;
/// As often as shards tell the board what is new; a shorter tick would find nothing to send.
const TICK_MS: u64 = 50;
/// Vehicles, all of which change in every tick.
const VEHICLES: usize = 20;
/// A delta of so many rows in columns.
const FRAME_BYTES: usize = 32 + 25 * VEHICLES;
const WARM_UP: Duration = Duration::from_secs(1);

/// Frames a second that were read.
fn frames(dashboards: &mut Dashboards, how_long: Duration) -> anyhow::Result<f64> {
    dashboards.read(WARM_UP, |_, _, _, _| ())?;
    let mut count = 0_u64;
    dashboards.read(how_long, |_, kind, _, _| count += u64::from(kind == Kind::Binary))?;
    Ok(count as f64 / how_long.as_secs_f64())
}

fn open(addr: SocketAddr, protocol: Option<&str>) -> anyhow::Result<Dashboards> {
    let mut dashboards = Dashboards::new()?;
    for _ in 0..DASHBOARDS {
        dashboards.open(addr, protocol, protocol.is_some())?;
    }
    Ok(dashboards)
}

/// The floor first, then the service.
pub fn measure(stage: &Stage, tell: &mut dyn FnMut(Line)) -> anyhow::Result<()> {
    let how_long = Duration::from_secs(stage.size(20, 4));
    let bare =
        Floor::start(stage, &FloorKind::Fanout { bytes: FRAME_BYTES, tick_ms: TICK_MS, dashboards: DASHBOARDS })?;
    let floor = frames(&mut open(bare.addr, None)?, how_long)?;
    bare.end(stage)?;
    let settings = ["live.tick=50ms", "fleet.beats_per_s_max=0"];
    let mut product = stage.product(ROW, &["--store", "sqlite:rollcall.db"], &settings)?;
    fill(&mut product, VEHICLES)?;
    let mut dashboards = open(product.http, Some("rollcall.v1.bin"))?;
    let per_s = VEHICLES as f64 * 1_000.0 / TICK_MS as f64;
    let mut packets = Packets::new(0..VEHICLES, false);
    let (figure, rss, share) = beside(&mut product, &mut packets, per_s, |product: &mut Product, _| {
        let from = product.usage();
        let figure = frames(&mut dashboards, how_long)?;
        let to = product.usage();
        Ok((figure, to.rss_bytes, to.share_since(&from)))
    })?;
    let line = Line::new(ROW, format!("frames to {DASHBOARDS} dashboards"), figure, "/s");
    tell(line.at_least_of(floor, 0.8).using(rss, share).noted(format!("a frame every {TICK_MS} ms is asked for")));
    drop(dashboards);
    stage.end(product)
}
