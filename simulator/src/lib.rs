//! A seeded vehicle fleet that publishes real MQTT heartbeats and knows the truth about every vehicle.
//!
//! ```text
//!  flags/demo -> options -> fleet --builds--> lane (one connection, a heap of due times) -> session -> broker
//!                             |                 ^  drives                                     | what left, when
//!                             |               device <- plan, journey (pure, seeded)          v
//!                          control --orders-----^                                   ledger <- truth (pure)
//!                                                                                      |
//!  service's REST --------------------------------------------------> verify: truth against report -> report
//! ```
//!
//! With a scenario the oracle (see `oracle`) starts the service itself, hurts it, and judges by the record of every
//! beat.
//!
//! Pure, with time as an argument and randomness from the seed: dice, geo, atlas, names, journey, plan, burst, payload,
//! device, truth, backoff, verify::compare. Everything else moves bytes. Invariants:
//!
//! 1. The same seed gives the same fleet, routes, absences and payloads.
//! 2. The truth is judged by the instants at which bytes really left, never by the plan.
//! 3. The truth shares no code with the service under test.
//! 4. The task that polls a connection waits for nothing but the network.

pub mod flags;
pub mod options;
pub mod oracle;

mod duration;

mod atlas;
mod burst;
mod device;
mod dice;
mod geo;
mod journey;
mod names;
mod payload;
mod plan;
mod truth;

mod backoff;
mod control;
mod fleet;
mod lane;
mod ledger;
mod progress;
mod record;
mod report;
mod session;
mod verify;

pub use burst::Burst;
pub use control::Control;
pub use fleet::{run, start};
pub use ledger::Counts;
pub use options::{Broker, Key, Options, Qos, Verify, Wills};
pub use plan::{Behaviour, Shares};
pub use report::Report;
pub use truth::TruthCounts;
pub use verify::verdict::{Percentiles, Verdict};
