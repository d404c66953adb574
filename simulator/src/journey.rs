//! Where a vehicle is, how fast and in what state, at any instant. Fed by the atlas and dice, feeds the device. Pure:
//! the instant is an argument, and the same seed gives the same journey however often it is asked. A journey is a
//! chain of hops: pull away, cruise, slow down, wait; at a city the vehicle rests, and near empty it charges.

use crate::{
    atlas::ATLAS,
    dice::{Dice, Stream},
    geo::Point,
    names::Kind,
};

/// Pulling away and braking, in m/s²: gentle, as with cargo or standing passengers.
const ACCELERATION: f64 = 0.6;
/// Shortest hop in metres. Long enough to reach and leave the highest cruising speed: 2 × 28² / (2 × 0.6) = 1,307 m.
const HOP_MIN_M: f64 = 2_000.0;
const HOP_MAX_M: f64 = 15_000.0;
/// A battery lasts about 450 km and charges in about 40 minutes.
const BATTERY_PER_KM: f64 = 0.22;
const CHARGE_PER_MIN: f64 = 2.5;
/// At or below this the vehicle goes on charging at the next stop.
const BATTERY_LOW: f64 = 20.0;
const BATTERY_CHARGED: f64 = 90.0;
/// Waiting longer than this the driver turns the key.
const IGNITION_OFF_AFTER_MS: i64 = 120_000;
/// Journeys begin up to this long before the run, so that the fleet is found in mid-drive.
const BEGUN_BEFORE_MS: f64 = 2.0 * 3_600_000.0;

/// What the vehicle's sensors say at an instant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pose {
    pub at: Point,
    pub speed_kmh: f64,
    pub heading_deg: f64,
    pub battery_pct: f64,
    pub odometer_km: f64,
    pub ignition: bool,
}

/// An endless journey, followed forwards in time.
#[derive(Debug, Clone)]
pub struct Journey {
    dice: Dice,
    kind: Kind,
    from: usize,
    to: usize,
    leg_m: f64,
    hop: Hop,
}

/// One stretch of road and the wait at its end. Speeds in m/s.
#[derive(Debug, Clone, Copy)]
struct Hop {
    begin_ms: i64,
    drive_ms: i64,
    wait_ms: i64,
    begin_m: f64,
    length_m: f64,
    speed_in: f64,
    cruise: f64,
    speed_out: f64,
    battery_pct: f64,
    odometer_km: f64,
    charging: bool,
}

impl Journey {
    /// The journey of vehicle `number`. Times are milliseconds since the start of the run.
    pub fn new(seed: u64, number: u64, kind: Kind) -> Self {
        let mut dice = Dice::new(seed, Stream::Journey, number);
        let from = dice.pick(ATLAS.cities());
        let begin_ms = -(dice.between(0.0, BEGUN_BEFORE_MS) as i64);
        let battery_pct = dice.between(35.0, 95.0);
        let odometer_km = dice.between(2_000.0, 280_000.0);
        let hop = Hop::standing(begin_ms, battery_pct, odometer_km);
        let mut journey = Self { dice, kind, from, to: from, leg_m: 0.0, hop };
        journey.begin_leg();
        journey
    }

    /// The vehicle at `now_ms`. Asking for the past gives the start of the present hop, never a panic.
    pub fn at(&mut self, now_ms: i64) -> Pose {
        while now_ms >= self.hop.end_ms() {
            self.next_hop();
        }
        let (along_m, speed) = self.hop.moved(now_ms);
        let (from, to) = (ATLAS.place(self.from), ATLAS.place(self.to));
        let at = from.towards(to, (along_m / self.leg_m).clamp(0.0, 1.0));
        let driven_km = (along_m - self.hop.begin_m) / 1000.0;
        Pose {
            at,
            speed_kmh: speed * 3.6,
            // Just short of the end the heading of the leg's last metre still counts.
            heading_deg: if at.distance_m(to) > 1.0 { at.heading_deg(to) } else { from.heading_deg(to) },
            battery_pct: self.hop.battery_at(driven_km, now_ms),
            odometer_km: self.hop.odometer_km + driven_km,
            ignition: now_ms < self.hop.begin_ms + self.hop.drive_ms || self.hop.wait_ms < IGNITION_OFF_AFTER_MS,
        }
    }

