//! `/login/oidc`: the way of a browser to the identity provider and back. Feeds access::oidc; whoever comes back signed
//! in gets the same cookie as by a password, whoever does not is told why on the sign-in page.

use std::fmt::Write;

use actix_web::http::header::{CACHE_CONTROL, ContentType, LOCATION};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

use super::error::{self, Problem};
use super::sessions::{self, address_of};
use super::{Service, audit, cookie};
use crate::access::logins::Refused;
use crate::access::oidc::{AWAY_MAX, Answer, Oidc, Trouble};

/// Longest address that is gone on to afterwards; the cookie has room for it.
const NEXT_BYTES_MAX: usize = 1_000;

#[derive(Default, Deserialize)]
struct Wanted {
    #[serde(default)]
    next: String,
}

/// Sends the browser to the provider: 303.
pub async fn depart(request: HttpRequest, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let Some(oidc) = provider(&service) else { return error::unknown_path(request).await };
    let wanted: Wanted = serde_urlencoded::from_str(request.query_string()).unwrap_or_default();
    let next = own_path(&wanted.next);
    let scheme = request.connection_info().scheme().to_owned();
    match oidc.depart(next).await {
        Ok(departure) => Ok(HttpResponse::SeeOther()
            .insert_header((CACHE_CONTROL, "no-store"))
            .insert_header((LOCATION, departure.address))
            .cookie(cookie::voyage(&scheme, &departure.cookie, AWAY_MAX))
            .finish()),
        Err(trouble) => Ok(told(&service, &request, trouble, next).await),
    }
}

/// Takes the browser back: a page with the session's cookie, which goes on by itself. A redirect would not do: it would
/// still be part of the way from the provider's site, and browsers would hold back a SameSite=Strict cookie.
pub async fn arrive(request: HttpRequest, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let Some(oidc) = provider(&service) else { return error::unknown_path(request).await };
    let answer: Answer = serde_urlencoded::from_str(request.query_string()).unwrap_or_default();
    let scheme = request.connection_info().scheme().to_owned();
    let sealed = cookie::voyage_in(&scheme, request.headers());
    match oidc.arrive(sealed, answer, address_of(&request)).await {
        Ok(arrival) => {
            let user = arrival.begun.principal.who.to_string();
            if let Some(what) = arrival.news {
                let customer = arrival.begun.principal.customer.clone();
                audit::note_of(&service, &request, format!("provider {}", oidc.name()), what, customer, user, "ok")
                    .await;
            }
            let session = sessions::cookie_of(&service, &request, &arrival.begun).await;
            let mut response = HttpResponse::Ok();
            response.insert_header((CACHE_CONTROL, "no-store")).insert_header(ContentType::html());
            Ok(response.cookie(session).cookie(cookie::voyage(&scheme, "", 0)).body(onward(&arrival.next)))
        }
        Err((trouble, next)) => Ok(told(&service, &request, trouble, next.as_deref().unwrap_or("/")).await),
    }
}

fn provider(service: &Service) -> Option<&Oidc> {
    service.oidc.as_deref().filter(|_| service.access.asks())
}

/// Leads to the sign-in page, which has a sentence for each word; the operator finds the rest in log and audit.
async fn told(service: &Service, request: &HttpRequest, trouble: Trouble, next: &str) -> HttpResponse {
    let (word, why) = match trouble {
        Trouble::Lost => ("lost", "the sign-in is unknown, too old or was used before".to_owned()),
        Trouble::Declined(said) => ("declined", format!("the provider says {said}")),
        Trouble::Away(error) => {
            tracing::warn!("nobody can sign in with the identity provider: {error:#}");
            ("away", "the provider does not answer as it should".to_owned())
        }
        Trouble::Untrue(why) => {
            tracing::warn!("the identity provider's answer is not believed: {why}");
            ("untrue", format!("the answer is not believed: {why}"))
        }
        Trouble::Stranger(why) => ("stranger", format!("nobody here: {why}")),
        Trouble::Refused(Refused::Denied(_, user)) => {
            let name = user.map_or_else(String::new, |user| user.login.to_string());
            ("disabled", format!("the user {name} is disabled here"))
        }
        Trouble::Refused(Refused::Taken(login)) => ("taken", format!("there is another user {login}")),
        Trouble::Refused(Refused::Limited(_, true)) => {
            sessions::note_limited(service, request).await;
            ("busy", "too many attempts".to_owned())
        }
        Trouble::Refused(Refused::Limited(_, false) | Refused::Crowded) => ("busy", "too many attempts".to_owned()),
        Trouble::Refused(Refused::Store(error)) => {
            tracing::warn!("nobody can sign in with the identity provider: {error:#}");
            ("store", "the store does not answer".to_owned())
        }
    };
    // What the provider or the store cannot do is in the log; who lost the way has done nothing.
    if ["declined", "untrue", "stranger", "disabled", "taken"].contains(&word) {
        let why: String = why.chars().filter(|c| !c.is_control()).take(300).collect();
        audit::note_of(service, request, "nobody".into(), "session.refused", None, "single sign-on", &why).await;
    }
    let place = serde_urlencoded::to_string([("trouble", word), ("next", next)]).unwrap_or_default();
    HttpResponse::SeeOther()
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((LOCATION, format!("/login?{place}")))
        .cookie(cookie::voyage(request.connection_info().scheme(), "", 0))
        .finish()
}

/// A path of this very service, whatever the address says: `//host` and `/\host` are other hosts to a browser.
fn own_path(next: &str) -> &str {
    let is_own = next.starts_with('/')
        && !next[1..].starts_with(['/', '\\'])
        && next.len() <= NEXT_BYTES_MAX
        && !next.contains(|c: char| c.is_control() || c == '\\');
    if is_own { next } else { "/" }
}

/// The page between. Its address is our own again, so what it goes on to gets the cookie.
fn onward(next: &str) -> String {
    let next = escaped(next);
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Signed in - Rollcall</title>\
         <meta http-equiv=\"refresh\" content=\"0;url={next}\"></head>\
         <body><p>Signed in. <a href=\"{next}\">Go on</a></p></body></html>"
    )
}

/// The way there on the sign-in page; js/sign-in.js adds what is to be looked at afterwards.
pub fn button(service: &Service) -> String {
    let name = provider(service).map(|oidc| escaped(oidc.name()));
    name.map_or_else(String::new, |name| {
        format!("<a id=\"single-sign-on\" class=\"button\" href=\"/login/oidc\">Sign in with {name}</a>")
    })
}

/// Text that is never markup, between quotes neither.
fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        // Writing into a text cannot fail.
        let _ = match c {
            '&' | '<' | '>' | '"' | '\'' => write!(out, "&#{};", u32::from(c)),
            c => write!(out, "{c}"),
        };
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_afterwards_is_a_path_of_this_service() {
        for own in ["/", "/?status=offline&q=a%20b", "/a//b"] {
            assert_eq!(own_path(own), own);
        }
        let long = format!("/{}", "a".repeat(NEXT_BYTES_MAX));
        for foreign in ["", "x", "//evil.example", "/\\evil.example", "https://evil.example", "/a\nb", "/a\\b", &long] {
            assert_eq!(own_path(foreign), "/", "{foreign}");
        }
    }

    #[test]
    fn no_text_becomes_markup() {
        let page = onward("/?q=\"><script>alert(1)</script>'&");
        assert!(!page.contains("<script") && !page.contains("\"><s"), "{page}");
        assert_eq!(escaped("A & <B>"), "A &#38; &#60;B&#62;");
    }
}
