//! The house rules are tests: order of the stations, purity of the core, no shortcuts, no sleeping tests.
//!
//! Each rule is proved twice: it finds the fault in a bad sample (a test that cannot fail is a defect), and it finds
//! none in the repository.

mod rules;
mod source;

use config::{Config, File, FileFormat};
use rules::*;
use source::{Source, files};

type Rule = fn(&Source) -> Vec<String>;

/// Runs a rule over files and shows every fault at once.
fn assert_tidy(rule: Rule, sources: &[Source]) {
    let faults: Vec<String> = sources.iter().flat_map(rule).collect();
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n"));
}

/// The lines of a sample in which a rule finds a fault.
fn faulty_lines(rule: Rule, path: &str, text: &str) -> Vec<usize> {
    let line = |fault: String| {
        let place = fault.strip_prefix(path).and_then(|rest| rest.strip_prefix(':')).expect("begins with the file");
        place.split(':').next().and_then(|number| number.parse().ok()).expect("then the line")
    };
    let mut lines: Vec<usize> = rule(&Source::new(path, text)).into_iter().map(line).collect();
    lines.sort_unstable();
    lines.dedup();
    lines
}

fn service() -> Vec<Source> {
    files("src", "rs")
}

fn product() -> Vec<Source> {
    service().into_iter().chain(files("simulator/src", "rs")).collect()
}

fn rust() -> Vec<Source> {
    let tests = files("tests", "rs").into_iter().chain(files("simulator/tests", "rs"));
    product().into_iter().chain(tests).chain(files("bench/src", "rs")).collect()
}

fn rust_and_javascript() -> Vec<Source> {
    rust().into_iter().chain(files("web/js", "js")).collect()
}

#[test]
fn the_walk_finds_the_service_the_simulator_and_this_test() {
    let paths: Vec<String> = rust().into_iter().map(|source| source.path).collect();
    for expected in ["src/main.rs", "simulator/src/main.rs", "tests/it/tidy.rs", "tests/it/tidy/rules.rs"] {
        assert!(paths.iter().any(|path| path == expected), "{expected} is not among {paths:?}");
    }
}

#[test]
fn comments_texts_and_tests_are_told_from_code() {
    let text =
        "a /* b /* c */ d */ e // f\n\"g\\\"h\" i 'j' k '\\'' l: &'m str; r#\"n\"o\"# p br\"q\" r#s \"t\nu\" v\n";
    let code: Vec<String> = Source::new("x.rs", text).code.split_whitespace().map(str::to_owned).collect();
    assert_eq!(code.join(" "), "a e \" i ' k ' l: &'m str; p r#s \" v");

    let text = "a\n#[cfg(test)]\nuse b::{c};\n#[cfg(test)]\nmod d { fn e() { f[1; 2] } }\ng\n\
                #[cfg(test)]\nconst H: [u8; 2];\ni";
    let product: Vec<String> = Source::new("x.rs", text).product.split_whitespace().map(str::to_owned).collect();
    assert_eq!(product.join(" ").replace("; ", ""), "a g i");
    assert_eq!(Source::new("src/domain/board_tests.rs", "fn a() {}").product.trim(), "");
}

#[test]
fn a_file_imports_only_from_its_own_station_or_an_earlier_one() {
    let bad = "//! Uses crate::api in a comment.\n\
               use crate::domain::ids;\n\
               use crate::api::routes;\n\
               use crate::{clock, app::{A, B}, live::Hub};\n\
               use super::super::ingest;\n\
               fn f() { crate::fleet::go(\"crate::main\") }\n\
               use super::api;\n";
    assert_eq!(faulty_lines(stations_in_order, "src/live/hub.rs", bad), [3, 4, 5, 6]);
    assert_eq!(faulty_lines(stations_in_order, "src/live.rs", "//!\nuse super::api;\n"), [2]);
    assert_eq!(faulty_lines(stations_in_order, "src/live/mod.rs", "//!\nuse super::api;\n"), [2]);
    assert_eq!(faulty_lines(stations_in_order, "src/helpers.rs", "//! No station.\n"), [1]);
    assert!(faulty_lines(stations_in_order, "src/main.rs", "//!\nuse rollcall::app;\n").is_empty());
    assert!(faulty_lines(stations_in_order, "src/lib.rs", "//!\npub use crate::app::run;\n").is_empty());
    assert_tidy(stations_in_order, &service());
}

