//! Files: what is refused, by what name, and that no damage to a file does worse than that.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fmt::Write as _;
use std::sync::OnceLock;

use proptest::prelude::*;
use serde_json::{Value, json};
use tokenizer::{LoadOptions, SpecialMode, Tokenizer, TrainOptions, train};

fn valid() -> Value {
    static ONCE: OnceLock<Value> = OnceLock::new();
    ONCE.get_or_init(make_valid).clone()
}

fn make_valid() -> Value {
    let options = TrainOptions {
        vocab_size: 262,
        specials: vec!["<s>".to_owned()],
        ..TrainOptions::default()
    };
    let mut file: Value =
        serde_json::from_str(&train(["the then the there"], options).unwrap().to_hf_json())
            .unwrap();
    file["pre_tokenizer"] = json!({ "type": "Sequence", "pretokenizers": [
        { "type": "Digits", "individual_digits": true },
        { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
    ]});
    file["post_processor"] = json!({ "type": "TemplateProcessing",
        "single": [{ "SpecialToken": { "id": "<s>", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }],
        "pair": [], "special_tokens": {} });
    file["normalizer"] = json!({ "type": "Sequence", "normalizers": [{ "type": "NFC" }] });
    file
}

fn load(file: &Value) -> Result<Tokenizer, String> {
    Tokenizer::from_hf_json(&file.to_string()).map_err(|error| error.to_string())
}

#[test]
fn a_file_with_every_known_component_loads() {
    let tokenizer = load(&valid()).unwrap();
    assert_eq!(
        tokenizer.encode("<s>the 12", SpecialMode::Parse).first(),
        Some(&0)
    );
    assert_eq!(tokenizer.to_hf_json(), load(&valid()).unwrap().to_hf_json());
}

#[test]
fn unknown_components_are_named() {
    let cases = [
        (
            "/normalizer",
            json!({ "type": "Lowercase" }),
            "normalizer.Lowercase",
        ),
        (
            "/normalizer/normalizers/0",
            json!({ "type": "Replace", "pattern": { "String": "a" }, "content": "b" }),
            "Replace",
        ),
        (
            "/pre_tokenizer",
            json!({ "type": "Metaspace", "replacement": "_" }),
            "pre_tokenizer.Metaspace",
        ),
        ("/pre_tokenizer", Value::Null, "pre_tokenizer"),
        (
            "/pre_tokenizer/pretokenizers/0",
            json!({ "type": "Split", "pattern": { "Regex": "x+" }, "behavior": "Isolated", "invert": false }),
            "x+",
        ),
        (
            "/pre_tokenizer/pretokenizers/1/add_prefix_space",
            json!(true),
            "add_prefix_space",
        ),
        (
            "/post_processor",
            json!({ "type": "Odd" }),
            "post_processor.Odd",
        ),
        (
            "/decoder",
            json!({ "type": "WordPiece" }),
            "decoder.WordPiece",
        ),
        ("/model/type", json!("Unigram"), "model.Unigram"),
        ("/model/byte_fallback", json!(true), "byte_fallback"),
        ("/model/dropout", json!(0.1), "dropout"),
        (
            "/model/end_of_word_suffix",
            json!("</w>"),
            "end_of_word_suffix",
        ),
        ("/truncation", json!({ "max_length": 4 }), "truncation"),
        ("/padding", json!({}), "padding"),
        ("/version", json!("2.0"), "version"),
        ("/model/vocab/a", json!(70000), "\"a\""),
        ("/model/vocab/a", json!(4_000_000_000_u64), "far beyond"),
        ("/model/vocab/a", json!(5), "already taken"),
        ("/model/vocab/a", json!("x"), "no token id"),
        ("/model/merges/0", json!(["a", "qq"]), "no token"),
        ("/model/merges/0", json!("a b c"), "no pair"),
        ("/added_tokens/0/id", json!(7), "elsewhere"),
        ("/added_tokens/0/content", json!(3), "added_tokens[0]"),
    ];
    for (place, value, expected) in cases {
        let mut file = valid();
        *file
            .pointer_mut(place)
            .unwrap_or_else(|| panic!("no {place}")) = value;
        let message = load(&file).expect_err(place);
        assert!(message.contains(expected), "{place}: {message}");
        assert!(!message.contains('\n'), "{place}: {message}");
    }
    let mut file = valid();
    file["surprise"] = json!(1);
    assert!(load(&file).unwrap_err().contains("surprise"));
}

#[test]
fn a_byte_without_a_token_is_left_out() {
    let mut file = valid();
    file["model"]["vocab"]
        .as_object_mut()
        .unwrap()
        .shift_remove("x");
    let whole = load(&valid()).unwrap().encode("the", SpecialMode::Parse);
    assert_eq!(
        load(&file).unwrap().encode("txhe", SpecialMode::Parse),
        whole
    );
    assert_eq!(load(&file).unwrap().encode("x", SpecialMode::Parse), [0; 0]);
    file["model"]["unk_token"] = json!("<s>");
    assert!(load(&file).unwrap_err().contains("model.unk_token"));
}

/// Calls `visit` with the file after each single change.
fn each_change(file: &Value, visit: &mut dyn FnMut(&Value)) {
    fn places(value: &Value, at: &str, out: &mut Vec<String>) {
        out.push(at.to_owned());
        match value {
            Value::Object(map) => {
                for (key, value) in map.iter().take(12) {
                    places(
                        value,
                        &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")),
                        out,
                    );
                }
            }
            Value::Array(list) => {
                for (index, value) in list.iter().take(4).enumerate() {
                    places(value, &format!("{at}/{index}"), out);
                }
            }
            _ => {}
        }
    }
    let mut all = Vec::new();
    places(file, "", &mut all);
    let values = [
        Value::Null,
        json!(true),
        json!(-1),
        json!(1e300),
        json!(u64::MAX),
        json!(""),
        json!("\u{120} x"),
        json!([]),
        json!([[]]),
        json!({}),
        json!({ "type": "ByteLevel" }),
    ];
    for place in all {
        for value in &values {
            let mut changed = file.clone();
            *changed.pointer_mut(&place).unwrap() = value.clone();
            visit(&changed);
        }
    }
}

#[test]
fn no_changed_field_panics() {
    let mut refused = 0;
    each_change(&valid(), &mut |file| match load(file) {
        Ok(tokenizer) => drop(tokenizer.encode("the <s> 12", SpecialMode::Parse)),
        Err(message) => {
            assert!(!message.is_empty());
            refused += 1;
        }
    });
    assert!(refused > 300, "only {refused} changes were refused");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn no_damaged_byte_panics(at in 0.0..1.0_f64, bytes in proptest::collection::vec(any::<u8>(), 0..4), cut in any::<bool>()) {
        let mut file = valid().to_string().into_bytes();
        let at = (at * file.len() as f64) as usize;
        if cut {
            file.truncate(at);
        }
        let end = (at + bytes.len()).min(file.len());
        file.splice(at.min(end)..end, bytes);
        let text = String::from_utf8_lossy(&file);
        if let Ok(tokenizer) = Tokenizer::from_hf_json(&text) {
            tokenizer.encode("the <s> 12", SpecialMode::Parse);
        }
    }

    #[test]
    fn no_random_file_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), lines in "([A-Za-z+/=]{0,9} [0-9]{0,12}\n){0,20}") {
        let folder = tempfile::tempdir().unwrap();
        for name in ["tokenizer.json", "vocab.json", "merges.txt", "x.tiktoken", "cl100k_base.tiktoken"] {
            let path = folder.path().join(name);
            for content in [&bytes[..], lines.as_bytes()] {
                std::fs::write(&path, content).unwrap();
                let options = LoadOptions { split: Some("gpt4".to_owned()) };
                prop_assert!(Tokenizer::load_with(&path, &options).is_err());
            }
            prop_assert!(Tokenizer::load(folder.path()).is_err());
        }
    }
}

