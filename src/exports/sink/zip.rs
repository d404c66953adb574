//! An archive with a CSV file for each vehicle, `CUSTOMER/VEHICLE.csv`. Entries are packed as they come and never kept;
//! the archive's directory is, some 500 bytes an entry, which is why their number is bounded (`ZIP_VEHICLES_MAX`).

use std::fmt::Write as _;
use std::io::Write;

use zip::write::{SimpleFileOptions, StreamWriter};
use zip::{CompressionMethod, ZipWriter};

use super::csv::{head, write_line};
use super::{Output, Sink};
use crate::domain::export::{Cell, Column};

/// Characters that a name must not hold somewhere in the world, beside control characters.
const FOREIGN: [char; 9] = ['\\', '/', ':', '*', '?', '"', '<', '>', '|'];

/// One archive.
pub struct Zip {
    head: Vec<u8>,
    archive: ZipWriter<StreamWriter<Output>>,
    /// Whose file is open.
    open: Option<(String, String)>,
    line: Vec<u8>,
}

impl Zip {
    pub fn new(columns: &[Column], output: Output) -> Self {
        Self { head: head(columns), archive: ZipWriter::new_stream(output), open: None, line: Vec::new() }
    }
}

impl Sink for Zip {
    fn row(&mut self, key: (&str, &str), cells: &[Cell<'_>]) -> anyhow::Result<()> {
        let is_open = self.open.as_ref().is_some_and(|(customer, vehicle)| (&**customer, &**vehicle) == key);
        if !is_open {
            // A file's length is not known before its end: 64 bits, whatever it becomes.
            let packed = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated).large_file(true);
            self.archive.start_file(format!("{}/{}.csv", safe(key.0), safe(key.1)), packed)?;
            self.archive.write_all(&self.head)?;
            self.open = Some((key.0.to_owned(), key.1.to_owned()));
        }
        self.line.clear();
        write_line(cells, &mut self.line);
        Ok(self.archive.write_all(&self.line)?)
    }

    fn finish(self: Box<Self>) -> anyhow::Result<Output> {
        Ok(self.archive.finish()?.into_inner())
    }
}

/// A name that is a file's name everywhere and leads nowhere else: what could do harm is written as `%` and its number.
fn safe(name: &str) -> String {
    let mut safe = String::with_capacity(name.len());
    for (index, char) in name.char_indices() {
        let harms = char.is_control() || FOREIGN.contains(&char) || char == '%' || (index == 0 && char == '.');
        match harms {
            true => drop(write!(safe, "%{:02X}", u32::from(char))),
            false => safe.push(char),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::safe;

    #[test]
    fn a_vehicle_cannot_name_a_file_elsewhere_nor_that_of_another() {
        assert_eq!(safe("MTA NYCT_7326"), "MTA NYCT_7326");
        assert_eq!(safe("..\\..\\evil"), "%2E.%5C..%5Cevil");
        assert_eq!(safe("a%2E"), "a%252E");
    }
}
