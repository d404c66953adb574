//! What a reader asks of the board: which vehicles, in which order, which page.
//! Made by REST and WebSocket handlers from parameters; answered by board.rs.

use std::sync::Arc;

use super::ids;
use super::transition::Status;

/// A set of statuses; empty means every status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Statuses(u8);

impl Statuses {
    /// Adds one.
    pub fn insert(&mut self, status: Status) {
        self.0 |= 1 << status as u8;
    }

    /// Whether the set lets this status through.
    pub fn allows(self, status: Status) -> bool {
        self.0 == 0 || self.0 & (1 << status as u8) != 0
    }

    /// Whether it lets every status through.
    pub fn is_all(self) -> bool {
        self.0 == 0 || self.0 == 0b1111
    }

    /// Reads a comma list such as `online,offline`.
    ///
    /// # Errors
    /// A sentence naming the word that is no status.
    pub fn parse(list: &str) -> Result<Self, String> {
        let mut set = Self::default();
        for word in list.split(',').filter(|word| !word.is_empty()) {
            let status = Status::from_word(word)
                .ok_or_else(|| format!("'{word}' is no status; use online, offline, unobserved, never_seen"))?;
            set.insert(status);
        }
        Ok(set)
    }
}

/// Which vehicles a reader sees. Customers sorted and without repeats, so that equal filters are equal values.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Filter {
    /// Only these customers; empty means all.
    pub customers: Vec<String>,
    /// Only these statuses.
    pub statuses: Statuses,
    /// The reader's own customer, whatever it asks for: no other exists for it. None: all do.
    pub own: Option<Arc<str>>,
}

impl Filter {
    /// A filter from the two comma lists of a query string.
    ///
    /// # Errors
    /// The parameter's name and a sentence saying what is wrong with it.
    pub fn parse(customers: &str, statuses: &str) -> Result<Self, (&'static str, String)> {
        let customers = customers.split(',').filter(|name| !name.is_empty());
        let statuses = Statuses::parse(statuses).map_err(|problem| ("status", problem))?;
        Self::of(customers.map(str::to_owned).collect(), statuses)
    }

    /// A filter of parts.
    ///
    /// # Errors
    /// The parameter's name and a sentence saying which customer is no identifier.
    pub fn of(mut customers: Vec<String>, statuses: Statuses) -> Result<Self, (&'static str, String)> {
        for name in &customers {
            ids::check_customer(name).map_err(|bad| ("customer", format!("'{name}': {bad}")))?;
        }
        customers.sort();
        customers.dedup();
        Ok(Self { customers, statuses, own: None })
    }

    /// What a reader of this customer sees of it; of none: all.
    pub fn within(self, own: Option<Arc<str>>) -> Self {
        Self { own, ..self }
    }

    /// Whether a vehicle of this customer and status is seen.
    pub fn allows(&self, customer: &str, status: Status) -> bool {
        self.statuses.allows(status) && self.allows_customer(customer)
    }

    /// Whose figures together are those of this filter, whatever the statuses: customers, or the fleet, which is none.
    /// A reader of one customer gets that one's only.
    pub fn groups(&self) -> Vec<Option<&str>> {
        if let Some(own) = &self.own {
            return vec![Some(own)];
        }
        if self.customers.is_empty() {
            return vec![None];
        }
        self.customers.iter().map(|name| Some(name.as_str())).collect()
    }

    /// Whether this customer is seen.
    pub fn allows_customer(&self, customer: &str) -> bool {
        self.own.as_deref().is_none_or(|own| own == customer)
            && (self.customers.is_empty()
                || self.customers.binary_search_by(|name| name.as_str().cmp(customer)).is_ok())
    }
}

/// The order of a list of vehicles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Sort {
    /// By customer, then vehicle: never moves, so pages need no memory.
    #[default]
    Vehicle,
    /// Longest in its status first, or last.
    StatusSince {
        /// Newest first.
        descending: bool,
    },
    /// Longest silent first, or last.
    LastSeen {
        /// Newest first.
        descending: bool,
    },
}

impl Sort {
    /// Reads `vehicle`, `status_since`, `last_seen`, with `-` before for descending.
    ///
    /// # Errors
    /// A sentence saying what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (descending, name) = text.strip_prefix('-').map_or((false, text), |name| (true, name));
        match name {
            "vehicle" if !descending => Ok(Self::Vehicle),
            "status_since" => Ok(Self::StatusSince { descending }),
            "last_seen" => Ok(Self::LastSeen { descending }),
            _ => Err(format!("'{text}' is no order; use vehicle, status_since, last_seen, with - before the last two")),
        }
    }
}

/// A question for the board.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Query {
    /// Which customers and statuses.
    pub filter: Filter,
    /// Part of vehicle, name, registration or vin; lower case.
    pub text: Option<String>,
    /// A tag the vehicle must have.
    pub tag: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read_and_wrong_words_named() {
        let filter = Filter::parse("b,a,b", "offline,unobserved").expect("reads");
        assert_eq!(filter.customers, ["a", "b"]);
        assert!(filter.allows("a", Status::Offline) && !filter.allows("a", Status::Online));
        assert!(!filter.allows("c", Status::Offline));
        assert_eq!(Filter::parse("", "late").expect_err("no status").0, "status");
        assert_eq!(Filter::parse("a b", "").expect_err("no customer").0, "customer");
        assert!(Filter::default().allows("x", Status::NeverSeen));
    }

    #[test]
    fn a_reader_of_one_customer_sees_no_other_whatever_it_asks_for() {
        let own = || Some(Arc::from("b"));
        for (asked, sees_own) in [("", true), ("b", true), ("a,b,c", true), ("a", false)] {
            let filter = Filter::parse(asked, "").expect("reads").within(own());
            assert_eq!((filter.allows_customer("a"), filter.allows_customer("b")), (false, sees_own), "{asked}");
            assert_ne!(filter, Filter::parse(asked, "").expect("reads"), "shares nothing with another reader");
        }
    }

    #[test]
    fn orders_are_read() {
        assert_eq!(Sort::parse("vehicle"), Ok(Sort::Vehicle));
        assert_eq!(Sort::parse("-last_seen"), Ok(Sort::LastSeen { descending: true }));
        assert!(Sort::parse("-vehicle").is_err() && Sort::parse("speed").is_err());
    }
}
