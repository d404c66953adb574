//! `GET /`: the dashboard's page with what it shows first already in it, so that counts and rows are in sight before
//! the fleet itself has come. Fed by the board and by index.html; read by web/js/app.js.

use actix_web::http::header::{CACHE_CONTROL, ContentType};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use super::Service;
use super::assets;
use super::auth::Caller;
use super::error::{self, Problem};
use super::oidc;
use super::vehicles::{CountsView, TEXT_BYTES_MAX};
use crate::domain::access::Scope;
use crate::domain::firsts::{Order, first_rows};
use crate::domain::query::{Filter, Query, Statuses};
use crate::domain::time::rfc3339;
use crate::domain::transition::Status;
use crate::live::protocol::VehicleView;

/// Rows in the page: more than a tall window shows, about 30 KB.
const ROWS: usize = 60;
/// Where they go in index.html.
const PLACE: &str = "<!-- first rows -->";
/// Where the way to the identity provider goes in login.html.
const PLACE_OF_BUTTON: &str = "<!-- single sign-on -->";

#[derive(Serialize)]
struct First<'a> {
    /// The version of the service that wrote the page; the first frame of a connection names the one that runs.
    service: &'a str,
    /// The files that the page is made of; `/status` names those that are served now.
    web_files: String,
    server_time: String,
    /// Of the whole fleet that the reader may see.
    counts: CountsView,
    /// Under the filters but the status, so that each status button says what it would show.
    tally: CountsView,
    /// How many match.
    total: u32,
    items: Vec<VehicleView<'a>>,
}

/// The page. It is `no-store`: it holds rows of this very moment, and the page without them is 6 KB.
pub async fn page(request: HttpRequest, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let Some((index, _)) = assets::file(&service, "index.html") else { return error::unknown_path(request).await };
    let index = String::from_utf8_lossy(&index);
    // Whoever is not known yet gets the page without anything in it.
    let reader = Caller::of(&request).ok().filter(|caller| caller.scopes.has(Scope::Read));
    let first = reader.and_then(|caller| {
        let (mut query, order) = read_address(request.query_string())?;
        query.filter.own.clone_from(&caller.customer);
        first_json(&service, &query, order)
    });
    let element = first.map(|json| format!(r#"<script type="application/json" id="first-rows">{json}</script>"#));
    let page = index.replacen(PLACE, &element.unwrap_or_default(), 1);
    let mut response = HttpResponse::Ok();
    response.insert_header((CACHE_CONTROL, "no-store")).insert_header(ContentType::html());
    Ok(response.body(page))
}

/// Where people sign in, `GET /login`: web/js/sign-in.js does the rest.
pub async fn sign_in(request: HttpRequest, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let button = oidc::button(&service);
    plain(request, &service, "login.html", &button).await
}

/// Where people change their password, `GET /login/password`: web/js/password.js does the rest.
pub async fn change_password(request: HttpRequest, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    plain(request, &service, "password.html", "").await
}

/// A page without anything of the fleet.
async fn plain(request: HttpRequest, service: &Service, file: &str, button: &str) -> Result<HttpResponse, Problem> {
    let Some((page, _)) = assets::file(service, file) else { return error::unknown_path(request).await };
    let page = String::from_utf8_lossy(&page).replacen(PLACE_OF_BUTTON, button, 1);
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).content_type(ContentType::html()).body(page))
}

fn first_json(service: &Service, query: &Query, order: Order) -> Option<String> {
    let board = service.feed.board();
    let (rows, tally) = first_rows(&board, query, order, ROWS);
    let allowed = Status::ALL.into_iter().filter(|status| query.filter.statuses.allows(*status));
    let first = First {
        service: env!("CARGO_PKG_VERSION"),
        web_files: assets::mark(service),
        server_time: rfc3339(service.clock.date(service.clock.now())),
        counts: board.counts(&Filter::default().within(query.filter.own.clone())).into(),
        total: allowed.map(|status| tally.of(status)).sum(),
        tally: tally.into(),
        items: rows.into_iter().map(VehicleView::whole).collect(),
    };
    serde_json::to_string(&first).ok().map(|json| harmless(&json))
}

/// JSON that cannot end the element it stands in, nor open a comment: no vehicle's name is ever markup.
fn harmless(json: &str) -> String {
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// The filters in the dashboard's address, understood as web/js/url.js does: what is strange is left out. `None` when
/// they can match nothing.
fn read_address(address: &str) -> Option<(Query, Order)> {
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(address).ok()?;
    let (mut query, mut order, mut customers) = (Query::default(), Order::default(), Vec::new());
    for (name, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty() && value.len() <= TEXT_BYTES_MAX) {
        match name.as_str() {
            "status" => query.filter.statuses = statuses(&value),
            "customer" => customers = vec![value],
            "q" => query.text = Some(value.trim().to_lowercase()).filter(|text| !text.is_empty()),
            "tag" => query.tag = Some(value),
            "sort" => order = Order::parse(&value).unwrap_or(order),
            _ => {}
        }
    }
    query.filter = Filter::of(customers, query.filter.statuses).ok()?;
    Some((query, order))
}

fn statuses(list: &str) -> Statuses {
    let mut set = Statuses::default();
    list.split(',').filter_map(Status::from_word).for_each(|status| set.insert(status));
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_understood_and_what_is_strange_left_out() {
        let (query, order) =
            read_address("status=offline,late&customer=acme&q=+Van+7&tag=reefer&sort=-last_seen&zoom=8")
                .expect("reads");
        assert_eq!(query.filter, Filter::parse("acme", "offline").expect("filter"));
        assert_eq!((query.text.as_deref(), query.tag.as_deref()), (Some("van 7"), Some("reefer")));
        assert_eq!(Some(order), Order::parse("-last_seen"));
        assert_eq!(read_address("sort=colour&q=%20&status="), Some((Query::default(), Order::default())));
        assert_eq!(read_address("customer=a%20b"), None);
    }

    #[test]
    fn no_text_ends_the_element_it_stands_in() {
        assert_eq!(harmless("</script><!--&"), "\\u003c/script\\u003e\\u003c!--\\u0026");
    }
}
