//! Equality with the Hugging Face library: on fixtures always, on real text where Python has the library.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tokenizer::{SpecialMode, Tokenizer, TrainOptions, split, train};

/// What `make_fixtures.py` writes.
#[derive(serde::Deserialize)]
struct Record {
    split: String,
    vocab_size: usize,
    specials: Vec<String>,
    texts: Vec<String>,
    /// By id.
    vocab: Vec<String>,
    merges: Value,
    ids: Vec<Vec<u32>>,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// Trains on the record's texts and compares vocabulary, merges and ids.
fn assert_equal(record: &Record, name: &str) {
    let options = TrainOptions {
        vocab_size: record.vocab_size,
        specials: record.specials.clone(),
        split: record.split.clone(),
        ..TrainOptions::default()
    };
    let trained = train(&record.texts, options).unwrap();
    let json: Value = serde_json::from_str(&trained.to_hf_json()).unwrap();
    let vocab = json["model"]["vocab"].as_object().unwrap();
    for (id, token) in record.vocab.iter().enumerate() {
        assert_eq!(
            vocab.get(token),
            Some(&id.into()),
            "{name}: token {token:?}"
        );
    }
    assert_eq!(vocab.len(), record.vocab.len(), "{name}");
    assert!(
        json["model"]["merges"] == record.merges,
        "{name}: merges differ"
    );
    let loaded = Tokenizer::from_hf_json(&trained.to_hf_json()).unwrap();
    for tokenizer in [&trained, &loaded] {
        for (text, ids) in record.texts.iter().zip(&record.ids) {
            assert!(
                tokenizer.encode(text, SpecialMode::Parse) == *ids,
                "{name}: ids of {text:.60?} differ"
            );
            assert_eq!(tokenizer.decode(ids), text.as_bytes(), "{name}");
        }
    }
}

#[test]
fn equals_hugging_face_on_fixtures() {
    let mut count = 0;
    for entry in std::fs::read_dir(fixtures()).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            let record: Record =
                serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
            assert_equal(&record, &path.file_stem().unwrap().to_string_lossy());
            count += 1;
        }
    }
    assert_eq!(count, 9, "a fixture is missing");
}

/// The Python that has the library: `ZEROLLM_TEST_PYTHON`, else `python3`.
fn python() -> Option<String> {
    let python = std::env::var("ZEROLLM_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let found = Command::new(&python)
        .args(["-c", "import tokenizers"])
        .output();
    found
        .is_ok_and(|output| output.status.success())
        .then_some(python)
}

#[test]
fn equals_hugging_face_on_real_text() {
    let data = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data"));
    let files = [
        "en-pretrain/gutenberg/alice.txt",
        "zh-pretrain/modern/medical_encyclopedia_fever.txt",
    ]
    .map(|file| data.join(file));
    let Some(python) = python() else {
        eprintln!("skipped: no Python with the package tokenizers (set ZEROLLM_TEST_PYTHON)");
        return;
    };
    if !files.iter().all(|file| file.is_file()) {
        eprintln!("skipped: no {}", data.display());
        return;
    }
    for split in ["gpt2", "gpt4"] {
        let output = Command::new(&python)
            .arg(fixtures().join("make_fixtures.py"))
            .args(["--split", split, "--vocab", "2000"])
            .args(&files)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_equal(&serde_json::from_slice(&output.stdout).unwrap(), split);
    }
}

#[test]
fn hugging_face_opens_what_is_saved() {
    let Some(python) = python() else {
        eprintln!("skipped: no Python with the package tokenizers (set ZEROLLM_TEST_PYTHON)");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let fixture = std::fs::read_to_string(fixtures().join("hf_gpt4.json")).unwrap();
    let record: Record = serde_json::from_str(&fixture).unwrap();
    let text = record.texts.concat();
    let text_path = folder.path().join("text");
    std::fs::write(&text_path, &text).unwrap();
    let trained = split::SPLITS.iter().map(|split| {
        let options = TrainOptions {
            vocab_size: 500,
            specials: record.specials.clone(),
            split: split.name().to_owned(),
            ..TrainOptions::default()
        };
        train(&record.texts, options).unwrap()
    });
    for tokenizer in trained.chain([Tokenizer::bytes(&record.specials).unwrap()]) {
        let path = folder.path().join("tokenizer.json");
        tokenizer.save(&path).unwrap();
        let output = Command::new(&python)
            .arg(fixtures().join("make_fixtures.py"))
            .arg("--open")
            .args([&path, &text_path])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{tokenizer:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let theirs: Vec<(Vec<u32>, String)> = serde_json::from_slice(&output.stdout).unwrap();
        assert!(
            theirs[0].0 == tokenizer.encode(&text, SpecialMode::Parse),
            "{tokenizer:?}: ids differ"
        );
        assert!(theirs[0].1 == text, "{tokenizer:?}: text differs");
    }
}
