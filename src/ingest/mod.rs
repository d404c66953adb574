//! How heartbeats come in: MQTT by the embedded broker or an external one, and HTTP; all through one door.
//! Feeds the registry of the fleet.

pub mod door;
pub mod refused;
pub mod topics;