#[test]
fn the_domain_has_no_actor_no_clock_no_chance_and_no_log() {
    let bad = "//! tokio in a comment is fine, and so is a \"tokio\" text.\n\
               use std::time::Duration;\n\
               use actix_rt::System;\n\
               use std::time::{Duration, Instant};\n\
               async fn f() { g().await }\n\
               fn h() -> i64 { chrono::Utc::now().timestamp() }\n\
               fn i() { println!(\"x\"); tracing::info!(\"y\"); log::warn!(\"z\") }\n\
               fn j() { rand::random() }\n\
               fn k(random_walk: Catalog::Entry, randomly: u8) {}\n\
               use std::{\n    time::SystemTime,\n};\n\
               #[cfg(test)]\nmod tests { use rand::Rng; fn f() { println!() } }\n";
    assert_eq!(faulty_lines(domain_is_pure, "src/domain/liveness.rs", bad), [3, 4, 5, 6, 7, 8, 11]);
    assert_eq!(faulty_lines(domain_is_pure, "src/domain.rs", "//!\nuse sqlx::Row;\n"), [2]);
    assert!(faulty_lines(domain_is_pure, "src/store/sqlite.rs", bad).is_empty());
    assert_tidy(domain_is_pure, &service());
}

#[test]
fn every_file_begins_with_a_head_comment() {
    assert_eq!(faulty_lines(begins_with_head_comment, "src/app.rs", "use std::fs;\n"), [1]);
    assert_eq!(faulty_lines(begins_with_head_comment, "src/app.rs", ""), [1]);
    assert_eq!(faulty_lines(begins_with_head_comment, "src/app.rs", "// Not a document comment.\n"), [1]);
    assert_eq!(faulty_lines(begins_with_head_comment, "web/js/state.js", "let a = 1;\n"), [1]);
    assert!(faulty_lines(begins_with_head_comment, "web/js/state.js", "/** The state. */\n").is_empty());
    assert_tidy(begins_with_head_comment, &rust_and_javascript());
}

#[test]
fn no_line_is_wider_than_the_window() {
    let bad = format!("//! Head.\n// {}\n// {}\n", "é".repeat(LINE_COLUMNS_MAX - 3), "e".repeat(LINE_COLUMNS_MAX - 2));
    assert_eq!(faulty_lines(lines_are_short, "src/app.rs", &bad), [3]);
    assert_tidy(lines_are_short, &rust_and_javascript());
}

#[test]
fn no_file_is_too_long_and_the_entry_file_is_short() {
    let at_limit = "//\n".repeat(FILE_LINES_MAX);
    assert!(faulty_lines(files_are_short, "src/app.rs", &at_limit).is_empty());
    assert_eq!(faulty_lines(files_are_short, "src/app.rs", &(at_limit + "//\n")), [FILE_LINES_MAX + 1]);
    assert_eq!(faulty_lines(files_are_short, "src/main.rs", &"//\n".repeat(MAIN_LINES_MAX)), [MAIN_LINES_MAX]);
    assert_tidy(files_are_short, &rust_and_javascript());
}

#[test]
fn nothing_outside_tests_panics_without_stating_why_it_cannot_happen() {
    let bad = "//! .unwrap() in a comment is fine.\n\
               fn a() { b().unwrap() }\n\
               fn c() { d().unwrap_or(1); e().unwrap_or_default(); text(\".unwrap()\") }\n\
               fn f() { g().expect(\"it works\") }\n\
               fn h() { i().expect(\"invariant: the map has every shard\") }\n\
               fn j() {\n    k()\n        .expect(\n            \"invariant: found above\",\n        )\n}\n\
               // invariant: the parser checked the length\n\
               fn l() { m().expect(\"four bytes\") }\n\
               fn n() { todo!() }\n\
               #[cfg(test)]\nmod tests { fn o() { p().unwrap(); panic!() } }\n\
               fn q() { std::panic!(\"after the tests\") }\n\
               fn r() { std::panic::catch_unwind(|| dbg!(s())); unimplemented!() }\n";
    assert_eq!(faulty_lines(nothing_panics, "src/app.rs", bad), [2, 4, 14, 17, 18]);
    assert_tidy(nothing_panics, &product());
}

