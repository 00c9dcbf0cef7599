//! What holds for every tokenizer: nothing is lost, streams equal wholes, saved is loaded.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use proptest::prelude::*;
use tokenizer::{AddedToken, LoadOptions, SpecialMode, Tokenizer, TrainOptions, split, train};

const TEXT: &str = "The theatre that they thought of; don't they? 12345 \u{4E2D}\u{6587}\u{6587}\u{672C}\u{4E2D}\u{6587} \
    \u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467} \u{645}\u{631}\u{62D}\u{628}\u{627}\r\n  fn main() {}\n caf\u{E9}";

fn specials() -> Vec<String> {
    ["<|endoftext|>", "<|im_start|>"]
        .map(str::to_owned)
        .to_vec()
}

/// One tokenizer of every split, and the bytes.
fn tokenizers() -> Vec<Tokenizer> {
    let trained = split::SPLITS.iter().map(|split| {
        let options = TrainOptions {
            vocab_size: 340,
            specials: specials(),
            split: split.name().to_owned(),
            ..TrainOptions::default()
        };
        train([TEXT], options).unwrap()
    });
    trained
        .chain([Tokenizer::bytes(&specials()).unwrap()])
        .collect()
}

#[test]
fn all_two_byte_texts_come_back() {
    for tokenizer in tokenizers() {
        for pair in 0..=u16::MAX {
            let Ok(text) = std::str::from_utf8(&pair.to_be_bytes()).map(str::to_owned) else {
                continue;
            };
            let ids = tokenizer.encode(&text, SpecialMode::Parse);
            assert_eq!(tokenizer.decode(&ids), text.as_bytes(), "{tokenizer:?}");
        }
    }
}

#[test]
fn bytes_are_their_ids() {
    let bytes = Tokenizer::bytes(&specials()).unwrap();
    assert_eq!(bytes.vocab_size(), 258);
    assert_eq!(
        bytes.encode("a\u{E9}<|im_start|>", SpecialMode::Parse),
        [97, 195, 169, 257]
    );
    assert_eq!(bytes.encode("<|", SpecialMode::Parse), [60, 124]);
    assert_eq!(bytes.end_of_text(), Some(256));
    assert!((0..=255).all(|byte| bytes.token_bytes(byte.into()) == Some(&[byte][..])));
    assert_eq!(bytes.token_bytes(258), None);
    let json: serde_json::Value = serde_json::from_str(&bytes.to_hf_json()).unwrap();
    assert_eq!(
        json["model"]["vocab"]["\u{120}"], 32,
        "a space, as vocabulary files write it"
    );
}

#[test]
fn special_tokens_are_parsed_or_text() {
    for tokenizer in tokenizers() {
        let id = tokenizer.end_of_text().unwrap();
        let text = "a<|endoftext|>b";
        assert!(tokenizer.encode(text, SpecialMode::Parse).contains(&id));
        let as_text = tokenizer.encode(text, SpecialMode::AsText);
        assert!(!as_text.contains(&id));
        assert_eq!(tokenizer.decode_lossy(&as_text), text);
        assert_eq!(tokenizer.id_of("<|endoftext|>"), Some(id));
        assert_eq!(
            tokenizer
                .special_tokens()
                .map(|token| &token.content[..])
                .collect::<Vec<_>>(),
            specials()
        );
    }
}

#[test]
fn end_of_text_has_many_names() {
    let named = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        Tokenizer::bytes(&names).unwrap().end_of_text()
    };
    assert_eq!(named(&["</s>", "<|endoftext|>"]), Some(257));
    assert_eq!(named(&["<s>", "</s>"]), Some(257));
    assert_eq!(named(&["<|end_of_text|>"]), Some(256));
    assert_eq!(named(&["<s>"]), None);
}

#[test]
fn saved_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    for tokenizer in tokenizers() {
        tokenizer.save(&path).unwrap();
        for place in [&path, folder.path()] {
            let loaded = Tokenizer::load(place).unwrap();
            assert_eq!(loaded.to_hf_json(), tokenizer.to_hf_json());
            let ids = tokenizer.encode(TEXT, SpecialMode::Parse);
            assert_eq!(loaded.encode(TEXT, SpecialMode::Parse), ids);
            assert_eq!(loaded.vocab_size(), tokenizer.vocab_size());
        }
    }
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        1,
        "nothing is left beside the file"
    );
}

