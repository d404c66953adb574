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
//! Pure, with time as an argument and randomness from the seed: dice, geo, atlas, names, journey, plan, burst, payload,
//! device, truth, backoff, verify::compare. Everything else moves bytes. Invariants:
//!
//! 1. The same seed gives the same fleet, routes, absences and payloads.
//! 2. The truth is judged by the instants at which bytes really left, never by the plan.
//! 3. The truth shares no code with the service under test.
//! 4. The task that polls a connection waits for nothing but the network.

mod atlas;
mod backoff;
mod burst;
mod device;
mod dice;
mod duration;
mod geo;
mod journey;
mod lane;
mod ledger;
mod names;
mod options;
mod payload;
mod plan;
mod session;
mod truth;
