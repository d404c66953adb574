//! The judge: one vehicle's deeds against what the product said about it, with the faults in mind. Fed with the record,
//! the reported transitions and the excuses, feeds the tally. Pure, and deliberately naive: it shares no rule with the
//! service but the numbers of the timeouts.
//!
//! It asks three questions. Is every reported transition explained by something the vehicle did (or, for `unobserved`
//! and a verdict put off, by a fault)? Is every silence told as offline in time? Is every heartbeat that surely
//! arrived told as online?

use super::{
    incident::Excuses,
    tally::{Tallies, Wrong},
};
use crate::{
    record::{Act, Entry},
    truth::Rules,
    verify::compare::{Seen, Shown},
};

/// Transitions and beats shown on either side of an error.
const CONTEXT: usize = 3;

/// What holds for the whole fleet.
pub struct Court<'a> {
    pub rules: Rules,
    pub excuses: &'a Excuses,
    /// Epoch milliseconds at instant 0 of the records.
    pub base_ms: u64,
    /// Nothing after this instant is judged.
    pub cut_ms: u64,
    /// Heartbeats are acknowledged by the broker (QoS 1).
    pub acknowledges: bool,
    /// The store was empty before, so that numbers begin with 1.
    pub fresh: bool,
}

/// One vehicle's case.
pub struct Case<'a> {
    pub name: &'a str,
    pub entries: &'a [Entry],
    /// In any order.
    pub seen: Vec<Seen>,
}

/// A heartbeat that may have been heard.
#[derive(Debug, Clone, Copy)]
struct Beat {
    at_ms: u64,
    /// Its patience counts from when it was heard, at the latest then: a suspended product takes it for live.
    heard_by_ms: u64,
    patience_ms: u64,
    /// It reached the broker.
    arrived: bool,
    /// It reached the product, at once.
    certain: bool,
}

/// A case laid out for questions.
struct Hearing<'a> {
    court: &'a Court<'a>,
    name: &'a str,
    beats: Vec<Beat>,
    /// When it sent buffered beats.
    backlog: Vec<u64>,
    goodbyes: Vec<u64>,
    /// Its connection broke, and whether a will surely followed.
    breaks: Vec<(u64, bool)>,
    seen: Vec<Seen>,
}

/// Judges one vehicle and adds to the tallies.
pub fn judge(court: &Court<'_>, case: Case<'_>, tallies: &mut Tallies) {
    let mut hearing = Hearing::of(court, case);
    hearing.check_numbering(tallies);
    let mut blamed = Vec::with_capacity(hearing.seen.len());
    for index in 0..hearing.seen.len() {
        blamed.push(hearing.check_transition(index, tallies));
    }
    hearing.check_silences(tallies);
    hearing.check_presence(&blamed, tallies);
}

impl<'a> Hearing<'a> {
    fn of(court: &'a Court<'a>, case: Case<'a>) -> Self {
        let (beats, backlog, goodbyes, breaks) = Default::default();
        let mut hearing = Self { court, name: case.name, beats, backlog, goodbyes, breaks, seen: case.seen };
        hearing.seen.sort_by_key(|seen| (seen.seq, seen.at_ms));
        for entry in case.entries {
            hearing.lay_out(entry);
        }
        // Two devices of one identity speak through two connections: almost in order is not in order.
        hearing.beats.sort_by_key(|beat| beat.at_ms);
        hearing
    }

    fn lay_out(&mut self, entry: &Entry) {
        let Court { rules, excuses, base_ms, acknowledges, .. } = *self.court;
        let at_ms = base_ms + u64::from(entry.at_ms);
        let patience_ms = match entry.act {
            Act::Beat => rules.offline_after_ms,
            Act::Nap(tenths) => rules.offline_after_ms.max(u64::from(tenths) * 100 + rules.sleep_grace_ms),
            Act::Backlog => return self.backlog.push(at_ms),
            Act::Goodbye => return self.goodbyes.push(at_ms),
            Act::Broke => return self.breaks.push((at_ms, true)),
            Act::MayHint => return self.breaks.push((at_ms, false)),
        };
        let arrived = if acknowledges { entry.acked } else { !excuses.swallowed(at_ms) };
        if !arrived && excuses.swallowed(at_ms) {
            return;
        }
        let slack_ms = self.slack(at_ms);
        let certain = arrived && !excuses.deaf_within(at_ms.saturating_sub(slack_ms), at_ms + slack_ms);
        // Without acknowledgements nobody knows what a fault let through.
        let arrived = if acknowledges { arrived } else { certain };
        self.beats.push(Beat { at_ms, heard_by_ms: excuses.heard_by(at_ms), patience_ms, arrived, certain });
    }

