//! A monitor as naive as can be, with a switch for each fault it may have. Fed by a broker, feeds `--verify` through
//! the same REST shapes as the service. It proves the verification before (and apart from) the service itself.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// How the monitor is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Its timeout is this much longer than the fleet was told.
    Late(u64),
    /// It never writes down that a vehicle returned.
    LosesReturns,
    /// It writes every offline twice.
    Doubles,
    /// Its history is right, but its live list never shows anything offline.
    BoardStuck,
}

/// The timeouts, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    pub offline_after_ms: u64,
    pub will_grace_ms: u64,
    pub sleep_grace_ms: u64,
}

/// Rows a page, small so that every reading needs several.
const PAGE: usize = 7;

#[derive(Default)]
struct Vehicle {
    online: bool,
    seq: u64,
    deadline_ms: u64,
}

#[derive(Default)]
struct Book {
    vehicles: BTreeMap<(String, String), Vehicle>,
    history: Vec<(u64, Value)>,
}

struct Monitor {
    book: Mutex<Book>,
    fault: Fault,
    timeouts: Timeouts,
}

/// Starts a monitor behind the broker and returns the address of its REST.
pub async fn start(broker: SocketAddr, fault: Fault, timeouts: Timeouts) -> SocketAddr {
    let monitor = Arc::new(Monitor { book: Mutex::default(), fault, timeouts });
    let (client, mut events) = AsyncClient::new(MqttOptions::new("monitor", "127.0.0.1", broker.port()), 10);
    client.subscribe("fleet/#", QoS::AtMostOnce).await.unwrap();
    while !matches!(events.poll().await.unwrap(), Event::Incoming(Packet::SubAck(_))) {}
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(hear(monitor.clone(), client, events));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(monitor.clone(), stream));
        }
    });
    addr
}

async fn hear(monitor: Arc<Monitor>, _client: AsyncClient, mut events: EventLoop) {
    loop {
        // Between messages the deadlines are looked at; the limit is the monitor's whole clockwork.
        if let Ok(event) = timeout(Duration::from_millis(10), events.poll()).await
            && let Event::Incoming(Packet::Publish(publish)) = event.unwrap()
        {
            monitor.heard(&publish.topic, &publish.payload);
        }
        monitor.expire();
    }
}

impl Monitor {
    fn heard(&self, topic: &str, payload: &[u8]) {
        let levels: Vec<&str> = topic.split('/').collect();
        let key = (levels[1].to_owned(), levels[2].to_owned());
        let now = now_ms();
        let late_ms = if let Fault::Late(ms) = self.fault { ms } else { 0 };
        let next_in_s = serde_json::from_slice::<Value>(payload).unwrap()["next_in_s"].as_f64();
        let sleep_ms = next_in_s.map_or(0, |s| (s * 1e3) as u64 + self.timeouts.sleep_grace_ms);
        let patience_ms = self.timeouts.offline_after_ms.max(sleep_ms) + late_ms;
        let mut book = self.book.lock().unwrap();
        let vehicle = book.vehicles.entry(key.clone()).or_default();
        match levels[3] {
            "heartbeat" => {
                vehicle.deadline_ms = now + patience_ms;
                if !vehicle.online {
                    self.write(&mut book, &key, true, now);
                }
            }
            "will" => vehicle.deadline_ms = vehicle.deadline_ms.min(now + self.timeouts.will_grace_ms),
            "goodbye" if vehicle.online => self.write(&mut book, &key, false, now),
            _ => {}
        }
    }

    fn expire(&self) {
        let mut book = self.book.lock().unwrap();
        let late = |(_, vehicle): &(&(String, String), &Vehicle)| vehicle.online && vehicle.deadline_ms < now_ms();
        let due: Vec<_> = book.vehicles.iter().filter(late).map(|(key, v)| (key.clone(), v.deadline_ms)).collect();
        for (key, deadline_ms) in due {
            self.write(&mut book, &key, false, deadline_ms);
        }
    }

    fn write(&self, book: &mut Book, key: &(String, String), online: bool, at_ms: u64) {
        let vehicle = book.vehicles.get_mut(key).unwrap();
        (vehicle.online, vehicle.seq) = (online, vehicle.seq + 1);
        let row = json!({
            "customer": key.0, "vehicle": key.1, "seq": vehicle.seq, "from": "x",
            "to": if online { "online" } else { "offline" },
            "at": rfc3339(at_ms), "decided_at": rfc3339(now_ms()), "cause": "x",
        });
        if online && vehicle.seq > 1 && self.fault == Fault::LosesReturns {
            return;
        }
        if !online && self.fault == Fault::Doubles {
            book.history.push((at_ms, row.clone()));
        }
        book.history.push((at_ms, row));
    }

    fn page(&self, target: &str) -> Value {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let number = |name: &str| {
            let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            value.map(|value| value.parse::<u64>().unwrap())
        };
        let book = self.book.lock().unwrap();
        let rows: Vec<Value> = if path == "/api/v1/vehicles" {
            let status = |vehicle: &Vehicle| {
                if vehicle.online || self.fault == Fault::BoardStuck { "online" } else { "offline" }
            };
            let row = |(name, vehicle): (&(String, String), &Vehicle)| {
                let (customer, name, status) = (&name.0, &name.1, status(vehicle));
                json!({"customer": customer, "vehicle": name, "status": status})
            };
            book.vehicles.iter().map(row).collect()
        } else {
            assert_eq!(path, "/api/v1/transitions");
            let range = number("from").unwrap()..number("to").unwrap();
            book.history.iter().filter(|(at_ms, _)| range.contains(at_ms)).map(|(_, row)| row.clone()).collect()
        };
        let begin = number("cursor").unwrap_or(0) as usize;
        let end = (begin + PAGE).min(rows.len());
        json!({"items": rows[begin..end], "next_cursor": (end < rows.len()).then(|| end.to_string())})
    }
}

/// One request, one answer, good-bye.
async fn answer(monitor: Arc<Monitor>, mut stream: TcpStream) {
    let (mut request, mut chunk) = (Vec::new(), [0; 1024]);
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut chunk).await {
            Ok(count) if count > 0 => request.extend_from_slice(&chunk[..count]),
            _ => return,
        }
    }
    let line = String::from_utf8(request).unwrap();
    let body = monitor.page(line.split(' ').nth(1).unwrap()).to_string();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
    let _ = stream.write_all(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await;
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64
}

fn rfc3339(at_ms: u64) -> String {
    let at = chrono::DateTime::from_timestamp_millis(at_ms as i64).unwrap();
    at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}
