//! How often somebody may be wrong: a bucket a user name and a bucket an address, so that passwords are not guessed and
//! nobody's guessing costs us hashes. Asked by the logins before anything is looked up.
//!
//! Bound: `BUCKETS` numbers for each of the two, whatever is asked; names that fall into the same bucket share it. Which
//! ones do is told by a hash whose seed is made at the start, so that nobody can choose his neighbours.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use parking_lot::Mutex;

use crate::domain::time::Millis;

/// Two times 128 KiB.
const BUCKETS: usize = 16_384;
/// Several people sit behind one address.
const ADDRESS_SHARE: i64 = 3;

/// One kind of buckets. A bucket is the instant at which it is full again.
#[derive(Debug)]
struct Buckets {
    cost: Millis,
    burst: Millis,
    seed: RandomState,
    full_at: Mutex<Vec<Millis>>,
}

impl Buckets {
    fn new(tries: i64, cost: Millis) -> Self {
        let cost = cost.max(1);
        let full_at = Mutex::new(vec![Millis::MIN / 2; BUCKETS]);
        Self { cost, burst: cost.saturating_mul(tries), seed: RandomState::new(), full_at }
    }

    fn place(&self, name: &[u8]) -> usize {
        (self.seed.hash_one(name) % BUCKETS as u64) as usize
    }

    /// Takes one try out, or says how long to wait for it.
    fn take(&self, name: &[u8], now: Millis) -> Result<(), Millis> {
        let mut full_at = self.full_at.lock();
        let bucket = &mut full_at[self.place(name)];
        let after = (*bucket).max(now) + self.cost;
        let over = after - now - self.burst;
        if over > 0 {
            return Err(over);
        }
        *bucket = after;
        Ok(())
    }

    fn give_back(&self, name: &[u8]) {
        self.full_at.lock()[self.place(name)] -= self.cost;
    }
}

/// All that were wrong lately.
#[derive(Debug)]
pub struct Attempts {
    users: Buckets,
    addresses: Buckets,
}

impl Attempts {
    /// So many tries of a user at once, and one more in each `pause`; three times as many from one address.
    pub fn new(tries: u32, pause: Millis) -> Self {
        let tries = i64::from(tries);
        let addresses = Buckets::new(tries.saturating_mul(ADDRESS_SHARE), pause / ADDRESS_SHARE);
        Self { users: Buckets::new(tries, pause), addresses }
    }

    /// Takes a try of this user, if one is named, and of this address.
    ///
    /// # Errors
    /// How long to wait, milliseconds; nothing is taken then.
    pub fn take(&self, user: Option<&str>, address: IpAddr, now: Millis) -> Result<(), Millis> {
        let address = neighbourhood(address);
        self.addresses.take(&address, now)?;
        let taken = user.map_or(Ok(()), |user| self.users.take(user.as_bytes(), now));
        taken.inspect_err(|_| self.addresses.give_back(&address))
    }

    /// The try was right, so it does not count.
    pub fn give_back(&self, user: Option<&str>, address: IpAddr) {
        self.addresses.give_back(&neighbourhood(address));
        if let Some(user) = user {
            self.users.give_back(user.as_bytes());
        }
    }
}

/// An IPv6 customer is given 2^64 addresses, so they count as one.
fn neighbourhood(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets()[..8].to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_so_many_tries_and_then_one_in_each_pause() {
        let (attempts, here) = (Attempts::new(3, 10_000), IpAddr::from([192, 0, 2, 7]));
        for _ in 0..3 {
            assert_eq!(attempts.take(Some("jo"), here, 0), Ok(()));
        }
        assert_eq!(attempts.take(Some("jo"), here, 0), Err(10_000));
        assert_eq!(attempts.take(Some("jo"), here, 9_999), Err(1));
        assert_eq!(attempts.take(Some("jo"), here, 10_000), Ok(()));
        attempts.give_back(Some("jo"), here);
        assert_eq!(attempts.take(Some("jo"), here, 10_000), Ok(()));
    }

    #[test]
    fn an_address_has_its_own_limit_whoever_is_named() {
        let attempts = Attempts::new(2, 9_000);
        let (here, there) = (IpAddr::from([192, 0, 2, 7]), IpAddr::from([192, 0, 2, 8]));
        for name in 0..6 {
            assert_eq!(attempts.take(Some(&name.to_string()), here, 0), Ok(()));
        }
        assert_eq!(attempts.take(None, here, 0), Err(3_000));
        assert_eq!(attempts.take(None, there, 0), Ok(()));
        let same = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 7, 0, 0, 0, last]);
        assert_eq!(neighbourhood(same(1)), neighbourhood(same(2)));
    }
}
