//! What all doors have in common: the certificate they show, whom we believe outside, and how often an address or a key
//! may knock.
//! Fed by the settings; asked by logins (access), the broker (ingest), and REST, WebSocket and dashboard (api).

pub mod buckets;
pub mod certificate;
pub mod trust;
