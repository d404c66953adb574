//! The rows of the benchmark, one file each (rows that need the same large fleet share one). Called by main, in this
//! order.

mod connections;
mod dashboards;
mod database;
mod external;
mod fanout;
mod fleet;
mod intake;
mod overload;
mod silence;
mod smoke;
mod traffic;

use crate::stage::Stage;
use crate::table::Line;

/// A row: what `--only` calls it, and how it is measured. Every figure is told as soon as it is known.
pub type Row = (&'static str, fn(&Stage, &mut dyn FnMut(Line)) -> anyhow::Result<()>);

/// Named only by `--only`.
pub const SMOKE: Row = ("smoke", smoke::measure);

/// All of them.
pub const ALL: [Row; 10] = [
    ("intake", intake::measure),
    ("connections", connections::measure),
    ("external", external::measure),
    ("dashboards", dashboards::measure),
    ("fanout", fanout::measure),
    ("silence-sqlite", silence::sqlite),
    ("silence-postgres", silence::postgres),
    ("database", database::measure),
    ("overload", overload::measure),
    ("fleet", fleet::measure),
];
