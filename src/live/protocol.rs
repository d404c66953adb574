//! The whole wire language of `rollcall.v1.json` in one file: what the server says and what a client may say. The
//! dashboard's language shares all of it but vehicles and transitions (columns.rs).
//! Used by the reader (frames), by REST (the same vehicle) and by the session (client messages).

use bytestring::ByteString;
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Serialize, Serializer};

use crate::domain::board::{Board, Counts, Group, Row, Slot, Version};
use crate::domain::heartbeat::Metrics;
use crate::domain::latest::{Fact, Position};
use crate::domain::time::{self, Millis, rfc3339};
use crate::domain::transition::{Status, Transition, TransitionView};

/// No frame is longer than this, in bytes.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;

/// A vehicle as REST and the WebSocket show it: whole, or only the groups that changed after a version.
pub struct VehicleView<'a> {
    row: &'a Row,
    changed_after: Option<Version>,
}

impl<'a> VehicleView<'a> {
    /// Every field.
    pub fn whole(row: &'a Row) -> Self {
        Self { row, changed_after: None }
    }

    /// Its names and the groups that changed after `version`.
    pub fn changes(row: &'a Row, version: Version) -> Self {
        let whole = row.joined_after(version);
        Self { row, changed_after: (!whole).then_some(version) }
    }

    /// Not less than the bytes of its whole JSON form; cheap.
    fn bytes_max(row: &Row) -> usize {
        // The fixed names, six times and every number at its longest come to less than 900 bytes.
        let registered = row.registered.as_ref().map_or(0, |r| {
            let texts = [&r.name, &r.registration, &r.vin].into_iter().flatten();
            texts.map(|text| text.len()).sum::<usize>() + r.tags.iter().map(|tag| tag.len() + 3).sum::<usize>()
        });
        let metrics = row.state.latest.metrics.as_ref();
        let metrics: usize = metrics.map_or(0, |fact| fact.value.iter().map(|(name, _)| 2 * name.len() + 30).sum());
        // Control characters in registered names are written as six bytes; nothing is longer.
        900 + 2 * (row.key.customer.len() + row.key.vehicle.len()) + 6 * registered + metrics
    }

    fn shows(&self, group: Group) -> bool {
        self.changed_after.is_none_or(|version| self.row.changed_after(group, version))
    }
}

impl Serialize for VehicleView<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let (row, state) = (self.row, &self.row.state);
        let mut map = out.serialize_map(None)?;
        map.serialize_entry("customer", &*row.key.customer)?;
        map.serialize_entry("vehicle", &*row.key.vehicle)?;
        if self.shows(Group::Registry) {
            let registered = row.registered.as_deref();
            map.serialize_entry("name", &registered.and_then(|r| r.name.as_deref()))?;
            map.serialize_entry("registration", &registered.and_then(|r| r.registration.as_deref()))?;
            map.serialize_entry("vin", &registered.and_then(|r| r.vin.as_deref()))?;
            map.serialize_entry("tags", registered.map_or(&[][..], |r| &r.tags))?;
            map.serialize_entry("offline_after_ms", &state.policy.offline_after)?;
            map.serialize_entry("policy_source", state.policy.source.word())?;
        }
        if self.shows(Group::Status) {
            map.serialize_entry("status", state.status.word())?;
            map.serialize_entry("status_since", &state.since.map(rfc3339))?;
            map.serialize_entry("seq", &state.seq)?;
        }
        if self.shows(Group::Seen) {
            map.serialize_entry("last_seen", &state.last_seen.map(rfc3339))?;
        }
        if self.shows(Group::Place) {
            map.serialize_entry("position", &state.latest.position.as_ref().map(PositionView::of))?;
        }
        if self.shows(Group::Gauges) {
            let latest = &state.latest;
            map.serialize_entry("battery_pct", &latest.battery_pct.map(Fact::value))?;
            map.serialize_entry("odometer_km", &latest.odometer_km.map(Fact::value))?;
            map.serialize_entry("ignition", &latest.ignition.map(Fact::value))?;
            map.serialize_entry("metrics", &MetricsView(latest.metrics.as_deref().map(|fact| &fact.value)))?;
            map.serialize_entry("clock_skew_ms", &latest.clock_skew_shown())?;
        }
        map.end()
    }
}

