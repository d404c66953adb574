//! Work that its caller cannot drop midway: it runs as a task of its own to its end, whoever still waits for it.
//! Fed by both stores with what they run, but for what SQLite reads for an export on the export's own thread; an HTTP
//! handler whose client hangs up just stops waiting.

use std::future::Future;

use anyhow::Context;
use tokio::runtime::Handle;

/// The runtime that opened the store. The sockets of its connections belong to it, so all work is done there: a
/// connection opened on a worker's own small runtime would die with that worker.
#[derive(Debug)]
pub struct Owned(Handle);

impl Owned {
    /// Work will be done on the runtime this is called in.
    pub fn here() -> Self {
        Self(Handle::current())
    }

    /// Runs the work to its end and hands over its outcome.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = anyhow::Result<T>> + Send + 'static,
    ) -> anyhow::Result<T> {
        self.0.spawn(work).await.context("the store's work was broken off")?
    }
}
