//! What Mosquitto needs to know a key again: its own kind of hash, PBKDF2 with SHA-512, of the whole key as password.
//! Made with the key, for nobody knows the secret afterwards; kept by the store; written out by `rollcall
//! mosquitto-auth`. Mosquitto knows nothing of our pepper, so this hash is without it: 256 random bits are not guessed
//! from it, but who can write in the database can let himself into that Mosquitto.

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::pbkdf2;
use ring::rand::SecureRandom;

/// Mosquitto's own number. More would guard a guessable password; here they would only hold up its one thread when a
/// fleet comes back.
const ROUNDS: NonZeroU32 = NonZeroU32::new(101).expect("invariant: not zero");
/// As Mosquitto makes them.
const SALT_BYTES: usize = 12;
const HASH_BYTES: usize = 64;

/// The second half of a line of its password file. None when the system has no random bytes.
pub fn hash(password: &str, random: &dyn SecureRandom) -> Option<String> {
    let (mut salt, mut hash) = ([0; SALT_BYTES], [0; HASH_BYTES]);
    random.fill(&mut salt).ok()?;
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, ROUNDS, &salt, password.as_bytes(), &mut hash);
    Some(format!("$7${ROUNDS}${}${}", STANDARD.encode(salt), STANDARD.encode(hash)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_has_mosquittos_form_and_its_own_salt() {
        let random = ring::rand::SystemRandom::new();
        let [one, other] = [(); 2].map(|()| hash("rk_secret", &random).expect("random bytes"));
        assert_ne!(one, other);
        let parts: Vec<&str> = one.split('$').collect();
        assert_eq!((parts.len(), parts[1], parts[2]), (5, "7", "101"));
        assert_eq!((parts[3].len(), parts[4].len()), (16, 88));
        assert!(!one.contains("secret"));
    }
}
