//! Truth against report, one vehicle at a time. Fed with the expected transitions and those the service showed, feeds
//! the verdict. Pure. Each seen transition explains at most one expected one, the nearest in time.

use crate::{
    truth::{Expected, Status},
    verify::verdict::Verdict,
};

/// The statuses the service can report in a transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    Online,
    Offline,
    Unobserved,
}

/// A transition the service reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub seq: u64,
    pub to: Shown,
    pub at_ms: u64,
    pub decided_at_ms: u64,
}

/// One vehicle's case.
pub struct Case<'a> {
    /// For people: customer and vehicle.
    pub name: &'a str,
    pub expected: &'a [Expected],
    /// In any order.
    pub seen: Vec<Seen>,
    /// The service knew the vehicle as online before the run.
    pub online_before: bool,
    /// Nothing after this instant is judged: the fleet was stopped.
    pub cut_ms: u64,
    pub tolerance_ms: u64,
}

/// Lags found on the way, in milliseconds.
#[derive(Debug, Default)]
pub struct Lags {
    pub offline: Vec<u64>,
    pub online: Vec<u64>,
}

/// Judges one vehicle and adds to the verdict.
pub fn compare(mut case: Case<'_>, verdict: &mut Verdict, lags: &mut Lags) {
    verdict.vehicles += 1;
    verdict.seen_transitions += case.seen.len() as u64;
    case.seen.sort_by_key(|seen| (seen.seq, seen.at_ms));
    check_numbering(&mut case, verdict);
    let unobserved = case.seen.iter().filter(|seen| seen.to == Shown::Unobserved).count() as u64;
    verdict.unobserved += unobserved;
    let mut used = vec![false; case.seen.len()];
    // A service that was blind for a while dates its verdicts by when it saw again: only false ones count then.
    if unobserved == 0 {
        match_expected(&case, &mut used, verdict, lags);
    }
    blame_unexplained(&case, &used, verdict);
}

/// Removes doubled transitions and counts them, and the holes in the numbering.
fn check_numbering(case: &mut Case<'_>, verdict: &mut Verdict) {
    let mut kept: Vec<Seen> = Vec::with_capacity(case.seen.len());
    for seen in &case.seen {
        match kept.last() {
            Some(last) if seen.seq == last.seq || seen.to == last.to => {
                verdict.duplicates += 1;
                verdict.finding(|| {
                    format!("{}: transition {} to {:?} doubles {}", case.name, seen.seq, seen.to, last.seq)
                });
                continue;
            }
            Some(last) if seen.seq > last.seq + 1 => {
                verdict.lost_transitions += seen.seq - last.seq - 1;
                verdict.finding(|| {
                    format!("{}: transitions between {} and {} are missing", case.name, last.seq, seen.seq)
                });
            }
            _ => {}
        }
        kept.push(*seen);
    }
    case.seen = kept;
}

fn match_expected(case: &Case<'_>, used: &mut [bool], verdict: &mut Verdict, lags: &mut Lags) {
    for (index, expected) in case.expected.iter().enumerate() {
        if expected.at_ms + case.tolerance_ms > case.cut_ms {
            break;
        }
        let known_already = index == 0 && case.online_before;
        verdict.expected_transitions += u64::from(!expected.optional && !known_already);
        let right = nearest(case, used, expected, |at_ms| in_time(case, expected, at_ms));
        if let Some(found) = right {
            used[found] = true;
            note_lag(expected, &case.seen[found], lags);
        } else if !expected.optional && !known_already {
            blame_missing(case, index, used, verdict);
        }
    }
}

/// An expected transition was not seen in time: it came at a wrong time, or never.
fn blame_missing(case: &Case<'_>, index: usize, used: &mut [bool], verdict: &mut Verdict) {
    let expected = &case.expected[index];
    let until_ms = case.expected.get(index + 1).map_or(case.cut_ms, |next| next.at_ms);
    let from_ms = index.checked_sub(1).map_or(0, |before| case.expected[before].at_ms);
    if let Some(found) = nearest(case, used, expected, |at_ms| at_ms > from_ms && at_ms < until_ms) {
        let off_ms = case.seen[found].at_ms as i64 - expected.at_ms as i64;
        verdict.finding(|| format!("{}: {:?} at {} was dated {off_ms} ms off", case.name, expected.to, expected.at_ms));
        used[found] = true;
        if expected.to == Status::Offline && off_ms < 0 {
            verdict.false_offlines += 1;
        } else {
            verdict.mistimed += 1;
        }
        return;
    }
    verdict.finding(|| format!("{}: {:?} at {} was never seen", case.name, expected.to, expected.at_ms));
    match expected.to {
        Status::Offline => verdict.missed_offlines += 1,
        _ => verdict.lost_transitions += 1,
    }
}

