//! The cookies: that of a session, set and taken back by sessions.rs, read by the gate of every route; and that of a
//! browser which is away at the identity provider (oidc.rs).
//! Under TLS its name begins with `__Host-`, which browsers accept from this very host only.

use actix_web::cookie::time::Duration;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::http::header::{COOKIE, HeaderMap, HeaderName, ORIGIN};

use crate::domain::time::Millis;

/// Where browsers say whose page asks.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

fn name(scheme: &str) -> &'static str {
    if scheme == "https" { "__Host-rollcall" } else { "rollcall" }
}

/// The cookie with this token, for so long; an empty token takes it back.
pub fn made(scheme: &str, token: &str, life: Millis) -> Cookie<'static> {
    Cookie::build(name(scheme), token.to_owned())
        .path("/")
        .http_only(true)
        .same_site(SameSite::Strict)
        .secure(scheme == "https")
        .max_age(Duration::milliseconds(life))
        .finish()
}

/// The token in a request.
pub fn token<'a>(scheme: &str, headers: &'a HeaderMap) -> Option<&'a str> {
    find(name(scheme), headers)
}

#[cfg(feature = "oidc")]
fn voyage_name(scheme: &str) -> &'static str {
    if scheme == "https" { "__Host-rollcall-oidc" } else { "rollcall-oidc" }
}

/// The cookie of a browser that goes to the identity provider. It has to come along when that one sends the browser
/// back, so it is SameSite=Lax; it opens nothing by itself.
#[cfg(feature = "oidc")]
pub fn voyage(scheme: &str, sealed: &str, life: Millis) -> Cookie<'static> {
    let mut cookie = made(scheme, sealed, life);
    cookie.set_name(voyage_name(scheme));
    cookie.set_same_site(SameSite::Lax);
    cookie
}

/// What such a browser brings back.
#[cfg(feature = "oidc")]
pub fn voyage_in<'a>(scheme: &str, headers: &'a HeaderMap) -> Option<&'a str> {
    find(voyage_name(scheme), headers)
}

/// Read by hand: a cookie that some other program of this host set may be of any form.
fn find<'a>(name: &str, headers: &'a HeaderMap) -> Option<&'a str> {
    let lines = headers.get_all(COOKIE).filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find_map(|(named, value)| (named == name).then_some(value))
}

/// Whether a request that carries the cookie comes from the dashboard's own page. A cookie goes along unasked, so a
/// page of somebody else could use it; the browser says whose page it is, in a header that no page can write. Where it
/// sends `Origin` alone, the porter has held that against the host already.
pub fn is_of_own_page(headers: &HeaderMap) -> bool {
    match headers.get(SEC_FETCH_SITE) {
        Some(site) => site == "same-origin",
        None => headers.contains_key(ORIGIN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    #[test]
    fn the_cookie_is_for_this_host_and_no_script_and_under_tls_says_so() {
        assert_eq!(
            made("https", "ab", 60_000).to_string(),
            "__Host-rollcall=ab; HttpOnly; SameSite=Strict; Secure; Path=/; Max-Age=60"
        );
        assert_eq!(made("http", "", 0).to_string(), "rollcall=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0");
    }

    #[test]
    fn the_token_is_found_among_whatever_else_there_is() {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::from_static("a=%zz; broken; x==; rollcall=ab; __Host-rollcall=cd"));
        assert_eq!((token("http", &headers), token("https", &headers)), (Some("ab"), Some("cd")));
    }
}