/// A position as it is shown.
#[derive(Serialize)]
pub struct PositionView {
    lat: f64,
    lon: f64,
    #[serde(serialize_with = "time::as_text::serialize")]
    at: Millis,
    speed_kmh: Option<f32>,
    heading_deg: Option<f32>,
}

impl PositionView {
    /// The form of one position.
    pub fn of(position: &Position) -> Self {
        let Position { lat, lon, at_ms: at, speed_kmh, heading_deg } = *position;
        Self { lat, lon, at, speed_kmh, heading_deg }
    }
}

/// Readings as an object of numbers; none is an empty one.
pub struct MetricsView<'a>(pub Option<&'a Metrics>);

impl Serialize for MetricsView<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let list = self.0.map_or(&[][..], |list| list);
        out.collect_map(list.iter().map(|(name, value)| (name, value)))
    }
}

/// What the server says, but for snapshots and deltas, which are written part by part below.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Frame<'a> {
    /// First frame of every connection.
    Hello {
        /// New with every start of the service.
        epoch: &'a str,
        /// The newest version.
        version: Version,
        /// Milliseconds between ticks.
        tick_ms: Millis,
        /// The service's time, for ages.
        server_time: String,
        /// The version of the service: a page of another one is out of date.
        service: &'a str,
    },
    /// One transition, once it is durable.
    Transition(TransitionView<'a>),
    /// Transitions that this client was too slow for; REST has them.
    Gap {
        /// How many.
        dropped: u64,
    },
    /// How many vehicles the filter shows in each status; once a second, so it is the heartbeat of the connection too.
    Counts {
        /// The version they belong to.
        version: Version,
        /// Online.
        online: u32,
        /// Offline.
        offline: u32,
        /// Unobserved.
        unobserved: u32,
        /// Never seen.
        never_seen: u32,
        /// The service's time, for ages.
        server_time: String,
    },
    /// Whether Rollcall itself hears.
    Observation {
        /// It does.
        listening: bool,
        /// Since when it does, or does not.
        since: Option<String>,
        /// Which part does not: `process`, `link` or `intake`; empty when all do.
        scope: &'a str,
        /// Why not, or what ended the blindness.
        cause: &'a str,
    },
    /// The client's view cannot be followed from here: it needs the snapshot by HTTP, and resumes from that.
    Resync {
        /// It said where it was, and that was no good. Else it has not said anything yet; a resume that is on its way
        /// when this comes is still heard.
        refused: bool,
    },
    /// A client message that was not understood; the connection goes on.
    Error {
        /// What was wrong with it.
        detail: String,
    },
    /// Before a planned close.
    Bye {
        /// Why.
        reason: &'a str,
    },
}

impl Frame<'_> {
    /// Its text.
    pub fn encode(&self) -> ByteString {
        // Serializing plain structs of text and numbers to memory cannot fail; an empty object would show if it did.
        serde_json::to_string(self).unwrap_or_else(|_| "{}".into()).into()
    }

    /// The counts frame.
    pub fn counts(version: Version, counts: Counts, now: Millis) -> Self {
        let [never_seen, online, offline, unobserved] = Status::ALL.map(|status| counts.of(status));
        Self::Counts { version, online, offline, unobserved, never_seen, server_time: rfc3339(now) }
    }

    /// The frame of one transition.
    pub fn transition(transition: &Transition) -> ByteString {
        Frame::Transition(transition.view()).encode()
    }
}

/// What a client may say; every message is optional.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ClientMessage {
    /// "I was here before": go on from that version if you can.
    Resume {
        /// The epoch of its last hello.
        epoch: String,
        /// The version it has.
        version: Version,
    },
    /// Show me these instead.
    Filter {
        /// Customers; none means all.
        #[serde(default)]
        customer: Vec<String>,
        /// Statuses; none means all.
        #[serde(default)]
        status: Vec<Status>,
    },
    /// I have drawn up to here.
    Ack {
        /// The version it has drawn.
        version: Version,
    },
}

/// Which rows go into which part of a snapshot, so that no part is over the limit whatever the rows hold by then.
#[derive(Debug)]
pub struct SnapshotPlan {
    version: Version,
    slots: Vec<Slot>,
    ends: Vec<usize>,
}

