//! The canary's own heartbeats on their way: how long each took to each stage, and which have not come back. Fed by
//! canary.rs with what happened and when; tells its judge how late the intake is. Pure: time is an argument.
//! Bound: [`OUT_MAX`] beats at each stage; past it the newest but one is forgotten, never the oldest, which is judged.

use std::collections::VecDeque;

use crate::domain::time::Millis;

/// Beats that are kept between two stages: minutes of them at the usual interval.
const OUT_MAX: usize = 256;

/// What a beat reaches after it was published, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The broker acknowledged it.
    Acked,
    /// It came to the door.
    Heard,
    /// All that came to the door before it is on the board.
    Board,
    /// The board was offered to dashboards since.
    Pushed,
}

impl Stage {
    /// All of them.
    pub const ALL: [Stage; 4] = [Stage::Acked, Stage::Heard, Stage::Board, Stage::Pushed];

    /// The word used in JSON and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Acked => "acked",
            Self::Heard => "heard",
            Self::Board => "board",
            Self::Pushed => "pushed",
        }
    }
}

/// The newest beat that reached a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// When it was published.
    pub published: Millis,
    /// When it was there.
    pub at: Millis,
}

/// What is late, and since when nothing later is proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Late {
    /// The broker does not acknowledge.
    Unacked(Millis),
    /// The broker has it, and it does not come to the door.
    Unheard(Millis),
    /// What came to the door does not get to the board.
    Stuck(Millis),
}

#[derive(Debug, Clone, Copy)]
struct Beat {
    seq: u64,
    published: Millis,
    /// When it was at the last stage.
    at: Millis,
    acked: bool,
}

/// All beats of this run.
#[derive(Debug, Default)]
pub struct Beats {
    out: VecDeque<Beat>,
    heard: VecDeque<Beat>,
    boarded: VecDeque<Beat>,
    /// Heard before the broker acknowledged them.
    unacked: VecDeque<(u64, Millis)>,
    reached: [Option<Reached>; 4],
    published: u64,
    overtaken: u64,
}

impl Beats {
    /// The next beat goes out; its number.
    pub fn publish(&mut self, now: Millis) -> u64 {
        self.published += 1;
        push(&mut self.out, Beat { seq: self.published, published: now, at: now, acked: false });
        self.published
    }

    /// The broker acknowledged a beat.
    pub fn acked(&mut self, seq: u64, now: Millis) {
        if let Some(beat) = self.out.iter_mut().find(|beat| beat.seq == seq) {
            beat.acked = true;
            let published = beat.published;
            self.reach(Stage::Acked, published, now);
        } else if let Some(place) = self.unacked.iter().position(|(each, _)| *each == seq) {
            let published = self.unacked.drain(..=place).next_back().map_or(now, |(_, published)| published);
            self.reach(Stage::Acked, published, now);
        }
    }

    /// A beat came to the door; `false` when it did before, or was given up. Those before it will not come any more.
    pub fn heard(&mut self, seq: u64, now: Millis) -> bool {
        let Some(place) = self.out.iter().position(|beat| beat.seq == seq) else { return false };
        self.overtaken += place as u64;
        let Some(beat) = self.out.drain(..=place).next_back() else { return false };
        if !beat.acked {
            self.unacked.push_back((beat.seq, beat.published));
            self.unacked.drain(..self.unacked.len().saturating_sub(OUT_MAX));
        }
        self.reach(Stage::Heard, beat.published, now);
        push(&mut self.heard, Beat { at: now, ..beat });
        true
    }

    /// Everything that came until `board_until` is on the board, and what was there at `pushed_until` was pushed.
    pub fn passed(&mut self, board_until: Millis, pushed_until: Millis, now: Millis) {
        while let Some(beat) = self.heard.pop_front_if(|beat| beat.at <= board_until) {
            self.reach(Stage::Board, beat.published, now);
            push(&mut self.boarded, Beat { at: now, ..beat });
        }
        while let Some(beat) = self.boarded.pop_front_if(|beat| beat.at <= pushed_until) {
            self.reach(Stage::Pushed, beat.published, now);
        }
    }

