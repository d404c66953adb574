//! One device in one vehicle: what it says and when it says it. Fed by the plan (absences), the journey and orders from
//! outside; feeds the lane that owns it. Pure: time is an argument, messages are return values. The lane decides only
//! how messages reach the broker.

use std::collections::VecDeque;

use crate::{
    burst::{self, Burst},
    dice::{Dice, Stream},
    journey::Journey,
    names::Kind,
    payload::{self, Stamp},
    plan::{Absence, Absences, Behaviour, Rhythm},
};

/// A device remembers this many beats while nobody hears it; then it forgets the oldest, as real trackers do.
const BACKLOG_MAX: usize = 500;
/// A skewed clock is off by 2 minutes to 3 years, either way.
const SKEW_MIN_MS: f64 = 120e3;
const SKEW_MAX_MS: f64 = 3.0 * 365.0 * 86_400e3;

/// What the whole fleet has in common.
#[derive(Debug, Clone)]
pub struct FleetFacts {
    pub seed: u64,
    pub rhythm: Rhythm,
    pub burst: Option<Burst>,
    /// Wall clock at the start of the run, epoch milliseconds.
    pub started_epoch_ms: u64,
}

/// What a device has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    Beat(Vec<u8>),
    /// The last beat before a planned sleep, which it announces.
    Nap {
        payload: Vec<u8>,
        next_in_ms: u64,
    },
    /// A beat recorded earlier, sent late.
    Backlog(Vec<u8>),
    Goodbye(Vec<u8>),
    /// Not a message: the connection breaks without one.
    Vanish,
}

/// A device and its memory.
#[derive(Debug)]
pub struct Device {
    behaviour: Behaviour,
    journey: Journey,
    absences: Absences,
    dice: Dice,
    interval_ms: u64,
    burst: Option<Burst>,
    clock_offset_ms: i64,
    boot_number: u32,
    boot: String,
    seq: u64,
    next_beat_ms: u64,
    absence: Option<Absence>,
    away: bool,
    muted: bool,
    backlog: VecDeque<Vec<u8>>,
}

impl Device {
    /// The device of vehicle `number`; `double` is the second device of a cloned identity.
    pub fn new(facts: &FleetFacts, number: u32, kind: Kind, behaviour: Behaviour, double: bool) -> Self {
        let stream = if double { Stream::Clone } else { Stream::Device };
        let mut dice = Dice::new(facts.seed, stream, u64::from(number));
        let mut absences = Absences::new(facts.seed, number, behaviour, facts.rhythm);
        let skew_ms = if behaviour == Behaviour::Skew { roll_skew_ms(&mut dice) } else { 0 };
        // The double drives elsewhere: a journey no real vehicle of this fleet has.
        let route = if double { u64::from(number) | 1 << 40 } else { u64::from(number) };
        let mut device = Self {
            behaviour,
            journey: Journey::new(facts.seed, route, kind),
            absence: absences.next(),
            absences,
            interval_ms: facts.rhythm.interval_ms,
            burst: facts.burst,
            clock_offset_ms: facts.started_epoch_ms as i64 + skew_ms,
            boot_number: 0,
            boot: String::new(),
            seq: 0,
            next_beat_ms: dice.times_ms(facts.rhythm.interval_ms, 0.0, 1.0),
            away: false,
            muted: false,
            backlog: VecDeque::new(),
            dice,
        };
        device.reboot();
        device
    }

    /// When `step` wants to be called next, milliseconds since the start; never while muted.
    pub fn due_ms(&self) -> Option<u64> {
        let turn = self.absence.map_or(u64::MAX, |absence| if self.away { absence.until_ms } else { absence.from_ms });
        let records = !self.away || self.behaviour == Behaviour::Tunnel;
        let beat = if records { self.next_beat_ms } else { u64::MAX };
        (!self.muted).then_some(turn.min(beat))
    }

    /// Does what is due at `now_ms` and adds what is to be sent to `out`.
    pub fn step(&mut self, now_ms: u64, out: &mut Vec<Message>) {
        if self.muted {
            return;
        }
        match self.absence {
            Some(absence) if self.away && now_ms >= absence.until_ms => self.come_back(now_ms, out),
            Some(absence) if !self.away && now_ms >= absence.from_ms => self.leave(now_ms, out),
            _ if now_ms >= self.next_beat_ms => self.tick(now_ms, out),
            _ => {}
        }
    }

