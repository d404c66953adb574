//! Tests of the binary language against an independent decoder: every row comes through, no frame is too long, and no
//! text can break out of its place. Reads columns.rs.

use super::*;
use std::sync::Arc;

use decoder::{decode, row_of};

use crate::domain::board::{Registered, Update};
use crate::domain::latest::{Fact, Latest, Position, Rank};
use crate::domain::policy::Policy;
use crate::domain::query::Filter;
use crate::domain::sleep::Announced;
use crate::domain::transition::{Cause, Change, Evidence};
use crate::live::protocol::VehicleView;

#[path = "../../tests/it/columns.rs"]
pub mod decoder;

fn update(slot: Slot, at: Millis) -> Update {
    let (lat, lon) = (f64::from(slot % 90) + 0.123_456_74, -179.999_999_9);
    let heading_deg = slot.is_multiple_of(2).then_some(360.0);
    let position = Position { lat, lon, at_ms: at, speed_kmh: Some(61.46), heading_deg };
    let latest = Latest {
        position: (!slot.is_multiple_of(3)).then_some(position),
        battery_pct: (!slot.is_multiple_of(4)).then_some(Fact { value: 99.6, at: 1, rank: Rank::NONE }),
        ..Latest::default()
    };
    let (status, since) = (Status::ALL[slot as usize % 4], (!slot.is_multiple_of(4)).then_some(at));
    Update {
        slot,
        status,
        since,
        seq: u64::from(slot),
        last_seen: since,
        announced: Announced::NONE,
        latest,
        policy: Policy::default(),
    }
}

fn board(rows: Slot, with_names: bool) -> Board {
    let mut board = Board::default();
    for slot in 0..rows {
        let key = VehicleKey::parse(["acme", "beta"][slot as usize % 2], &format!("Zoë-{slot}")).expect("key");
        let name = Some("née \u{1f} Łódź".into());
        let tags = ["a".into(), "b c".into()].into();
        let registered = Registered { name, vin: Some(slot.to_string().into()), tags, ..Registered::default() };
        board.join(Arc::new(key), (with_names && slot > 0).then(|| registered.into()), update(slot, 1_700_000_000_123));
    }
    board.publish();
    board
}

fn all(board: &Board) -> Vec<&Row> {
    (0..board.slots()).filter_map(|slot| board.row(slot)).collect()
}

#[test]
fn every_row_of_a_snapshot_says_what_its_json_form_says() {
    for (count, with_names) in [(0, false), (1, false), (1, true), (7, true), (1_000, false), (1_001, true)] {
        let board = board(count, with_names);
        let mut view = decoder::View::default();
        let bytes = snapshot(&board.rows(&Filter::default()).collect::<Vec<_>>(), "e-1", 42, 1_700_000_000_999);
        let frame = decode(&bytes);
        assert_eq!((frame.server_ms, frame.rows.len()), (1_700_000_000_999.0, count as usize));
        view.take(frame);
        assert_eq!((view.epoch.as_str(), view.version), ("e-1", 42));
        let json = all(&board).into_iter().map(|row| serde_json::to_value(VehicleView::whole(row)).expect("json"));
        let clean = |text: &str| text.replace('\u{1f}', " ");
        let wanted = json.map(|vehicle| row_of(&vehicle)).map(|(key, mut row)| {
            row["name"] = clean(row["name"].as_str().expect("text")).into(); // a control character comes as a space
            (key, row)
        });
        assert_eq!(view.by_name(), wanted.collect());
    }
}

#[test]
fn a_long_delta_is_cut_and_only_its_last_frame_moves_the_version() {
    let mut board = board(9_000, true);
    let before = board.version();
    (3_000..6_000).for_each(|slot| board.apply(update(slot, 1_700_000_009_000)));
    board.publish();
    let mut writer = DeltaWriter::new(before, board.version(), 5);
    (20_000..60_000).for_each(|slot| writer.left(slot));
    all(&board)[..3_000].iter().for_each(|row| writer.joined(row));
    all(&board)[3_000..].iter().for_each(|row| writer.changed(row));
    let frames = writer.finish(5);
    assert!(frames.iter().all(|frame| frame.len() <= FRAME_BYTES_MAX && frame.len() % 4 <= 3));
    let frames: Vec<_> = frames.iter().map(|frame| decode(frame)).collect();
    let (last, others) = frames.split_last().expect("frames");
    assert!(others.iter().all(|frame| (frame.from, frame.to) == (before.into(), before.into())));
    assert_eq!((last.from, last.to), (before.into(), board.version().into()));
    assert!(others.iter().all(|frame| frame.frames == 0));
    assert_eq!(usize::from(last.frames), 5 + frames.len(), "with the five that were sent before these");
    let rows = |kind: &str| frames.iter().filter(|f| f.kind == kind).map(|f| f.rows.len()).sum::<usize>();
    let kinds = ["left", "joined", "turned", "heard"].map(rows);
    // Of the 3,000 applied again, three of four have a time in them that moved.
    assert_eq!(kinds, [40_000, 3_000, 2_250, 2_250 + 500]);
    assert!(frames.len() > 8, "{} frames", frames.len());
}

#[test]
fn a_delta_with_nothing_in_it_still_moves_the_version() {
    let frames = DeltaWriter::new(3, 9, 0).finish(5);
    let frame = decode(&frames[0]);
    assert_eq!((frames.len(), frame.kind, frame.from, frame.to, frame.rows.len()), (1, "heard", 3, 9, 0));
    assert_eq!(frame.frames, 1);
}

#[test]
fn transitions_come_by_slot_and_those_of_vanished_vehicles_too() {
    let board = board(3, false);
    let of = |customer: &str, vehicle: &str| {
        let (from, to, cause) = (Status::Online, Status::Offline, Cause::Blind);
        let change = Change { seq: 7, from, to, at: 10, cause, last_seen: None, deadline: None };
        let key = Arc::new(VehicleKey::parse(customer, vehicle).expect("key"));
        Transition { key, change, decided_at: 20, evidence: Evidence::default() }
    };
    let list = [of("acme", "Zoë-2"), of("acme", "gone")];
    let frame = decode(&transitions(&board, &list.iter().collect::<Vec<_>>(), 5));
    let told: Vec<String> = frame.rows.iter().map(|row| serde_json::to_string(row).expect("json")).collect();
    let rest = r#""at":10,"cause":"blind","decided_at":20,"from":"online","seq":7"#;
    assert_eq!(told, [2, u32::MAX].map(|slot| format!(r#"{{{rest},"slot":{slot},"to":"offline"}}"#)));
}