#[test]
fn errors_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let missing = Tokenizer::load(folder.path().join("no.json"))
        .unwrap_err()
        .to_string();
    assert!(missing.contains("no.json"), "{missing}");
    let path = folder.path().join("half.json");
    std::fs::write(&path, "{\"version\":").unwrap();
    let half = Tokenizer::load(&path).unwrap_err().to_string();
    assert!(
        half.contains("half.json") && half.contains("line 1"),
        "{half}"
    );
    let path = folder.path().join("own.tiktoken");
    std::fs::write(&path, "").unwrap();
    assert!(
        Tokenizer::load(&path)
            .unwrap_err()
            .to_string()
            .contains("name a pre-tokenizer")
    );
}

/// The 256 bytes and `more` as a .tiktoken file.
fn tiktoken_file(more: &[&[u8]]) -> String {
    let bytes: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    let tokens = bytes.iter().map(Vec::as_slice).chain(more.iter().copied());
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for (token, rank) in tokens.zip(0..) {
        for group in token.chunks(3) {
            let mut bits = [0_u8; 4];
            bits[1..=group.len()].copy_from_slice(group);
            let bits = u32::from_be_bytes(bits);
            for at in 0..4 {
                let digit = digits[(bits >> (18 - 6 * at) & 63) as usize];
                text.push(if at <= group.len() {
                    char::from(digit)
                } else {
                    '='
                });
            }
        }
        writeln!(text, " {rank}").unwrap();
    }
    text
}

#[test]
fn tiktoken_merges_any_two_that_join() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own.tiktoken");
    // "bc" before "abc": "abc" is reached by a + bc although no file says so.
    std::fs::write(&path, tiktoken_file(&[b"bc", b"abc", b"  "])).unwrap();
    let options = LoadOptions {
        split: Some("gpt4".to_owned()),
    };
    let tokenizer = Tokenizer::load_with(&path, &options).unwrap();
    assert_eq!(tokenizer.encode("abcbc", SpecialMode::Parse), [257, 256]);
    assert_eq!(tokenizer.decode(&[257, 258]), b"abc  ");
    assert_eq!(tokenizer.vocab_size(), 259);
    let again = Tokenizer::from_hf_json(&tokenizer.to_hf_json()).unwrap();
    assert_eq!(again.encode("abcbc", SpecialMode::Parse), [257, 256]);
}

#[test]
fn gpt2_files_take_both_spellings() {
    let folder = tempfile::tempdir().unwrap();
    let file = valid();
    let mut vocab = file["model"]["vocab"].as_object().unwrap().clone();
    vocab.shift_remove("<s>");
    std::fs::write(
        folder.path().join("vocab.json"),
        serde_json::to_string(&vocab).unwrap(),
    )
    .unwrap();
    let merges: Vec<String> = file["model"]["merges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| format!("{} {}\n", m[0].as_str().unwrap(), m[1].as_str().unwrap()))
        .collect();
    for header in ["", "#version: 0.2\n"] {
        std::fs::write(
            folder.path().join("merges.txt"),
            format!("{header}{}", merges.concat()),
        )
        .unwrap();
        let tokenizer = Tokenizer::load(folder.path()).unwrap();
        assert_eq!(tokenizer.end_of_text(), Some(262), "the next free id");
        let ids = tokenizer.encode("the there", SpecialMode::Parse);
        assert_eq!(
            ids,
            load(&file).unwrap().encode("the there", SpecialMode::Parse)
        );
    }
}