    /// How far off a date near `at_ms` may be.
    fn slack(&self, at_ms: u64) -> u64 {
        self.court.rules.tolerance_ms + self.court.excuses.delay_ms(at_ms)
    }

    /// Numbers go up by one, dates never go back, no status follows itself. What doubles another is put aside.
    fn check_numbering(&mut self, tallies: &mut Tallies) {
        let mut kept: Vec<Seen> = Vec::with_capacity(self.seen.len());
        for seen in std::mem::take(&mut self.seen) {
            let (next, last) = match kept.last() {
                Some(last) => (last.seq + 1, Some(last)),
                None if self.court.fresh => (1, None),
                None => (seen.seq, None),
            };
            if let Some(last) = last.filter(|last| seen.seq == last.seq || seen.to == last.to) {
                let told = || format!("transition {} to {:?} doubles {}", seen.seq, seen.to, last.seq);
                tallies.blame(Wrong::Doubled, seen.at_ms, self.name, told);
                continue;
            }
            for missing in next..seen.seq {
                tallies.blame(Wrong::Lost, seen.at_ms, self.name, || format!("transition {missing} is missing"));
            }
            if last.is_some_and(|last| seen.at_ms < last.at_ms) {
                tallies.blame(Wrong::Mistimed, seen.at_ms, self.name, || {
                    format!("transition {} is dated before the one it follows", seen.seq)
                });
            }
            kept.push(seen);
        }
        self.seen = kept;
    }

    /// Whether a transition was found wrong.
    fn check_transition(&self, index: usize, tallies: &mut Tallies) -> bool {
        let seen = self.seen[index];
        match seen.to {
            Shown::Online => self.check_online(seen, tallies),
            Shown::Offline => self.check_offline(seen, tallies),
            Shown::Unobserved => self.check_unobserved(seen, tallies),
        }
    }

    fn check_online(&self, seen: Seen, tallies: &mut Tallies) -> bool {
        let slack_ms = self.slack(seen.at_ms);
        let near_ms = seen.at_ms.saturating_sub(slack_ms);
        let since_ms = self.court.excuses.revives_since(seen.at_ms, slack_ms).map_or(near_ms, |ms| ms.min(near_ms));
        let until_ms = seen.at_ms + slack_ms;
        let heard = self.beats_in(since_ms, until_ms).last();
        if heard.is_none() && !self.backlog.iter().any(|&at_ms| since_ms <= at_ms && at_ms <= until_ms) {
            let told = || format!("said to be online at {} and sent nothing then", seen.at_ms);
            self.blame(tallies, Wrong::FalseOnline, seen.at_ms, told);
            return true;
        }
        false
    }

    fn check_offline(&self, seen: Seen, tallies: &mut Tallies) -> bool {
        if let Some(deadline_ms) = self.deadline_near(seen.at_ms) {
            tallies.lag(seen.at_ms, seen.decided_at_ms.saturating_sub(deadline_ms));
            return false;
        }
        if self.said_goodbye(seen.at_ms) || self.hinted(seen.at_ms) || self.put_off(seen.at_ms) {
            return false;
        }
        let slack_ms = self.slack(seen.at_ms);
        let from_ms = (seen.at_ms + slack_ms).saturating_sub(self.court.rules.offline_after_ms);
        match self.arrived_in(from_ms, seen.at_ms.saturating_sub(slack_ms)) {
            Some(beat) => self.blame(tallies, Wrong::FalseOffline, seen.at_ms, || {
                format!("said to be offline at {} but was heard at {}", seen.at_ms, beat.at_ms)
            }),
            None => self.blame(tallies, Wrong::Mistimed, seen.at_ms, || {
                format!("offline is dated {}, which is no deadline of its beats", seen.at_ms)
            }),
        }
        true
    }

    fn check_unobserved(&self, seen: Seen, tallies: &mut Tallies) -> bool {
        tallies.unobserved(seen.at_ms);
        let slack_ms = self.slack(seen.at_ms);
        let from_ms = seen.at_ms.saturating_sub(self.court.rules.offline_after_ms + slack_ms);
        if self.court.excuses.deaf_within(from_ms, seen.at_ms + slack_ms) {
            return false;
        }
        let told = || format!("said to be unobserved at {}, when nothing deafened the product", seen.at_ms);
        self.blame(tallies, Wrong::UnexplainedBlind, seen.at_ms, told);
        true
    }

