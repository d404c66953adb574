//! The one integration binary: drives the real service from outside, and holds the sources to the house rules.

mod corpus;
mod bad_input;
mod mqtt;
mod mqtt_clients;
mod paging;
mod rest;
mod smoke;
mod support;
mod tidy;
