//! Tests of what is believed of an ID token, and of whom the rules let in. Reads oidc.rs.

use proptest::prelude::*;
use serde_json::json;

use super::*;

const NOW: Millis = 1_800_000_000_000;
const EXPECTED: Expected<'_> =
    Expected { issuer: "https://id.example.org", client_id: "rollcall", nonce: "n-1", now: NOW };

fn good() -> Value {
    json!({
        "iss": EXPECTED.issuer, "aud": EXPECTED.client_id, "nonce": EXPECTED.nonce, "sub": "f7",
        "iat": NOW / 1_000 - 2, "exp": NOW / 1_000 + 300, "preferred_username": "jo",
        "groups": ["drivers", "fleet-ops"], "org": "acme", "realm_access": {"roles": ["boss"]},
        "https://example.org/team.name": "blue"
    })
}

fn token(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.AAEC", part(header), part(claims))
}

fn read(claims: &Value) -> Result<Claims, String> {
    let text = token(&json!({"alg": "ES256", "kid": "k1"}), claims);
    Token::parse(&text).expect("parses").claims(&EXPECTED)
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = good();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = good();
    claims.as_object_mut().expect("an object").remove(name);
    claims
}

#[test]
fn a_token_is_taken_apart_and_only_strong_signatures_are_spoken_of() {
    let text = token(&json!({"alg": "RS256", "kid": "k1", "typ": "JWT"}), &good());
    let read = Token::parse(&text).expect("parses");
    assert_eq!((read.algorithm, read.key.as_deref(), &*read.signature), (Algorithm::Rs256, Some("k1"), &[0, 1, 2][..]));
    assert_eq!(Some(read.signed), text.rsplit_once('.').map(|(signed, _)| signed.as_bytes()));
    for weak in ["none", "None", "NONE", "", "HS256", "HS512", "RS1", "RS256 ", "rs256"] {
        assert!(Token::parse(&token(&json!({"alg": weak}), &good())).is_err(), "{weak}");
    }
    assert!(Token::parse(&token(&json!({"alg": "RS256", "crit": ["b64"]}), &good())).is_err());
    assert!(Token::parse(&token(&json!({"kid": "k1"}), &good())).is_err());
    for broken in ["", ".", "..", "a.b.c", "e30.e30.", &token(&json!({"alg": "RS256"}), &json!([1]))] {
        assert!(Token::parse(broken).is_err(), "{broken}");
    }
}

#[test]
fn every_claim_has_to_be_right() {
    assert_eq!(read(&good()).expect("believed").subject(), "f7");
    for right in [
        with("aud", json!(["rollcall"])),
        with("azp", json!("rollcall")),
        with("exp", json!(NOW as f64 / 1_000.0 + 0.5)),
        with("exp", json!((NOW - SKEW) / 1_000 + 1)),
    ] {
        assert!(read(&right).is_ok(), "{right}");
    }
    let mut two = with("aud", json!(["rollcall", "other"]));
    assert!(read(&two).expect_err("for whom?").contains("several"));
    two["azp"] = json!("rollcall");
    assert!(read(&two).is_ok());
    for (wrong, why) in [
        (with("iss", json!("https://id.example.org/")), "issuer"),
        (without("iss"), "issuer"),
        (with("aud", json!("other")), "another client"),
        (with("aud", json!([])), "another client"),
        (with("aud", json!({"rollcall": 1})), "another client"),
        (with("azp", json!("other")), "made for another"),
        (with("azp", json!(7)), "made for another"),
        (with("exp", json!((NOW - SKEW) / 1_000)), "expired"),
        (with("exp", json!("tomorrow")), "when it expires"),
        (without("exp"), "when it expires"),
        (with("iat", json!((NOW + SKEW) / 1_000 + 1)), "future"),
        (with("nbf", json!((NOW + SKEW) / 1_000 + 1)), "future"),
        (with("iat", json!((NOW - AGE_MAX) / 1_000 - 1)), "long ago"),
        (with("iat", json!(1e300)), "when it was made"),
        (without("iat"), "when it was made"),
        (with("nonce", json!("n-2")), "this sign-in"),
        (without("nonce"), "this sign-in"),
        (with("sub", json!("")), "of whom"),
        (with("sub", json!("x".repeat(256))), "of whom"),
        (with("sub", json!(7)), "of whom"),
    ] {
        let said = read(&wrong).map(|_| ()).expect_err("refused");
        assert!(said.contains(why), "{wrong}: {said}");
    }
}

