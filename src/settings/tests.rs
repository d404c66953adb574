//! Tests of the settings: layers, unknown keys, secrets, durations, and the files that are shipped. Reads settings.rs.

use super::*;

fn env(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn later_layers_win() {
    let dir = tempfile::tempdir().expect("folder");
    let (one, two) = (dir.path().join("1.toml"), dir.path().join("2.toml"));
    std::fs::write(&one, "[fleet]\noffline_after='1m'\nwill_grace='1s'\nsleep_max='1h'\nauto_register=false")
        .expect("write");
    std::fs::write(&two, "fleet.will_grace='2s'").expect("write");
    let variables =
        env(&[("ROLLCALL__FLEET__SLEEP_MAX", "2h"), ("ROLLCALL__FLEET__MAX_VEHICLES", "7"), ("OTHER", "x")]);
    let settings = load(&[one, two], variables, &[("http.listen", "127.0.0.1:0".into())]).expect("loads");
    assert_eq!(
        (settings.fleet.offline_after.0, settings.fleet.will_grace.0, settings.fleet.sleep_max.0),
        (60_000, 2_000, 7_200_000)
    );
    assert_eq!((settings.fleet.max_vehicles, settings.fleet.auto_register, settings.http.listen.port()), (7, false, 0));
}

#[test]
fn an_unknown_key_is_named_with_the_nearest_known_one() {
    let faults = load(&[], env(&[("ROLLCALL__FLEET__OFLINE_AFTER", "1s")]), &[]).expect_err("unknown");
    assert_eq!(faults, ["unknown setting 'fleet.ofline_after'; the nearest known one is 'fleet.offline_after'"]);
}

#[test]
fn a_listener_for_the_world_needs_the_operators_word() {
    let flags = [("http.listen", "0.0.0.0:8080".to_owned())];
    assert!(load(&[], env(&[]), &flags).expect_err("refused")[0].contains("auth.mode"));
    assert!(load(&[], env(&[("ROLLCALL__AUTH__MODE", "open")]), &flags).is_ok());
    assert!(load(&[], env(&[("ROLLCALL__AUTH__MODE", "keys")]), &flags).is_ok());
    for listener in ["mqtt.listen", "mqtt.tls_listen"] {
        let flags =
            [(listener, "0.0.0.0:1883".to_owned()), ("tls.cert_file", "x".into()), ("tls.key_file", "x".into())];
        assert!(load(&[], env(&[]), &flags).expect_err("asks nobody")[0].contains(listener));
        assert!(load(&[], env(&[("ROLLCALL__AUTH__MODE", "keys")]), &flags).is_ok());
    }
    let short = load(&[], env(&[("ROLLCALL__AUTH__PEPPER", "salt")]), &[]).expect_err("too short");
    assert!(short[0].contains("auth.pepper") && !short[0].contains("salt"), "{short:?}");
}

#[test]
fn secrets_come_from_files_and_are_never_shown() {
    let file = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(file.path(), "postgres://u:hunter2@db/x\n").expect("write");
    let path = file.path().display().to_string();
    let settings = load(&[], env(&[("ROLLCALL__STORE__URL_FILE", &path)]), &[]).expect("loads");
    assert_eq!(settings.store.url.expose(), "postgres://u:hunter2@db/x");
    let shown = format!("{:?}{}", settings, serde_json::to_string(&settings).expect("json"));
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(
        load(&[], env(&[("ROLLCALL__STORE__URL_FILE", "/no/such")]), &[]).expect_err("none")[0].contains("/no/such")
    );
}

fn shipped(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

/// The keys of a settings file as `section.name`: those that are set, and those that begin with `# `.
fn keys_of(text: &str) -> (Vec<String>, Vec<String>) {
    let (mut section, mut set, mut unset) = ("", Vec::new(), Vec::new());
    for line in text.lines() {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        let name = bare.split_once(" = ").map_or("", |(name, _)| name);
        if let Some(named) = line.strip_prefix('[') {
            section = named.trim_end_matches(']');
        } else if !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
            let keys = if bare == line { &mut set } else { &mut unset };
            keys.push(format!("{section}.{name}"));
        }
    }
    (set, unset)
}

#[test]
fn the_file_of_defaults_says_what_the_program_does() {
    let told = load(&[shipped("default.toml")], [], &[]).expect("loads");
    let json = |settings: &Settings| serde_json::to_value(settings).expect("json");
    assert_eq!(json(&told), json(&Settings::default()));
    assert_eq!(told.mqtt.password.expose(), "");
}

#[test]
fn the_file_of_defaults_has_every_setting_and_sets_all_that_have_a_default() {
    let text = std::fs::read_to_string(shipped("default.toml")).expect("the file");
    let (set, unset) = keys_of(&text);
    let defaults = serde_json::to_value(Settings::default()).expect("json");
    let mut known = Vec::new();
    flatten("", &defaults, &mut known);
    let mut told = [set, unset.clone()].concat();
    told.sort();
    known.sort();
    assert_eq!(told, known);
    for key in unset {
        let default = &defaults.pointer(&format!("/{}", key.replace('.', "/"))).expect("known");
        assert!(default.is_null() || *default == "", "{key} is commented out, and is {default}");
    }
}

#[test]
fn every_example_in_the_file_of_defaults_is_a_setting_that_loads() {
    let text = std::fs::read_to_string(shipped("default.toml")).expect("the file");
    let (_, examples) = keys_of(&text);
    let is_example = |line: &str| {
        let name = line.strip_prefix("# ").and_then(|line| line.split_once(" = ")).map(|(name, _)| name);
        name.is_some_and(|name| examples.iter().any(|key| key.ends_with(&format!(".{name}"))))
    };
    let with_examples = text.lines().map(|line| if is_example(line) { &line[2..] } else { line });
    let file = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(file.path(), with_examples.collect::<Vec<_>>().join("\n")).expect("write");
    let settings = load(&[file.path().to_owned()], [], &[]).expect("loads");
    assert_eq!((settings.auth.mode, settings.mqtt.password.expose()), (Some(AuthMode::Keys), "secret"));
}

#[test]
fn the_production_file_loads_and_differs_where_it_says() {
    let settings = load(&[shipped("production.toml")], [], &[]).expect("loads without an unknown key");
    assert_eq!(settings.mqtt.broker.map(|broker| broker.shown()).as_deref(), Some("mqtt://127.0.0.1:1883"));
    assert_eq!((settings.log.format, settings.fleet.max_vehicles), (LogFormat::Json, 200_000));
    assert!(settings.http.listen.ip().is_loopback() && settings.auth.mode == Some(AuthMode::Keys));
}

#[test]
fn a_duration_that_would_overflow_is_refused() {
    let flags = [("fleet.offline_after", format!("{}ms", i64::MAX))];
    assert!(load(&[], env(&[]), &flags).expect_err("too long")[0].contains("fleet.offline_after"));
}

#[test]
fn durations_are_read_and_written_alike() {
    for text in ["90s", "250ms", "5m", "2h", "1d"] {
        assert_eq!(text.parse::<Span>().map(|span| span.to_string()), Ok(text.to_owned()));
    }
    for text in ["", "90", "s", "-1s", "1.5s", "99999999999999999999s"] {
        assert!(text.parse::<Span>().is_err(), "{text}");
    }
}

#[test]
fn what_rollcall_publishes_is_not_read_as_heartbeats() {
    let faults = |pattern: &str, publishes: &str| {
        let text = format!(
            "[mqtt]\npublish_status = {publishes}\ntopics = [{{ pattern = \"{pattern}\", kind = \"heartbeat\" }}]\n"
        );
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), text).expect("write");
        load(&[file.path().to_owned()], [], &[]).err().map(|faults| format!("{faults:?}"))
    };
    for pattern in ["fleet/{customer}/{vehicle}/status", "+/{customer}/{vehicle}/+", "fleet/+/{customer}/{vehicle}"] {
        assert!(faults(pattern, "true").is_some_and(|text| text.contains("mqtt.publish_status")), "{pattern}");
        assert_eq!(faults(pattern, "false"), None, "{pattern}");
    }
    for pattern in
        ["fleet/{customer}/{vehicle}/heartbeat", "devices/{customer}/{vehicle}/status", "{customer}/{vehicle}"]
    {
        assert_eq!(faults(pattern, "true"), None, "{pattern}");
    }
}