#[test]
fn a_file_of_tests_is_not_part_of_the_product() {
    let bad = "//!\nmod tests;\n#[cfg(test)]\nmod tests;\n#[cfg(test)]\n#[path = \"a_tests.rs\"]\nmod a_tests;\n\
               pub mod b_tests { }\nmod contests;\n";
    assert_eq!(faulty_lines(test_files_are_declared_as_tests, "src/domain/mod.rs", bad), [2, 8]);
    assert_tidy(test_files_are_declared_as_tests, &product());
}

#[test]
fn a_crate_that_may_be_replaced_is_named_in_one_place() {
    let bad =
        "//! About mqtt5.\nuse mqtt5::Broker;\nuse rumqttc::Client;\nuse actix_web_actors::ws;\nfn rumqttc_like() {}\n";
    assert_eq!(faulty_lines(crates_stay_at_home, "src/app.rs", bad), [2, 3, 4]);
    assert_eq!(faulty_lines(crates_stay_at_home, "src/live/session.rs", bad), [2, 3]);
    assert_eq!(faulty_lines(crates_stay_at_home, "src/ingest/broker.rs", bad), [3, 4]);
    assert_eq!(faulty_lines(crates_stay_at_home, "src/ingest/broker/hook.rs", bad), [3, 4]);
    assert_eq!(faulty_lines(crates_stay_at_home, "src/ingest/subscriber.rs", bad), [2, 4]);
    assert_eq!(faulty_lines(crates_stay_at_home, "simulator/src/link.rs", bad), [2, 4]);
    assert_tidy(crates_stay_at_home, &product());
}

#[test]
fn no_test_is_switched_off() {
    let bad = "//! #[ignore] in a comment.\n#[test]\n#[ignore]\nfn a() {}\n#[ignore = \"slow\"]\nfn b() {}\n";
    assert_eq!(faulty_lines(no_test_is_ignored, "tests/it/a.rs", bad), [3, 5]);
    assert_tidy(no_test_is_ignored, &rust());
}

#[test]
fn no_test_waits_a_fixed_time() {
    let bad = "//! About sleep(1).\nfn a() { thread::sleep(ONE_SECOND) }\n\
               fn b() { c().await; tokio::time::sleep(T).await }\n\
               while !done() {\n    sleep(T).await; // poll: done, until the limit\n}\n";
    assert_eq!(faulty_lines(no_test_sleeps, "tests/it/a.rs", bad), [2, 3]);
    assert_tidy(no_test_sleeps, &files("tests", "rs"));
    assert_tidy(no_test_sleeps, &files("simulator/tests", "rs"));
}

#[test]
fn migrations_are_numbered_without_gaps() {
    let good = ["0002_transitions.sql", "0001_vehicles.sql"];
    assert!(migrations_are_in_order("m", &good).is_empty());
    for bad in [
        ["0001_vehicles.sql", "0003_transitions.sql"],
        ["0001_vehicles.sql", "0001_transitions.sql"],
        ["0000_vehicles.sql", "0001_transitions.sql"],
        ["0001_vehicles.sql", "2_transitions.sql"],
        ["0001_vehicles.sql", "0002_.sql"],
    ] {
        assert!(!migrations_are_in_order("m", &bad).is_empty(), "{bad:?}");
    }
    for folder in ["migrations/sqlite", "migrations/postgres"] {
        let sources = files(folder, "sql");
        let names: Vec<&str> = sources.iter().map(|source| &source.path[folder.len() + 1..]).collect();
        let faults = migrations_are_in_order(folder, &names);
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }
}

fn toml_faults(source: &Source) -> Vec<String> {
    match Config::builder().add_source(File::from_str(&source.text, FileFormat::Toml)).build() {
        Ok(_) => Vec::new(),
        Err(error) => vec![source.fault(0, &format!("does not parse: {error}"))],
    }
}

#[test]
fn every_settings_file_parses() {
    assert_eq!(faulty_lines(toml_faults, "config/a.toml", "[http\nlisten = 1\n"), [1]);
    assert!(files("config", "toml").iter().any(|source| source.path == "config/production.toml"));
    assert_tidy(toml_faults, &files("config", "toml"));
}
