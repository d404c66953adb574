//! `rollcall healthcheck`: asks a running service whether its process answers; for containers without curl.
//! Called by main.rs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::Context;

/// A process that needs longer is not well.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// Succeeds when `GET /healthz` answers 200.
///
/// # Errors
/// What the service answered instead, or that it did not.
pub fn ask(address: &str) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address).with_context(|| format!("nothing answers at {address}"))?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    write!(stream, "GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).context("the service closed without an answer")?;
    let head = String::from_utf8_lossy(&head);
    anyhow::ensure!(head.ends_with(" 200"), "the service answered {head}");
    Ok(())
}
