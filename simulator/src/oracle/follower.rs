//! A dashboard that misses nothing: follows the live feed for the whole run, through every restart of the product, and
//! folds it. Fed by the product's WebSocket, feeds the comparison at the end. The only file that names the WebSocket
//! crate.

use std::{collections::HashMap, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::{
    net::TcpStream,
    sync::{Mutex, watch},
    time,
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

use super::view::View;
use crate::{control::Name, ledger::Clock, verify::client::TransitionRow};

const RECONNECT_PAUSE: Duration = Duration::from_millis(100);
/// The feed says `counts` once a second: a connection that is quiet for so long is dead, as when its process is killed
/// while it is suspended.
const QUIET_LIMIT: Duration = Duration::from_secs(120);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// See the head of this file.
pub struct Follower {
    url: String,
    clock: Clock,
    view: Arc<Mutex<View>>,
}

#[derive(Deserialize)]
struct Head<'a> {
    r#type: &'a str,
}

#[derive(Deserialize)]
struct Hello {
    epoch: String,
}

/// A row of a snapshot or of a delta, as far as the comparison needs it.
#[derive(Debug, Deserialize)]
pub struct Row {
    pub customer: String,
    pub vehicle: String,
    pub status: Option<String>,
    pub status_since: Option<DateTime<Utc>>,
    pub seq: Option<u64>,
}

#[derive(Deserialize)]
struct Snapshot {
    version: u64,
    part: u64,
    parts: u64,
    vehicles: Vec<Row>,
}

#[derive(Deserialize)]
struct Delta {
    version: u64,
    changed: Vec<Row>,
    removed: Vec<Row>,
}

#[derive(Deserialize)]
struct Gap {
    dropped: u64,
}

impl Follower {
    pub fn new(http: &str, clock: Clock, index: HashMap<Name, u32>) -> Self {
        let view = Arc::new(Mutex::new(View::new(index)));
        Self { url: format!("ws://{http}/api/v1/live"), clock, view }
    }

    pub fn view(&self) -> Arc<Mutex<View>> {
        self.view.clone()
    }

    /// Follows until told to stop.
    pub async fn follow(self, mut stop: watch::Receiver<bool>) {
        let following = async {
            loop {
                if let Ok((socket, _)) = connect_async(&self.url).await {
                    let ended = self.listen(socket).await;
                    self.view.lock().await.disconnected();
                    if let Err(error) = ended {
                        tracing::debug!(error = format!("{error:#}"), "the live feed broke");
                    }
                }
                time::sleep(RECONNECT_PAUSE).await;
            }
        };
        tokio::select! {
            () = following => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }

    /// Returns when the connection ends.
    async fn listen(&self, mut socket: Socket) -> anyhow::Result<()> {
        while let Some(message) = time::timeout(QUIET_LIMIT, socket.next()).await? {
            match message? {
                Message::Text(text) => {
                    if let Some(answer) = self.take(text.as_str()).await? {
                        socket.send(Message::text(answer)).await?;
                    }
                }
                Message::Close(_) => break,
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes one frame; the answer, where one is due, is the wish to resume.
    async fn take(&self, text: &str) -> anyhow::Result<Option<String>> {
        let head: Head = serde_json::from_str(text)?;
        let mut view = self.view.lock().await;
        match head.r#type {
            "hello" => {
                let hello: Hello = read(text)?;
                return Ok(view.connected(hello.epoch).map(|(epoch, version)| {
                    serde_json::json!({ "type": "resume", "epoch": epoch, "version": version }).to_string()
                }));
            }
            "snapshot" => {
                let frame: Snapshot = read(text)?;
                view.snapshot(frame.part, frame.vehicles);
                if frame.part == frame.parts {
                    view.complete(frame.version);
                }
            }
            "delta" => {
                let frame: Delta = read(text)?;
                view.delta(frame.version, frame.changed, frame.removed, self.clock.epoch_ms());
            }
            "transition" => view.transition(read::<TransitionRow>(text)?),
            "gap" => view.gap(read::<Gap>(text)?.dropped),
            _ => {}
        }
        Ok(None)
    }
}

fn read<T: DeserializeOwned>(text: &str) -> anyhow::Result<T> {
    Ok(serde_json::from_str(text)?)
}
