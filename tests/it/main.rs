//! The one integration binary: drives the real service from outside, and holds the sources to the house rules.

mod bad_input;
mod corpus;
mod mqtt;
mod mqtt_clients;
mod openapi;
mod paging;
mod rest;
mod smoke;
mod status_topic;
mod support;
mod tidy;