    /// What is under way will not be waited for.
    pub fn give_up(&mut self) {
        self.out.clear();
        self.heard.clear();
        self.boarded.clear();
    }

    /// We did not run for so long: no beat could come back meanwhile, so nobody is late for it.
    pub fn excuse(&mut self, pause: Millis) {
        for beat in self.out.iter_mut().chain(&mut self.heard).chain(&mut self.boarded) {
            (beat.published, beat.at) = (beat.published + pause, beat.at + pause);
        }
    }

    /// Whether something is later than `limit`.
    pub fn late(&self, now: Millis, limit: Millis) -> Option<Late> {
        if let Some(beat) = self.out.front().filter(|beat| now - beat.published > limit) {
            let late = if beat.acked { Late::Unheard } else { Late::Unacked };
            return Some(late(beat.published));
        }
        self.heard.front().filter(|beat| now - beat.at > limit).map(|beat| Late::Stuck(beat.at))
    }

    /// Whether a beat has not come back yet.
    pub fn is_one_out(&self) -> bool {
        !self.out.is_empty()
    }

    /// The newest beat that reached a stage.
    pub fn at(&self, stage: Stage) -> Option<Reached> {
        self.reached[stage as usize]
    }

    /// Beats that were published, and how many of them later ones overtook.
    pub fn counts(&self) -> (u64, u64) {
        (self.published, self.overtaken)
    }

    fn reach(&mut self, stage: Stage, published: Millis, at: Millis) {
        let newest = &mut self.reached[stage as usize];
        if newest.is_none_or(|newest| newest.published <= published) {
            *newest = Some(Reached { published, at });
        }
    }
}

fn push(list: &mut VecDeque<Beat>, beat: Beat) {
    if list.len() >= OUT_MAX {
        list.pop_back();
    }
    list.push_back(beat);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beat_is_timed_at_each_stage() {
        let mut beats = Beats::default();
        let seq = beats.publish(100);
        assert!(beats.heard(seq, 103) && !beats.heard(seq, 104));
        beats.acked(seq, 105);
        beats.passed(102, 999, 106);
        assert_eq!(beats.at(Stage::Board), None, "the board is not there yet");
        beats.passed(103, 104, 110);
        assert_eq!(beats.at(Stage::Pushed), None, "pushed before it was on the board");
        beats.passed(103, 110, 111);
        let lags = Stage::ALL.map(|stage| beats.at(stage).map(|reached| reached.at - reached.published));
        assert_eq!(lags, [Some(5), Some(3), Some(10), Some(11)]);
        assert_eq!((beats.late(9_999, 50), beats.counts()), (None, (1, 0)));
    }

    /// R31: what is late, and since when nothing is proved.
    #[test]
    fn the_oldest_beat_that_has_not_come_back_says_how_late_the_intake_is() {
        let mut beats = Beats::default();
        for now in [100, 200, 300] {
            beats.publish(now);
        }
        assert_eq!(beats.late(150, 50), None);
        assert_eq!(beats.late(151, 50), Some(Late::Unacked(100)));
        beats.acked(1, 151);
        assert_eq!(beats.late(151, 50), Some(Late::Unheard(100)));
        beats.heard(2, 160);
        assert_eq!((beats.late(310, 50), beats.counts().1), (Some(Late::Stuck(160)), 1));
        assert_eq!(beats.late(351, 50), Some(Late::Unacked(300)));
        beats.excuse(100);
        assert_eq!(beats.late(351, 150), None, "we did not run");
        beats.give_up();
        assert_eq!(beats.late(9_999, 50), None);
    }

    #[test]
    fn the_lists_are_bounded_and_keep_the_oldest() {
        let mut beats = Beats::default();
        for now in 0..1_000 {
            beats.publish(now);
        }
        assert_eq!((beats.out.len(), beats.late(2_000, 10)), (OUT_MAX, Some(Late::Unacked(0))));
        assert!(beats.heard(1_000, 2_000), "the newest is always known");
        assert_eq!(beats.late(2_000, 10), None);
    }
}
