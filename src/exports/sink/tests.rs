//! Each format written to a file and read back with a reader of somebody else's. Reads sink.rs and the sinks.

use std::collections::BTreeMap;
use std::io::Read;

use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::Field;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::domain::export::Type;

fn columns() -> Vec<Column> {
    let named = |(name, of): (&str, Type)| Column { name: name.to_owned(), of };
    let columns = [
        ("customer", Type::Text),
        ("vehicle", Type::Text),
        ("at", Type::Time),
        ("seq", Type::Whole),
        ("speed_kmh", Type::Number),
        ("ignition", Type::Truth),
    ];
    columns.map(named).into()
}

/// A row that says everything, one that says zero and no, one that says nothing; another vehicle's with evil names.
fn rows() -> Vec<Vec<Cell<'static>>> {
    let whole = |customer: &'static str, vehicle: &'static str| vec![Cell::text(customer), Cell::text(vehicle)];
    let at = Cell::Time(1_769_847_300_123);
    let says = |cells: [Cell<'static>; 4]| [whole("acme", "bus 1"), cells.into()].concat();
    vec![
        says([at.clone(), Cell::Whole(-7), Cell::Number(48.3), Cell::Truth(true)]),
        says([Cell::Time(0), Cell::Whole(0), Cell::Number(0.0), Cell::Truth(false)]),
        says([Cell::Absent, Cell::Absent, Cell::Absent, Cell::Absent]),
        [whole("acme", "=1+1,\"x\""), vec![at, Cell::Whole(1), Cell::Number(-0.5), Cell::Absent]].concat(),
    ]
}

fn text<'a>(cell: &'a Cell<'_>) -> &'a str {
    match cell {
        Cell::Text(text) => text,
        other => panic!("{other:?}"),
    }
}

/// The path of a file in this format with the rows so many times.
fn written(format: Format, times: usize) -> (TempDir, std::path::PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("file");
    let length = Arc::<AtomicU64>::default();
    let mut sink = open(format, &columns(), Output::create(&path, Arc::clone(&length)).unwrap()).unwrap();
    for row in rows() {
        for _ in 0..times {
            sink.row((text(&row[0]), text(&row[1])), &row).unwrap();
        }
    }
    sink.finish().unwrap().close().unwrap();
    assert_eq!(length.load(Relaxed), path.metadata().unwrap().len(), "it tells how long it is");
    (folder, path)
}

const HEAD: &str = "customer,vehicle,at,seq,speed_kmh,ignition\n";
const BUS: &str = "acme,bus 1,2026-01-31T08:15:00.123Z,-7,48.3,true\n\
                   acme,bus 1,1970-01-01T00:00:00.000Z,0,0,false\n\
                   acme,bus 1,,,,\n";
/// A formula is a text, and quotes are doubled.
const EVIL: &str = "acme,\"'=1+1,\"\"x\"\"\",2026-01-31T08:15:00.123Z,1,-0.5,\n";

#[test]
fn csv_tells_zero_from_nothing_and_guards_formulas() {
    let (_folder, path) = written(Format::Csv, 1);
    let file = std::fs::read_to_string(&path).unwrap();
    assert_eq!(file, format!("{HEAD}{BUS}{EVIL}"));
    let mut reader = ::csv::Reader::from_path(&path).unwrap();
    let last = reader.records().last().unwrap().unwrap();
    assert_eq!(&last[1], "'=1+1,\"x\"");
    let mut line = Vec::new();
    super::csv::write_line(&[Cell::Absent], &mut line);
    assert_eq!(line, b"\"\"\n", "an empty line would be no row");
}

#[test]
fn an_archive_has_a_file_for_each_vehicle() {
    let (_folder, path) = written(Format::CsvZip, 1);
    let mut archive = ::zip::ZipArchive::new(File::open(path).unwrap()).unwrap();
    let mut files = BTreeMap::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).unwrap();
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        files.insert(entry.name().unwrap().into_owned(), content);
    }
    let expected = [
        ("acme/bus 1.csv".to_owned(), format!("{HEAD}{BUS}")),
        ("acme/=1+1,%22x%22.csv".to_owned(), format!("{HEAD}{EVIL}")),
    ];
    assert_eq!(files, BTreeMap::from(expected));
}

#[test]
fn ndjson_has_the_same_fields_in_each_line() {
    let (_folder, path) = written(Format::Ndjson, 1);
    let lines: Vec<Value> =
        std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let row = |at: Value, seq: Value, speed: Value, ignition: Value| {
        let names = json!({"customer": "acme", "vehicle": "bus 1", "at": at, "seq": seq});
        let gauges = json!({"speed_kmh": speed, "ignition": ignition});
        let fields = [names, gauges].map(|part| part.as_object().cloned().unwrap());
        Value::Object(fields.into_iter().flatten().collect())
    };
    let at = json!("2026-01-31T08:15:00.123Z");
    assert_eq!(lines[0], row(at, json!(-7), json!(48.3), json!(true)));
    assert_eq!(lines[1], row(json!("1970-01-01T00:00:00.000Z"), json!(0), json!(0.0), json!(false)));
    assert_eq!(lines[2], row(Value::Null, Value::Null, Value::Null, Value::Null));
    assert_eq!(lines[3]["vehicle"], "=1+1,\"x\"", "nobody takes JSON for a formula");
}

#[test]
fn parquet_has_typed_columns_in_several_groups_and_tells_nothing_from_zero() {
    let times = 20_000;
    let (_folder, path) = written(Format::Parquet, times);
    let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    assert_eq!(reader.metadata().num_row_groups(), 2);
    let found: Vec<Vec<Field>> = reader
        .get_row_iter(None)
        .unwrap()
        .step_by(times)
        .map(|row| row.unwrap().get_column_iter().map(|(_, field)| field.clone()).collect())
        .collect();
    let name = |text: &str| Field::Str(text.to_owned());
    let at = Field::TimestampMillis(1_769_847_300_123);
    let bus = [name("acme"), name("bus 1")];
    let says = |fields: [Field; 4]| [bus.to_vec(), fields.into()].concat();
    assert_eq!(found[0], says([at.clone(), Field::Long(-7), Field::Double(48.3), Field::Bool(true)]));
    assert_eq!(found[1], says([Field::TimestampMillis(0), Field::Long(0), Field::Double(0.0), Field::Bool(false)]));
    assert_eq!(found[2], says([Field::Null, Field::Null, Field::Null, Field::Null]));
    let evil = [name("acme"), name("=1+1,\"x\""), at, Field::Long(1), Field::Double(-0.5), Field::Null];
    assert_eq!(found[3], evil);
    let names: Vec<&str> =
        reader.metadata().file_metadata().schema_descr().columns().iter().map(|column| column.name()).collect();
    assert_eq!(names, ["customer", "vehicle", "at", "seq", "speed_kmh", "ignition"]);
}

#[test]
fn a_file_without_rows_is_one_of_its_format() {
    let (_folder, path) = written(Format::Csv, 0);
    assert_eq!(std::fs::read_to_string(path).unwrap(), HEAD);
    let (_folder, path) = written(Format::CsvZip, 0);
    assert_eq!(::zip::ZipArchive::new(File::open(path).unwrap()).unwrap().len(), 0);
    let (_folder, path) = written(Format::Parquet, 0);
    let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    assert_eq!(reader.metadata().file_metadata().num_rows(), 0);
}