#[test]
fn a_contrary_split_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.json");
    train(
        [TEXT],
        TrainOptions {
            vocab_size: 300,
            ..TrainOptions::default()
        },
    )
    .unwrap()
    .save(&path)
    .unwrap();
    let with = |split: &str| {
        Tokenizer::load_with(
            &path,
            &LoadOptions {
                split: Some(split.to_owned()),
            },
        )
    };
    assert!(with("gpt2").is_ok());
    assert!(
        with("gpt4")
            .unwrap_err()
            .to_string()
            .contains("contradicts")
    );
}

#[test]
fn batches_are_single_texts() {
    let tokenizer = &tokenizers()[0];
    let texts: Vec<String> = (0..500).map(|i| format!("{TEXT} {i}")).collect();
    let one: Vec<_> = texts
        .iter()
        .map(|text| tokenizer.encode(text, SpecialMode::Parse))
        .collect();
    assert_eq!(tokenizer.encode_batch(&texts, SpecialMode::Parse), one);
}

#[test]
fn nfc_is_applied_where_a_file_asks() {
    let mut json: serde_json::Value =
        serde_json::from_str(&Tokenizer::bytes(&specials()).unwrap().to_hf_json()).unwrap();
    json["normalizer"] = serde_json::json!({ "type": "NFC" });
    let added = AddedToken {
        special: false,
        normalized: true,
        ..AddedToken::special("\u{E9}\u{E9}", 258)
    };
    json["added_tokens"]
        .as_array_mut()
        .unwrap()
        .push(serde_json::to_value(added).unwrap());
    let tokenizer = Tokenizer::from_hf_json(&json.to_string()).unwrap();
    assert_eq!(
        tokenizer.encode("e\u{301}<|im_start|>e\u{301}\u{E9}!", SpecialMode::Parse),
        [195, 169, 257, 258, 33]
    );
    assert_eq!(
        Tokenizer::from_hf_json(&tokenizer.to_hf_json())
            .unwrap()
            .to_hf_json(),
        tokenizer.to_hf_json()
    );
}

fn streamed(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<String> {
    let mut decoder = tokenizer.stream_decoder();
    let mut parts: Vec<String> = ids.iter().map(|&id| decoder.push(id)).collect();
    parts.push(decoder.finish());
    parts
}

#[test]
fn a_stream_equals_the_whole_at_every_cut() {
    let bytes = Tokenizer::bytes(&[]).unwrap();
    let text = "a\u{E9}\u{4E2D}\u{1F600}b";
    let ids = bytes.encode(text, SpecialMode::Parse);
    assert_eq!(streamed(&bytes, &ids).concat(), text);
    assert!(
        !streamed(&bytes, &ids)
            .iter()
            .any(|part| part.contains('\u{FFFD}')),
        "half a character came out"
    );
    for from in 0..ids.len() {
        for to in from..=ids.len() {
            assert_eq!(
                streamed(&bytes, &ids[from..to]).concat(),
                bytes.decode_lossy(&ids[from..to])
            );
        }
    }
}

proptest! {
    #[test]
    fn any_text_comes_back(text in "\\PC{0,60}|(?s).{0,60}") {
        for tokenizer in tokenizers_once() {
            let ids = tokenizer.encode(&text, SpecialMode::Parse);
            prop_assert_eq!(tokenizer.decode_lossy(&ids), text.as_str());
            prop_assert_eq!(streamed(tokenizer, &ids).concat(), text.as_str());
        }
    }

    #[test]
    fn any_bytes_come_back(bytes in proptest::collection::vec(0_u32..258, 0..60)) {
        let tokenizer = Tokenizer::bytes(&specials()).unwrap();
        let raw: Vec<u8> = bytes.iter().filter(|&&id| id < 256).map(|&id| id as u8).collect();
        let ids: Vec<u32> = raw.iter().map(|&byte| byte.into()).collect();
        prop_assert_eq!(tokenizer.decode(&ids), raw);
        prop_assert_eq!(streamed(&tokenizer, &bytes).concat(), tokenizer.decode_lossy(&bytes));
    }
}

fn tokenizers_once() -> &'static [Tokenizer] {
    static ONCE: std::sync::OnceLock<Vec<Tokenizer>> = std::sync::OnceLock::new();
    ONCE.get_or_init(tokenizers)
}
