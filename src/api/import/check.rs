//! Checks a file of vehicles before any of it is written: each row by itself, and the rows among each other and against
//! the fleet. Run off the HTTP threads; what is in order waits in a file for the desk.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::quality::RandomState;
use serde::Serialize;

use super::lines::{self, Row};
use crate::api::Service;
use crate::domain::board::{self, Slot};
use crate::domain::ids::VehicleKey;
use crate::fleet::desk::Staged;
use crate::store::registry::{Amendment, Condition};

/// Errors and notes of an answer; the rest is counted.
const REPORT_MAX: usize = 1_000;
/// Slots looked at while the board is held.
const SLICE_SLOTS: Slot = 4_000;

/// A line that cannot be taken.
#[derive(Debug, Serialize)]
pub struct Wrong {
    line: u64,
    problem: String,
}

/// A line that is taken, but looks odd.
#[derive(Debug, Serialize)]
pub struct Note {
    line: u64,
    note: String,
}

/// The first of many, and how many there are.
#[derive(Debug)]
pub struct Report<T> {
    pub first: Vec<T>,
    pub total: u64,
}

impl<T> Report<T> {
    fn new() -> Self {
        Self { first: Vec::new(), total: 0 }
    }

    fn add(&mut self, one: T) {
        self.total += 1;
        if self.first.len() < REPORT_MAX {
            self.first.push(one);
        }
    }
}

/// A file that was read to its end.
pub struct Checked {
    pub rows: Staged<Amendment>,
    pub errors: Report<Wrong>,
    pub notes: Report<Note>,
}

/// Vehicles by the hash of their names, and plates by theirs: 16 bytes each, and a hash that is random in each run. Of
/// two million names two share one by chance once in ten million files; that file is refused for a repeat.
struct Checker<'a> {
    service: &'a Service,
    /// The customer whose rows alone may be written, where the caller is of one; no other's vehicle is told of.
    own: Option<&'a str>,
    hasher: RandomState,
    lines: HashMap<u64, u64>,
    plates: HashMap<u64, u64>,
    /// New vehicles, by customer and in all.
    new: HashMap<Arc<str>, usize>,
    new_total: usize,
    done: Checked,
}

/// Checks a file.
///
/// # Errors
/// A disk is full or fails; what is wrong with the file itself is in the answer.
pub fn check(file: File, csv: bool, service: &Service, own: Option<&str>) -> anyhow::Result<Checked> {
    let mut checker = Checker {
        service,
        own,
        hasher: RandomState::default(),
        lines: HashMap::new(),
        plates: HashMap::new(),
        new: HashMap::new(),
        new_total: 0,
        done: Checked { rows: Staged::new()?, errors: Report::new(), notes: Report::new() },
    };
    let each = |line, row| checker.row(line, row);
    if csv {
        lines::csv(file, each)?
    } else {
        lines::ndjson(file, each)?
    }
    checker.compare_with_the_fleet();
    Ok(checker.done)
}

impl Checker<'_> {
    fn row(&mut self, line: u64, row: Row) -> anyhow::Result<()> {
        match self.amendment(line, row) {
            Ok(amendment) => self.done.rows.push(&amendment),
            Err(problem) => {
                self.done.errors.add(Wrong { line, problem });
                Ok(())
            }
        }
    }

    fn amendment(&mut self, line: u64, row: Row) -> Result<Amendment, String> {
        let (customer, vehicle, edits) = row?;
        let key = VehicleKey::parse(&customer, &vehicle).map_err(|bad| bad.to_string())?;
        if self.own.is_some_and(|own| own != customer) {
            return Err(format!("customer '{customer}' is not that of your key"));
        }
        let name = self.hasher.hash_one(&key);
        match self.lines.entry(name) {
            Entry::Occupied(first) => return Err(format!("{key} is on line {} already", first.get())),
            Entry::Vacant(free) => free.insert(line),
        };
        if !self.service.registry.knows(&customer, &vehicle) {
            self.count_new(&key)?;
        }
        for (field, text) in edits.plates() {
            match self.plates.entry(self.hasher.hash_one((field, text))) {
                Entry::Occupied(first) => {
                    let note = format!("the {field} '{text}' is on line {} too", first.get());
                    self.done.notes.add(Note { line, note });
                }
                Entry::Vacant(free) => drop(free.insert(line)),
            }
        }
        Ok(Amendment { key: Arc::new(key), edits, condition: Condition::None })
    }

    fn count_new(&mut self, key: &VehicleKey) -> Result<(), String> {
        let of_customer = self.new.entry(Arc::clone(&key.customer)).or_default();
        let room = self.service.registry.has_room_for(&key.customer, self.new_total + 1, *of_customer + 1);
        room.map_err(|reason| format!("there is no room for {key}: {}", reason.word()))?;
        *of_customer += 1;
        self.new_total += 1;
        Ok(())
    }

    /// Plates of the file that other vehicles have already. One that is in the file too was compared there.
    fn compare_with_the_fleet(&mut self) {
        let (mut from, feed) = (0, &self.service.feed);
        while !self.plates.is_empty() {
            let board = feed.board();
            let slots = from..board.slots().min(from + SLICE_SLOTS);
            if slots.is_empty() {
                return;
            }
            from = slots.end;
            let told = |row: &&board::Row| self.own.is_none_or(|own| *row.key.customer == *own);
            for row in slots.filter_map(|slot| board.row(slot)).filter(told) {
                let Some(names) = row.registered.as_deref() else { continue };
                let plates = [("registration", &names.registration), ("vin", &names.vin)];
                for (field, text) in plates.into_iter().filter_map(|(field, text)| Some((field, text.as_deref()?))) {
                    let found = self.plates.get(&self.hasher.hash_one((field, text)));
                    let own = self.lines.contains_key(&self.hasher.hash_one(&*row.key));
                    if let Some(line) = found.filter(|_| !own) {
                        let note = format!("the {field} '{text}' is that of {} too", row.key);
                        self.done.notes.add(Note { line: *line, note });
                    }
                }
            }
        }
    }
}
