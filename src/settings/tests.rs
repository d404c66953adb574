//! Tests of the settings: layers, unknown keys, secrets and durations. Reads settings.rs.

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

#[test]
fn durations_are_read_and_written_alike() {
    for text in ["90s", "250ms", "5m", "2h", "1d"] {
        assert_eq!(text.parse::<Span>().map(|span| span.to_string()), Ok(text.to_owned()));
    }
    for text in ["", "90", "s", "-1s", "1.5s", "99999999999999999999s"] {
        assert!(text.parse::<Span>().is_err(), "{text}");
    }
}
