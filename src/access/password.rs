//! Passwords: hashed with argon2id, on threads that may wait, few at once.
//! Asked by the logins. Bound: `SEATS` requests wait for a thread; beyond that they are told to come again.

use std::sync::Arc;

use anyhow::anyhow;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::Semaphore;

/// What one hash costs: the first choice of OWASP's cheat sheet that fits a small machine, 19 MiB and two passes, about
/// 30 ms of one core. Kept in each hash, so hashes made with other costs stay good when these change.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const SALT_BYTES: usize = 16;
/// Requests that may wait for a hash: a second's worth.
const SEATS: usize = 32;

/// So many hashes are on their way that this one would wait for long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crowded;

/// The threads that hash.
#[derive(Debug)]
pub struct Passwords {
    seats: Arc<Semaphore>,
    threads: Arc<Semaphore>,
    /// The hash of no password: who names nobody waits as long as who names somebody.
    nobody: String,
}

impl Passwords {
    /// # Errors
    /// The system has no random bytes.
    pub fn new(random: &SystemRandom) -> anyhow::Result<Self> {
        // Half of the cores at most: heartbeats go on while somebody guesses.
        let threads = std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1));
        let nobody = hash(&[0; 32], random)?;
        Ok(Self { seats: Arc::new(Semaphore::new(SEATS)), threads: Arc::new(Semaphore::new(threads)), nobody })
    }

    /// Hashes the keyed hash of a password.
    ///
    /// # Errors
    /// [`Crowded`] inside; or the system has no random bytes or no memory.
    pub async fn hash(&self, keyed: [u8; 32]) -> Result<anyhow::Result<String>, Crowded> {
        self.run(move || hash(&keyed, &SystemRandom::new())).await
    }

    /// Whether the keyed hash of a password fits; with no hash it does not, and takes as long.
    ///
    /// # Errors
    /// Too many wait already.
    pub async fn fits(&self, keyed: [u8; 32], known: Option<String>) -> Result<bool, Crowded> {
        let is_known = known.is_some();
        let hash = known.unwrap_or_else(|| self.nobody.clone());
        self.run(move || verify(&keyed, &hash) && is_known).await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Crowded> {
        let seat = Arc::clone(&self.seats).try_acquire_owned().map_err(|_| Crowded)?;
        let thread = Arc::clone(&self.threads).acquire_owned().await.map_err(|_| Crowded)?;
        // The permits go with the work, which goes on when whoever asked has left.
        let work = tokio::task::spawn_blocking(move || {
            let _held = (seat, thread);
            work()
        });
        work.await.map_err(|_| Crowded)
    }
}

fn argon() -> Argon2<'static> {
    // invariant: these are within the bounds of the algorithm
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("invariant: the costs are allowed");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

fn hash(keyed: &[u8; 32], random: &SystemRandom) -> anyhow::Result<String> {
    let mut salt = [0; SALT_BYTES];
    random.fill(&mut salt).map_err(|_| anyhow!("the system has no random bytes"))?;
    let hash = argon().hash_password_with_salt(keyed, &salt);
    hash.map(|hash| hash.to_string()).map_err(|error| anyhow!("the password could not be hashed: {error}"))
}

fn verify(keyed: &[u8; 32], hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| argon().verify_password(keyed, &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_fits_its_own_hash_and_nobody_has_one() {
        let passwords = Passwords::new(&SystemRandom::new()).expect("random bytes");
        let hash = passwords.hash([7; 32]).await.expect("room").expect("hashed");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_eq!(passwords.fits([7; 32], Some(hash.clone())).await, Ok(true));
        assert_eq!(passwords.fits([8; 32], Some(hash)).await, Ok(false));
        assert_eq!(passwords.fits([0; 32], None).await, Ok(false), "the hash of nobody opens nothing");
        assert_eq!(passwords.fits([7; 32], Some("damaged".into())).await, Ok(false));
    }

    #[tokio::test]
    async fn who_finds_no_seat_is_told_to_come_again() {
        let passwords = Passwords::new(&SystemRandom::new()).expect("random bytes");
        let _taken = Arc::clone(&passwords.seats).try_acquire_many_owned(SEATS as u32).expect("all seats");
        assert_eq!(passwords.fits([7; 32], None).await, Err(Crowded));
    }
}
