//! Whether one device speaks under a vehicle's name or two: by the boot text, which a device changes when it starts.
//! Fed by the vehicle actor with each live heartbeat; what comes of it is a warning, never a change of status.
//!
//! A device that starts again has a new boot text and never an old one. Two devices with one name alternate: A, B, A.

/// Returns to a boot text that was left before two devices are suspected. One alone may be a packet that was overtaken.
const RETURNS_MIN: u8 = 3;

/// The last two boot texts of a vehicle, by fingerprint. Kept small: a million vehicles have one each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Boots {
    /// 0 while none was heard.
    last: u32,
    before: u32,
    returns: u8,
}

impl Boots {
    /// Notes the boot text of a beat; `true` when it is one more return that speaks for two devices.
    pub fn note(&mut self, boot: Option<u64>) -> bool {
        let Some(boot) = boot.map(|boot| (boot ^ boot >> 32) as u32 | 1) else { return false };
        if boot == self.last {
            return false;
        }
        self.returns = if boot == self.before { self.returns.saturating_add(1) } else { 0 };
        (self.before, self.last) = (self.last, boot);
        self.returns >= RETURNS_MIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suspected(boots: &[u64]) -> usize {
        let mut kept = Boots::default();
        boots.iter().filter(|boot| kept.note(Some(**boot << 8))).count()
    }

    /// R35.
    #[test]
    fn boot_texts_that_alternate_are_two_devices() {
        assert_eq!(suspected(&[1, 1, 1, 2, 2, 3, 4, 5]), 0, "a device that starts often");
        assert_eq!(suspected(&[1, 2, 1, 2, 2, 3, 4]), 0, "packets that were overtaken around a start");
        assert_eq!(suspected(&[1, 2, 1, 2, 1, 2]), 2);
        assert!(!Boots::default().note(None));
        assert_eq!(size_of::<Boots>(), 12);
    }
}
