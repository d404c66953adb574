//! The vehicles: one actor each, spread over shards, watched by a supervisor, remembered by a persister.
//! Fed by ingest through the registry, and by operators at the desk; feeds the hub (live) and the store (durable).

pub mod alarms;
pub mod beats;
pub mod checkpoint;
pub mod customers;
pub mod desk;
pub mod entry;
pub mod heartbeat_log;
pub mod keeper;
pub mod last_seen;
pub mod outbox;
pub mod persister;
pub mod proof;
pub mod registry;
mod restore;
pub mod rollups;
mod seat;
pub mod shard;
pub mod supervisor;
pub mod token;
pub mod vehicle;
