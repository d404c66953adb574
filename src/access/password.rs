//! Passwords: hashed with argon2id, on few threads of their own.
//! Asked by the logins. Bound: `SEATS` requests wait for a thread; beyond that they are told to come again.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use anyhow::anyhow;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use parking_lot::Mutex;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::oneshot;

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

type Work = Box<dyn FnOnce() + Send>;

/// The threads that hash: our own, and always the same ones. Any that is free, as a runtime lends them, would each keep
/// the memory of its last hash.
#[derive(Debug)]
pub struct Passwords {
    queue: SyncSender<Work>,
    /// The hash of no password: who names nobody waits as long as who names somebody.
    nobody: String,
}

impl Passwords {
    /// # Errors
    /// The system has no random bytes, or no thread.
    pub fn new(random: &SystemRandom) -> anyhow::Result<Self> {
        let (queue, works) = sync_channel::<Work>(SEATS);
        let works = Arc::new(Mutex::new(works));
        // Half of the cores at most: heartbeats go on while somebody guesses.
        for _ in 0..std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1)) {
            let works = Arc::clone(&works);
            let next = move || works.lock().recv();
            std::thread::Builder::new().name("passwords".into()).spawn(move || {
                while let Ok(work) = next() {
                    work();
                }
            })?;
        }
        Ok(Self { queue, nobody: hash(&[0; 32], random)? })
    }

    /// Hashes the keyed hash of a password.
    ///
    /// # Errors
    /// [`Crowded`]; inside, that the system has no random bytes or no memory.
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
        let (tell, told) = oneshot::channel();
        // Nobody listens when whoever asked has left.
        let work: Work = Box::new(move || drop(tell.send(work())));
        self.queue.try_send(work).map_err(|_| Crowded)?;
        told.await.map_err(|_| Crowded)
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
        let (open, closed) = std::sync::mpsc::channel::<()>();
        let closed = Arc::new(Mutex::new(closed));
        let wait = || -> Work {
            let closed = Arc::clone(&closed);
            Box::new(move || assert!(closed.lock().recv().is_err()))
        };
        while passwords.queue.try_send(wait()).is_ok() {}
        let fits = passwords.fits([7; 32], None).await;
        drop(open);
        assert_eq!(fits, Err(Crowded));
    }
}