/// What no expectation explains is wrong when the truth, all around that instant, was the opposite.
fn blame_unexplained(case: &Case<'_>, used: &[bool], verdict: &mut Verdict) {
    for (seen, _) in case.seen.iter().zip(used).filter(|(_, used)| !**used) {
        let truth = truth_around(case, seen.at_ms);
        match (seen.to, truth) {
            (Shown::Offline, Some(Status::Online)) => {
                verdict.false_offlines += 1;
                verdict.finding(|| format!("{}: said to be offline at {} but was online", case.name, seen.at_ms));
            }
            (Shown::Online, Some(Status::Offline)) => {
                verdict.false_onlines += 1;
                verdict.finding(|| format!("{}: said to be online at {} but was offline", case.name, seen.at_ms));
            }
            _ => {}
        }
    }
}

/// The true status within the tolerance around an instant, or nothing when it changed or was too close to call there.
fn truth_around(case: &Case<'_>, at_ms: u64) -> Option<Status> {
    if at_ms + case.tolerance_ms > case.cut_ms {
        return None;
    }
    let (from_ms, to_ms) = (at_ms.saturating_sub(case.tolerance_ms), at_ms + case.tolerance_ms);
    if case.expected.iter().any(|e| e.earliest_ms <= to_ms && e.at_ms >= from_ms) {
        return None;
    }
    case.expected.iter().rev().find(|e| e.at_ms < from_ms).map(|e| e.to)
}

fn in_time(case: &Case<'_>, expected: &Expected, at_ms: u64) -> bool {
    at_ms + case.tolerance_ms >= expected.earliest_ms && at_ms <= expected.at_ms + case.tolerance_ms
}

/// The unused seen transition to the same status nearest to the expected instant, among those that `fit`.
fn nearest(case: &Case<'_>, used: &[bool], expected: &Expected, fit: impl Fn(u64) -> bool) -> Option<usize> {
    let wanted = match expected.to {
        Status::Offline => Shown::Offline,
        Status::Online | Status::NeverSeen => Shown::Online,
    };
    let fits = |index: &usize| !used[*index] && case.seen[*index].to == wanted && fit(case.seen[*index].at_ms);
    (0..case.seen.len()).filter(fits).min_by_key(|&index| case.seen[index].at_ms.abs_diff(expected.at_ms))
}

