//! The command line as an operator meets it: settings in layers, one clear sentence for each fault, exit codes, no
//! secret in any output. Starting and stopping a whole fleet is in restart.rs.

use std::net::TcpListener;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::{Service, rollcall};

const FREE: [&str; 4] = ["--http", "127.0.0.1:0", "--mqtt-listen", "127.0.0.1:0"];
const SECRET: &str = "hunter2";

fn run(command: &mut Command) -> Output {
    command.output().expect("the binary runs")
}

fn serve(arguments: &[&str]) -> Output {
    run(&mut rollcall(&[&["serve"], arguments].concat()))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// The one line on stderr that begins with the program's name, after this exit code.
fn sentence(output: &Output, code: i32) -> String {
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "stdout: {stdout}\nstderr: {stderr}");
    assert!(!stdout.contains("ready "), "{stdout}");
    assert!(!stderr.contains("panicked") && !stderr.contains("RUST_BACKTRACE"), "{stderr}");
    let said: Vec<&str> = stderr.lines().filter_map(|line| line.strip_prefix("rollcall: ")).collect();
    assert_eq!(said.len(), 1, "one sentence on stderr: {stderr}");
    said[0].to_owned()
}

/// The settings `check` prints first.
fn printed_settings(output: &Output) -> Value {
    let stdout = text(&output.stdout);
    let mut values = serde_json::Deserializer::from_str(&stdout).into_iter::<Value>();
    values.next().unwrap_or_else(|| panic!("settings in '{stdout}'")).expect("JSON")
}

fn assert_contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no '{part}' in '{text}'");
    }
}

#[test]
fn a_taken_port_is_named_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = taken.local_addr().expect("an address").to_string();
    let memory = ["--store", "sqlite::memory:"];
    let output = serve(&[&memory[..], &["--http", &address, "--mqtt-listen", "127.0.0.1:0"]].concat());
    assert_contains(&sentence(&output, 1), &["HTTP", &address, "--http"]);
    let output = serve(&[&memory[..], &["--http", "127.0.0.1:0", "--mqtt-listen", &address]].concat());
    assert_contains(&sentence(&output, 1), &["MQTT", &address, "mqtt.listen"]);
}

#[test]
fn a_store_that_cannot_be_reached_is_named_and_nothing_secret_is_shown() {
    let url = format!("postgres://u:{SECRET}@127.0.0.1:1/x");
    let local = tempfile::tempdir().expect("a folder");
    for store in [url.as_str(), "sqlite:/proc/x/rollcall.db", "sqlite:/proc/rollcall.db"] {
        let arguments = [&["serve"], &FREE[..], &["--store", store]].concat();
        let output = run(rollcall(&arguments).env("ROLLCALL__STORE__LOCAL_DIR", local.path()));
        let said = sentence(&output, 1);
        let place = if store.starts_with("sqlite") { "/proc/" } else { "127.0.0.1:1" };
        assert!(said.contains(place), "no '{place}' in '{said}'");
        assert!(!text(&output.stderr).contains(SECRET) && !text(&output.stdout).contains(SECRET), "{said}");
        let output = run(&mut rollcall(&["migrate", "--store", store]));
        sentence(&output, 1);
        assert!(!text(&output.stderr).contains(SECRET));
    }
}

