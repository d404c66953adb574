//! How heartbeats come in: MQTT by the embedded broker or an external one, and HTTP; all through one door.
//! Feeds the registry of the fleet, and proves by a canary that they come in. And, where it is asked for, how statuses
//! go out by the same broker, and our own presence.

pub mod broker;
pub mod canary;
pub mod door;
pub mod mosquitto;
pub mod presence;
pub mod publisher;
pub mod quarantine;
pub mod refused;
mod retained_wills;
pub mod subscriber;
#[cfg(test)]
mod testing;
pub mod topics;
