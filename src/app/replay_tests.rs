//! Tests of the replay: recorded traces with a known truth, random histories against a naive model, and bad files.
//! Reads replay.rs by its one door, CSV in and CSV out.

use super::*;
use proptest::prelude::*;
use std::path::Path;

const T: Millis = 90;
const GRACE: Millis = 10;

fn options(clock: ReplayClock) -> ReplayOptions {
    ReplayOptions { file: PathBuf::new(), offline_after: T, will_grace: GRACE, clock }
}

fn replayed(text: &str, clock: ReplayClock) -> Result<String, String> {
    let mut out = Vec::new();
    replay(text.as_bytes(), &options(clock), &mut out).map_err(|error| error.to_string())?;
    Ok(String::from_utf8(out).expect("UTF-8"))
}

fn arrivals(text: &str) -> Vec<String> {
    let out = replayed(text, ReplayClock::Arrival).expect("good rows");
    assert!(out.starts_with("t_ms,vehicle_id,state,seq,cause\n"), "{out}");
    out.lines().skip(1).map(str::to_owned).collect()
}

fn fault(text: &str) -> String {
    replayed(text, ReplayClock::Arrival).expect_err(text)
}

#[test]
fn a_vehicle_is_judged_to_its_last_deadline() {
    let rows = arrivals("arrival_ms,vehicle_id\n1000,a\n1090,a\n1181,a\n");
    let want = ["1000,a,online,1,heartbeat", "1180,a,offline,2,silence", "1181,a,online,3,heartbeat"];
    assert_eq!(rows, [&want[..], &["1271,a,offline,4,silence"]].concat());
}

#[test]
fn a_will_and_a_goodbye_end_a_vehicle_sooner() {
    let rows =
        arrivals("kind,vehicle_id,arrival_ms\nx,a,100\nwill,a,110\n,b,100\ngoodbye,b,105\n,c,100\nlwt,c,110\n,c,120");
    let ends: Vec<&str> = rows.iter().filter(|row| row.contains("offline")).map(String::as_str).collect();
    assert_eq!(ends, ["105,b,offline,2,goodbye", "120,a,offline,2,last_will", "210,c,offline,2,silence"]);
    assert!(arrivals("arrival_ms,vehicle_id,kind\n1,a,will\n2,a,goodbye\n").is_empty(), "never seen");
}

#[test]
fn transitions_are_ordered_by_time_then_vehicle_then_seq() {
    let rows = arrivals("arrival_ms,vehicle_id,kind\n5,b,\n5,b,goodbye\n5,\"a,1\",\n5,B,\n5,b,\n");
    let want = ["5,B,online,1,heartbeat", "5,\"a,1\",online,1,heartbeat", "5,b,online,1,heartbeat"];
    assert_eq!(rows[..3], want);
    assert_eq!(rows[3..5], ["5,b,offline,2,goodbye", "5,b,online,3,heartbeat"]);
}

#[test]
fn a_row_that_stands_late_in_the_file_is_put_in_its_place() {
    let ordered = arrivals("arrival_ms,vehicle_id\n100,a\n180,a\n260,a\n");
    assert_eq!(arrivals("arrival_ms,vehicle_id\n100,a\n260,a\n180,a\n"), ordered);
}

#[test]
fn the_devices_clock_judges_by_when_a_row_was_sent() {
    let text = "arrival_ms,vehicle_id,device_ms\n500,a,100\n501,a,260\n502,a,180\n";
    let out = replayed(text, ReplayClock::Device).expect("good rows");
    assert_eq!(out.lines().skip(1).collect::<Vec<_>>(), ["100,a,online,1,heartbeat", "350,a,offline,2,silence"]);
    let bare = replayed("arrival_ms,vehicle_id\n1,a\n", ReplayClock::Device).expect_err("no such column");
    assert!(bare.contains("'device_ms' is missing"), "{bare}");
    let empty = replayed("arrival_ms,vehicle_id,device_ms\n1,a,1\n2,a,\n", ReplayClock::Device).expect_err("empty");
    assert!(empty.starts_with("line 3: device_ms is empty"), "{empty}");
    assert_eq!(arrivals("arrival_ms,vehicle_id,device_ms\n1,a,\n").len(), 2, "the other clock needs none");
}

#[test]
fn a_bad_row_is_named_by_its_line() {
    let head = "arrival_ms,vehicle_id,lat,kind\n1,a,,\n";
    for (row, want) in [
        ("x,a,,", "line 3: arrival_ms 'x' is no number"),
        (",a,,", "line 3: arrival_ms '' is no number"),
        ("1.5,a,,", "line 3: arrival_ms '1.5' is no number"),
        ("-1,a,,", "line 3: arrival_ms '-1' is not in the years 1970 to 9999"),
        ("9223372036854775807,a,,", "line 3: arrival_ms '9223372036854775807' is not in"),
        ("1,,,", "line 3: vehicle_id '': vehicle must be"),
        ("1,a/b,,", "line 3: vehicle_id 'a/b': vehicle must be"),
        ("1,a\u{7},,", "line 3: vehicle_id 'a\\u{7}': vehicle must be"),
        ("1, a,,", "line 3: vehicle_id ' a': vehicle must be"),
        ("1,a,north,", "line 3: lat 'north' is no number"),
        ("1,a,NaN,", "line 3: lat 'NaN' is no number"),
        ("1,a", "line 3: 2 columns, the header has 4"),
        ("1,a,,,", "line 3: 5 columns, the header has 4"),
        ("1,a,,\"x", "line 3: a quoted text goes on in the next line"),
        ("1,a,,\"x\ny\"", "line 3: a quoted text goes on in the next line"),
    ] {
        let fault = fault(&format!("{head}{row}\n2,a,,\n"));
        assert!(fault.starts_with(want), "{row}: {fault}");
    }
}

