//! Rollcall.
pub mod clock;
pub mod domain;
pub mod fleet;
pub mod ingest;
pub mod live;
pub mod settings;
pub mod store;
pub mod telemetry;