    fn next_hop(&mut self) {
        if self.hop.begin_m + self.hop.length_m >= self.leg_m - 1.0 {
            self.begin_leg();
        } else {
            self.hop = self.hop_from(self.hop.begin_m + self.hop.length_m);
        }
    }

    /// Leaves a city by any road but the one it came on, where there is another.
    fn begin_leg(&mut self) {
        let came_from = self.from;
        self.from = self.to;
        let roads = ATLAS.neighbours(self.from);
        let mut to = roads[self.dice.pick(roads.len())];
        if to == came_from && roads.len() > 1 {
            to = roads[self.dice.pick(roads.len())];
        }
        self.to = to;
        self.leg_m = ATLAS.place(self.from).distance_m(ATLAS.place(to));
        self.hop = self.hop_from(0.0);
    }

    fn hop_from(&mut self, begin_m: f64) -> Hop {
        let left_m = self.leg_m - begin_m;
        let wanted_m = self.dice.between(HOP_MIN_M, HOP_MAX_M);
        let length_m = if left_m < wanted_m + HOP_MIN_M { left_m } else { wanted_m };
        let cruise = self.cruise();
        let arrives = length_m >= left_m;
        let stops = arrives || self.dice.chance(0.3);
        let speed_out = if stops { 0.0 } else { cruise * self.dice.between(0.5, 0.9) };
        let speed_in = if self.hop.wait_ms > 0 { 0.0 } else { self.hop.speed_out.min(cruise) };
        let driven_km = self.hop.length_m / 1000.0;
        let mut hop = Hop {
            begin_ms: self.hop.end_ms(),
            drive_ms: 0,
            wait_ms: 0,
            begin_m,
            length_m,
            speed_in,
            cruise,
            speed_out,
            battery_pct: self.hop.battery_at(driven_km, self.hop.end_ms()),
            odometer_km: self.hop.odometer_km + driven_km,
            charging: false,
        };
        hop.drive_ms = (hop.drive_s() * 1000.0) as i64;
        if stops {
            self.plan_wait(&mut hop, arrives);
        }
        hop
    }

    /// Charging at a stop when low, resting at a city, otherwise a traffic light or a toll gate.
    fn plan_wait(&mut self, hop: &mut Hop, arrives: bool) {
        let battery = hop.battery_pct - hop.length_m / 1000.0 * BATTERY_PER_KM;
        let minutes = if battery < BATTERY_LOW {
            (BATTERY_CHARGED - battery) / CHARGE_PER_MIN
        } else if arrives {
            self.dice.between(4.0, 15.0)
        } else {
            self.dice.between(0.1, 1.0)
        };
        hop.charging = battery < BATTERY_LOW || arrives;
        hop.wait_ms = (minutes * 60_000.0) as i64;
    }

    fn cruise(&mut self) -> f64 {
        let kmh = match self.kind {
            Kind::Truck => self.dice.between(62.0, 88.0),
            Kind::Van => self.dice.between(55.0, 100.0),
            Kind::Bus => self.dice.between(50.0, 92.0),
        };
        kmh / 3.6
    }
}

impl Hop {
    /// The moment before the first hop: standing at a city's edge.
    fn standing(begin_ms: i64, battery_pct: f64, odometer_km: f64) -> Self {
        Self {
            begin_ms,
            drive_ms: 0,
            wait_ms: 0,
            begin_m: 0.0,
            length_m: 0.0,
            speed_in: 0.0,
            cruise: 1.0,
            speed_out: 0.0,
            battery_pct,
            odometer_km,
            charging: false,
        }
    }

    fn end_ms(&self) -> i64 {
        self.begin_ms + self.drive_ms + self.wait_ms
    }

    fn speed_up_s(&self) -> f64 {
        (self.cruise - self.speed_in) / ACCELERATION
    }

    fn slow_down_s(&self) -> f64 {
        (self.cruise - self.speed_out) / ACCELERATION
    }