fn note_lag(expected: &Expected, seen: &Seen, lags: &mut Lags) {
    let lag_ms = seen.decided_at_ms.saturating_sub(expected.at_ms);
    match expected.to {
        Status::Offline => lags.offline.push(lag_ms),
        _ => lags.online.push(lag_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::truth::{Rules, Truth};

    const RULES: Rules = Rules {
        offline_after_ms: 10_000,
        will_grace_ms: 10_000,
        sleep_grace_ms: 10_000,
        tolerance_ms: 1_000,
        remember: true,
    };

    /// Online at 1 s, offline at 21 s, online at 40 s, beating to 60 s.
    fn truth() -> Truth {
        let mut truth = Truth::new(RULES);
        for second in [1, 3, 5, 7, 9, 11, 40, 42, 44, 46, 48, 50, 52, 54, 56, 58, 60] {
            truth.beat(second * 1_000);
        }
        truth
    }

    fn seen(seq: u64, to: Shown, at_ms: u64) -> Seen {
        Seen { seq, to, at_ms, decided_at_ms: at_ms + 20 }
    }

    fn right() -> Vec<Seen> {
        vec![seen(1, Shown::Online, 1_004), seen(2, Shown::Offline, 21_003), seen(3, Shown::Online, 40_002)]
    }

    fn judge(seen: Vec<Seen>) -> Verdict {
        judge_with(seen, false).0
    }

    fn judge_with(seen: Vec<Seen>, online_before: bool) -> (Verdict, Lags) {
        let (mut verdict, mut lags) = (Verdict::default(), Lags::default());
        let truth = truth();
        let (cut_ms, tolerance_ms) = (61_000, RULES.tolerance_ms);
        let case = Case { name: "v", expected: truth.expected(), seen, online_before, cut_ms, tolerance_ms };
        compare(case, &mut verdict, &mut lags);
        (verdict, lags)
    }

    #[test]
    fn right_report_has_no_errors_and_known_lags() {
        let (verdict, lags) = judge_with(right(), false);
        assert_eq!((verdict.errors(), verdict.expected_transitions), (0, 3), "{:?}", verdict.findings);
        assert_eq!((lags.offline, lags.online), (vec![23], vec![24, 22]));
    }

    #[test]
    fn lost_return_is_found() {
        let mut report = right();
        report.pop();
        let verdict = judge(report);
        assert_eq!((verdict.lost_transitions, verdict.errors()), (1, 1));
    }

    #[test]
    fn missed_offline_is_found() {
        let verdict = judge(vec![right()[0]]);
        assert_eq!((verdict.missed_offlines, verdict.lost_transitions), (1, 1));
    }

    #[test]
    fn hole_in_the_numbering_is_found() {
        let mut report = right();
        report[2].seq = 5;
        assert_eq!(judge(report).lost_transitions, 2);
    }

    #[test]
    fn doubled_transition_is_found_by_number_or_by_status() {
        for double in [seen(2, Shown::Offline, 21_003), seen(3, Shown::Offline, 21_900)] {
            let mut report = right();
            report[2].seq = double.seq + 1;
            report.push(double);
            let verdict = judge(report);
            assert_eq!((verdict.duplicates, verdict.false_offlines), (1, 0), "{:?}", verdict.findings);
        }
    }

    #[test]
    fn timeout_too_long_is_found() {
        let mut report = right();
        report[1].at_ms = 26_000;
        let verdict = judge(report);
        assert_eq!((verdict.mistimed, verdict.errors()), (1, 1), "{:?}", verdict.findings);
    }

    #[test]
    fn timeout_too_short_is_a_false_offline() {
        let mut report = right();
        report[1].at_ms = 16_000;
        let verdict = judge(report);
        assert_eq!((verdict.false_offlines, verdict.errors()), (1, 1), "{:?}", verdict.findings);
    }

    #[test]
    fn false_offline_and_its_recovery_is_one_error() {
        let mut report = right();
        report.push(seen(4, Shown::Offline, 50_000));
        report.push(seen(5, Shown::Online, 50_500));
        let verdict = judge(report);
        assert_eq!((verdict.false_offlines, verdict.errors()), (1, 1), "{:?}", verdict.findings);
    }

    #[test]
    fn false_online_is_found() {
        let report = vec![
            seen(1, Shown::Online, 1_004),
            seen(2, Shown::Offline, 21_003),
            seen(3, Shown::Online, 30_000),
            seen(4, Shown::Offline, 31_500),
            seen(5, Shown::Online, 40_000),
        ];
        let verdict = judge(report);
        assert_eq!((verdict.false_onlines, verdict.errors()), (1, 1), "{:?}", verdict.findings);
    }

    #[test]
    fn vehicle_known_online_before_need_not_come_online_first() {
        let report = vec![seen(8, Shown::Offline, 21_003), seen(9, Shown::Online, 40_002)];
        assert_eq!(judge_with(report.clone(), true).0.errors(), 0);
        assert_eq!(judge(report).lost_transitions, 1);
    }

    #[test]
    fn what_comes_after_the_stop_is_not_judged() {
        let mut report = right();
        report.push(seen(4, Shown::Offline, 70_000));
        assert_eq!(judge(report).errors(), 0);
    }

    #[test]
    fn blindness_is_no_error_but_a_false_offline_in_it_is() {
        let blind = |to| vec![seen(1, Shown::Online, 1_004), seen(2, Shown::Unobserved, 21_000), seen(3, to, 45_000)];
        let verdict = judge(blind(Shown::Online));
        assert_eq!((verdict.unobserved, verdict.errors()), (1, 0), "{:?}", verdict.findings);
        assert_eq!(judge(blind(Shown::Offline)).false_offlines, 1);
    }
}
