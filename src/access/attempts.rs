//! How often somebody may be wrong: a bucket a user name and a bucket an address, so that passwords are not guessed and
//! nobody's guessing costs us hashes. Asked by the logins before anything is looked up. Bound: that of the buckets.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use crate::domain::limit::Limit;
use crate::domain::time::Millis;
use crate::gate::buckets::{Buckets, network_of};

/// Several people sit behind one address.
const ADDRESS_SHARE: u32 = 3;

/// All that were wrong lately.
#[derive(Debug)]
pub struct Attempts {
    /// By a hash of the name, which is as long as whoever asks likes.
    users: Buckets<u64>,
    seed: RandomState,
    addresses: Buckets<IpAddr>,
}

impl Attempts {
    /// So many tries of a user at once, and one more in each `pause`; three times as many from one address.
    pub fn new(tries: u32, pause: Millis) -> Self {
        let of_address = Limit::every(pause / Millis::from(ADDRESS_SHARE), tries.saturating_mul(ADDRESS_SHARE));
        let users = Buckets::new(Limit::every(pause, tries));
        Self { users, seed: RandomState::new(), addresses: Buckets::new(of_address) }
    }

    /// Takes a try of this user, if one is named, and of this address.
    ///
    /// # Errors
    /// How long to wait, milliseconds; nothing is taken then.
    pub fn take(&self, user: Option<&str>, address: IpAddr, now: Millis) -> Result<(), Millis> {
        let address = network_of(address);
        self.addresses.take(address, now)?;
        let taken = user.map_or(Ok(()), |user| self.users.take(self.seed.hash_one(user), now));
        taken.inspect_err(|_| self.addresses.give_back(address))
    }

    /// The try was right, so it does not count.
    pub fn give_back(&self, user: Option<&str>, address: IpAddr) {
        self.addresses.give_back(network_of(address));
        if let Some(user) = user {
            self.users.give_back(self.seed.hash_one(user));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Millis = 1_000_000;

    #[test]
    fn a_user_has_so_many_tries_and_then_one_in_each_pause() {
        let (attempts, here) = (Attempts::new(3, 10_000), IpAddr::from([192, 0, 2, 7]));
        for _ in 0..3 {
            assert_eq!(attempts.take(Some("jo"), here, START), Ok(()));
        }
        assert_eq!(attempts.take(Some("jo"), here, START), Err(10_000));
        assert_eq!(attempts.take(Some("jo"), here, START + 9_999), Err(1));
        assert_eq!(attempts.take(Some("jo"), here, START + 10_000), Ok(()));
        attempts.give_back(Some("jo"), here);
        assert_eq!(attempts.take(Some("jo"), here, START + 10_000), Ok(()));
    }

    #[test]
    fn an_address_has_its_own_limit_whoever_is_named() {
        let attempts = Attempts::new(2, 9_000);
        let (here, there) = (IpAddr::from([192, 0, 2, 7]), IpAddr::from([192, 0, 2, 8]));
        for name in 0..6 {
            assert_eq!(attempts.take(Some(&name.to_string()), here, START), Ok(()));
        }
        assert_eq!(attempts.take(None, here, START), Err(3_000));
        assert_eq!(attempts.take(None, there, START), Ok(()));
    }
}
