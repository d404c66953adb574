//! The connection that reads whole histories for exports: one for all of them, on a thread that comes last, so that
//! whoever somebody waits for has the other readers, and the processor first.

use anyhow::Context;
use futures_util::future::BoxFuture;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, oneshot};

use crate::store::priority::lower_priority;

/// Opens when it is first asked.
#[derive(Debug)]
pub struct Historian {
    options: SqliteConnectOptions,
    desk: Mutex<Desk>,
}

#[derive(Debug)]
enum Desk {
    Empty,
    Open(Box<SqliteConnection>),
    Closed,
}

impl Historian {
    pub fn new(options: SqliteConnectOptions) -> Self {
        Self { options, desk: Mutex::new(Desk::Empty) }
    }

    /// Runs one read; others wait for their turn.
    ///
    /// # Errors
    /// The file cannot be opened, or the read fails; or the store is closed.
    pub async fn read<T, F>(&self, read: F) -> anyhow::Result<T>
    where
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, anyhow::Result<T>>,
    {
        let mut desk = self.desk.lock().await;
        if matches!(*desk, Desk::Empty) {
            *desk = Desk::Open(Box::new(connect_last(self.options.clone()).await?));
        }
        match &mut *desk {
            Desk::Open(connection) => read(connection).await,
            Desk::Empty | Desk::Closed => anyhow::bail!("the store is closed"),
        }
    }

    /// Whoever reads is waited for; whoever comes later is refused.
    pub async fn close(&self) {
        if let Desk::Open(connection) = std::mem::replace(&mut *self.desk.lock().await, Desk::Closed)
            && let Err(error) = connection.close().await
        {
            tracing::warn!("closing the store's reader of histories failed: {error}");
        }
    }
}

/// A connection works on a thread of its own, which is as nice as the one that starts it.
async fn connect_last(options: SqliteConnectOptions) -> anyhow::Result<SqliteConnection> {
    let (tell, told) = oneshot::channel();
    let runtime = Handle::current();
    let open = move || {
        lower_priority();
        // Whoever asked may have given up: the connection ends here then.
        let _ = tell.send(runtime.block_on(options.connect()));
    };
    std::thread::Builder::new().name("historian".into()).spawn(open)?;
    Ok(told.await.context("the thread that opens the store for histories has gone")??)
}
