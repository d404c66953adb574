//! A few connections to Postgres, one piece of work on each at a time.
//! Fed by the store with reads and writes; not sqlx's pool, which loses a place for good when a connection that was
//! given back is silently dead. Here the place belongs to the work, and whatever goes wrong throws the connection away.

use std::time::Duration;

use anyhow::{Context, anyhow};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// A server that does not greet us by then is taken for unreachable.
const CONNECT: Duration = Duration::from_secs(5);
/// A connection that does not answer a ping by then is taken for dead. A round trip before each piece of work is the
/// price for noticing that before the work is begun.
const PING: Duration = Duration::from_secs(2);

/// The connections for one kind of work.
#[derive(Debug)]
pub struct Lane {
    options: PgConnectOptions,
    places: u32,
    free: Semaphore,
    idle: Mutex<Vec<PgConnection>>,
    limit: Duration,
}

impl Lane {
    /// At most so many connections, made when they are needed; waiting and work together take no longer than `limit`.
    pub fn new(options: PgConnectOptions, places: u32, limit: Duration) -> Self {
        Self { options, places, free: Semaphore::new(places as usize), idle: Mutex::default(), limit }
    }

    /// Does one piece of work. What is cut off by the limit takes its connection with it, so the server rolls it back.
    pub async fn work<T, F>(&self, work: F) -> anyhow::Result<T>
    where
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, anyhow::Result<T>>,
    {
        self.work_in(1, work).await
    }

    /// The same in so many places: in all of them, while no other work is under way here.
    pub async fn work_in<T, F>(&self, places: u32, work: F) -> anyhow::Result<T>
    where
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, anyhow::Result<T>>,
    {
        let all = async {
            let _places = self.free.acquire_many(places).await.context("the store is closed")?;
            let mut connection = self.living().await?;
            let outcome = work(&mut connection).await?;
            self.idle.lock().push(connection);
            Ok(outcome)
        };
        let late = || anyhow!("{} did not answer within {:?}", server(&self.options), self.limit);
        timeout(self.limit, all).await.map_err(|_| late())?
    }

    /// Whether the server answers; keeps the connection that was made for it.
    pub async fn check(&self) -> anyhow::Result<()> {
        // All at work: it does.
        let Ok(_place) = self.free.try_acquire() else { return Ok(()) };
        let connection = self.living().await?;
        self.idle.lock().push(connection);
        Ok(())
    }

    async fn living(&self) -> anyhow::Result<PgConnection> {
        loop {
            let used = self.idle.lock().pop();
            let Some(mut used) = used else { return connect(&self.options).await };
            if let Ok(Ok(())) = timeout(PING, used.ping()).await {
                return Ok(used);
            }
        }
    }

    /// Waits for the work under way, lets no other begin, and says goodbye to the server.
    pub async fn close(&self) {
        let _all = timeout(self.limit, self.free.acquire_many(self.places)).await;
        self.free.close();
        let idle = std::mem::take(&mut *self.idle.lock());
        for connection in idle {
            let _goodbye = timeout(PING, connection.close()).await;
        }
    }
}

/// One connection, or a sentence that says why not.
pub async fn connect(options: &PgConnectOptions) -> anyhow::Result<PgConnection> {
    let problem = match timeout(CONNECT, options.connect()).await {
        Ok(Ok(connection)) => return Ok(connection),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {CONNECT:?}"),
    };
    Err(anyhow!("cannot open the store at {} ({problem}): check its URL and that the server runs", server(options)))
}

/// The server as it may be shown: everything of the URL but its password.
fn server(options: &PgConnectOptions) -> String {
    let (user, host, port) = (options.get_username(), options.get_host(), options.get_port());
    format!("postgres://{user}@{host}:{port}/{}", options.get_database().unwrap_or(user))
}
