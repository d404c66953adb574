//! How much the database of a quiet fleet grows: nothing falls silent, so no row is new but those of the statistics,
//! and what was heard is written into rows that are there (R61).

use std::path::Path;
use std::time::Duration;

use super::traffic::{beside, fill};
use crate::packets::Packets;
use crate::stage::Stage;
use crate::table::Line;

const ROW: &str = "database";
const VEHICLES: usize = 10_000;
const PER_S: f64 = 10_000.0;
const DAY_S: f64 = 86_400.0;

/// The database with what waits beside it to be written into it.
fn bytes(folder: &Path) -> u64 {
    let files = ["rollcall.db", "rollcall.db-wal"];
    files.iter().filter_map(|file| folder.join(file).metadata().ok()).map(|file| file.len()).sum()
}

/// Seven sweeps are in it; a quick run sweeps more often than the default for that. In the minutes before it a new file
/// takes its first pages, once and for all.
pub fn measure(stage: &Stage, tell: &mut dyn FnMut(Line)) -> anyhow::Result<()> {
    let interval = stage.size("store.checkpoint_interval=60s", "store.checkpoint_interval=2s");
    let (warm_up, how_long) = (Duration::from_secs(stage.size(240, 6)), Duration::from_secs(stage.size(420, 12)));
    let mut product = stage.product(ROW, &["--store", "sqlite:rollcall.db"], &[interval])?;
    fill(&mut product, VEHICLES)?;
    let mut packets = Packets::new(0..VEHICLES, false);
    let (grown, usage, share) = beside(&mut product, &mut packets, PER_S, |product, _| {
        std::thread::sleep(warm_up);
        let (before, from) = (bytes(product.folder()), product.usage());
        std::thread::sleep(how_long);
        let grown = bytes(product.folder()) as f64 - before as f64;
        Ok((grown, product.usage(), product.usage().share_since(&from)))
    })?;
    let line = Line::new(ROW, "growth in a day, 10,000 vehicles", grown / 1e6 * DAY_S / how_long.as_secs_f64(), "MB");
    let note = format!("{grown:.0} bytes in {} s at 10,000 heartbeats/s", how_long.as_secs());
    // Some seconds say nothing about a day: statistics write a row a customer and minute.
    let line = if stage.full { line.at_most(50.0) } else { line };
    tell(line.using(usage.rss_bytes, share).noted(note));
    stage.end(product)
}