fn rule(claim: &str, value: &str, role: Role, whose: &str) -> Rule {
    Rule { claim: claim.into(), value: value.into(), role, whose: Whose::parse(whose).expect("reads") }
}

#[test]
fn the_first_rule_that_fits_says_who_somebody_is_and_no_rule_is_nobody() {
    let person = |claims: &Value, rules: &[Rule]| {
        let person = read(claims).expect("believed").person(rules, "preferred_username");
        person.map(|person| (person.login.to_string(), person.role))
    };
    let ok = |login: &str, role| Ok((login.to_owned(), role));
    assert!(person(&good(), &[]).is_err(), "nobody is let in by default");
    for (rules, wanted) in [
        (vec![rule("groups", "fleet-ops", Role::Operator, "*")], ok("jo", Role::Operator)),
        (vec![rule("groups", "fleet-ops", Role::Viewer, "birch")], ok("birch/jo", Role::Viewer)),
        (vec![rule("groups", "drivers", Role::Viewer, "{org}")], ok("acme/jo", Role::Viewer)),
        (vec![rule("realm_access.roles", "boss", Role::Admin, "acme")], ok("acme/jo", Role::Admin)),
        (vec![rule("https://example.org/team.name", "blue", Role::Viewer, "acme")], ok("acme/jo", Role::Viewer)),
        (
            vec![rule("groups", "none", Role::Admin, "*"), rule("org", "acme", Role::Viewer, "acme")],
            ok("acme/jo", Role::Viewer),
        ),
        (
            vec![rule("org", "acme", Role::Viewer, "acme"), rule("groups", "fleet-ops", Role::Admin, "*")],
            ok("acme/jo", Role::Viewer),
        ),
    ] {
        assert_eq!(person(&good(), &rules), wanted, "{rules:?}");
    }
    for strange in [json!("../x"), json!(""), json!(["acme"]), Value::Null, json!({"a": 1})] {
        let rules = [rule("groups", "drivers", Role::Viewer, "{org}")];
        assert!(person(&with("org", strange.clone()), &rules).is_err(), "{strange}");
    }
    for groups in [json!("fleet"), json!(["fleet-ops2"]), json!({"fleet-ops": true}), json!(true), Value::Null] {
        let rules = [rule("groups", "fleet-ops", Role::Admin, "*")];
        assert!(person(&with("groups", groups.clone()), &rules).is_err(), "{groups}");
    }
}

#[test]
fn a_name_becomes_one_that_logins_can_have() {
    let rules = [rule("org", "acme", Role::Viewer, "acme")];
    let name =
        |said: Value| read(&with("preferred_username", said)).expect("believed").person(&rules, "preferred_username");
    for (said, login) in
        [("Jo Smith", "acme/Jo-Smith"), ("jo@x.example", "acme/jo@x.example"), ("/../jo", "acme/jo"), ("é1", "acme/1")]
    {
        assert_eq!(name(json!(said)).expect("a name").login.to_string(), login);
    }
    assert_eq!(name(json!("a".repeat(200))).expect("cut").login.name.len(), NAME_BYTES_MAX);
    for none in [json!(""), json!("---"), json!(7), Value::Null] {
        assert!(name(none.clone()).is_err(), "{none}");
    }
}

#[test]
fn whose_is_read_and_written_alike() {
    for text in ["*", "acme", "{org}"] {
        assert_eq!(Whose::parse(text).map(|whose| whose.text()), Ok(text.to_owned()));
    }
    for text in ["", "{}", "a b", "**", "/"] {
        assert!(Whose::parse(text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_breaks_the_reader(text in ".{0,200}", header in ".{0,60}", claims in ".{0,120}") {
        let _ = Token::parse(&text);
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let _ = Token::parse(&format!("{}.{}.", part(&header), part(&claims)));
    }
}
