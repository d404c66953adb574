//! The one integration binary: drives the real service from outside, and holds the sources to the house rules.

mod mqtt;
mod mqtt_clients;
mod smoke;
mod support;
mod tidy;
