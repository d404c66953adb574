//! Names of customers and vehicles. Fed by indices of the plan, feeds devices (topics) and the verification.

use crate::dice::Dice;

const CUSTOMERS: &[&str] = &[
    "acme-logistics",
    "nordic-haulage",
    "rhine-freight",
    "alpine-express",
    "baltic-cargo",
    "city-bus",
    "iberia-trans",
    "blue-van",
    "harbour-lines",
    "metro-couriers",
    "danube-carriers",
    "green-parcel",
    "highland-movers",
    "orion-fleet",
    "summit-foods",
    "vesta-medical",
];

/// What kind of vehicle it is; decides its name and how fast it drives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Truck,
    Van,
    Bus,
}

impl Kind {
    /// Half of a fleet are trucks, a third vans, the rest buses.
    pub fn roll(dice: &mut Dice) -> Self {
        match dice.unit() {
            share if share < 0.5 => Kind::Truck,
            share if share < 0.85 => Kind::Van,
            _ => Kind::Bus,
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            Kind::Truck => "TRK",
            Kind::Van => "VAN",
            Kind::Bus => "BUS",
        }
    }
}

/// The name of customer `index`: from the list, later `acme-logistics-2` and so on.
pub fn customer(index: u32) -> String {
    let (round, place) = (index as usize / CUSTOMERS.len(), index as usize % CUSTOMERS.len());
    match round {
        0 => CUSTOMERS[place].to_owned(),
        _ => format!("{}-{}", CUSTOMERS[place], round + 1),
    }
}

/// The name of vehicle `index`, such as `TRK-0001`; unique over the whole fleet.
pub fn vehicle(kind: Kind, index: u32) -> String {
    format!("{}-{:04}", kind.prefix(), index + 1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn customer_names_are_identifiers_and_differ() {
        let names: HashSet<String> = (0..100).map(customer).collect();
        assert_eq!(names.len(), 100);
        assert!(
            names.iter().all(|name| name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
        );
    }

    #[test]
    fn vehicle_names_tell_their_kind() {
        assert_eq!(vehicle(Kind::Van, 41), "VAN-0042");
        assert_eq!(vehicle(Kind::Truck, 99_999), "TRK-100000");
    }
}