    /// Falls silent until woken.
    pub fn mute(&mut self) {
        self.muted = true;
    }

    /// Ends muteness, and an absence too: whoever wakes a vehicle wants to see it.
    pub fn wake(&mut self, now_ms: u64, out: &mut Vec<Message>) {
        self.muted = false;
        if self.away {
            self.come_back(now_ms, out);
        } else {
            self.tick(now_ms, out);
        }
        // Absences planned for the time it was muted are over.
        while self.absence.is_some_and(|absence| absence.from_ms <= now_ms) {
            self.absence = self.absences.next();
        }
    }

    fn leave(&mut self, now_ms: u64, out: &mut Vec<Message>) {
        self.away = true;
        match self.behaviour {
            Behaviour::Goodbye => {
                let last_words = self.record(now_ms, false, None);
                out.push(Message::Goodbye(last_words));
            }
            Behaviour::Nap => {
                let next_in_ms = self.announced_ms(now_ms);
                let payload = self.record(now_ms, false, Some(next_in_ms));
                out.push(Message::Nap { payload, next_in_ms });
            }
            Behaviour::Will => out.push(Message::Vanish),
            _ => {}
        }
    }

    fn come_back(&mut self, now_ms: u64, out: &mut Vec<Message>) {
        self.away = false;
        self.absence = self.absences.next();
        if self.behaviour == Behaviour::Goodbye {
            self.reboot();
        }
        out.extend(self.backlog.drain(..).map(Message::Backlog));
        self.tick(now_ms, out);
    }

    /// A beat is due: say it, or remember it in a tunnel.
    fn tick(&mut self, now_ms: u64, out: &mut Vec<Message>) {
        let beat = self.record(now_ms, true, None);
        if self.away {
            self.backlog.push_back(beat);
            if self.backlog.len() > BACKLOG_MAX {
                self.backlog.pop_front();
            }
        } else {
            out.push(Message::Beat(beat));
        }
        // Keep the rhythm after a small delay; after a long one start anew, without making up for lost beats.
        let kept = now_ms.saturating_sub(self.next_beat_ms) < self.interval_ms / 2;
        let base_ms = if kept { self.next_beat_ms.min(now_ms) } else { now_ms };
        let spread = self.dice.unit();
        self.next_beat_ms = burst::next_beat_ms(base_ms, self.interval_ms, self.burst.as_ref(), spread).max(now_ms + 1);
    }

    /// How long the vehicle says it will sleep. One in three sleeps is longer than announced.
    fn announced_ms(&mut self, now_ms: u64) -> u64 {
        let length_ms = self.absence.map_or(0, |absence| absence.until_ms.saturating_sub(now_ms));
        if self.dice.chance(0.33) { length_ms / 4 } else { length_ms }
    }

    /// `running` is false for the last words of a vehicle that is switched off: it stands, with the key turned.
    fn record(&mut self, now_ms: u64, running: bool, next_in_ms: Option<u64>) -> Vec<u8> {
        let mut pose = self.journey.at(now_ms as i64);
        if !running {
            (pose.speed_kmh, pose.ignition) = (0.0, false);
        }
        let stamp = Stamp { ts_ms: self.clock_offset_ms + now_ms as i64, seq: self.seq, boot: &self.boot };
        let bytes = payload::heartbeat(stamp, &pose, next_in_ms);
        self.seq += 1;
        bytes
    }

    fn reboot(&mut self) {
        self.boot_number += 1;
        self.boot = format!("{:08x}-{}", self.dice.next_u64() as u32, self.boot_number);
        self.seq = 0;
    }
}