#[test]
fn lines_are_counted_as_an_editor_counts_them() {
    for text in [
        "arrival_ms,vehicle_id\n1,a\n\n\n2,a\nx,a\n3,a\n",
        "arrival_ms,vehicle_id\r\n1,a\r\n\r\n\r\n2,a\r\nx,a\r\n3,a",
        "\u{feff}arrival_ms,vehicle_id\r\n1,a\r\n\r\n\r\n\r\nx,a",
        "arrival_ms,vehicle_id\n1,a\n2,a\n3,a\n4,a\nx,a",
    ] {
        assert_eq!(fault(text), "line 6: arrival_ms 'x' is no number", "{text:?}");
    }
    let mut out = Vec::new();
    let latin = &b"arrival_ms,vehicle_id\n1,a\n2,B\xe4r\n"[..];
    let error = replay(latin, &options(ReplayClock::Arrival), &mut out).expect_err("not UTF-8");
    assert_eq!((error.to_string().as_str(), out.as_slice()), ("line 3: not UTF-8", &b""[..]));
}

#[test]
fn line_ends_quotes_and_spaces_around_numbers_do_not_matter() {
    let plain = arrivals("arrival_ms,vehicle_id,kind\n1,a,goodbye\n2,a,\n3,a,goodbye\n");
    let odd = "\u{feff} arrival_ms , vehicle_id,\"kind\"\r\n 1,\"a\",goodbye\r\n\"2\",a,\r\n3 ,a,\"goodbye\"\r\n\r\n";
    assert_eq!(arrivals(odd), plain);
    assert_eq!(plain.len(), 2);
}

#[test]
fn a_file_without_its_header_is_refused_and_one_without_rows_is_not() {
    for text in ["", "\n", "\r\n\r\n"] {
        assert!(fault(text).contains("the columns arrival_ms and vehicle_id"), "{text:?}: {}", fault(text));
    }
    assert!(fault("arrival_ms,vehicle\n1,a\n").contains("'vehicle_id' is missing"));
    assert!(fault("1000,a\n").contains("missing; the columns are '1000,a'"));
    assert!(arrivals("arrival_ms,vehicle_id\r\n").is_empty());
}

