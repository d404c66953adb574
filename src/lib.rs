//! Rollcall.
pub mod clock;
pub mod domain;
pub mod settings;
pub mod store;
