//! The plan: which vehicle misbehaves, how and when. Fed by the options and dice, feeds devices. Pure and seeded: the
//! same seed gives the same absences, whatever really happens on the network. What the plan does to the *status* is
//! not here but in `truth`, which judges by the beats that were really sent.

use serde::Serialize;

use crate::dice::{Dice, Stream};

/// How a vehicle behaves for the whole run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Behaviour {
    /// Beats all the time.
    Steady,
    /// Stops beating with its connection held, then returns.
    Silence,
    /// As silence, but records its beats and sends them on return, before it goes on live.
    Tunnel,
    /// Short absences around the timeout: sometimes just missed, sometimes just not.
    Flap,
    /// Beats all the time with a device clock that is minutes to years off.
    Skew,
    /// Two devices use the same identity, each with its own boot, seq and route.
    Clone,
    /// Says goodbye, disconnects, returns with a new boot.
    Goodbye,
    /// Announces how long it will sleep, and now and then oversleeps.
    Nap,
    /// Loses its connection without a word, so that the broker publishes its last will.
    Will,
}

impl Behaviour {
    pub const ALL: [Behaviour; 9] = [
        Behaviour::Steady,
        Behaviour::Silence,
        Behaviour::Tunnel,
        Behaviour::Flap,
        Behaviour::Skew,
        Behaviour::Clone,
        Behaviour::Goodbye,
        Behaviour::Nap,
        Behaviour::Will,
    ];
}

/// The share of the fleet (0 to 1) behaving in each way; the rest is steady.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Shares {
    pub silence: f64,
    pub tunnel: f64,
    pub flap: f64,
    pub skew: f64,
    pub clone: f64,
    pub goodbye: f64,
    pub nap: f64,
    pub will: f64,
}

impl Shares {
    /// Every share with its behaviour, in the order in which they are dealt out.
    pub fn each(&self) -> [(Behaviour, f64); 8] {
        [
            (Behaviour::Silence, self.silence),
            (Behaviour::Tunnel, self.tunnel),
            (Behaviour::Flap, self.flap),
            (Behaviour::Skew, self.skew),
            (Behaviour::Clone, self.clone),
            (Behaviour::Goodbye, self.goodbye),
            (Behaviour::Nap, self.nap),
            (Behaviour::Will, self.will),
        ]
    }
}

/// The lengths absences are measured in, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rhythm {
    pub interval_ms: u64,
    pub offline_after_ms: u64,
    pub will_grace_ms: u64,
}

/// No beat is sent in [from, until); milliseconds since the start of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Absence {
    pub from_ms: u64,
    pub until_ms: u64,
}

/// Deals the behaviours out over `vehicles`, at random places but in exact numbers (at least one where a share is not
/// 0).
pub fn behaviours(seed: u64, vehicles: u32, shares: &Shares) -> Vec<Behaviour> {
    let mut dealt = Vec::with_capacity(vehicles as usize);
    for (behaviour, share) in shares.each() {
        let wanted = if share > 0.0 { ((share * f64::from(vehicles)).round() as usize).max(1) } else { 0 };
        let room = vehicles as usize - dealt.len();
        dealt.extend(std::iter::repeat_n(behaviour, wanted.min(room)));
    }
    dealt.resize(vehicles as usize, Behaviour::Steady);
    shuffle(&mut dealt, &mut Dice::new(seed, Stream::Fleet, 0));
    dealt
}

fn shuffle(cards: &mut [Behaviour], dice: &mut Dice) {
    for last in (1..cards.len()).rev() {
        cards.swap(last, dice.pick(last + 1));
    }
}

/// The absences of one vehicle in order, without end (none for those who beat all the time).
#[derive(Debug, Clone)]
pub struct Absences {
    dice: Dice,
    behaviour: Behaviour,
    rhythm: Rhythm,
    next_from_ms: u64,
}

impl Absences {
    pub fn new(seed: u64, vehicle: u32, behaviour: Behaviour, rhythm: Rhythm) -> Self {
        let mut dice = Dice::new(seed, Stream::Absences, u64::from(vehicle));
        // The first absence comes early, spread out: somebody who watches sees one within the first timeouts.
        let next_from_ms = rhythm.interval_ms + dice.times_ms(rhythm.offline_after_ms, 0.4, 2.5);
        Self { dice, behaviour, rhythm, next_from_ms }
    }
}

