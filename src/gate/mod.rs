//! What all doors have in common: the certificate they show, and how often an address or a key may knock.
//! Fed by the settings; asked by the embedded broker (ingest) and by REST, WebSocket and dashboard (api).

pub mod buckets;
pub mod certificate;
