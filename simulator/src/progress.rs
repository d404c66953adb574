//! The progress line on a terminal. Fed by the ledger once a second; draws nothing when stderr is a file or a pipe.

use std::{
    io::{IsTerminal, Write, stderr},
    sync::Arc,
    time::Duration,
};

use tokio::time;

use crate::{
    ledger::{Counts, Ledger},
    options::Options,
};

/// Redraws the line until it is aborted.
pub async fn show(options: Options, ledger: Arc<Ledger>) {
    if !options.progress || !stderr().is_terminal() {
        return;
    }
    let mut every_second = time::interval(Duration::from_secs(1));
    let mut before = Counts::default();
    loop {
        every_second.tick().await;
        let now = ledger.counts();
        // A terminal that is gone is no reason to stop driving.
        let _ = write!(stderr(), "\r\x1b[K{}", line(&options, &before, &now, ledger.clock.now_ms() / 1000));
        before = now;
    }
}

fn line(options: &Options, before: &Counts, now: &Counts, ran_s: u64) -> String {
    let length = options.duration.map_or(String::new(), |length| format!("/{}", length.as_secs()));
    format!(
        "{ran_s}{length} s  {} vehicles  {}/s  sent {}  acknowledged {}  unsent {}  connections {} (lost {})",
        options.vehicles,
        now.beats - before.beats,
        now.beats,
        now.acked,
        now.unsent,
        now.connects,
        now.connections_lost
    )
}
