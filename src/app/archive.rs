//! `rollcall archive`: list, make, check, read and mend the files of old history, in the store and at the place of
//! files itself. A running service may go on meanwhile. Called by main.rs.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::{Subcommand, ValueEnum};

use super::key::open_store;
use crate::domain::export::{Cell, Format};
use crate::domain::time::{Millis, parse, rfc3339};
use crate::exports::archive::{Archive, check};
use crate::exports::rows::Rows;
use crate::exports::sink::{self, Output};
use crate::fleet::keeper::Archivist;
use crate::settings::Settings;
use crate::store::Store;
use crate::store::archive::{Archived, place};
use crate::store::retention::Kind;

/// What is to be done with the archive.
#[derive(Debug, Subcommand)]
pub enum ArchiveCommand {
    /// List the files: name, kind, from, to, rows, bytes, checksum.
    List,
    /// Make the files of whole months of transitions, or days of heartbeats, that have none. Nothing is dropped.
    Create {
        /// Of what.
        #[arg(long)]
        kind: KindOfFile,
        /// Only what ends by then: RFC 3339 or epoch milliseconds.
        #[arg(long, value_parser = instant)]
        before: Millis,
    },
    /// Read files back, and say whether their rows are those that were written.
    Verify {
        /// Names as `list` shows them, or paths of copies; without any, all that are listed.
        files: Vec<String>,
    },
    /// Take a customer's rows, or one vehicle's, out of every file, for good: files that hold any are written anew.
    Forget {
        /// Whose.
        #[arg(long)]
        customer: String,
        /// Only this vehicle's.
        #[arg(long)]
        vehicle: Option<String>,
    },
    /// Print the rows of a file.
    Read {
        /// Its name as `list` shows it, or the path of a copy.
        file: String,
        /// csv guards texts that a spreadsheet would take for a formula; ndjson is as it was stored.
        #[arg(long, value_enum, default_value_t = Printed::Ndjson)]
        format: Printed,
    },
}

/// A kind that is made by hand. Minutes are not: they stand still from then on, which is the keeper's to decide.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum KindOfFile {
    /// Changes of status.
    Transitions,
    /// The heartbeat log.
    Heartbeats,
}

/// How rows are printed.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Printed {
    /// A JSON object a line.
    Ndjson,
    /// With a head line.
    Csv,
}

fn instant(text: &str) -> Result<Millis, String> {
    parse(text).ok_or_else(|| format!("'{text}' is neither RFC 3339 nor epoch milliseconds"))
}

/// Does it.
///
/// # Errors
/// One sentence: no such file, one that is damaged, or a store that does not answer.
pub async fn run(settings: &Settings, command: ArchiveCommand) -> anyhow::Result<()> {
    // A copy is read wherever it lies, also where there is no store any more.
    if let ArchiveCommand::Read { file, format } = &command
        && Path::new(file).is_file()
    {
        return print(&Rows::open(std::fs::File::open(file)?)?, *format);
    }
    let (store, clock, folder) = open_store(settings).await?;
    let archive = Archive::open(&settings.exports, folder, Arc::clone(&store), clock).await?;
    let outcome = obey(&archive, &*store, clock.today(), command).await;
    store.close().await;
    outcome
}

async fn obey(archive: &Archive, store: &dyn Store, today: Millis, command: ArchiveCommand) -> anyhow::Result<()> {
    match command {
        ArchiveCommand::List => {
            let mut out = std::io::stdout().lock();
            for archived in store.archived_files().await? {
                writeln!(out, "{}", line(&archived))?;
            }
        }
        ArchiveCommand::Create { kind, before } => {
            let kind = match kind {
                KindOfFile::Transitions => Kind::Transitions,
                KindOfFile::Heartbeats => Kind::Heartbeats,
            };
            create(archive, store, kind, before.min(today)).await?;
        }
        ArchiveCommand::Verify { files } => verify(archive, store, files).await?,
        ArchiveCommand::Forget { customer, vehicle } => forget(archive, store, &customer, vehicle.as_deref()).await?,
        ArchiveCommand::Read { file, format } => {
            let archived = find(store, &file).await?;
            print(&archive.rows(&archived).await?, format)?;
        }
    }
    Ok(())
}

async fn create(archive: &Archive, store: &dyn Store, kind: Kind, before: Millis) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    while let Some(part) = store.next_part(kind, before).await? {
        let Some(archived) = archive.archive(&part).await? else { bail!("it is not all counted yet; try again") };
        if archived.rows > 0 {
            writeln!(out, "{}", line(&archived))?;
        }
    }
    Ok(())
}

/// Minutes are of all vehicles of a customer together, so they go with the customer only.
async fn forget(archive: &Archive, store: &dyn Store, customer: &str, vehicle: Option<&str>) -> anyhow::Result<()> {
    for archived in store.archived_files().await? {
        let kind = archived.part.kind;
        if kind == Kind::Minutes && vehicle.is_some() {
            continue;
        }
        let is_theirs = |row: &[Cell<'_>]| {
            let place = place(kind, row);
            place.customer == customer && vehicle.is_none_or(|vehicle| place.vehicle == vehicle)
        };
        let gone = archive.take_out(&archived, is_theirs).await?;
        if gone > 0 {
            println!("{}\t{gone} rows taken out", archived.file);
        }
    }
    Ok(())
}

async fn verify(archive: &Archive, store: &dyn Store, files: Vec<String>) -> anyhow::Result<()> {
    let mut wanted = Vec::new();
    for file in &files {
        wanted.push((find(store, file).await?, Some(file.as_str())));
    }
    if files.is_empty() {
        wanted.extend(store.archived_files().await?.into_iter().map(|archived| (archived, None)));
    }
    let mut bad = 0;
    for (archived, named) in &wanted {
        let copy = named.filter(|name| Path::new(name).is_file());
        let outcome = match copy {
            Some(path) => std::fs::File::open(path).map_err(Into::into).and_then(Rows::open),
            None => archive.rows(archived).await,
        };
        match outcome.and_then(|rows| check(archived, &rows)) {
            Ok(()) => println!("{}\tok\t{} rows\t{}", archived.file, archived.rows, archived.checksum),
            Err(error) => {
                bad += 1;
                println!("{}\tBAD\t{error:#}", archived.file);
            }
        }
    }
    anyhow::ensure!(bad == 0, "{bad} of {} files are not as they were written", wanted.len());
    Ok(())
}

/// The file of this name, or of the name at the end of this path.
async fn find(store: &dyn Store, file: &str) -> anyhow::Result<Archived> {
    let name = Path::new(file).file_name().map_or(file, |name| name.to_str().unwrap_or(file));
    let found = store.archived_files().await?.into_iter().find(|archived| archived.file == name);
    found.with_context(|| format!("there is no file '{file}'; `rollcall archive list` shows them"))
}

fn print(rows: &Rows, format: Printed) -> anyhow::Result<()> {
    let format = match format {
        Printed::Ndjson => Format::Ndjson,
        Printed::Csv => Format::Csv,
    };
    let mut out = sink::open(format, &rows.columns(), Output::stdout()?)?;
    rows.each(|row| out.row(("", ""), row))?;
    Ok(out.finish()?.flush()?)
}

/// One file in a line, its parts apart by tabs.
fn line(archived: &Archived) -> String {
    let Archived { file, part, rows, bytes, checksum, .. } = archived;
    let (kind, from, to) = (part.kind.word(), rfc3339(part.from), rfc3339(part.to));
    format!("{file}\t{kind}\t{from}\t{to}\t{rows}\t{bytes}\t{checksum}")
}
