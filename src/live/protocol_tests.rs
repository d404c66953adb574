//! Tests of the wire language: every frame fits its limit, and what the contract names is there.
//! Reads protocol.rs.

use super::*;
use std::sync::Arc;

use crate::domain::board::{Registered, Update};
use crate::domain::ids::VehicleKey;
use crate::domain::latest::{Fact, Latest, Rank};
use crate::domain::policy::Policy;
use crate::domain::sleep::Announced;

fn board(rows: u32, metrics: usize) -> Board {
    let mut board = Board::default();
    for slot in 0..rows {
        let name = "\u{1f}\"\\".repeat(60);
        let list =
            (0..metrics).map(|i| (format!("{}{i}", "\"".repeat(60)).into(), -1.234_567_890_123_456_7e-200)).collect();
        let position =
            Position { lat: -89.123_456_789_012_3, lon: -179.1, at_ms: 1, speed_kmh: Some(1.1), heading_deg: None };
        let latest = Latest {
            position: Some(position),
            odometer_km: Some(Fact { value: 12_345.678_901_234, at: 1, rank: Rank::NONE }),
            metrics: Some(Arc::new(Fact { value: list, at: 1, rank: Rank::NONE })),
            clock_skew: Some(Fact { value: -315_569_520_000_123, at: 1, rank: Rank::NONE }),
            ..Latest::default()
        };
        let policy = Policy::default();
        let state = Update {
            slot,
            status: Status::Online,
            since: Some(0),
            seq: u64::MAX,
            last_seen: Some(0),
            announced: Announced::NONE,
            latest,
            policy,
        };
        let key = VehicleKey::parse("acme", &format!("\"{slot}\"")).expect("key");
        let registered = Registered { name: Some(name.into()), tags: ["a".into()].into(), ..Registered::default() };
        board.join(Arc::new(key), Some(registered.into()), state);
    }
    board.publish();
    board
}

fn json(frame: &ByteString) -> serde_json::Value {
    assert!(frame.len() <= FRAME_BYTES_MAX, "{} bytes", frame.len());
    serde_json::from_str(frame).expect("frames are JSON")
}

#[test]
fn a_vehicle_shows_every_field_of_the_contract() {
    let board = board(1, 1);
    let value = serde_json::to_value(VehicleView::whole(board.row(0).expect("row"))).expect("json");
    let mut names: Vec<&String> = value.as_object().expect("object").keys().collect();
    names.sort();
    let want = "battery_pct clock_skew_ms customer ignition last_seen metrics name odometer_km offline_after_ms \
                policy_source position registration seq status status_since tags vehicle vin";
    assert_eq!(names, want.split_whitespace().collect::<Vec<_>>());
}

#[test]
fn snapshot_parts_fit_and_hold_every_row_once() {
    for (rows, metrics) in [(0, 0), (1, 32), (700, 0), (300, 32)] {
        let board = board(rows, metrics);
        let plan = SnapshotPlan::new(&board, (0..rows).collect());
        let mut seen = 0;
        for part in 0..plan.parts() {
            let frame = json(&plan.encode(&board, part, |_| true));
            assert_eq!(
                (frame["part"].as_u64(), frame["parts"].as_u64()),
                (Some(part as u64 + 1), Some(plan.parts() as u64))
            );
            seen += frame["vehicles"].as_array().map_or(0, Vec::len);
        }
        assert_eq!(seen, rows as usize);
    }
}

#[test]
fn a_long_delta_is_cut_and_only_its_last_frame_moves_the_version() {
    let board = board(600, 3);
    let mut writer = DeltaWriter::new(0, 9);
    (0..600).filter_map(|slot| board.row(slot)).for_each(|row| writer.changed(&VehicleView::changes(row, 0)));
    (0..3_000).for_each(|i| writer.removed("acme", &i.to_string()));
    let frames: Vec<serde_json::Value> = writer.finish().iter().map(json).collect();
    let (last, before) = frames.split_last().expect("frames");
    assert!(before.len() > 3 && before.iter().all(|frame| frame["version"] == 0 && frame["from"] == 0));
    assert_eq!(last["version"], 9);
    let count = |list: &str| frames.iter().map(|frame| frame[list].as_array().map_or(0, Vec::len)).sum::<usize>();
    assert_eq!((count("changed"), count("removed")), (600, 3_000));
}

#[test]
fn a_delta_holds_only_the_groups_that_changed() {
    let mut board = board(1, 0);
    let state = Update { last_seen: Some(5), ..board.row(0).expect("row").state.clone() };
    let before = board.version();
    board.apply(state);
    board.publish();
    let row = board.row(0).expect("row");
    let text = serde_json::to_string(&VehicleView::changes(row, before)).expect("json");
    assert_eq!(text, r#"{"customer":"acme","vehicle":"\"0\"","last_seen":"1970-01-01T00:00:00.005Z"}"#);
}

#[test]
fn client_messages_are_read_and_strange_ones_refused() {
    let read = |text: &str| serde_json::from_str::<ClientMessage>(text);
    assert_eq!(read(r#"{"type":"ack","version":3}"#).expect("reads"), ClientMessage::Ack { version: 3 });
    let filter = ClientMessage::Filter { customer: vec!["a".into()], status: vec![Status::Offline] };
    assert_eq!(read(r#"{"type":"filter","customer":["a"],"status":["offline"]}"#).expect("reads"), filter);
    for bad in [r#"{"type":"drop"}"#, "[]", r#"{"type":"ack","version":-1}"#, r#"{"type":"filter","status":["late"]}"#]
    {
        assert!(read(bad).is_err(), "{bad}");
    }
}
