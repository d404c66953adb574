//! The pure core: what a heartbeat is, what a status is, and when a silent vehicle is offline.
//! No actor, socket, database, clock, randomness or log in here: inputs are arguments, outcomes are return values.

pub mod access;
pub mod availability;
pub mod board;
pub mod boots;
pub mod calendar;
pub mod export;
pub mod firsts;
pub mod heartbeat;
pub mod ids;
pub mod latest;
pub mod limit;
pub mod liveness;
pub mod logged;
pub mod login;
pub mod observation;
pub mod oidc;
pub mod owntracks;
pub mod perhaps;
mod plain;
pub mod policy;
pub mod query;
pub mod registration;
pub mod row;
pub mod search;
pub mod sheet;
pub mod sleep;
pub mod statistics;
pub mod tags;
pub mod time;
pub mod transition;