impl SnapshotPlan {
    /// Plans a snapshot of these rows at the board's newest version.
    pub fn new(board: &Board, slots: Vec<Slot>) -> Self {
        let (mut ends, mut bytes) = (Vec::new(), FRAME_BYTES_MAX);
        for (i, slot) in slots.iter().enumerate() {
            let row = board.row(*slot).map_or(0, VehicleView::bytes_max);
            if bytes + row > FRAME_BYTES_MAX - 200 {
                ends.extend((i > 0).then_some(i));
                bytes = 0;
            }
            bytes += row;
        }
        ends.push(slots.len());
        Self { version: board.version(), slots, ends }
    }

    /// The version the snapshot stands for.
    pub fn version(&self) -> Version {
        self.version
    }

    /// How many parts there are; at least one.
    pub fn parts(&self) -> usize {
        self.ends.len()
    }

    /// Writes one part. Rows that left meanwhile, or no longer pass `wanted`, are left out: the next delta says so too.
    pub fn encode(&self, board: &Board, part: usize, wanted: impl Fn(&Row) -> bool) -> ByteString {
        let from = part.checked_sub(1).map_or(0, |before| self.ends[before]);
        let rows =
            self.slots[from..self.ends[part]].iter().filter_map(|slot| board.row(*slot)).filter(|row| wanted(row));
        let vehicles = Listed(rows.map(VehicleView::whole));
        let part = Snapshot { kind: "snapshot", version: self.version, part: part + 1, parts: self.parts(), vehicles };
        serde_json::to_string(&part).unwrap_or_else(|_| "{}".into()).into()
    }
}

#[derive(Serialize)]
struct Snapshot<V> {
    #[serde(rename = "type")]
    kind: &'static str,
    version: Version,
    part: usize,
    parts: usize,
    vehicles: V,
}

/// Serializes what an iterator yields, without a list in between.
struct Listed<I>(I);

impl<I: Iterator<Item: Serialize> + Clone> Serialize for Listed<I> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let mut list = out.serialize_seq(None)?;
        for item in self.0.clone() {
            list.serialize_element(&item)?;
        }
        list.end()
    }
}

/// Writes a delta as one frame or several. All but the last say `version = from`: only with the last one is the client
/// at the new version, so a connection that breaks in between resumes from the old one.
pub struct DeltaWriter {
    from: Version,
    to: Version,
    changed: String,
    removed: String,
    frames: Vec<ByteString>,
}

impl DeltaWriter {
    /// Begins a delta between two versions.
    pub fn new(from: Version, to: Version) -> Self {
        Self { from, to, changed: String::new(), removed: String::new(), frames: Vec::new() }
    }

    /// A row that changed.
    pub fn changed(&mut self, vehicle: &VehicleView<'_>) {
        self.add(serde_json::to_string(vehicle), true);
    }

    /// A vehicle that left, or left the filter.
    pub fn removed(&mut self, customer: &str, vehicle: &str) {
        #[derive(Serialize)]
        struct Key<'a> {
            customer: &'a str,
            vehicle: &'a str,
        }
        self.add(serde_json::to_string(&Key { customer, vehicle }), false);
    }

    /// The frames; at least one.
    pub fn finish(mut self) -> Vec<ByteString> {
        self.close(self.to);
        self.frames
    }

    fn add(&mut self, item: serde_json::Result<String>, changed: bool) {
        let Ok(item) = item else { return };
        if self.changed.len() + self.removed.len() + item.len() > FRAME_BYTES_MAX - 200 {
            self.close(self.from);
        }
        let list = if changed { &mut self.changed } else { &mut self.removed };
        if !list.is_empty() {
            list.push(',');
        }
        list.push_str(&item);
    }

    fn close(&mut self, version: Version) {
        let (from, changed, removed) = (self.from, &self.changed, &self.removed);
        let frame = format!(
            r#"{{"type":"delta","from":{from},"version":{version},"changed":[{changed}],"removed":[{removed}]}}"#
        );
        self.frames.push(frame.into());
        self.changed.clear();
        self.removed.clear();
    }
}

#[cfg(test)]
#[path = "protocol_tests.rs"]
mod tests;
