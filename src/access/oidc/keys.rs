//! The provider's keys (a JWK set, RFC 7517), and whether a token is signed with one of them.
//! Fed by the provider's keeper beside it. Bound: `KEYS_MAX` keys of a set; further ones are not read.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde::Deserialize;
use serde_json::Value;

use crate::domain::oidc::{Algorithm, Token};

/// Providers have two or three, while they change from one to the next.
const KEYS_MAX: usize = 50;

/// A key as it is published; members for other kinds of keys are not ours to read.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    alg: Option<String>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

enum Material {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// A point of P-256, uncompressed.
    P256(Vec<u8>),
}

struct Key {
    id: Option<String>,
    /// The one algorithm it is for, when it says so.
    algorithm: Option<Algorithm>,
    material: Material,
}

impl Key {
    fn read(jwk: Jwk) -> Option<Self> {
        let bytes = |part: Option<String>| URL_SAFE_NO_PAD.decode(part?).ok();
        let algorithm = match jwk.alg.as_deref() {
            Some(word) => Some(Algorithm::from_word(word)?),
            None => None,
        };
        let material = match (&*jwk.kty, jwk.crv.as_deref()) {
            ("RSA", _) => Material::Rsa { modulus: bytes(jwk.n)?, exponent: bytes(jwk.e)? },
            ("EC", Some("P-256")) => {
                let (x, y) = (bytes(jwk.x)?, bytes(jwk.y)?);
                let fits = x.len() == 32 && y.len() == 32;
                fits.then(|| Material::P256([&[4], &*x, &*y].concat()))?
            }
            _ => return None,
        };
        let is_for_signatures = jwk.purpose.as_deref().is_none_or(|purpose| purpose == "sig");
        is_for_signatures.then_some(Self { id: jwk.kid, algorithm, material })
    }

    /// Whether a token may be signed with it. The token's word for the algorithm counts only where the key is of that
    /// kind.
    fn may_sign(&self, token: &Token<'_>) -> bool {
        let is_kind = match self.material {
            Material::Rsa { .. } => matches!(token.algorithm, Algorithm::Rs256 | Algorithm::Ps256),
            Material::P256(_) => token.algorithm == Algorithm::Es256,
        };
        let is_named = token.key.as_ref().is_none_or(|id| self.id.as_ref() == Some(id));
        is_kind && is_named && self.algorithm.is_none_or(|algorithm| algorithm == token.algorithm)
    }

    fn signed(&self, token: &Token<'_>) -> bool {
        let (signed, signature) = (token.signed, &*token.signature);
        let verified = match (&self.material, token.algorithm) {
            (Material::Rsa { modulus, exponent }, Algorithm::Rs256) => {
                RsaPublicKeyComponents { n: modulus, e: exponent }.verify(
                    &RSA_PKCS1_2048_8192_SHA256,
                    signed,
                    signature,
                )
            }
            (Material::Rsa { modulus, exponent }, Algorithm::Ps256) => {
                RsaPublicKeyComponents { n: modulus, e: exponent }.verify(&RSA_PSS_2048_8192_SHA256, signed, signature)
            }
            (Material::P256(point), Algorithm::Es256) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed, signature)
            }
            _ => return false,
        };
        verified.is_ok()
    }
}

/// What a set says of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    /// It is signed with one of these keys.
    Good,
    /// None of these keys may have signed it: the set may be old.
    NoKey,
    /// The key that it names did not sign it.
    Wrong,
}

/// A set of keys.
#[derive(Default)]
pub struct Keys(Vec<Key>);

impl Keys {
    /// Reads a set; keys of a kind that is not believed are left out.
    pub fn read(set: &Value) -> Self {
        let listed = set["keys"].as_array().into_iter().flatten().take(KEYS_MAX);
        Self(listed.filter_map(|key| Key::read(serde_json::from_value(key.clone()).ok()?)).collect())
    }

    /// Whether one of them signed this.
    pub fn check(&self, token: &Token<'_>) -> Signature {
        let mut possible = self.0.iter().filter(|key| key.may_sign(token)).peekable();
        if possible.peek().is_none() {
            return Signature::NoKey;
        }
        if possible.any(|key| key.signed(token)) { Signature::Good } else { Signature::Wrong }
    }
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
    use serde_json::json;

    use super::*;

    fn signer() -> EcdsaKeyPair {
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).expect("made");
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, made.as_ref(), &SystemRandom::new()).expect("read")
    }

    fn jwk(signer: &EcdsaKeyPair, more: &Value) -> Value {
        let point = signer.public_key().as_ref();
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut key = json!({"kty": "EC", "crv": "P-256", "x": part(&point[1..33]), "y": part(&point[33..])});
        key.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        key
    }

    fn token(signer: &EcdsaKeyPair, header: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(&json!({"sub": "f7"})));
        let signature = signer.sign(&SystemRandom::new(), signed.as_bytes()).expect("signed");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    #[test]
    fn a_token_is_good_when_the_key_it_names_signed_it() {
        let (own, other) = (signer(), signer());
        let keys = Keys::read(&json!({"keys": [
            jwk(&own, &json!({"kid": "a", "use": "sig", "alg": "ES256"})), jwk(&other, &json!({"kid": "b"})),
            jwk(&own, &json!({"kid": "enc", "use": "enc"})), jwk(&own, &json!({"kid": "odd", "alg": "HS256"})),
            {"kty": "oct", "kid": "secret", "k": "AAAA"}, {"kty": "RSA", "kid": "half"}, "nonsense", null
        ]}));
        assert_eq!(keys.0.len(), 2);
        let check = |text: String| keys.check(&Token::parse(&text).expect("parses"));
        let es256 = |kid: &str| json!({"alg": "ES256", "kid": kid});
        assert_eq!(check(token(&own, &es256("a"))), Signature::Good);
        assert_eq!(check(token(&other, &es256("a"))), Signature::Wrong);
        assert_eq!(check(token(&own, &es256("b"))), Signature::Wrong);
        for unknown in ["c", "enc", "odd", "secret", "half", ""] {
            assert_eq!(check(token(&own, &es256(unknown))), Signature::NoKey, "{unknown}");
        }
        assert_eq!(check(token(&other, &json!({"alg": "ES256"}))), Signature::Good, "one that names none");
        assert_eq!(check(token(&own, &json!({"alg": "RS256", "kid": "a"}))), Signature::NoKey, "of another kind");
        let good = token(&own, &es256("a"));
        let (signed, _) = good.rsplit_once('.').expect("a token");
        assert_eq!(check(format!("{signed}.")), Signature::Wrong);
    }

    /// Made with `openssl genrsa 2048` and `openssl dgst -sha256 -sign`; with `-sigopt rsa_padding_mode:pss`.
    #[test]
    fn signatures_by_rsa_are_read_as_others_make_them() {
        let made: Value = serde_json::from_str(include_str!("rsa_samples.json")).expect("JSON");
        let keys = Keys::read(&json!({"keys": [made["key"]]}));
        for name in ["RS256", "PS256"] {
            let text = made[name].as_str().expect("a token");
            assert_eq!(keys.check(&Token::parse(text).expect("parses")), Signature::Good, "{name}");
            let other = if name == "RS256" { "PS256" } else { "RS256" };
            let header = URL_SAFE_NO_PAD.encode(json!({"alg": other, "kid": "r"}).to_string());
            let other = format!("{header}.{}", text.split_once('.').expect("a token").1);
            assert_eq!(keys.check(&Token::parse(&other).expect("parses")), Signature::Wrong, "{name} as another");
        }
    }
}