#[test]
fn a_file_that_is_not_there_and_a_senseless_timeout_are_named() {
    let absent = ReplayOptions { file: "no/such.csv".into(), ..options(ReplayClock::Arrival) };
    assert_eq!(run(&absent, Vec::new()).expect_err("absent").to_string(), "cannot open no/such.csv");
    for (offline_after, will_grace) in [(0, 0), (-5, 0), (Millis::MAX, 0), (1, -1), (1, Millis::MAX)] {
        let senseless = ReplayOptions { offline_after, will_grace, ..options(ReplayClock::Arrival) };
        assert!(replay(&b"arrival_ms,vehicle_id\n"[..], &senseless, Vec::new()).is_err());
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_fault() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    for vehicles in [1, 10_000] {
        let rows: String = (0..vehicles).map(|vehicle| format!("1,{vehicle}\n")).collect();
        let text = format!("arrival_ms,vehicle_id\n{rows}");
        assert!(replay(text.as_bytes(), &options(ReplayClock::Arrival), Closed).is_ok(), "{vehicles} vehicles");
    }
}

/// The traces of real buses are not part of the repository: a folder beside it, or the one that ROLLCALL_DATA names.
fn traces() -> Option<PathBuf> {
    let named = std::env::var_os("ROLLCALL_DATA").map(PathBuf::from);
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let folder = named.unwrap_or_else(beside);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no recorded traces in {}; ROLLCALL_DATA may name their folder", folder.display());
    None
}

/// `t_ms`, `vehicle_id` and `state` of a CSV file, in the order of the file.
fn times_and_states(csv_text: &str) -> Vec<[String; 3]> {
    let mut reader = csv::Reader::from_reader(csv_text.as_bytes());
    let header = reader.headers().expect("header").clone();
    let places = ["t_ms", "vehicle_id", "state"].map(|name| header.iter().position(|is| is == name).expect(name));
    reader.records().map(|row| places.map(|place| row.as_ref().expect("row")[place].to_owned())).collect()
}

#[test]
fn real_buses_are_judged_to_the_millisecond() {
    let Some(folder) = traces() else { return };
    for (set, seconds, count) in
        [("liverpool-bus", 60, 40), ("liverpool-bus", 120, 34), ("nyc-bus", 60, 1_268), ("nyc-bus", 120, 192)]
    {
        let truth = folder.join(set).join(format!("expected-transitions-arrival-{seconds}s.csv"));
        let truth = times_and_states(&std::fs::read_to_string(truth).expect("the truth"));
        for clock in [ReplayClock::Arrival, ReplayClock::Device] {
            let file = folder.join(set).join("replay.csv");
            let options = ReplayOptions { file, offline_after: seconds * 1_000, will_grace: 10_000, clock };
            let mut out = Vec::new();
            run(&options, &mut out).expect("replays");
            let got = times_and_states(std::str::from_utf8(&out).expect("UTF-8"));
            assert_eq!((got.len(), &got), (count, &truth), "{set} at {seconds} s by {clock:?}");
        }
    }
}

/// A row of a random recording.
#[derive(Debug, Clone)]
struct Row {
    at: Millis,
    vehicle: usize,
    kind: &'static str,
}

/// The rule in words, without a state machine: each heartbeat opens a span that ends at the next one. Within it the
/// deadline is its time plus the timeout, a will may bring it forward, and a goodbye before it ends the vehicle at
/// once.
fn naive(rows: &[Row], vehicle: usize) -> Vec<(Millis, &'static str, &'static str)> {
    let own: Vec<&Row> = rows.iter().filter(|row| row.vehicle == vehicle).collect();
    let (mut list, mut there) = (Vec::new(), false);
    for (i, beat) in own.iter().enumerate().filter(|(_, row)| row.kind.is_empty()) {
        if !there {
            list.push((beat.at, "online", "heartbeat"));
        }
        let rest = &own[i + 1..];
        let next = rest.iter().position(|row| row.kind.is_empty());
        let (mut end, mut cause) = (beat.at + T, "silence");
        for row in &rest[..next.unwrap_or(rest.len())] {
            if row.at > end {
                break;
            } else if row.kind == "goodbye" {
                (end, cause) = (row.at, "goodbye");
                break;
            } else if row.at + GRACE < end {
                (end, cause) = (row.at + GRACE, "last_will");
            }
        }
        there = cause != "goodbye" && next.is_some_and(|next| rest[next].at <= end);
        if !there {
            list.push((end, "offline", cause));
        }
    }
    list
}

/// What the output must be, by the naive model.
fn expected(rows: &[Row]) -> String {
    let mut list = Vec::new();
    for vehicle in 0..VEHICLES {
        for (i, (at, state, cause)) in naive(rows, vehicle).into_iter().enumerate() {
            list.push((at, vehicle, i + 1, state, cause));
        }
    }
    list.sort();
    let line = |(at, vehicle, seq, state, cause)| format!("{at},v{vehicle},{state},{seq},{cause}\n");
    "t_ms,vehicle_id,state,seq,cause\n".to_owned() + &list.into_iter().map(line).collect::<String>()
}

const VEHICLES: usize = 3;

/// Recordings in order of time. Many rows share their time, many gaps are the timeout or the grace or one beside it.
fn recordings() -> impl Strategy<Value = Vec<Row>> {
    let gap = prop_oneof![3 => Just(0), 2 => 1..40i64, 1 => T - 1..T + 2, 1 => GRACE - 1..GRACE + 2, 1 => 100..300i64];
    let kind = prop_oneof![4 => Just(""), 1 => Just("will"), 1 => Just("lwt"), 1 => Just("goodbye")];
    proptest::collection::vec((gap, 0..VEHICLES, kind), 0..80).prop_map(|steps| {
        let place = |at: &mut Millis, (gap, vehicle, kind)| {
            *at += gap;
            Some(Row { at: *at, vehicle, kind })
        };
        steps.into_iter().scan(1_000, place).collect()
    })
}

proptest! {
    #[test]
    fn random_recordings_equal_the_naive_model(rows in recordings()) {
        let text: String = rows.iter().map(|row| format!("{},v{},{}\n", row.at, row.vehicle, row.kind)).collect();
        let got = replayed(&format!("arrival_ms,vehicle_id,kind\n{text}"), ReplayClock::Arrival);
        prop_assert_eq!(got, Ok(expected(&rows)));
    }

    /// The order in the file decides between rows of the same time, and nothing else does.
    #[test]
    fn shuffled_rows_are_judged_by_the_chosen_clock(shuffled in recordings().prop_map(Just).prop_flat_map(
        |rows| rows.prop_shuffle()
    ), by_device in any::<bool>()) {
        let mut sorted = shuffled.clone();
        sorted.sort_by_key(|row| row.at);
        let line = |(i, row): (usize, &Row)| match by_device {
            true => format!("{},v{},{},{}\n", 500_000 + i, row.vehicle, row.at, row.kind),
            false => format!("{},v{},,{}\n", row.at, row.vehicle, row.kind),
        };
        let text: String = shuffled.iter().enumerate().map(line).collect();
        let clock = if by_device { ReplayClock::Device } else { ReplayClock::Arrival };
        let got = replayed(&format!("arrival_ms,vehicle_id,device_ms,kind\n{text}"), clock);
        prop_assert_eq!(got, Ok(expected(&sorted)));
    }
}
