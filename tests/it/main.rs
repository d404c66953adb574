//! The one integration binary: drives the real service from outside, and holds the sources to the house rules.

mod bad_input;
mod commands;
mod corpus;
mod live;
mod mqtt;
mod mqtt_clients;
mod openapi;
mod paging;
mod rest;
mod restart;
mod smoke;
mod support;
mod tidy;
mod views;
