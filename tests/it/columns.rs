//! Reads `rollcall.v1.bin` by its description in docs/protocol.md alone: shares no line with the code that writes it.
//! Used by the tests of the live feed, from outside and inside.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

const STATUSES: [&str; 4] = ["never_seen", "online", "offline", "unobserved"];
const CAUSES: [&str; 5] = ["heartbeat", "silence", "last_will", "goodbye", "blind"];

/// One frame, its rows as JSON objects; an unknown value is null.
#[derive(Debug)]
pub struct Frame {
    pub kind: &'static str,
    pub from: u64,
    pub to: u64,
    /// How many frames the delta took that ends with this one; 0 in all others.
    pub frames: u16,
    pub server_ms: f64,
    pub rows: Vec<Map<String, Value>>,
    /// Of a snapshot.
    pub epoch: String,
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn uint16(&mut self) -> u16 {
        u16::from_le_bytes(self.take(2).try_into().expect("2 bytes"))
    }

    fn uint32(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().expect("4 bytes"))
    }

    fn float64(&mut self) -> f64 {
        f64::from_le_bytes(self.take(8).try_into().expect("8 bytes"))
    }

    /// Texts, after the padding before them.
    fn texts(&mut self, rows: usize) -> Vec<String> {
        let (count, bytes) = (self.uint32() as usize, self.uint32() as usize);
        let text = std::str::from_utf8(self.take(bytes)).expect("UTF-8").to_owned();
        self.take(bytes.next_multiple_of(4) - bytes);
        if count == 0 {
            return vec![String::new(); rows];
        }
        let list: Vec<String> = text.split('\n').map(str::to_owned).collect();
        assert_eq!(list.len(), count);
        list
    }

    fn column(&mut self, rows: &mut [Map<String, Value>], name: &str, mut read: impl FnMut(&mut Self) -> Value) {
        for row in rows {
            row.insert(name.to_owned(), read(self));
        }
    }

    fn times(&mut self, rows: &mut [Map<String, Value>], name: &str) {
        self.column(rows, name, |bytes| Some(bytes.float64()).filter(|at| !at.is_nan()).map(|at| at as i64).into());
    }

    fn numbers(&mut self, rows: &mut [Map<String, Value>], name: &str) {
        self.column(rows, name, |bytes| bytes.uint32().into());
    }

    fn places(&mut self, rows: &mut [Map<String, Value>]) {
        for name in ["lat", "lon"] {
            let known = |value: i32| (value != i32::MIN).then_some(value);
            self.column(rows, name, |bytes| known(bytes.uint32() as i32).into());
        }
    }

    fn gauges(&mut self, rows: &mut [Map<String, Value>]) {
        for name in ["speed", "heading"] {
            self.column(rows, name, |bytes| {
                let value = u16::from_le_bytes(bytes.take(2).try_into().expect("2 bytes"));
                (value != u16::MAX).then_some(value).into()
            });
        }
        self.column(rows, "battery", |bytes| {
            let value = bytes.take(1)[0];
            (value != u8::MAX).then_some(value).into()
        });
    }

    fn words(&mut self, rows: &mut [Map<String, Value>], name: &str, words: &[&str]) {
        self.column(rows, name, |bytes| words[bytes.take(1)[0] as usize].into());
    }
}

/// Reads one frame; panics where it is not what the description says.
pub fn decode(frame: &[u8]) -> Frame {
    let mut bytes = Bytes(frame);
    let (kind, format) = (bytes.take(1)[0], bytes.take(1)[0]);
    assert_eq!(format, 1);
    let frames = bytes.uint16();
    let (count, from, to) = (bytes.uint32() as usize, bytes.uint32().into(), bytes.uint32().into());
    let (server_ms, length, spare) = (bytes.float64(), bytes.uint32() as usize, bytes.uint32());
    assert_eq!((bytes.0.len(), spare), (length, 0), "the length in the header is that of the rest");
    let kind = ["", "snapshot", "joined", "left", "turned", "heard", "transitions"][kind as usize];
    let mut rows = vec![Map::new(); count];
    let mut epoch = String::new();
    match kind {
        "snapshot" | "joined" => {
            whole(&mut bytes, &mut rows, frame.len());
            if kind == "snapshot" {
                epoch = bytes.texts(0).concat();
                assert_eq!(bytes.texts(0), STATUSES);
            }
        }
        "left" => bytes.numbers(&mut rows, "slot"),
        "turned" => {
            bytes.times(&mut rows, "status_since");
            bytes.numbers(&mut rows, "slot");
            bytes.numbers(&mut rows, "seq");
            bytes.words(&mut rows, "status", &STATUSES);
        }
        "heard" => {
            bytes.times(&mut rows, "last_seen");
            bytes.numbers(&mut rows, "slot");
            bytes.places(&mut rows);
            bytes.gauges(&mut rows);
        }
        _ => {
            bytes.times(&mut rows, "at");
            bytes.times(&mut rows, "decided_at");
            bytes.numbers(&mut rows, "slot");
            bytes.numbers(&mut rows, "seq");
            bytes.words(&mut rows, "from", &STATUSES);
            bytes.words(&mut rows, "to", &STATUSES);
            bytes.words(&mut rows, "cause", &CAUSES);
        }
    }
    assert!(bytes.0.is_empty(), "{} bytes too many in {kind}", bytes.0.len());
    Frame { kind, from, to, frames, server_ms, rows, epoch }
}

