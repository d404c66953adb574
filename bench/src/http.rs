//! One kept-alive HTTP connection: enough of HTTP/1.1 to ask the service and to measure how long it takes. Used by the
//! rows and by the product.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;

/// An import of a million vehicles is one request.
const PATIENCE: Duration = Duration::from_secs(600);

/// The service closes a connection that asks nothing for some seconds; well before that a new one is taken.
const IDLE_MAX: Duration = Duration::from_secs(2);

/// An open connection.
pub struct Http {
    addr: SocketAddr,
    stream: BufReader<TcpStream>,
    used: Instant,
}

impl Http {
    /// Connects.
    pub fn open(addr: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(addr).with_context(|| format!("cannot connect to {addr}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { addr, stream: BufReader::with_capacity(256 * 1024, stream), used: Instant::now() })
    }

    fn send(&mut self, head: &str, body: &[u8]) -> anyhow::Result<()> {
        if self.used.elapsed() > IDLE_MAX {
            *self = Self::open(self.addr)?;
        }
        self.stream.get_mut().write_all(head.as_bytes())?;
        Ok(self.stream.get_mut().write_all(body)?)
    }

    /// The body of a successful answer.
    pub fn get(&mut self, path: &str) -> anyhow::Result<Vec<u8>> {
        let head = format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n");
        self.send(&head, &[])?;
        self.answer(path)
    }

    /// The same as JSON.
    pub fn json(&mut self, path: &str) -> anyhow::Result<Value> {
        serde_json::from_slice(&self.get(path)?).with_context(|| format!("{path} answers no JSON"))
    }

    /// Sends a body and gives back that of the successful answer.
    pub fn post(&mut self, path: &str, kind: &str, body: &[u8]) -> anyhow::Result<Vec<u8>> {
        let length = body.len();
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n");
        self.send(&head, body)?;
        self.answer(path)
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        ensure!(self.stream.read_line(&mut line)? > 0, "the service closed the connection");
        Ok(line.trim_end().to_ascii_lowercase())
    }

    fn answer(&mut self, path: &str) -> anyhow::Result<Vec<u8>> {
        let status = self.line()?;
        let (mut length, mut chunked) = (0, false);
        loop {
            let line = self.line()?;
            match line.split_once(": ") {
                Some(("content-length", text)) => length = text.parse()?,
                Some(("transfer-encoding", text)) => chunked = text == "chunked",
                _ if line.is_empty() => break,
                _ => {}
            }
        }
        let mut body = Vec::new();
        if chunked {
            loop {
                let size = usize::from_str_radix(&self.line()?, 16)?;
                let from = body.len();
                body.resize(from + size, 0);
                self.stream.read_exact(&mut body[from..])?;
                self.line()?;
                if size == 0 {
                    break;
                }
            }
        } else {
            body.resize(length, 0);
            self.stream.read_exact(&mut body)?;
        }
        self.used = Instant::now();
        ensure!(status.contains(" 20"), "{path}: {status} {}", String::from_utf8_lossy(&body));
        Ok(body)
    }
}