fn roll_skew_ms(dice: &mut Dice) -> i64 {
    let size = dice.between(SKEW_MIN_MS.ln(), SKEW_MAX_MS.ln()).exp() as i64;
    if dice.chance(0.5) { size } else { -size }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: u64 = 1_800_000_000_000;

    fn facts(seed: u64) -> FleetFacts {
        let rhythm = Rhythm { interval_ms: 1_000, offline_after_ms: 10_000, will_grace_ms: 10_000 };
        FleetFacts { seed, rhythm, burst: None, started_epoch_ms: START }
    }

    /// Drives a device on time for `length_ms` and returns what it said, with the instants.
    fn drive(mut device: Device, length_ms: u64) -> Vec<(u64, Message)> {
        let (mut said, mut out) = (Vec::new(), Vec::new());
        while let Some(now_ms) = device.due_ms().filter(|&due_ms| due_ms < length_ms) {
            device.step(now_ms, &mut out);
            said.extend(out.drain(..).map(|message| (now_ms, message)));
        }
        said
    }

    fn ts_and_seq(bytes: &[u8]) -> (u64, u64) {
        let value: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        (value["ts"].as_u64().unwrap(), value["seq"].as_u64().unwrap())
    }

    fn device(seed: u64, behaviour: Behaviour) -> Device {
        Device::new(&facts(seed), 5, Kind::Truck, behaviour, false)
    }

    #[test]
    fn steady_vehicle_beats_at_its_interval_with_rising_seq() {
        let said = drive(device(1, Behaviour::Steady), 100_000);
        assert!((98..=103).contains(&said.len()), "{} beats", said.len());
        for (index, (at_ms, message)) in said.iter().enumerate() {
            let Message::Beat(bytes) = message else { panic!("{message:?}") };
            assert_eq!(ts_and_seq(bytes), (START + at_ms, index as u64));
        }
    }

    #[test]
    fn tunnel_sends_its_backlog_with_old_times_before_it_goes_on_live() {
        let said = drive(device(2, Behaviour::Tunnel), 120_000);
        let first = said.iter().position(|(_, message)| matches!(message, Message::Backlog(_))).unwrap();
        let (back_ms, Message::Backlog(bytes)) = &said[first] else { unreachable!() };
        assert!(START + back_ms - ts_and_seq(bytes).0 > 10_000, "the oldest is older than the timeout");
        let live = said[first..].iter().find(|(_, message)| matches!(message, Message::Beat(_))).unwrap();
        assert_eq!(live.0, *back_ms, "live beat follows at once");
        let seqs: Vec<u64> = said
            .iter()
            .map(|(_, message)| match message {
                Message::Beat(bytes) | Message::Backlog(bytes) => ts_and_seq(bytes).1,
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1), "no beat is lost in a tunnel");
    }

    #[test]
    fn goodbye_and_will_are_followed_by_silence_then_a_return() {
        for behaviour in [Behaviour::Goodbye, Behaviour::Nap, Behaviour::Will] {
            let said = drive(device(3, behaviour), 300_000);
            let end = said.iter().position(|(_, message)| !matches!(message, Message::Beat(_))).unwrap();
            assert!(said[end + 1].0 - said[end].0 >= 15_000, "{behaviour:?} returns too soon");
            assert!(matches!(said[end + 1].1, Message::Beat(_)));
        }
    }

    #[test]
    fn skewed_clock_is_off_by_minutes_at_least() {
        let said = drive(device(4, Behaviour::Skew), 5_000);
        let (at_ms, Message::Beat(bytes)) = &said[0] else { panic!("no beat") };
        assert!(ts_and_seq(bytes).0.abs_diff(START + at_ms) >= 120_000);
    }

    #[test]
    fn cloned_devices_share_a_vehicle_but_not_boot_nor_place() {
        let first = drive(device(5, Behaviour::Clone), 3_000);
        let second = drive(Device::new(&facts(5), 5, Kind::Truck, Behaviour::Clone, true), 3_000);
        let fields = |said: &[(u64, Message)]| match &said[0].1 {
            Message::Beat(bytes) => serde_json::from_slice::<serde_json::Value>(bytes).unwrap(),
            other => panic!("{other:?}"),
        };
        assert_ne!(fields(&first)["boot"], fields(&second)["boot"]);
        assert_ne!(fields(&first)["lat"], fields(&second)["lat"]);
    }

    #[test]
    fn muted_vehicle_says_nothing_until_woken_and_then_at_once() {
        let mut device = device(6, Behaviour::Steady);
        device.mute();
        assert_eq!(device.due_ms(), None);
        let mut out = Vec::new();
        device.wake(500_000, &mut out);
        assert!(matches!(out[..], [Message::Beat(_)]));
        assert!(device.due_ms().unwrap() > 500_900);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn same_seed_says_the_same(seed: u64) {
            for behaviour in Behaviour::ALL {
                prop_assert_eq!(drive(device(seed, behaviour), 60_000), drive(device(seed, behaviour), 60_000));
            }
        }
    }
}
