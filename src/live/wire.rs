//! The two languages of the live socket, and a finished frame in either. JSON is for programs, columns are for the
//! dashboard. Chosen by the session from the sub-protocol; carried through the reader and the feed, which are the same
//! for both.

use bytes::Bytes;
use bytestring::ByteString;

/// How the fleet is written. Hello, counts, observation, gap and farewell are JSON text in both: they are rare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Wire {
    /// `rollcall.v1.json`: a JSON object a frame, vehicles by name, the snapshot on the socket.
    #[default]
    Json,
    /// `rollcall.v1.bin`: binary columns, vehicles by slot, the snapshot by HTTP.
    Columns,
}

impl Wire {
    /// The sub-protocol's name.
    pub fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => "rollcall.v1.json",
            Self::Columns => "rollcall.v1.bin",
        }
    }

    /// The first one we speak in a client's comma list of sub-protocols.
    pub fn first_of(asked: &str) -> Option<Self> {
        let ours = |name: &str| [Self::Json, Self::Columns].into_iter().find(|wire| wire.subprotocol() == name);
        asked.split(',').find_map(|name| ours(name.trim()))
    }
}

/// A finished frame; its bytes are shared, a clone is cheap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// JSON.
    Text(ByteString),
    /// Columns.
    Binary(Bytes),
}

impl Message {
    /// Bytes it takes of the connection's credit.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }
}

impl From<ByteString> for Message {
    fn from(text: ByteString) -> Self {
        Self::Text(text)
    }
}

impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Self {
        Self::Binary(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_language_we_speak_is_taken() {
        assert_eq!(Wire::first_of("something.else, rollcall.v1.bin,rollcall.v1.json"), Some(Wire::Columns));
        assert_eq!(Wire::first_of("rollcall.v1.json"), Some(Wire::Json));
        assert_eq!((Wire::first_of("rollcall.v2.bin"), Wire::first_of("")), (None, None));
    }
}
