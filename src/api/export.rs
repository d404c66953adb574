//! `GET /vehicles/export`: what is registered of every vehicle, as a file that can be imported again.
//! Fed by the board, a part at a time, as the client takes it: it costs no memory, however large the fleet.

use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::stream;
use serde_json::{Value, json};

use super::Service;
use super::error::Problem;
use super::params::Params;
use super::vehicles::read_filter;
use crate::domain::board::Row;
use crate::domain::query::Query;
use crate::domain::sheet::{self, COLUMNS};

/// Vehicles of one part; the board is held meanwhile, well under a millisecond.
const PART_ROWS: usize = 1_000;

/// What a file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Csv,
    Ndjson,
}

/// Where the next part begins.
struct Place {
    after: Option<(String, String)>,
    first: bool,
}

/// The registry as a file.
pub async fn export(request: HttpRequest, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &["format", "customer", "status"])?;
    let format = params.parsed("format", |text| match text {
        "csv" => Ok(Format::Csv),
        "ndjson" => Ok(Format::Ndjson),
        other => Err(format!("'{other}' is neither csv nor ndjson")),
    })?;
    let format = format.unwrap_or(Format::Csv);
    let query = Query { filter: read_filter(&params)?, ..Query::default() };
    let parts = stream::unfold(Some(Place { after: None, first: true }), move |place| {
        let part = place.map(|place| part(&service, &query, format, place));
        async move { part }
    });
    let (kind, name) = match format {
        Format::Csv => ("text/csv; charset=utf-8", "vehicles.csv"),
        Format::Ndjson => ("application/x-ndjson", "vehicles.ndjson"),
    };
    let mut response = HttpResponse::Ok();
    response.content_type(kind).insert_header(("Content-Disposition", format!("attachment; filename=\"{name}\"")));
    Ok(response.streaming(parts))
}

type Part = Result<Bytes, Problem>;

fn part(service: &Service, query: &Query, format: Format, place: Place) -> (Part, Option<Place>) {
    let board = service.feed.board();
    let after = place.after.as_ref().map(|(customer, vehicle)| (customer.as_str(), vehicle.as_str()));
    let (slots, _) = board.page(query, after, PART_ROWS);
    let rows: Vec<&Row> = slots.iter().filter_map(|slot| board.row(*slot)).collect();
    let text = match format {
        Format::Csv => csv_rows(&rows, place.first),
        Format::Ndjson => Ok(rows.iter().map(|row| format!("{}\n", object(row))).collect::<String>().into_bytes()),
    };
    let last = rows.last().filter(|_| slots.len() == PART_ROWS);
    let next = last.map(|row| (row.key.customer.to_string(), row.key.vehicle.to_string()));
    let next = next.map(|after| Place { after: Some(after), first: false });
    (text.map(Bytes::from).map_err(|error| Problem::store(&error)), next)
}

fn csv_rows(rows: &[&Row], with_head: bool) -> anyhow::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    if with_head {
        writer.write_record(COLUMNS)?;
    }
    for row in rows {
        let names = row.registered.as_deref();
        let text = |text: Option<&str>| sheet::guarded(text.unwrap_or_default());
        writer.write_record([
            text(Some(&row.key.customer)),
            text(Some(&row.key.vehicle)),
            text(names.and_then(|names| names.name.as_deref())),
            text(names.and_then(|names| names.registration.as_deref())),
            text(names.and_then(|names| names.vin.as_deref())),
            sheet::tags_cell(names.map_or(&[][..], |names| &names.tags)),
            row.own_timeout().map(|millis| millis.to_string()).unwrap_or_default(),
        ])?;
    }
    writer.into_inner().map_err(|error| anyhow::anyhow!("{error}"))
}

fn object(row: &Row) -> Value {
    let names = row.registered.as_deref().cloned().unwrap_or_default();
    json!({
        "customer": &*row.key.customer,
        "vehicle": &*row.key.vehicle,
        "name": names.name,
        "registration": names.registration,
        "vin": names.vin,
        "tags": names.tags,
        "offline_after_ms": row.own_timeout(),
    })
}
