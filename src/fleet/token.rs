//! The promise behind a QoS 1 message: whoever makes it safe accepts the token, and only then the sender is told.
//! Made by ingest; carried by the beat to its vehicle, and on with a transition to the persister.

/// Accepting it acknowledges the message. Dropped without, the sender is never told and will send again.
pub struct Token(Box<dyn FnOnce() + Send>);

impl Token {
    /// A token that runs `acknowledge` once when accepted.
    pub fn new(acknowledge: impl FnOnce() + Send + 'static) -> Self {
        Self(Box::new(acknowledge))
    }

    /// What the message asked for is safe: tell the sender.
    pub fn accept(self) {
        (self.0)();
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Token")
    }
}
