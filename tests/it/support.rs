//! The real binary, started on free ports and driven from outside; and the clients the tests speak with.
//! Used by every module of this integration binary.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio_tungstenite::tungstenite::{self, client::IntoClientRequest};

/// A condition that is not met by then fails the test. Wide, for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A running service; it is killed when the test ends.
pub struct Service {
    child: Child,
    log: Arc<Mutex<String>>,
    said: Arc<Mutex<String>>,
    /// Where it answers HTTP, such as `127.0.0.1:1234`.
    pub http: String,
    /// Where heartbeats go: its own broker, or the external one.
    pub mqtt: String,
    /// Its own broker's listener for TLS, or nothing.
    pub mqtts: String,
}

/// A command of the binary, away from this machine's own settings.
pub fn rollcall(arguments: &[&str]) -> Command {
    // The product builds its HTTP client without a TLS provider of its own, and the tests' is the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut command = Command::new(env!("CARGO_BIN_EXE_rollcall"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ROLLCALL__")) {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Service {
    /// Starts `serve` on free ports with these further arguments, and waits for its ready line.
    pub fn start(arguments: &[&str]) -> Self {
        let mut all = vec!["serve", "--http", "127.0.0.1:0"];
        if !arguments.contains(&"--broker") {
            all.extend(["--mqtt-listen", "127.0.0.1:0"]);
        }
        all.extend(arguments);
        Self::spawn(&mut rollcall(&all))
    }

    /// Starts `serve` on free ports with these variables of the environment, its data in memory.
    pub fn with_settings(variables: &[(&str, &str)]) -> Self {
        let listen = ["serve", "--http", "127.0.0.1:0", "--mqtt-listen", "127.0.0.1:0", "--store", "sqlite::memory:"];
        Self::spawn(rollcall(&listen).envs(variables.iter().copied()))
    }

    /// Starts a prepared command and waits for its ready line.
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command.spawn().expect("the binary starts");
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        stdout.read_line(&mut line).expect("readable");
        let word = |name: &str| {
            let mut words = line.split_whitespace();
            words.find_map(|word| word.strip_prefix(name).map(str::to_owned))
        };
        let (Some(http), Some(mqtt)) = (word("http="), word("mqtt=")) else {
            let mut stderr = String::new();
            drop(child.stderr.take().expect("piped").read_to_string(&mut stderr));
            panic!("no ready line but '{line}', and on stderr: {stderr}");
        };
        let mqtts = word("mqtts=").unwrap_or_default();
        let said = Arc::<Mutex<String>>::default();
        let more = Arc::clone(&said);
        std::thread::spawn(move || keep(stdout, &more, false));
        let stderr = child.stderr.take().expect("piped");
        let log = Arc::<Mutex<String>>::default();
        let lines = Arc::clone(&log);
        std::thread::spawn(move || keep(BufReader::new(stderr), &lines, true));
        Self { child, log, said, http, mqtt, mqtts }
    }

    /// `http://...` of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// Sends a request as it is, and reads the whole answer. `kind` is its content type, where it has a body.
    pub async fn send(&self, method: &str, path: &str, kind: &str, body: impl Into<reqwest::Body>) -> Reply {
        self.send_as("", method, path, kind, body).await
    }

    /// [`Service::send`] with a key, unless it is empty.
    pub async fn send_as(
        &self,
        key: &str,
        method: &str,
        path: &str,
        kind: &str,
        body: impl Into<reqwest::Body>,
    ) -> Reply {
        let method = method.parse().expect("a method");
        let request = reqwest::Client::new().request(method, self.url(path)).body(body);
        let request = if kind.is_empty() { request } else { request.header("content-type", kind) };
        Reply::of(if key.is_empty() { request } else { request.bearer_auth(key) }).await
    }

    /// [`Service::send`] with these headers.
    pub async fn send_with(
        &self,
        headers: &[(&str, &str)],
        method: &str,
        path: &str,
        body: impl Into<reqwest::Body>,
    ) -> Reply {
        let method = method.parse().expect("a method");
        let request = reqwest::Client::new().request(method, self.url(path)).body(body);
        Reply::of(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
    }

    /// GET as JSON, whatever its status.
    pub async fn get(&self, path: &str) -> Value {
        self.answer(path).await.1
    }

    /// GET: status and JSON.
    pub async fn answer(&self, path: &str) -> (u16, Value) {
        let response = reqwest::get(self.url(path)).await.expect("answers");
        let status = response.status().as_u16();
        (status, serde_json::from_str(&response.text().await.expect("text")).unwrap_or(Value::Null))
    }

    /// POST heartbeats: status and JSON.
    pub async fn post_heartbeats(&self, body: &Value) -> (u16, Value) {
        let request = reqwest::Client::new().post(self.url("/api/v1/heartbeats")).json(body);
        let response = request.send().await.expect("answers");
        let status = response.status().as_u16();
        (status, serde_json::from_str(&response.text().await.expect("text")).unwrap_or(Value::Null))
    }

    /// Every item of a paged list; `path` has a query string.
    pub async fn all(&self, path: &str) -> Vec<Value> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("{path}&limit=1000{cursor}")).await;
            items.extend(page["items"].as_array().unwrap_or_else(|| panic!("a page, not {page}")).iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }

    /// The status of a vehicle, if it is known.
    pub async fn status_of(&self, customer: &str, vehicle: &str) -> Option<String> {
        let vehicle = self.get(&format!("/api/v1/customers/{customer}/vehicles/{vehicle}")).await;
        vehicle["status"].as_str().map(str::to_owned).filter(|word| word != "404")
    }

    /// A WebSocket on the live feed; `query` begins with `?` or is empty.
    pub async fn live(&self, query: &str) -> Live {
        self.live_as("", query).await
    }

    /// [`Service::live`] with a key, unless it is empty.
    pub async fn live_as(&self, key: &str, query: &str) -> Live {
        let url = format!("ws://{}/api/v1/live{query}", self.http);
        let mut request = url.into_client_request().expect("a request");
        if !key.is_empty() {
            request.headers_mut().insert("authorization", format!("Bearer {key}").parse().expect("a header"));
        }
        let (socket, _) = tokio_tungstenite::connect_async(request).await.expect("upgrades");
        Live { socket }
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("nobody panicked").clone()
    }

    /// What it printed after its ready line.
    pub fn said(&self) -> String {
        self.said.lock().expect("nobody panicked").clone()
    }

    /// Sends a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// kill -9, at this very moment.
    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        // A busy kernel needs a moment to take its files and ports away.
        self.child.wait().expect("waitable");
    }

    /// Waits for the process to end; fails when it does not within the limit.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("waitable") {
                return status;
            }
            assert!(begun.elapsed() < limit, "still running after {limit:?}");
            std::thread::sleep(Duration::from_millis(10)); // poll:
        }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Memory in use, KiB.
    pub fn rss_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("readable");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps the lines of an output, and shows them.
