//! What the tests need from outside: a Mosquitto of their own. Fed by the machine (if it has the binary), feeds the
//! tests.

#[allow(dead_code, reason = "not every test binary needs a monitor")]
pub mod monitor;

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const BINARY: &str = "/usr/sbin/mosquitto";

/// A broker on a free port, ended by its process handle when the test is over.
pub struct Mosquitto {
    child: Child,
    pub addr: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Mosquitto {
    /// Nothing, and a word on stderr, where Mosquitto is not installed.
    pub fn start() -> Option<Self> {
        if !Path::new(BINARY).exists() {
            eprintln!("skipped: {BINARY} is not installed");
            return None;
        }
        let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("mosquitto.conf");
        let text = format!("listener {} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n", addr.port());
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(BINARY);
        command.arg("-c").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let broker = Self { child: command.spawn().unwrap(), addr, _folder: folder };
        broker.wait_until_it_answers();
        Some(broker)
    }

    fn wait_until_it_answers(&self) {
        let begun = Instant::now();
        while TcpStream::connect(self.addr).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(10), "mosquitto does not answer on {}", self.addr);
            std::thread::sleep(Duration::from_millis(20)); // poll: it answers
        }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
