//! The live push: the hub writes the board, sessions read it and keep their dashboards up to date.
//! Fed by the fleet; read by REST and the WebSocket.

pub mod columns;
pub mod feed;
pub mod hub;
pub mod protocol;
pub mod reader;
pub mod relay;
pub mod session;
pub mod wire;
