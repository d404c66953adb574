//! The hot steps of a heartbeat's way, each as something that can be done again and again: timed by main.rs, counted in
//! instructions by examples/hot.rs.

use std::hint::black_box;
use std::sync::Arc;

use rollcall::domain::board::{Board, Slot, Update};
use rollcall::domain::heartbeat::{Format, Heartbeat, decode};
use rollcall::domain::ids::VehicleKey;
use rollcall::domain::latest::Latest;
use rollcall::domain::liveness::{Input, Liveness, Setting};
use rollcall::domain::observation::Gaps;
use rollcall::domain::policy::{Policy, Rules};
use rollcall::domain::time::Millis;
use rollcall::live::columns;
use rollcall::live::protocol::{self, VehicleView};

/// A step by its name.
pub type Case = (&'static str, Box<dyn FnMut()>);

/// What a telematics unit says.
const PAYLOAD: &[u8] =
    br#"{"ts":1769847300123,"seq":1000000,"lat":53.40841,"lon":-2.99161,"speed_kmh":48.5,"heading_deg":182}"#;
const STARTED: Millis = 1_769_847_300_000;
/// Vehicles of the board.
const VEHICLES: Slot = 10_000;
/// Rows of one frame.
const ROWS: Slot = 100;

/// All of them.
pub fn cases() -> Vec<Case> {
    vec![
        ("decode", Box::new(|| drop(black_box(decode(Format::Json, black_box(PAYLOAD)))))),
        ("step", Box::new(step())),
        ("board-update", Box::new(board_update())),
        ("frame-columns-100", Box::new(frame_in_columns())),
        ("frame-json-100", Box::new(frame_in_json())),
    ]
}

fn said() -> Heartbeat {
    decode(Format::Json, PAYLOAD).unwrap_or_default()
}

/// A heartbeat through the state machine and into the facts.
fn step() -> impl FnMut() {
    let (mut liveness, mut latest, rules, gaps) =
        (Liveness::default(), Latest::default(), Rules::default(), Gaps::default());
    let (mut now, mut seq, said) = (STARTED, 0, said());
    move || {
        (now, seq) = (now + 1_000, seq + 1);
        let setting = Setting { rules: &rules, policy: Policy::default(), gaps: &gaps };
        let mut beat = Heartbeat { ts: Some(now), seq: Some(seq), ..said.clone() };
        black_box(liveness.step(now, Input::Heartbeat(&beat, Some(1)), setting));
        latest.apply(&mut beat, now, &rules);
    }
}

fn update(slot: Slot, now: Millis, seq: u64) -> Update {
    let (rules, gaps, policy) = (Rules::default(), Gaps::default(), Policy::default());
    let mut beat = Heartbeat { ts: Some(now), seq: Some(seq), ..said() };
    let (mut liveness, mut latest) = (Liveness::default(), Latest::default());
    liveness.step(now, Input::Heartbeat(&beat, None), Setting { rules: &rules, policy, gaps: &gaps });
    latest.apply(&mut beat, now, &rules);
    Update::of(slot, &liveness, &latest, policy)
}

fn board() -> Board {
    let mut board = Board::default();
    for slot in 0..VEHICLES {
        let key = VehicleKey { customer: format!("c{:03}", slot % 100).into(), vehicle: format!("v{slot:07}").into() };
        board.join(Arc::new(key), None, update(slot, STARTED, 1));
    }
    board.publish();
    board
}

/// The newest state of one vehicle onto a board of 10,000, a tick every thousand of them.
fn board_update() -> impl FnMut() {
    let (mut board, mut n, newest) = (board(), 0, update(0, STARTED, 1));
    move || {
        n += 1;
        let last_seen = Some(STARTED + Millis::from(n));
        board.apply(Update { slot: n * 7_919 % VEHICLES, last_seen, ..newest.clone() });
        if n % 1_000 == 0 {
            board.publish();
        }
    }
}

fn changed_board() -> Board {
    let mut board = board();
    (0..ROWS).for_each(|slot| board.apply(update(slot, STARTED + 1_000, 2)));
    board.publish();
    board
}

/// A delta of 100 rows as the dashboard gets it.
fn frame_in_columns() -> impl FnMut() {
    let board = changed_board();
    move || {
        let mut writer = columns::DeltaWriter::new(1, 2, 0);
        (0..ROWS).filter_map(|slot| board.row(slot)).for_each(|row| writer.changed(row));
        black_box(writer.finish(STARTED));
    }
}

/// The same as programs get it.
fn frame_in_json() -> impl FnMut() {
    let board = changed_board();
    move || {
        let mut writer = protocol::DeltaWriter::new(1, 2);
        let rows = (0..ROWS).filter_map(|slot| board.row(slot));
        rows.for_each(|row| writer.changed(&VehicleView::changes(row, 1)));
        black_box(writer.finish());
    }
}
