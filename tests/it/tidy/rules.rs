//! The house rules, one function each: a source in, its faults out. Nothing here reads files.

use super::source::{Source, is_name, words};

/// The way of the data. A file imports only from its own station or one before it.
const STATIONS: [&str; 14] = [
    "domain",
    "clock",
    "settings",
    "telemetry",
    "gate",
    "store",
    "access",
    "live",
    "fleet",
    "ingest",
    "exports",
    "api",
    "app",
    "main",
];

pub const LINE_COLUMNS_MAX: usize = 120;
/// Long before this a file has two duties.
pub const FILE_LINES_MAX: usize = 500;
/// main.rs only orders the parts.
pub const MAIN_LINES_MAX: usize = 60;

/// What would make the core depend on anything but its arguments. A name ending in `*` bans what begins with it.
const IMPURE: [&str; 24] = [
    "actix*",
    "tokio*",
    "sqlx*",
    "rumqttc",
    "mqtt5",
    "rand*",
    "tracing*",
    "log::*",
    "Instant::now",
    "SystemTime",
    "Utc::now",
    "Local::now",
    "std::fs",
    "std::io",
    "std::net",
    "std::env",
    "std::thread",
    "std::process",
    "println!",
    "eprintln!",
    "print!",
    "dbg!",
    "async",
    ".await",
];

/// A crate and where alone it may be named. A name that ends in `/` is a folder.
const CRATE_HOMES: [(&str, &[&str]); 4] = [
    ("actix_web_actors", &["src/live/session.rs"]),
    ("mqtt5", &["src/ingest/broker.rs", "src/ingest/broker/"]),
    ("object_store", &["src/exports/storage/"]),
    (
        "rumqttc",
        &[
            "src/ingest/canary/line.rs",
            "src/ingest/publisher/",
            "src/ingest/subscriber.rs",
            "src/ingest/subscriber/",
            "src/ingest/broker/tests.rs",
            "simulator/",
        ],
    ),
];

fn station_number(name: &str) -> Option<usize> {
    STATIONS.iter().position(|station| *station == name)
}

/// The modules of a file of the service: `src/live/hub.rs` is `live`, `hub`; `src/live/mod.rs` is `live`.
fn module_path(path: &str) -> Option<Vec<&str>> {
    let inside = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    Some(inside.strip_suffix("/mod").unwrap_or(inside).split('/').collect())
}

pub fn stations_in_order(source: &Source) -> Vec<String> {
    let Some(modules) = module_path(&source.path).filter(|modules| modules != &["lib"]) else { return Vec::new() };
    let Some(own) = station_number(modules[0]) else {
        let what = format!("`{}` is no station: {}", modules[0], STATIONS.join(" < "));
        return vec![source.fault(0, &what)];
    };
    let from_root = ["crate::".to_owned(), "rollcall::".to_owned(), "super::".repeat(modules.len())];
    let mut faults = Vec::new();
    for prefix in &from_root {
        for at in words(&source.code, prefix) {
            let later = names_after(&source.code[at + prefix.len()..])
                .into_iter()
                .filter(|name| station_number(name).is_some_and(|other| other > own));
            faults.extend(later.map(|name| {
                source.fault(at, &format!("station `{}` imports from the later station `{name}`", modules[0]))
            }));
        }
    }
    faults
}