impl Iterator for Absences {
    type Item = Absence;

    fn next(&mut self) -> Option<Absence> {
        let Rhythm { interval_ms, offline_after_ms, will_grace_ms } = self.rhythm;
        let (away_ms, back_ms) = match self.behaviour {
            Behaviour::Steady | Behaviour::Skew | Behaviour::Clone => return None,
            Behaviour::Silence => self.lengths(offline_after_ms, (1.5, 3.5), (2.0, 6.0)),
            Behaviour::Tunnel => self.lengths(offline_after_ms, (1.3, 2.5), (2.0, 6.0)),
            Behaviour::Goodbye | Behaviour::Nap => self.lengths(offline_after_ms, (1.5, 4.0), (3.0, 8.0)),
            Behaviour::Will => self.lengths(offline_after_ms.min(will_grace_ms), (1.5, 4.0), (3.0, 8.0)),
            Behaviour::Flap => {
                let back_ms = self.dice.times_ms(interval_ms, 0.2, 5.0);
                (self.dice.times_ms(offline_after_ms, 0.6, 1.5), back_ms)
            }
        };
        let absence = Absence { from_ms: self.next_from_ms, until_ms: self.next_from_ms + away_ms.max(1) };
        self.next_from_ms = absence.until_ms + back_ms.max(1);
        Some(absence)
    }
}

impl Absences {
    /// How long away and how long back, each a range of multiples of `unit_ms`.
    fn lengths(&mut self, unit_ms: u64, away: (f64, f64), back: (f64, f64)) -> (u64, u64) {
        (self.dice.times_ms(unit_ms, away.0, away.1), self.dice.times_ms(unit_ms, back.0, back.1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RHYTHM: Rhythm = Rhythm { interval_ms: 2_000, offline_after_ms: 10_000, will_grace_ms: 10_000 };

    #[test]
    fn behaviours_are_dealt_in_exact_numbers() {
        let shares = Shares { silence: 0.1, tunnel: 0.05, clone: 0.001, ..Shares::default() };
        let dealt = behaviours(3, 200, &shares);
        let count = |wanted| dealt.iter().filter(|&&behaviour| behaviour == wanted).count();
        assert_eq!(dealt.len(), 200);
        assert_eq!((count(Behaviour::Silence), count(Behaviour::Tunnel), count(Behaviour::Clone)), (20, 10, 1));
        assert_eq!(count(Behaviour::Steady), 169);
    }

    proptest! {
        #[test]
        fn same_seed_gives_the_same_plan(seed: u64, vehicle in 0u32..1000) {
            let plan = || Absences::new(seed, vehicle, Behaviour::Flap, RHYTHM).take(20).collect::<Vec<_>>();
            prop_assert_eq!(plan(), plan());
            let shares = Shares { silence: 0.3, will: 0.2, ..Shares::default() };
            prop_assert_eq!(behaviours(seed, 50, &shares), behaviours(seed, 50, &shares));
        }

        #[test]
        fn absences_follow_one_another_and_silences_outlast_the_timeout(seed: u64, vehicle in 0u32..1000) {
            for behaviour in Behaviour::ALL {
                let mut last_until = 0;
                for absence in Absences::new(seed, vehicle, behaviour, RHYTHM).take(50) {
                    prop_assert!(absence.from_ms > last_until && absence.until_ms > absence.from_ms);
                    last_until = absence.until_ms;
                    if !matches!(behaviour, Behaviour::Flap) {
                        prop_assert!(absence.until_ms - absence.from_ms > RHYTHM.offline_after_ms);
                    }
                }
            }
        }

        #[test]
        fn somebody_who_watches_for_a_minute_sees_a_vehicle_go_and_return(seed: u64) {
            let back = (0..20).map(|v| Absences::new(seed, v, Behaviour::Silence, RHYTHM).next().map(|a| a.until_ms));
            prop_assert!(back.flatten().any(|until_ms| until_ms < 60_000));
        }
    }
}
