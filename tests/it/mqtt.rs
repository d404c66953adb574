//! MQTT as the tests speak it: rumqttc in both versions, as a vehicle's unit would, and raw 3.1.1 packets, which may be
//! as wrong as a test wants; and a subscriber. Used by the modules that drive the embedded broker.

use std::time::Duration;

use rumqttc::v5;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::support::{PATIENCE, Service};

/// A version of MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 3.1.1.
    V3,
    /// 5.
    V5,
}

enum Sender {
    V3(rumqttc::AsyncClient),
    V5(v5::AsyncClient),
}

/// A connected client with a task that runs its connection.
pub struct Client {
    sender: Sender,
    task: JoinHandle<()>,
}

impl Client {
    /// Connects; `will` is a topic, and the service's own idea of a will when absent.
    pub fn connect(service: &Service, version: Version, id: &str, will: Option<&str>) -> Self {
        Self::connect_with(service, version, id, will.map(|topic| (topic, "", false)))
    }

    /// Connects; a will is topic, payload and retain flag.
    pub fn connect_with(service: &Service, version: Version, id: &str, will: Option<(&str, &str, bool)>) -> Self {
        let place = service.mqtt.trim_start_matches("mqtt://");
        let (host, port) = place.rsplit_once(':').expect("address and port");
        let port = port.parse().expect("a port");
        match version {
            Version::V3 => {
                let mut options = rumqttc::MqttOptions::new(id, host, port);
                options.set_keep_alive(Duration::from_secs(30));
                if let Some((topic, payload, retain)) = will {
                    let qos = rumqttc::QoS::AtLeastOnce;
                    options.set_last_will(rumqttc::LastWill::new(topic, payload, qos, retain));
                }
                let (client, mut events) = rumqttc::AsyncClient::new(options, 100);
                let task = tokio::spawn(async move { while events.poll().await.is_ok() {} });
                Self { sender: Sender::V3(client), task }
            }
            Version::V5 => {
                let mut options = v5::MqttOptions::new(id, host, port);
                options.set_keep_alive(Duration::from_secs(30));
                if let Some((topic, payload, retain)) = will {
                    let qos = v5::mqttbytes::QoS::AtLeastOnce;
                    let payload = payload.to_owned();
                    options.set_last_will(v5::mqttbytes::v5::LastWill::new(topic, payload, qos, retain, None));
                }
                let (client, mut events) = v5::AsyncClient::new(options, 100);
                let task = tokio::spawn(async move { while events.poll().await.is_ok() {} });
                Self { sender: Sender::V5(client), task }
            }
        }
    }

    /// Publishes; does not wait for the acknowledgement.
    pub async fn publish(&self, topic: &str, qos: u8, retain: bool, payload: &str) {
        let payload = payload.to_owned();
        match &self.sender {
            Sender::V3(client) => {
                let qos = rumqttc::qos(qos).expect("0 to 2");
                client.publish(topic, qos, retain, payload).await.expect("queued");
            }
            Sender::V5(client) => {
                let qos = v5::mqttbytes::qos(qos).expect("0 to 2");
                client.publish(topic, qos, retain, payload).await.expect("queued");
            }
        }
    }

    /// A heartbeat of one vehicle of customer `acme`.
    pub async fn beat(&self, vehicle: &str, qos: u8) {
        self.publish(&format!("fleet/acme/{vehicle}/heartbeat"), qos, false, "{}").await;
    }

    /// Takes leave as MQTT wants it, and waits until the connection is over.
    pub async fn disconnect(self) {
        match &self.sender {
            Sender::V3(client) => client.disconnect().await.expect("queued"),
            Sender::V5(client) => client.disconnect().await.expect("queued"),
        }
        let _ = tokio::time::timeout(PATIENCE, self.task).await.expect("disconnects");
    }

    /// Cuts the TCP connection without a word.
    pub async fn cut(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// A 3.1.1 connection written by hand.
pub struct Raw {
    stream: TcpStream,
    last_packet: u16,
}

impl Raw {
    /// Connects with a clean session.
    pub async fn connect(service: &Service, id: &str) -> Self {
        let mut new = Self::stranger(service).await;
        let mut body = b"\x00\x04MQTT\x04\x02\x00\x3c".to_vec();
        text(id, &mut body);
        new.stream.write_all(&packet(0x10, &body)).await.expect("writes");
        let mut answer = [0; 4];
        new.stream.read_exact(&mut answer).await.expect("CONNACK");
        assert_eq!(answer, [0x20, 2, 0, 0], "CONNACK");
        new
    }

    /// A bare TCP connection: no greeting yet.
    pub async fn stranger(service: &Service) -> Self {
        Self { stream: TcpStream::connect(&service.mqtt).await.expect("connects"), last_packet: 0 }
    }

    /// Publishes with QoS 1 and waits for PUBACK.
    pub async fn publish(&mut self, topic: &str, payload: &[u8]) {
        self.last_packet = self.last_packet.wrapping_add(1).max(1);
        let bytes = publish(topic, payload, Some(self.last_packet), false);
        self.stream.write_all(&bytes).await.expect("writes");
        let mut answer = [0; 4];
        let read = tokio::time::timeout(PATIENCE, self.stream.read_exact(&mut answer));
        read.await.expect("PUBACK in time").expect("PUBACK, not a close");
        let number = self.last_packet.to_be_bytes();
        assert_eq!(answer, [0x40, 2, number[0], number[1]], "PUBACK");
    }

    /// Writes bytes as they are; a service that has closed already may be told so.
    pub async fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// Whether the service says anything before it closes.
    pub async fn answers(&mut self) -> bool {
        let mut byte = [0; 1];
        let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut byte)).await.expect("an answer or a close");
        matches!(read, Ok(1))
    }