#[test]
fn bad_settings_are_usage_and_say_which() {
    let cases: [(&[&str], &[&str]); 10] = [
        (&["--offline-after", "soon"], &["soon", "90s"]),
        (&["--offline-after", "1ms"], &["fleet.offline_after", "100ms"]),
        (&["--http", "nowhere"], &["http.listen"]),
        (&["--mqtt-listen", "127.0.0.1"], &["mqtt.listen"]),
        (&["--http", "0.0.0.0:0"], &["http.listen", "loopback", "auth.mode"]),
        (&["--mqtt-listen", "0.0.0.0:0"], &["mqtt.listen", "loopback", "auth.mode"]),
        (&["--config", "/no/such.toml"], &["/no/such.toml"]),
        (&["--store", "mysql://somewhere"], &["store.url", "sqlite:", "postgres://"]),
        (&["--broker", "ftp://somewhere"], &["mqtt.broker", "mqtt://"]),
        (&["--broker", "mqtt://127.0.0.1:port"], &["mqtt.broker", "port"]),
    ];
    for (arguments, parts) in cases {
        assert_contains(&sentence(&serve(arguments), 2), parts);
    }
    for (name, value, parts) in [
        ("ROLLCALL__FLEET__OFLINE_AFTER", "1s", ["fleet.ofline_after", "fleet.offline_after"]),
        ("ROLLCALL__FLIET__SHARDS", "1", ["fliet.shards", "fleet.shards"]),
        ("ROLLCALL__AUTH__MODE", "sesame", ["sesame", "open"]),
        ("ROLLCALL__FLEET__MAX_VEHICLES", "many", ["many", "max_vehicles"]),
    ] {
        let output = run(rollcall(&["serve"]).env(name, value));
        assert_contains(&sentence(&output, 2), &parts);
    }
    for flag in ["--no-such-flag", "--offline-afer=1s", "flap"] {
        let output = serve(&[flag]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert_contains(&text(&output.stderr), &[flag.split('=').next().expect("a flag")]);
    }
}

#[test]
fn check_prints_the_settings_without_secrets_and_every_fault_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = format!("sqlite:{}/r.db", folder.path().display());
    let output = run(&mut rollcall(&[&["check", "--store", &store], &FREE[..]].concat()));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let settings = printed_settings(&output);
    assert_eq!((&settings["fleet"]["offline_after"], &settings["store"]["url"]), (&"90s".into(), &store.into()));
    assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 0, "it changes nothing");

    let (broker, store) = (format!("mqtt://u:{SECRET}@127.0.0.1:1"), format!("postgres://u:{SECRET}@127.0.0.1:1/x"));
    let output = run(&mut rollcall(&["check", "--broker", &broker, "--store", &store]));
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(!stdout.contains(SECRET) && !stderr.contains(SECRET), "{stdout}{stderr}");
    assert_eq!(printed_settings(&output)["store"]["url"], "postgres://u:***@127.0.0.1:1/x");
    let faults: Vec<&str> = stderr.lines().filter_map(|line| line.strip_prefix("rollcall: ")).collect();
    assert!(faults.len() == 2 && stderr.contains("broker") && stderr.contains("store"), "both faults: {stderr}");

    let mut command = rollcall(&["check", "--http", "0.0.0.0:0", "--offline-after", "1ms"]);
    let output = run(command.env("ROLLCALL__FLEET__SHADES", "1").env("ROLLCALL__STORE__URL_FILE", "/no/such"));
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_contains(&text(&output.stderr), &["http.listen", "fleet.offline_after", "fleet.shades", "/no/such"]);
}

#[test]
fn no_output_of_the_service_shows_a_password() {
    let broker = format!("mqtt://u:{SECRET}@127.0.0.1:1");
    let mut command = rollcall(&["serve", "--http", "127.0.0.1:0", "--broker", &broker, "--store", "sqlite::memory:"]);
    let mut child = command.env("ROLLCALL__LOG__FILTER", "debug").spawn().expect("starts");
    let mut ready = String::new();
    let mut stdout = std::io::BufReader::new(child.stdout.take().expect("piped"));
    std::io::BufRead::read_line(&mut stdout, &mut ready).expect("readable");
    child.kill().expect("killed");
    let output = child.wait_with_output().expect("ends");
    assert!(ready.starts_with("ready ") && ready.contains("127.0.0.1:1"), "{ready}");
    assert!(!ready.contains(SECRET) && !text(&output.stderr).contains(SECRET), "{ready}{}", text(&output.stderr));
}

#[test]
fn flags_win_over_the_environment_and_that_over_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let (one, two) = (folder.path().join("1.toml"), folder.path().join("2.toml"));
    std::fs::write(&one, "[fleet]\noffline_after = '1m'\nwill_grace = '1s'\nsleep_max = '1h'\nsleep_grace = '7s'\n")
        .expect("written");
    std::fs::write(&two, "fleet.offline_after = '2m'\nfleet.will_grace = '2s'\nfleet.sleep_max = '2h'\n")
        .expect("written");
    let (one, two) = (one.display().to_string(), two.display().to_string());
    let secret = folder.path().join("url");
    std::fs::write(&secret, "sqlite::memory:\n").expect("written");
    let mut command = rollcall(&["check", "--config", &one, "--config", &two, "--offline-after", "4m"]);
    let given = [("ROLLCALL__FLEET__OFFLINE_AFTER", "3m"), ("ROLLCALL__FLEET__WILL_GRACE", "3s")];
    let output = run(command.envs(given).env("ROLLCALL__STORE__URL_FILE", &secret).args(FREE));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let settings = printed_settings(&output);
    let fleet = ["offline_after", "will_grace", "sleep_max", "sleep_grace"].map(|name| settings["fleet"][name].clone());
    assert_eq!(fleet, ["4m", "3s", "2h", "7s"], "flag, environment, later file, earlier file");
    assert_eq!(settings["store"]["url"], "sqlite::memory:", "a secret from a file");
}

