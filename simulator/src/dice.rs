//! Seeded dice: every random choice of the simulator comes from here. Fed by a seed, a stream and a number; feeds
//! plan, journey and device. Written out (SplitMix64) instead of taken from a crate, because the same seed has to give
//! the same fleet on every machine and in every later release, which `rand` does not promise.

/// What a sequence of choices is for. Streams of one seed are independent, so a new kind of choice moves no other.
#[derive(Debug, Clone, Copy)]
#[repr(u64)]
pub enum Stream {
    Fleet = 1,
    Absences = 2,
    Journey = 3,
    Device = 4,
    Clone = 5,
    BackOff = 6,
    Wills = 7,
}

/// A deterministic source of numbers.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The dice of one `stream` for one `number` (a vehicle's index, or 0).
    pub fn new(seed: u64, stream: Stream, number: u64) -> Self {
        Self(mix(mix(mix(seed) ^ stream as u64) ^ number))
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// A number in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number in [low, high).
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// A length between `low` and `high` times `unit_ms`, in milliseconds.
    pub fn times_ms(&mut self, unit_ms: u64, low: f64, high: f64) -> u64 {
        (unit_ms as f64 * self.between(low, high)) as u64
    }

    /// An index below `count`, which must not be 0.
    pub fn pick(&mut self, count: usize) -> usize {
        debug_assert!(count > 0, "nothing to pick from");
        (self.unit() * count as f64) as usize
    }

    /// True with the given probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }
}

/// The finaliser of SplitMix64: every input bit reaches every output bit.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_gives_the_same_numbers_and_streams_differ() {
        let draw = |stream, number| Dice::new(7, stream, number).next_u64();
        assert_eq!(draw(Stream::Journey, 3), draw(Stream::Journey, 3));
        assert_ne!(draw(Stream::Journey, 3), draw(Stream::Journey, 4));
        assert_ne!(draw(Stream::Journey, 3), draw(Stream::Device, 3));
    }

    #[test]
    fn numbers_are_spread_evenly() {
        let mut dice = Dice::new(1, Stream::Fleet, 0);
        let mean = (0..10_000).map(|_| dice.unit()).sum::<f64>() / 10_000.0;
        assert!((0.48..0.52).contains(&mean), "mean {mean}");
    }
}
