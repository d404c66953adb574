//! stub
use crate::settings::Span;
use std::path::Path;
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ReplayClock {
    Arrival,
    Device,
}
pub fn print(_f: &Path, _o: Span, _w: Span, _c: ReplayClock) -> anyhow::Result<()> {
    Ok(())
}