    /// The deadline that a date of offline means, when one of the vehicle's beats has it there.
    fn deadline_near(&self, at_ms: u64) -> Option<u64> {
        let slack_ms = self.slack(at_ms);
        let timeout_ms = self.court.rules.offline_after_ms;
        let (low_ms, high_ms) = ((at_ms - slack_ms).saturating_sub(timeout_ms), (at_ms + slack_ms) - timeout_ms);
        let plain = self.beats_in(low_ms, high_ms).filter(|beat| beat.patience_ms == timeout_ms);
        let naps = self.beats_in(0, high_ms).filter(|beat| beat.patience_ms > timeout_ms);
        // Whoever was heard last has the say.
        let last = self.beats_in(0, at_ms - slack_ms).rfind(|beat| beat.arrived);
        if last.is_some_and(|beat| beat.at_ms + beat.patience_ms > at_ms + slack_ms) {
            return None;
        }
        let deadlines = plain
            .chain(naps)
            .map(|beat| at_ms.clamp(beat.at_ms + beat.patience_ms, beat.heard_by_ms + beat.patience_ms));
        let nearest = deadlines.min_by_key(|deadline_ms| deadline_ms.abs_diff(at_ms));
        nearest.filter(|deadline_ms| deadline_ms.abs_diff(at_ms) <= slack_ms)
    }

    /// Silent for one full timeout since the product heard again.
    fn put_off(&self, at_ms: u64) -> bool {
        let slack_ms = self.slack(at_ms);
        let again_ms = at_ms.saturating_sub(self.court.rules.offline_after_ms);
        self.court.excuses.deaf_within(again_ms.saturating_sub(slack_ms), again_ms + slack_ms)
            && self.arrived_in(again_ms + slack_ms, at_ms - slack_ms).is_none()
    }

    fn said_goodbye(&self, at_ms: u64) -> bool {
        let slack_ms = self.slack(at_ms);
        // One that waited while the product was deaf is heard late, and so is what followed it.
        self.goodbyes.iter().any(|&said_ms| {
            let waited = said_ms <= at_ms && self.both_in_one_deafness(said_ms, at_ms, slack_ms);
            said_ms.abs_diff(at_ms) <= slack_ms || waited
        })
    }

    /// A connection broke one grace before, and nothing came since.
    fn hinted(&self, at_ms: u64) -> bool {
        let slack_ms = self.slack(at_ms);
        let heard_ms = at_ms.saturating_sub(self.court.rules.will_grace_ms);
        self.breaks.iter().any(|&(broke_ms, _)| {
            let waited = broke_ms <= heard_ms && self.both_in_one_deafness(broke_ms, heard_ms, slack_ms);
            (broke_ms.abs_diff(heard_ms) <= slack_ms || waited)
                && self.arrived_in(heard_ms + slack_ms, at_ms.saturating_sub(slack_ms)).is_none()
        })
    }

    fn both_in_one_deafness(&self, one_ms: u64, other_ms: u64, slack_ms: u64) -> bool {
        let holds = |from_ms: u64, to_ms: u64, at_ms: u64| from_ms <= at_ms + slack_ms && at_ms <= to_ms + slack_ms;
        let mut deaf = self.court.excuses.deaf();
        deaf.any(|w| holds(w.from_ms, w.to_ms, one_ms) && holds(w.from_ms, w.to_ms, other_ms))
    }

    /// Every silence that outlasts the patience has to be told, at the latest when no fault puts it off any more.
    fn check_silences(&self, tallies: &mut Tallies) {
        for (index, beat) in self.beats.iter().enumerate() {
            let next_ms = self.beats.get(index + 1).map_or(self.court.cut_ms, |next| next.at_ms);
            let by_ms = self.offline_by(beat, next_ms);
            let slack_ms = self.slack(by_ms);
            if by_ms + slack_ms >= next_ms.min(self.court.cut_ms) {
                continue;
            }
            let status = self.status_at(by_ms + slack_ms);
            if matches!(status, Some(Shown::Online | Shown::Unobserved)) {
                self.blame(tallies, Wrong::MissedOffline, by_ms, || {
                    format!("silent from {} to {next_ms} and not offline at {by_ms}", beat.at_ms)
                });
            }
        }
    }

    fn offline_by(&self, beat: &Beat, next_ms: u64) -> u64 {
        let Court { rules, excuses, .. } = self.court;
        let mut deadline_ms = beat.heard_by_ms + beat.patience_ms;
        let surely = |at_ms: u64, until_ms: u64| {
            beat.at_ms <= at_ms
                && at_ms < next_ms
                && !excuses.deaf_within(at_ms.saturating_sub(rules.tolerance_ms), until_ms)
        };
        for &(broke_ms, _) in self.breaks.iter().filter(|(_, will)| *will) {
            let offline_ms = broke_ms + rules.will_grace_ms;
            if surely(broke_ms, offline_ms) {
                deadline_ms = deadline_ms.min(offline_ms);
            }
        }
        excuses.offline_by(beat.at_ms, deadline_ms, rules.offline_after_ms, self.slack(deadline_ms))
    }

