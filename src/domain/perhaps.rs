//! An instant or duration that may be absent, in eight bytes where `Option` takes sixteen. Kept where a million
//! vehicles have one each; outside of there an `Option` says the same better.

use super::time::Millis;

/// The lowest number stands for none. No clock reads it and no duration is it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Perhaps(Millis);

impl Perhaps {
    /// Nothing.
    pub const NONE: Self = Self(Millis::MIN);

    /// The number, where there is one.
    pub fn get(self) -> Option<Millis> {
        (self != Self::NONE).then_some(self.0)
    }
}

impl Default for Perhaps {
    fn default() -> Self {
        Self::NONE
    }
}

impl From<Option<Millis>> for Perhaps {
    fn from(value: Option<Millis>) -> Self {
        value.map_or(Self::NONE, Self)
    }
}

impl From<Millis> for Perhaps {
    fn from(value: Millis) -> Self {
        Self(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_it_was_made_of_in_half_the_room() {
        for value in [None, Some(0), Some(-1), Some(Millis::MAX)] {
            assert_eq!(Perhaps::from(value).get(), value);
        }
        assert_eq!((Perhaps::default().get(), Perhaps::from(5).get()), (None, Some(5)));
        assert_eq!(size_of::<Perhaps>(), 8);
    }
}