/// The first names of a path or of a group of paths: `live::Hub` gives `live`; `{api::{A, B}, app}` gives `api`, `app`.
fn names_after(code: &str) -> Vec<&str> {
    let first_name = |text: &'_ str| text.find(|c| !is_name(c)).unwrap_or(text.len());
    if !code.starts_with('{') {
        return vec![&code[..first_name(code)]];
    }
    let (mut names, mut depth, mut expected) = (Vec::new(), 0, false);
    for (at, c) in code.char_indices() {
        match c {
            '{' => (depth, expected) = (depth + 1, depth == 0),
            '}' => depth -= 1,
            ',' => expected = depth == 1,
            _ if expected && is_name(c) => {
                names.push(&code[at..at + first_name(&code[at..])]);
                expected = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

pub fn domain_is_pure(source: &Source) -> Vec<String> {
    if module_path(&source.path).is_none_or(|modules| modules[0] != "domain") {
        return Vec::new();
    }
    let code = &source.product;
    let mut faults = Vec::new();
    for banned in IMPURE {
        let name = banned.trim_end_matches('*');
        let found: Vec<usize> = if banned.ends_with('*') {
            code.match_indices(name).map(|(at, _)| at).filter(|at| !code[..*at].ends_with(is_name)).collect()
        } else {
            words(code, name).collect()
        };
        // `rand*` must not catch `random_walk`, nor `tracing*` a field; only crates and their kin: `rand`, `rand_core`.
        let kin = |at: &usize| !code[at + name.len()..].starts_with(|c: char| c.is_alphanumeric());
        let what = format!("`{name}` in the pure core: time, chance and the outside are arguments");
        faults.extend(found.iter().filter(|at| kin(at) || name.ends_with("::")).map(|at| source.fault(*at, &what)));
    }
    for at in words(code, "std::time") {
        let statement = code[at..].split(';').next().unwrap_or_default();
        if words(statement, "Instant").next().is_some() {
            faults.push(source.fault(at, "`std::time::Instant` in the pure core: time is an argument named `now`"));
        }
    }
    faults
}

pub fn begins_with_head_comment(source: &Source) -> Vec<String> {
    let begins: &[&str] = if source.path.ends_with(".js") { &["/**", "//"] } else { &["//!"] };
    if begins.iter().any(|begin| source.text.starts_with(begin)) {
        return Vec::new();
    }
    vec![source.fault(0, "no head comment: what this is, who feeds it, whom it feeds")]
}

pub fn lines_are_short(source: &Source) -> Vec<String> {
    let lines = source.text.lines().enumerate();
    lines
        .map(|(index, line)| (index + 1, line.chars().count()))
        .filter(|(_, columns)| *columns > LINE_COLUMNS_MAX)
        .map(|(line, columns)| format!("{}:{line}: {columns} columns, {LINE_COLUMNS_MAX} are allowed", source.path))
        .collect()
}

pub fn files_are_short(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    let is_main = source.path == "src/main.rs";
    let limit = if is_main { MAIN_LINES_MAX - 1 } else { FILE_LINES_MAX };
    if lines <= limit {
        return Vec::new();
    }
    vec![format!("{}:{lines}: {lines} lines, {limit} are allowed: split it by duty", source.path)]
}

/// No shortcut that ends the process on bad luck. `expect` is for what cannot happen, and says why it cannot.
pub fn nothing_panics(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    for banned in [".unwrap()", ".unwrap_err()", "panic!", "todo!", "unimplemented!", "dbg!"] {
        faults.extend(words(&source.product, banned).map(|at| source.fault(at, &format!("`{banned}` outside tests"))));
    }
    for call in [".expect(", ".expect_err("] {
        for at in words(&source.product, call) {
            let message = source.text[at + call.len()..].trim_start();
            let comments = [source.line_at(at), source.line_before(at)];
            let commented =
                comments.iter().any(|line| line.split_once("//").is_some_and(|(_, c)| c.contains("invariant:")));
            if !message.starts_with("\"invariant: ") && !commented {
                faults.push(source.fault(at, "`expect` does not state its invariant (\"invariant: why it holds\")"));
            }
        }
    }
    faults
}

/// A file that the rules take for tests by its name is declared as tests too: no `mod board_tests;` in the product.
pub fn test_files_are_declared_as_tests(source: &Source) -> Vec<String> {
    let declared = words(&source.product, "mod").filter_map(|at| {
        let name = source.product[at + 3..].trim_start();
        let name = &name[..name.find(|c| !is_name(c))?];
        (name == "tests" || name.ends_with("_tests")).then_some((at, name))
    });
    declared.map(|(at, name)| source.fault(at, &format!("`mod {name}` without `#[cfg(test)]`"))).collect()
}

pub fn crates_stay_at_home(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, homes) in CRATE_HOMES {
        if homes.iter().any(|home| source.path == *home || (home.ends_with('/') && source.path.starts_with(home))) {
            continue;
        }
        let what = format!("`{name}` may be named in {} only", homes.join(", "));
        faults.extend(words(&source.code, name).map(|at| source.fault(at, &what)));
    }
    faults
}

pub fn no_test_is_ignored(source: &Source) -> Vec<String> {
    source.code.match_indices("#[ignore").map(|(at, _)| source.fault(at, "an ignored test proves nothing")).collect()
}

/// A test waits for a condition, with a limit; a fixed wait is either too short or too long.
pub fn no_test_sleeps(source: &Source) -> Vec<String> {
    words(&source.code, "sleep(")
        .chain(words(&source.code, "sleep_until("))
        .filter(|at| !source.line_at(*at).contains("// poll:"))
        .map(|at| source.fault(at, "a fixed wait; wait for a condition, in a line that says `// poll: which`"))
        .collect()
}

/// Numbered 0001, 0002, ...: a gap or a twin means that two branches met, and the order of their changes is chance.
pub fn migrations_are_in_order(folder: &str, names: &[&str]) -> Vec<String> {
    let mut sorted = names.to_vec();
    sorted.sort_unstable();
    let mut faults = Vec::new();
    for (index, name) in sorted.iter().enumerate() {
        let expected = format!("{:04}_", index + 1);
        let described = name
            .strip_prefix(&expected)
            .and_then(|rest| rest.strip_suffix(".sql"))
            .is_some_and(|rest| !rest.is_empty() && rest.chars().all(is_name));
        if !described {
            faults.push(format!("{folder}/{name}:1: expected {expected}what.sql in this place"));
        }
    }
    faults
}