    /// Every beat that surely arrived finds its vehicle online, or makes it so.
    fn check_presence(&self, blamed: &[bool], tallies: &mut Tallies) {
        let first_ms = self.seen.first().map_or(self.court.cut_ms, |first| first.at_ms);
        self.check_absence(None, 0, first_ms, tallies);
        for (index, seen) in self.seen.iter().enumerate() {
            let until_ms = self.seen.get(index + 1).map_or(self.court.cut_ms, |next| next.at_ms);
            if seen.to != Shown::Online && !blamed[index] {
                self.check_absence(Some(seen.to), seen.at_ms, until_ms, tallies);
            }
        }
    }

    /// The vehicle is said not to be online in `[from_ms, until_ms)`.
    fn check_absence(&self, said: Option<Shown>, from_ms: u64, until_ms: u64, tallies: &mut Tallies) {
        let slack_ms = self.slack(from_ms).max(self.slack(until_ms));
        let (from_ms, to_ms) = (from_ms + slack_ms, until_ms.saturating_sub(slack_ms));
        let Some(beat) = self.beats_in(from_ms, to_ms).find(|beat| beat.certain) else { return };
        // A goodbye may have followed at once.
        if self.goodbyes.iter().any(|&said_ms| beat.at_ms <= said_ms && said_ms <= beat.at_ms + slack_ms) {
            return;
        }
        let never = until_ms >= self.court.cut_ms;
        self.blame(tallies, if never { Wrong::Lost } else { Wrong::Mistimed }, beat.at_ms, || {
            let said = said.map_or("never seen".to_owned(), |said| format!("{said:?}"));
            format!("heard at {} and {said} all the same, until {until_ms}", beat.at_ms)
        });
    }

    /// Counts an error; its sentence goes with what was told and sent around then.
    fn blame(&self, tallies: &mut Tallies, wrong: Wrong, at_ms: u64, sentence: impl FnOnce() -> String) {
        tallies.blame(wrong, at_ms, self.name, || format!("{}; {}", sentence(), self.context(at_ms)));
    }

    /// The transitions next to an instant and the beats before and after it, for people. Dates are relative to it.
    fn context(&self, at_ms: u64) -> String {
        let relative = |ms: u64| ms.cast_signed() - at_ms.cast_signed();
        let place = self.seen.partition_point(|seen| seen.at_ms <= at_ms);
        let told = &self.seen[place.saturating_sub(CONTEXT)..(place + CONTEXT).min(self.seen.len())];
        let told: Vec<String> = told
            .iter()
            .map(|seen| {
                let (at, decided) = (relative(seen.at_ms), relative(seen.decided_at_ms));
                format!("{} {:?} at {at:+}, decided {decided:+}", seen.seq, seen.to)
            })
            .collect();
        let place = self.beats.partition_point(|beat| beat.at_ms <= at_ms);
        let sent = &self.beats[place.saturating_sub(CONTEXT)..(place + CONTEXT).min(self.beats.len())];
        let sent: Vec<String> = sent
            .iter()
            .map(|beat| {
                let word = if beat.certain {
                    ""
                } else if beat.arrived {
                    " (deaf)"
                } else {
                    " (unacknowledged)"
                };
                format!("{:+}{word}", relative(beat.at_ms))
            })
            .collect();
        format!("told [{}], sent [{}], ms from then", told.join("; "), sent.join(", "))
    }

    fn status_at(&self, at_ms: u64) -> Option<Shown> {
        self.seen.iter().rev().find(|seen| seen.at_ms <= at_ms).map(|seen| seen.to)
    }

    /// The beats of `[from_ms, to_ms]`.
    fn beats_in(&self, from_ms: u64, to_ms: u64) -> impl DoubleEndedIterator<Item = &Beat> {
        let from = self.beats.partition_point(|beat| beat.at_ms < from_ms);
        let to = self.beats.partition_point(|beat| beat.at_ms <= to_ms).max(from);
        self.beats[from..to].iter()
    }

    fn arrived_in(&self, from_ms: u64, to_ms: u64) -> Option<&Beat> {
        self.beats_in(from_ms, to_ms).find(|beat| beat.arrived)
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
