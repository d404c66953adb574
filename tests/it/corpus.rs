//! The fuzzer's corpus as a plain test: every file is decoded, and its name says what must come of it.
//! Reads fuzz/corpus/decode, which the fuzz target starts from as well; a finding of the fuzzer becomes a file there.

use std::fs;
use std::path::Path;

use rollcall::domain::heartbeat::{Format, PAYLOAD_BYTES_MAX, decode};

/// Name and content of every file, in the order of the names.
fn corpus() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/decode");
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(folder)
        .expect("the corpus")
        .map(|entry| entry.expect("a readable folder"))
        .map(|entry| (entry.file_name().into_string().expect("UTF-8"), fs::read(entry.path()).expect("a file")))
        .collect();
    files.sort();
    files
}

#[test]
fn every_payload_of_the_corpus_is_read_or_refused_as_its_name_says() {
    let (mut good, mut bad) = (0, 0);
    for (name, payload) in corpus() {
        let outcome = decode(Format::Json, &payload);
        if name.starts_with("good-") {
            good += 1;
            assert!(outcome.is_ok(), "{name}: {outcome:?}");
        } else if name.starts_with("bad-") {
            bad += 1;
            let refused = outcome.expect_err(&name);
            assert!(!refused.detail.is_empty() && refused.detail.len() < 500, "{name}: {refused}");
        }
    }
    assert!(good >= 15 && bad >= 30, "{good} good and {bad} bad files: the corpus is not all here");
}

#[test]
fn a_payload_that_is_not_read_is_refused_for_its_length_alone() {
    for (name, payload) in corpus() {
        assert_eq!(decode(Format::Any, &payload).is_ok(), payload.len() <= PAYLOAD_BYTES_MAX, "{name}");
    }
}
