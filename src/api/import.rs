//! `POST /vehicles/import`: the registry from a file of CSV or NDJSON, all of it or nothing unless `partial=true`.
//! The body goes to a file as it comes, is checked from there line by line off the HTTP threads, and what is in order
//! goes to the desk; so a large import costs memory for its names' hashes only.

mod check;
mod lines;

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};

use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::StreamExt;
use serde::Serialize;

use super::error::Problem;
use super::params::Params;
use super::registry::on_board;
use super::{Service, audit, body};
use crate::fleet::desk::{Import, Imported};
use check::{Checked, Note, Report, Wrong};

/// What is understood.
const KINDS: &[&str] = &["text/csv", "application/x-ndjson", "application/ndjson"];

#[derive(Serialize)]
struct Answer {
    created: u64,
    updated: u64,
    unchanged: u64,
    dry_run: bool,
    errors: Vec<Wrong>,
    errors_total: u64,
    notes: Vec<Note>,
    notes_total: u64,
}

impl Answer {
    fn of(done: Imported, dry_run: bool, errors: Report<Wrong>, notes: Report<Note>) -> Self {
        let Imported { created, updated, unchanged } = done;
        let (errors_total, notes_total) = (errors.total, notes.total);
        let (errors, notes) = (errors.first, notes.first);
        Self { created, updated, unchanged, dry_run, errors, errors_total, notes, notes_total }
    }
}

/// Takes a file of vehicles.
pub async fn import(
    request: HttpRequest,
    payload: web::Payload,
    service: web::Data<Service>,
) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &["dry_run", "partial"])?;
    let (dry, partial) = (flag(&params, "dry_run")?, flag(&params, "partial")?);
    let csv = body::kind(&request, KINDS)? == KINDS[0];
    let file = receive(payload, service.import_bytes_max).await?;
    let (shared, own) = (service.clone(), params.caller().customer.clone());
    let checked = web::block(move || check::check(file, csv, &shared, own.as_deref())).await;
    let checked = checked.map_err(anyhow::Error::from).flatten();
    let Checked { rows, errors, notes } = checked.map_err(|error| Problem::not_written(&error))?;
    let refused = errors.total > 0 && !partial;
    let done = if refused && !dry {
        Imported::default()
    } else {
        let sent = service.desk.send(Import { rows, dry }).await;
        let done = sent.map_err(anyhow::Error::from).flatten();
        let (done, last) = done.map_err(|error| Problem::not_written(&error))?;
        let Imported { created, updated, .. } = done;
        if !dry && created + updated > 0 {
            let subject = format!("{created} created, {updated} changed");
            audit::note(&service, &request, "vehicles.imported", params.caller().customer.clone(), subject).await;
        }
        service.door.quarantine().drop_known(|key| service.registry.knows(&key.customer, &key.vehicle));
        on_board(&service, &last).await;
        done
    };
    let mut response = if refused && !dry { HttpResponse::UnprocessableEntity() } else { HttpResponse::Ok() };
    Ok(response.json(Answer::of(done, dry, errors, notes)))
}

fn flag(params: &Params, name: &str) -> Result<bool, Problem> {
    let read = |text: &str| text.parse::<bool>().map_err(|_| format!("'{text}' is neither true nor false"));
    Ok(params.parsed(name, read)?.unwrap_or(false))
}

/// Writes the body to a file without a name, as it comes.
async fn receive(mut payload: web::Payload, bytes_max: u64) -> Result<File, Problem> {
    let not_kept = |error: std::io::Error| {
        Problem::not_written(&anyhow::Error::from(error).context("an import finds no room in TMPDIR"))
    };
    let mut file = BufWriter::new(tempfile::tempfile().map_err(not_kept)?);
    let mut bytes = 0;
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| Problem::unreadable(format!("the body broke off: {error}")))?;
        bytes += chunk.len() as u64;
        if bytes > bytes_max {
            let detail = format!("the file is over {bytes_max} bytes (http.import_bytes_max); send it in parts");
            return Err(Problem::too_large(detail));
        }
        file.write_all(&chunk).map_err(not_kept)?;
    }
    let mut file = file.into_inner().map_err(|error| not_kept(error.into_error()))?;
    file.seek(SeekFrom::Start(0)).map_err(not_kept)?;
    Ok(file)
}
