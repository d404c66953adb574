//! How heartbeats come in: MQTT by the embedded broker or an external one, and HTTP; all through one door.
//! Feeds the registry of the fleet.

pub mod broker;
pub mod door;
pub mod refused;
pub mod subscriber;
#[cfg(test)]
mod testing;
pub mod topics;
