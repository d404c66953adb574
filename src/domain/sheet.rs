//! The registry as a table: which columns there are, and what a cell holds of a vehicle. Used by import and export,
//! which are each other's opposite: what was exported says the same when it is imported.

use serde_json::Value;

use super::registration;

/// The columns, in the order of an export.
pub const COLUMNS: [&str; 7] = ["customer", "vehicle", "name", "registration", "vin", "tags", "offline_after_ms"];

/// Between tags.
const BETWEEN: char = ';';
/// Before a separator, or itself, that is part of a tag.
const ESCAPE: char = '\\';
/// A spreadsheet takes a cell that begins with one of these for a formula, and a text with this before it for a text.
const FORMULA: [char; 8] = ['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];
const GUARD: char = '\'';

/// Whether the text, but for guards before it, begins like a formula.
fn is_risky(text: &str) -> bool {
    text.trim_start_matches(GUARD).starts_with(FORMULA)
}

/// The cell of a text: guarded where a spreadsheet would take it for a formula.
pub fn guarded(text: &str) -> String {
    if is_risky(text) { format!("{GUARD}{text}") } else { text.to_owned() }
}

/// The text of a cell.
pub fn unguarded(cell: &str) -> &str {
    cell.strip_prefix(GUARD).filter(|text| is_risky(text)).unwrap_or(cell)
}

/// The cell of a list of tags.
pub fn tags_cell(tags: &[Box<str>]) -> String {
    guarded(&tags_text(tags))
}

/// A list of tags as one text.
pub fn tags_text(tags: &[Box<str>]) -> String {
    let mut cell = String::new();
    for (i, tag) in tags.iter().enumerate() {
        cell.extend((i > 0).then_some(BETWEEN));
        for char in tag.chars() {
            cell.extend(matches!(char, BETWEEN | ESCAPE).then_some(ESCAPE));
            cell.push(char);
        }
    }
    cell
}

/// What the cell of a column that can be written says, as JSON would: an empty one removes.
///
/// # Errors
/// What is wrong with it.
pub fn value(column: &str, cell: &str) -> Result<Value, String> {
    debug_assert!(registration::FIELDS.contains(&column));
    match (column, cell) {
        (_, "") => Ok(Value::Null),
        ("tags", cell) => Ok(read_tags(unguarded(cell))),
        ("offline_after_ms", cell) => {
            let millis = cell.trim().parse::<i64>();
            millis.map(Value::from).map_err(|_| format!("'{cell}' is no number of milliseconds"))
        }
        (_, cell) => Ok(unguarded(cell).into()),
    }
}

fn read_tags(cell: &str) -> Value {
    let (mut tags, mut tag, mut escaped) = (Vec::new(), String::new(), false);
    for char in cell.chars() {
        match char {
            ESCAPE if !escaped => escaped = true,
            BETWEEN if !escaped => tags.push(std::mem::take(&mut tag)),
            char => {
                tag.push(char);
                escaped = false;
            }
        }
    }
    tags.push(tag);
    tags.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn formulas_are_guarded_and_nothing_else() {
        for (text, cell) in [
            ("Bus 7", "Bus 7"),
            ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
            ("-7", "'-7"),
            ("'=1", "''=1"),
            ("'t Hart", "'t Hart"),
            ("", ""),
        ] {
            assert_eq!((guarded(text).as_str(), unguarded(cell)), (cell, text));
        }
        assert_eq!(unguarded("=1"), "=1", "one that a person wrote");
    }

    proptest! {
        #[test]
        fn what_is_written_to_a_cell_is_read_back(
            text in "[-=+@'a; \\\\]{1,6}",
            tags in proptest::collection::vec("[-=+@'a;\\\\]{1,4}", 1..4),
        ) {
            prop_assert_eq!(value("name", &guarded(&text)), Ok(Value::from(text.clone())));
            prop_assert!(!guarded(&text).starts_with(FORMULA));
            let boxed: Vec<Box<str>> = tags.iter().map(|tag| Box::from(tag.as_str())).collect();
            prop_assert_eq!(value("tags", &tags_cell(&boxed)), Ok(Value::from(tags)));
        }
    }
}
