//! How often each address, or each key, may do something: ask, or be wrong about who it is.
//! Asked by the HTTP door for each request and by both doors for each refused credential.
//!
//! Bound: [`NAMES_MAX`] names, about 6 MB. One whose bucket is full again is forgotten, since it is then as good as
//! unknown. When even so there is no room, all that are not known share one bucket: who floods from a million addresses
//! spends it, and everybody known before goes on as usual.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};

use foldhash::fast::RandomState;
use parking_lot::Mutex;

use crate::domain::limit::Limit;
use crate::domain::time::Millis;

/// Names remembered at once.
const NAMES_MAX: usize = 65_536;
/// The full table is searched for what can be forgotten once in this time at most.
const SWEEP_EVERY: Millis = 1_000;

/// The buckets of all names; an address goes in as its [`network_of`].
#[derive(Debug)]
pub struct Buckets<K> {
    limit: Limit,
    names_max: usize,
    inner: Mutex<Inner<K>>,
}

#[derive(Debug)]
struct Inner<K> {
    full_at: HashMap<K, i64, RandomState>,
    /// Of all that found no room.
    shared_full_at: i64,
    swept_at: Millis,
}

impl<K: Eq + Hash + Copy> Buckets<K> {
    /// So many a second for ever, and so many at once after a pause, for each.
    pub fn new(limit: Limit) -> Self {
        let inner = Inner { full_at: HashMap::default(), shared_full_at: 0, swept_at: 0 };
        Self { limit, names_max: NAMES_MAX, inner: Mutex::new(inner) }
    }

    /// Takes one from a bucket.
    ///
    /// # Errors
    /// The time until it would fit; nothing is taken then.
    pub fn take(&self, name: K, now: Millis) -> Result<(), Millis> {
        if self.limit == Limit::NONE {
            return Ok(());
        }
        let mut inner = self.inner.lock();
        if inner.full_at.len() >= self.names_max
            && !inner.full_at.contains_key(&name)
            && now - inner.swept_at >= SWEEP_EVERY
        {
            inner.swept_at = now;
            inner.full_at.retain(|_, full_at| !Limit::is_full(*full_at, now));
        }
        let room = inner.full_at.len() < self.names_max;
        let full_at = match inner.full_at.get(&name) {
            Some(full_at) => *full_at,
            None if room => 0,
            None => inner.shared_full_at,
        };
        let next = self.limit.after(full_at, now).ok_or_else(|| self.limit.wait(full_at, now))?;
        match inner.full_at.get_mut(&name) {
            Some(full_at) => *full_at = next,
            None if room => drop(inner.full_at.insert(name, next)),
            None => inner.shared_full_at = next,
        }
        Ok(())
    }
}

/// Whom an address stands for: in IPv6 everybody has a whole network of 64 bits to choose from.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(number).into()
    }

    #[test]
    fn each_address_has_its_own_bucket() {
        let all = Buckets::new(Limit::new(1, 2));
        for one in [address(1), address(2)] {
            assert_eq!([all.take(one, 5_000), all.take(one, 5_000)], [Ok(()), Ok(())]);
            assert_eq!(all.take(one, 5_000), Err(1_000));
            assert_eq!(all.take(one, 6_000), Ok(()));
        }
    }

    #[test]
    fn a_network_of_ipv6_is_one_address_and_a_mapped_one_is_ipv4() {
        let read = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert_eq!(network_of(read("2001:db8:1:2:aaaa::1")), network_of(read("2001:db8:1:2:bbbb::2")));
        assert_ne!(network_of(read("2001:db8:1:2::1")), network_of(read("2001:db8:1:3::1")));
        assert_eq!(network_of(read("::ffff:10.0.0.7")), read("10.0.0.7"));
    }

    #[test]
    fn a_flood_of_addresses_is_held_in_bounded_memory_and_shares_one_bucket() {
        let all = Buckets { names_max: 100, ..Buckets::new(Limit::new(1, 2)) };
        assert!((0..100).all(|number| all.take(address(number), 5_000).is_ok()));
        let flood = (1_000..2_000).filter(|number| all.take(address(*number), 5_000).is_ok()).count();
        assert_eq!((flood, all.inner.lock().full_at.len()), (2, 100));
        // Who was known keeps the bucket; and once the flood is over there is room again.
        assert_eq!([all.take(address(7), 5_000), all.take(address(7), 5_000)], [Ok(()), Err(1_000)]);
        assert!((2_000..2_050).all(|number| all.take(address(number), 60_000).is_ok()));
        assert_eq!(all.inner.lock().full_at.len(), 50);
    }

    #[test]
    fn no_limit_remembers_nobody() {
        let all = Buckets::new(Limit::NONE);
        assert!((0..100_000).all(|_| all.take(address(1), 0).is_ok()) && all.inner.lock().full_at.is_empty());
    }
}