    fn cruise_s(&self) -> f64 {
        let up_m = (self.cruise + self.speed_in) / 2.0 * self.speed_up_s();
        let down_m = (self.cruise + self.speed_out) / 2.0 * self.slow_down_s();
        ((self.length_m - up_m - down_m) / self.cruise).max(0.0)
    }

    fn drive_s(&self) -> f64 {
        self.speed_up_s() + self.cruise_s() + self.slow_down_s()
    }

    /// Metres from the leg's begin, and m/s, at `now_ms`. After the drive, of whole milliseconds, it stands: a hop
    /// without a wait is over by then.
    fn moved(&self, now_ms: i64) -> (f64, f64) {
        if now_ms >= self.begin_ms + self.drive_ms {
            return (self.begin_m + self.length_m, 0.0);
        }
        let t = ((now_ms - self.begin_ms) as f64 / 1000.0).max(0.0);
        let (up, cruise, down) = (self.speed_up_s(), self.cruise_s(), self.slow_down_s());
        if t < up {
            return (self.begin_m + (self.speed_in + ACCELERATION * t / 2.0) * t, self.speed_in + ACCELERATION * t);
        }
        let up_m = (self.speed_in + self.cruise) / 2.0 * up;
        if t < up + cruise {
            return (self.begin_m + up_m + self.cruise * (t - up), self.cruise);
        }
        let left = up + cruise + down - t;
        let left_m = (self.speed_out + ACCELERATION * left / 2.0) * left;
        (self.begin_m + self.length_m - left_m, self.speed_out + ACCELERATION * left)
    }

    fn battery_at(&self, driven_km: f64, now_ms: i64) -> f64 {
        let waited_ms = (now_ms - self.begin_ms - self.drive_ms).max(0);
        let charged = if self.charging { waited_ms as f64 / 60_000.0 * CHARGE_PER_MIN } else { 0.0 };
        (self.battery_pct - driven_km * BATTERY_PER_KM + charged).clamp(1.0, 100.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn vehicle_moves_no_faster_than_its_speed_says(seed: u64, number in 0u64..1000) {
            follow(seed, number)?;
        }

        #[test]
        fn same_seed_gives_the_same_position_however_often_it_is_asked(
            seed: u64,
            number: u64,
            later in 0i64..100_000_000,
        ) {
            let mut often = Journey::new(seed, number, Kind::Truck);
            for step in 0..100 {
                often.at(later * step / 100);
            }
            prop_assert_eq!(often.at(later), Journey::new(seed, number, Kind::Truck).at(later));
        }
    }

    fn follow(seed: u64, number: u64) -> Result<(), TestCaseError> {
        let mut journey = Journey::new(seed, number, Kind::Van);
        let mut before = journey.at(0);
        for second in 1..7_200 {
            let now = journey.at(second * 1000);
            let metres = before.at.distance_m(now.at);
            let fastest = before.speed_kmh.max(now.speed_kmh).max(3.0) / 3.6 + ACCELERATION;
            prop_assert!(metres <= fastest * 1.02, "{metres} m in a second at {fastest} m/s");
            prop_assert!((0.0..=101.0).contains(&now.speed_kmh));
            prop_assert!((0.0..=100.0).contains(&now.battery_pct));
            prop_assert!((0.0..360.0).contains(&now.heading_deg));
            prop_assert!(now.odometer_km >= before.odometer_km - 1e-9);
            prop_assert!(now.ignition || now.speed_kmh == 0.0, "driving with the ignition off");
            prop_assert!((now.battery_pct - before.battery_pct).abs() < 1.0);
            before = now;
        }
        Ok(())
    }

    /// It was asked within the last millisecond of a drive, which the whole milliseconds had cut off.
    #[test]
    fn key_is_turned_when_the_vehicle_stands() {
        follow(3_370_762_841_865_485_602, 111).unwrap();
    }

    #[test]
    fn a_fleet_is_found_driving_and_resting() {
        let poses: Vec<Pose> = (0..400).map(|number| Journey::new(1, number, Kind::Truck).at(0)).collect();
        let driving = poses.iter().filter(|pose| pose.speed_kmh > 20.0).count();
        assert!((200..390).contains(&driving), "{driving} of 400 drive");
        assert!(poses.iter().any(|pose| !pose.ignition));
    }
}
