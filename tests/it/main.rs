//! The one integration binary: drives the real service from outside, and holds the sources to the house rules.

mod bad_input;
mod commands;
mod corpus;
mod crash;
mod history;
mod live;
mod load;
mod mqtt;
mod mqtt_clients;
mod openapi;
mod oracle;
mod oracle_sabotage;
mod outage;
mod paging;
mod pause;
mod radio;
mod rest;
mod restart;
mod smoke;
mod stacks;
mod status_topic;
mod stop;
mod support;
mod tidy;
mod traces;
mod views;
