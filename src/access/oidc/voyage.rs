//! What a browser carries while it is at the provider: the secrets of this one sign-in, sealed, so that nobody reads
//! or changes them and we keep nothing for whoever never comes back. Made and opened by the flow beside it. Bound:
//! of those that came back `USED_MAX` are remembered, until their cookie is too old anyway; beyond it the oldest is
//! forgotten, and the provider's own rule that a code is good once is what is left.

use std::collections::VecDeque;

use anyhow::{Context, anyhow};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::access::Access;
use crate::domain::time::Millis;

/// Sign-ins of the last ten minutes that are remembered: far more than people, about 1 MB.
const USED_MAX: usize = 10_000;
/// What the seal is about, so that no other sealed text of ours fits.
const ABOUT: &[u8] = b"rollcall oidc voyage 1";

/// One sign-in that is under way.
#[derive(Serialize, Deserialize)]
pub struct Voyage {
    /// What the answer has to bring along, so that no other page can send a browser here.
    pub state: String,
    /// What the token has to claim.
    pub nonce: String,
    /// What proves that the code was asked for by us.
    pub verifier: String,
    /// What is looked at afterwards.
    pub next: String,
    /// The first instant at which it is too old.
    pub until: Millis,
}

impl Voyage {
    /// Whether an answer belongs to it; how much of it fits shows in no time.
    pub fn is(&self, state: &str) -> bool {
        let differs = |sum: u8, (own, other): (u8, u8)| sum | (own ^ other);
        self.state.len() == state.len() && self.state.bytes().zip(state.bytes()).fold(0, differs) == 0
    }
}

/// Where voyages are sealed and remembered.
pub struct Harbour {
    key: LessSafeKey,
    random: SystemRandom,
    used: Mutex<VecDeque<(String, Millis)>>,
}

impl Harbour {
    /// The key hangs on the pepper: it outlives a restart, and is no other secret to keep.
    ///
    /// # Errors
    /// There is no pepper, and none can be made.
    pub fn new(access: &Access) -> anyhow::Result<Self> {
        let secret = access.own_pepper()?.seal("oidc voyage key", b"");
        let key = UnboundKey::new(&CHACHA20_POLY1305, &secret).map_err(|_| anyhow!("no key for cookies"))?;
        Ok(Self { key: LessSafeKey::new(key), random: SystemRandom::new(), used: Mutex::default() })
    }

    /// The cookie of a voyage.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub fn seal(&self, voyage: &Voyage) -> anyhow::Result<String> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| anyhow!("the system has no random bytes"))?;
        let mut sealed = serde_json::to_vec(voyage).context("a voyage cannot be written")?;
        let done =
            self.key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(ABOUT), &mut sealed);
        done.map_err(|_| anyhow!("a voyage cannot be sealed"))?;
        Ok(URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat()))
    }

    /// The voyage in a cookie that we sealed.
    pub fn open(&self, cookie: &str) -> Option<Voyage> {
        let mut bytes = URL_SAFE_NO_PAD.decode(cookie).ok()?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let plain = self.key.open_in_place(nonce, Aad::from(ABOUT), sealed).ok()?;
        serde_json::from_slice(plain).ok()
    }

    /// Ends a voyage; `false` when it has ended before.
    pub fn ends(&self, voyage: &Voyage, now: Millis) -> bool {
        let mut used = self.used.lock();
        used.retain(|(_, until)| *until > now);
        if used.iter().any(|(state, _)| *state == voyage.state) {
            return false;
        }
        if used.len() >= USED_MAX {
            used.pop_front();
        }
        used.push_back((voyage.state.clone(), voyage.until));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn harbour(secret: u8) -> Harbour {
        let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &[secret; 32]).expect("a key"));
        Harbour { key, random: SystemRandom::new(), used: Mutex::default() }
    }

    fn voyage(state: &str) -> Voyage {
        let text = |text: &str| text.to_owned();
        Voyage { state: text(state), nonce: text("n"), verifier: text("v"), next: text("/?q=1"), until: 100 }
    }

    #[test]
    fn a_cookie_is_opened_by_whoever_sealed_it_and_unchanged_only() {
        let (own, other) = (harbour(1), harbour(2));
        let cookie = own.seal(&voyage("s")).expect("sealed");
        assert!(!cookie.contains("/?q=1") && own.open(&cookie).is_some_and(|voyage| voyage.next == "/?q=1"));
        assert_ne!(own.seal(&voyage("s")).expect("sealed"), cookie, "never alike");
        assert!(other.open(&cookie).is_none());
        for index in [0, 20, cookie.len() / 2, cookie.len() - 2] {
            let mut changed = cookie.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            assert!(own.open(std::str::from_utf8(&changed).expect("ascii")).is_none(), "{index}");
        }
        for nonsense in ["", "AAAA", "%%", &cookie[..cookie.len() - 4], &format!("{cookie}AAAA")] {
            assert!(own.open(nonsense).is_none(), "{nonsense}");
        }
    }

    #[test]
    fn a_voyage_ends_once_and_the_memory_of_it_is_bounded() {
        let harbour = harbour(1);
        assert!(harbour.ends(&voyage("a"), 0) && !harbour.ends(&voyage("a"), 99) && harbour.ends(&voyage("b"), 99));
        for number in 0..2 * USED_MAX {
            assert!(harbour.ends(&voyage(&number.to_string()), 0));
        }
        assert_eq!(harbour.used.lock().len(), USED_MAX);
        harbour.ends(&voyage("late"), 100);
        assert_eq!(harbour.used.lock().len(), 1);
        assert!(voyage("abc").is("abc") && !voyage("abc").is("abd") && !voyage("abc").is("ab"));
    }
}
