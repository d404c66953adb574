//! Rollcall: a real-time vehicle fleet monitor. This file is the map.
//!
//! ```text
//! MQTT --> ingest (decode, refuse) --> shard --> vehicle actor --transition--> supervisor/persister --> store
//!                                                     |  latest state                | durable
//!                                                     +-------> hub (board) <--------+ --> alerts, history
//!                                                                 |--> session --> dashboard (WebSocket)
//!                                                                 +--> REST queries, exports
//! ```
//!
//! A pure core (`domain`) decides; a thin actor shell moves bytes, timers and rows. The modules below are the stations
//! of that way, in order, and each imports only from stations before it (tests/it/tidy.rs says so).
//!
//! Invariants, each with a test:
//! 1. Transitions of a vehicle alternate, and their seq has no gaps.
//! 2. No vehicle is offline before its deadline, nor more than a bounded lag after it.
//! 3. Our own start, stop or blindness creates no transition except `unobserved`.
//! 4. The status after a restart equals the fold of the stored transitions.
//! 5. Storing a batch twice equals storing it once.
//! 6. A dashboard's view equals the board, however slow it was.
//! 7. Every queue has a bound, written beside it, and says what happens when it is full.
//! 8. REST and WebSocket answer from the same board.
//! 9. A customer's key never sees another customer's vehicle, on any door.
//! 10. No message can panic the decoder.

pub mod domain;

pub mod clock;

pub mod settings;

pub mod telemetry;

pub mod gate;

pub mod store;

pub mod access;

pub mod live;

pub mod fleet;

pub mod ingest;

pub mod exports;

pub mod api;

pub mod app;
