//! A Mosquitto of a test's own, with the settings the test wants, and its command-line client. Used by the modules
//! about TLS and credentials; skipped where there is none, but not in CI.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::support::{from_environment, until};

/// A running broker; killed when the test ends.
pub struct Mosquitto {
    _folder: TempDir,
    /// Its plain or TLS listener.
    pub port: u16,
    process: Child,
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Mosquitto {
    /// Starts one with these settings of its only listener, each a line; its address is taken by chance.
    pub async fn start(settings: &str) -> Option<Self> {
        from_environment("ROLLCALL_TEST_MOSQUITTO")?;
        let (folder, port) = (tempfile::tempdir().expect("folder"), free_port());
        let conf = folder.path().join("mosquitto.conf");
        let text = format!("listener {port} 127.0.0.1\nuser root\nlog_dest none\n{settings}\n");
        std::fs::write(&conf, text).expect("file");
        let program = std::env::var("MOSQUITTO_BIN").unwrap_or_else(|_| "/usr/sbin/mosquitto".into());
        let mut command = Command::new(program);
        command.arg("-c").arg(conf).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("Mosquitto starts");
        until("Mosquitto answers", || async { TcpStream::connect(("127.0.0.1", port)).await.is_ok() }).await;
        Some(Self { _folder: folder, port, process })
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its number").port()
}

/// One QoS 1 publish by `mosquitto_pub` at `host:port`: whether it was taken, and what the program said.
pub async fn publish(place: &str, topic: &str, ca: Option<&Path>, more: &[&str]) -> (bool, String) {
    let (host, port) = place.rsplit_once(':').expect("host and port");
    let mut command = tokio::process::Command::new("mosquitto_pub");
    command.args(["-h", host, "-p", port, "-t", topic, "-m", "{}", "-q", "1"]).args(more);
    if let Some(ca) = ca {
        command.arg("--cafile").arg(ca);
    }
    let output = command.output().await.expect("mosquitto_pub runs");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said)
}

/// Whether there is a `mosquitto_pub`; in CI there must be.
pub fn has_client() -> bool {
    let found = Command::new("mosquitto_pub").arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(found.is_ok() || std::env::var("CI").as_deref() != Ok("true"), "mosquitto_pub must be there in CI");
    found.map_err(|error| eprintln!("skipped: no mosquitto_pub: {error}")).is_ok()
}