    /// Returns when the service has closed this connection; what it says before does not count.
    pub async fn closed(&mut self) {
        let end = async {
            let mut rest = [0; 1024];
            while !matches!(self.stream.read(&mut rest).await, Ok(0) | Err(_)) {}
        };
        tokio::time::timeout(PATIENCE, end).await.expect("the service closes the connection");
    }
}

/// A topic of no meaning: when a message on it arrives, everything published before has arrived.
pub const MARK: &str = "test/mark";

/// A message as a subscriber gets it: topic, retain flag, payload.
pub type Got = (String, bool, String);

/// A subscriber to a filter and to [`MARK`].
pub struct Reader {
    messages: tokio::sync::mpsc::UnboundedReceiver<Got>,
    task: JoinHandle<()>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Reader {
    /// Connects and subscribes.
    pub async fn start(address: &str, version: Version, filter: &str) -> Self {
        let (host, port) = address.trim_start_matches("mqtt://").rsplit_once(':').expect("address and port");
        let (id, port) = (format!("reader{}", rand::random::<u32>()), port.parse().expect("a port"));
        let (sender, messages) = tokio::sync::mpsc::unbounded_channel();
        let (granted, grants) = tokio::sync::oneshot::channel();
        let mut granted = Some(granted);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        let task = match version {
            Version::V3 => {
                let (client, mut events) = rumqttc::AsyncClient::new(rumqttc::MqttOptions::new(id, host, port), 10);
                let filters =
                    [filter, MARK].map(|path| rumqttc::SubscribeFilter::new(path.into(), rumqttc::QoS::AtLeastOnce));
                client.subscribe_many(filters).await.expect("queued");
                tokio::spawn(async move {
                    while let Ok(event) = events.poll().await {
                        match event {
                            rumqttc::Event::Incoming(rumqttc::Incoming::SubAck(_)) => {
                                let _ = granted.take().map(|tell| tell.send(()));
                            }
                            rumqttc::Event::Incoming(rumqttc::Incoming::Publish(got)) => {
                                drop(sender.send((got.topic, got.retain, text(&got.payload))));
                            }
                            _ => {}
                        }
                    }
                    drop(client);
                })
            }
            Version::V5 => {
                let (client, mut events) = v5::AsyncClient::new(v5::MqttOptions::new(id, host, port), 10);
                let filters =
                    [filter, MARK].map(|path| v5::mqttbytes::v5::Filter::new(path, v5::mqttbytes::QoS::AtLeastOnce));
                client.subscribe_many(filters).await.expect("queued");
                tokio::spawn(async move {
                    while let Ok(event) = events.poll().await {
                        match event {
                            v5::Event::Incoming(v5::Incoming::SubAck(_)) => {
                                let _ = granted.take().map(|tell| tell.send(()));
                            }
                            v5::Event::Incoming(v5::Incoming::Publish(got)) => {
                                drop(sender.send((text(&got.topic), got.retain, text(&got.payload))));
                            }
                            _ => {}
                        }
                    }
                    drop(client);
                })
            }
        };
        tokio::time::timeout(PATIENCE, grants).await.expect("granted in time").expect("granted");
        Self { messages, task }
    }

    /// The next message.
    pub async fn next(&mut self) -> Got {
        tokio::time::timeout(PATIENCE, self.messages.recv()).await.expect("a message in time").expect("connected")
    }
}

/// A PUBLISH packet; QoS 1 when it has a number, else QoS 0.
pub fn publish(topic: &str, payload: &[u8], number: Option<u16>, retain: bool) -> Vec<u8> {
    let mut body = Vec::new();
    text(topic, &mut body);
    body.extend(number.map(u16::to_be_bytes).into_iter().flatten());
    body.extend_from_slice(payload);
    packet(0x30 | u8::from(number.is_some()) << 1 | u8::from(retain), &body)
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let (mut packet, mut rest) = (vec![kind], body.len());
    loop {
        let digit = (rest % 128) as u8;
        rest /= 128;
        packet.push(if rest > 0 { digit | 0x80 } else { digit });
        if rest == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}

fn text(text: &str, body: &mut Vec<u8>) {
    body.extend((text.len() as u16).to_be_bytes());
    body.extend_from_slice(text.as_bytes());
}

/// How many messages were refused, by reason, as REST tells it.
pub async fn refused(service: &Service, reason: &str) -> u64 {
    let answer: Value = service.get("/api/v1/refused").await;
    answer["counts"][reason].as_u64().unwrap_or_else(|| panic!("no count of {reason} in {answer}"))
}