fn keep(output: impl BufRead, log: &Mutex<String>, shown: bool) {
    for line in output.lines().map_while(Result::ok) {
        if shown {
            eprintln!("  service: {line}");
        }
        let mut log = log.lock().expect("nobody panicked");
        log.push_str(&line);
        log.push('\n');
    }
}

/// One HTTP answer.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    headers: reqwest::header::HeaderMap,
    /// Its body.
    pub text: String,
}

impl Reply {
    /// Sends a request, and reads the whole answer.
    pub async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.expect("answers");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await.expect("a body");
        Self { status, headers, text: String::from_utf8_lossy(&bytes).into_owned() }
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("JSON, not {self:?}"))
    }

    /// Every value of a header.
    pub fn headers(&self, name: &str) -> Vec<String> {
        self.headers.get_all(name).iter().map(|value| value.to_str().expect("text").to_owned()).collect()
    }

    /// A header, empty when absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }
}

/// A WebSocket client.
pub struct Live {
    /// The socket itself, for unusual frames.
    pub socket: tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>,
}

impl Live {
    /// The next JSON frame; `None` when the server closed.
    pub async fn next(&mut self) -> Option<Value> {
        self.next_text().await.map(|text| serde_json::from_str(&text).expect("JSON"))
    }

    /// Sends a JSON message.
    pub async fn say(&mut self, message: Value) {
        self.socket.send(tungstenite::Message::text(message.to_string())).await.expect("sent");
    }

    /// The next text frame as it is; `None` when the server closed.
    pub async fn next_text(&mut self) -> Option<String> {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("a frame within the limit");
            match message {
                Some(Ok(tungstenite::Message::Text(text))) => return Some(text.as_str().to_owned()),
                Some(Ok(tungstenite::Message::Close(_))) | None | Some(Err(_)) => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// The next frame of a type.
    pub async fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.next().await.unwrap_or_else(|| panic!("closed before a {kind} frame"));
            if frame["type"] == kind {
                return frame;
            }
        }
    }
}

/// Waits until an asynchronous question is answered with yes.
pub async fn until<F: Future<Output = bool>>(what: &str, mut question: impl FnMut() -> F) {
    let begun = Instant::now();
    while !question().await {
        assert!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} for: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await; // poll:
    }
}

/// A service that this machine may lack: its address from the environment. Absent it skips and says so, but not in CI.
pub fn from_environment(name: &str) -> Option<String> {
    let found = std::env::var(name).ok();
    if found.is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{name} must be set in CI");
        eprintln!("skipped: {name} is not set; ./test sets it");
    }
    found
}