#[tokio::test]
async fn migrate_makes_the_schema_and_may_be_repeated() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("new/r.db");
    let store = format!("sqlite:{}", path.display());
    for _ in 0..2 {
        let output = run(&mut rollcall(&["migrate", "--store", &store]));
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(!text(&output.stdout).contains("ready "), "it ends by itself: {output:?}");
    }
    // The newest pages may still be in the log beside the file.
    let wal = std::fs::read(path.with_extension("db-wal")).unwrap_or_default();
    let file = [std::fs::read(&path).expect("there is a file"), wal].concat();
    assert!(file.starts_with(b"SQLite format 3"), "a database");
    let schema = String::from_utf8_lossy(&file);
    assert!(schema.contains("CREATE TABLE transition") && schema.contains("CREATE TABLE vehicle"), "with its tables");
    let service = Service::start(&["--store", &store]);
    assert_eq!(service.get("/api/v1/vehicles").await["total"], 0);
}

#[test]
fn two_processes_never_share_a_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let [one, two] = ["one", "two"].map(|name| format!("sqlite:{}/{name}.db", folder.path().display()));
    let service = Service::start(&["--store", &one]);
    for store in [&one, &two] {
        let said = sentence(&serve(&[&FREE[..], &["--store", store]].concat()), 1);
        assert_contains(&said, &[&folder.path().display().to_string(), "in use", "store.local_dir"]);
    }
    assert!(!folder.path().join("two.db").exists(), "the second one touched nothing");
    let elsewhere = folder.path().join("elsewhere");
    let mut command = rollcall(&[&["serve", "--store", &two], &FREE[..]].concat());
    let other = Service::spawn(command.env("ROLLCALL__STORE__LOCAL_DIR", &elsewhere));
    assert_ne!(service.http, other.http);
    drop(service);
    // Killed, not stopped: the folder is free all the same.
    Service::start(&["--store", &one]);
}

#[test]
fn help_and_version_are_answered() {
    let output = run(&mut rollcall(&["--version"]));
    assert_eq!(
        (output.status.code(), text(&output.stdout)),
        (Some(0), format!("rollcall {}\n", env!("CARGO_PKG_VERSION")))
    );
    let output = run(&mut rollcall(&["--help"]));
    assert_eq!(output.status.code(), Some(0));
    let commands = ["serve", "demo", "replay", "migrate", "check"];
    let flags = ["--config", "--http", "--mqtt-listen", "--broker", "--store", "--offline-after"];
    assert_contains(&text(&output.stdout), &[&commands[..], &flags[..]].concat());
    for command in commands {
        assert_eq!(run(&mut rollcall(&[command, "--help"])).status.code(), Some(0), "{command}");
    }
}

#[test]
fn healthcheck_answers_with_its_exit_code() {
    let service = Service::start(&["--store", "sqlite::memory:"]);
    let output = run(&mut rollcall(&["healthcheck", &service.http]));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("an address");
    assert_contains(&sentence(&run(&mut rollcall(&["healthcheck", &closed.to_string()])), 1), &[&closed.to_string()]);
}

#[test]
fn a_listener_for_the_world_starts_when_the_operator_says_so() {
    let mut command =
        rollcall(&["serve", "--http", "0.0.0.0:0", "--mqtt-listen", "0.0.0.0:0", "--store", "sqlite::memory:"]);
    let service = Service::spawn(command.env("ROLLCALL__AUTH__MODE", "open"));
    assert!(service.http.starts_with("0.0.0.0:") && service.mqtt.starts_with("0.0.0.0:"));
}