fn whole(bytes: &mut Bytes<'_>, rows: &mut [Map<String, Value>], total: usize) {
    bytes.times(rows, "last_seen");
    bytes.times(rows, "status_since");
    bytes.numbers(rows, "slot");
    bytes.places(rows);
    bytes.numbers(rows, "seq");
    bytes.numbers(rows, "customer");
    bytes.gauges(rows);
    bytes.words(rows, "status", &STATUSES);
    let read = total - bytes.0.len();
    bytes.take(read.next_multiple_of(4) - read);
    let customers = bytes.texts(0);
    for row in rows.iter_mut() {
        let customer = &customers[row["customer"].as_u64().expect("a number") as usize];
        row.insert("customer".into(), customer.as_str().into());
    }
    for name in ["vehicle", "name", "registration", "vin", "tags"] {
        let texts = bytes.texts(rows.len());
        for (row, text) in rows.iter_mut().zip(texts) {
            row.insert(name.to_owned(), text.into());
        }
    }
}

/// A view that is kept by the frames, as a dashboard keeps it.
#[derive(Debug, Default)]
pub struct View {
    pub epoch: String,
    pub version: u64,
    /// Of the delta that is coming: its frames so far. Nothing of it counts after a new connection.
    pub frames: u16,
    pub rows: BTreeMap<u64, Map<String, Value>>,
}

impl View {
    /// Applies a snapshot or a frame of a delta; anything else changes nothing.
    pub fn take(&mut self, frame: Frame) {
        let slot = |row: &Map<String, Value>| row["slot"].as_u64().expect("a slot");
        match frame.kind {
            "snapshot" => {
                (self.epoch, self.version, self.frames) = (frame.epoch, frame.to, 0);
                self.rows = frame.rows.into_iter().map(|row| (slot(&row), row)).collect();
                return;
            }
            "left" => frame.rows.iter().for_each(|row| drop(self.rows.remove(&slot(row)))),
            "joined" => self.rows.extend(frame.rows.into_iter().map(|row| (slot(&row), row))),
            "turned" | "heard" => {
                for row in frame.rows {
                    self.rows.get_mut(&slot(&row)).expect("a row of the view").extend(row);
                }
            }
            _ => return,
        }
        assert_eq!(frame.from, self.version, "a delta leads on from the version that the client has");
        self.version = frame.to;
        self.frames += 1;
        let ends = frame.to != frame.from;
        assert_eq!(frame.frames, if ends { self.frames } else { 0 }, "the last frame of a delta counts them all");
        self.frames = if ends { 0 } else { self.frames };
    }

    /// The rows by name, as [`row_of`] makes them of JSON.
    pub fn by_name(&self) -> BTreeMap<String, Map<String, Value>> {
        let mut rows: Vec<_> = self.rows.values().cloned().collect();
        rows.iter_mut().for_each(|row| drop(row.remove("slot")));
        rows.into_iter().map(|row| (format!("{}/{}", row["customer"], row["vehicle"]), row)).collect()
    }
}

/// What a vehicle of the JSON form looks like in columns.
pub fn row_of(vehicle: &Value) -> (String, Map<String, Value>) {
    let scaled = |value: &Value, by: f64| value.as_f64().map(|value| (value * by).round() as i64);
    // Numbers that travel as f32 are scaled as f32, or a half would be rounded the other way.
    let tenths = |value: &Value| value.as_f64().map(|value| (value as f32 * 10.0).round() as i64);
    let time = |value: &Value| {
        let text = value.as_str()?;
        Some(chrono::DateTime::parse_from_rfc3339(text).expect("a time").timestamp_millis())
    };
    let text = |name: &str| vehicle[name].as_str().unwrap_or_default();
    let tags: Vec<&str> = vehicle["tags"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    let position = &vehicle["position"];
    let row = json!({
        "customer": vehicle["customer"], "vehicle": vehicle["vehicle"], "status": vehicle["status"],
        "seq": vehicle["seq"], "last_seen": time(&vehicle["last_seen"]), "status_since": time(&vehicle["status_since"]),
        "lat": scaled(&position["lat"], 1e7), "lon": scaled(&position["lon"], 1e7),
        "speed": tenths(&position["speed_kmh"]), "heading": tenths(&position["heading_deg"]),
        "battery": scaled(&vehicle["battery_pct"], 1.0),
        "name": text("name"), "registration": text("registration"), "vin": text("vin"), "tags": tags.join("\u{1f}"),
    });
    let Value::Object(row) = row else { unreachable!() };
    (format!("{}/{}", row["customer"], row["vehicle"]), row)
}
