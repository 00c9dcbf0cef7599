//! Published vocabularies and their reference encodings, where the sample data lies beside the repository.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::path::{Path, PathBuf};

use tokenizer::{SpecialMode, Tokenizer};

/// The folder of published tokenizers; `None`, with a note, where it is absent.
fn published() -> Option<PathBuf> {
    let path = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../shared/data/tokenizer"
    ));
    if !path.is_dir() {
        eprintln!("skipped: no {}", path.display());
        return None;
    }
    Some(path.to_owned())
}

/// The (encoding, sample, ids) blocks of a test plan; a sample may span lines.
fn plans(text: &str) -> Vec<(String, String, Vec<u32>)> {
    let text = text.replace("\r\n", "\n");
    let blocks = text.split("EncodingName: ").skip(1);
    blocks
        .map(|block| {
            let (name, rest) = block.split_once("\nSample: ").unwrap();
            let (sample, ids) = rest.rsplit_once("\nEncoded: [").unwrap();
            let ids = ids.trim().trim_end_matches(']');
            let ids = ids
                .split(", ")
                .filter(|id| !id.is_empty())
                .map(|id| id.parse().unwrap())
                .collect();
            (name.to_owned(), sample.to_owned(), ids)
        })
        .collect()
}

#[test]
fn tiktoken_files_encode_as_published() {
    let Some(folder) = published() else { return };
    let plans = plans(&std::fs::read_to_string(folder.join("tiktoken/TestPlans.txt")).unwrap());
    for name in ["r50k_base", "cl100k_base", "o200k_base"] {
        let tokenizer = Tokenizer::load(folder.join(format!("tiktoken/{name}.tiktoken"))).unwrap();
        // The largest as JSON too would take longer than all other tests.
        let again = (name != "o200k_base")
            .then(|| Tokenizer::from_hf_json(&tokenizer.to_hf_json()).unwrap());
        let mut count = 0;
        for (_, sample, ids) in plans.iter().filter(|plan| plan.0 == name) {
            assert_eq!(
                tokenizer.encode(sample, SpecialMode::AsText),
                *ids,
                "{name}: {sample:?}"
            );
            if let Some(again) = &again {
                assert_eq!(
                    again.encode(sample, SpecialMode::AsText),
                    *ids,
                    "{name} as JSON: {sample:?}"
                );
            }
            count += 1;
        }
        assert!(count > 50, "{name}: {count} samples");
    }
}

#[test]
fn gpt2_files_equal_r50k() {
    let Some(folder) = published() else { return };
    let gpt2 = Tokenizer::load(folder.join("gpt2")).unwrap();
    let r50k = Tokenizer::load(folder.join("tiktoken/r50k_base.tiktoken")).unwrap();
    assert_eq!(
        (gpt2.vocab_size(), gpt2.end_of_text()),
        (50257, Some(50256))
    );
    let text = std::fs::read_to_string(folder.join("unicode/taylorswift.txt")).unwrap();
    assert!(gpt2.encode(&text, SpecialMode::Parse) == r50k.encode(&text, SpecialMode::Parse));
}

#[test]
fn json_files_load_or_name_what_they_need() {
    let Some(folder) = published() else { return };
    for (file, size) in [
        ("minimind/tokenizer.json", 6400),
        ("minimind/older_tokenizer.json", 6400),
        ("torchtune/tiny_bpe_tokenizer.json", 2003),
    ] {
        match Tokenizer::load(folder.join(file)) {
            Ok(tokenizer) => assert_eq!(tokenizer.vocab_size(), size, "{file}"),
            Err(error) => panic!("{error}"),
        }
    }
    let refused = Tokenizer::load(folder.join("tinystories_bpe/2K_tokenizer.json"))
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("NFD") || refused.contains("Whitespace"),
        "{refused}"
    );
}
