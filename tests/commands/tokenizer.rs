//! tokenizer train, encode, decode, inspect.

use super::{Place, ids, number};

const TEXT: &str =
    "The cat sat. The cat ran!\nthe \u{4ece}\u{524d}\u{6709}\u{53ea}\u{732b} e\u{301}\r\n\tthe cat";

fn place() -> Place {
    let place = Place::new();
    place.file(
        "a.txt",
        "The cat sat on the mat.\nThe cat ran.\n".repeat(30),
    );
    place.file("b.txt", "the rat sat\n".repeat(30));
    let train = [
        "tokenizer",
        "train",
        "--input",
        "a.txt",
        "b.txt",
        "--algorithm",
        "bpe",
        "--vocab-size",
        "270",
        "--special",
        "<|endoftext|>",
        "<pad>",
        "--pre-tokenizer",
        "gpt4",
        "--output",
        "t.json",
        "--json",
    ];
    let told = place.run(&train).json();
    assert_eq!(
        (&told["vocab_size"], &told["merges"]),
        (&270.into(), &12.into())
    );
    assert_eq!(told["bytes"], 30 * (24 + 13 + 12));
    place
}

#[test]
fn texts_come_back_and_special_tokens_are_themselves() {
    let place = place();
    place.file("text.txt", TEXT);
    let encode = ["tokenizer", "encode", "--tokenizer", "t.json", "--json"];
    let told = place
        .run(&[&encode[..], &["--input", "text.txt"]].concat())
        .json();
    let tokens = ids(&told["ids"]);
    assert!(tokens.len() < TEXT.len());
    let list: Vec<String> = tokens.iter().map(u64::to_string).collect();
    let plain = place
        .run(&[
            "tokenizer",
            "encode",
            "--tokenizer",
            "t.json",
            "--text",
            TEXT,
        ])
        .good();
    assert_eq!(plain, format!("{}\n", list.join(",")));
    // Into a pipe go the very bytes.
    let decode = ["tokenizer", "decode", "--tokenizer", "t.json"];
    let back = place
        .run(&[&decode[..], &["--tokens", &list.join(",")]].concat())
        .good();
    assert_eq!(back, TEXT);
    let out = [&encode[..], &["--input", "text.txt", "--output", "ids.bin"]].concat();
    let told = place.run(&out).json();
    assert_eq!(
        (&told["token_bytes"], &told["tokens"]),
        (&2.into(), &tokens.len().into())
    );
    let bytes = std::fs::read(place.path().join("ids.bin")).expect("written");
    assert_eq!(bytes.len(), 2 * tokens.len());
    assert_eq!(
        u64::from(u16::from_le_bytes([bytes[0], bytes[1]])),
        tokens[0]
    );
    let back = place
        .run(&[&decode[..], &["--input", "ids.bin", "--json"]].concat())
        .json();
    assert_eq!(back["text"], TEXT);
    let special = |more: &[&str]| {
        let arguments = [&encode[..], &["--text", "a<pad><|endoftext|>"], more].concat();
        ids(&place.run(&arguments).json()["ids"])
    };
    assert_eq!(special(&[])[1..], [1, 0]);
    assert!(special(&["--no-special"]).iter().all(|id| *id > 1));
}

#[test]
fn inspection_tells_what_is_in_it() {
    let place = place();
    let arguments = [
        "tokenizer",
        "inspect",
        "--tokenizer",
        "t.json",
        "--text",
        "the cat",
    ];
    let told = place.run(&[&arguments[..], &["--json"]].concat()).json();
    assert_eq!(
        (&told["vocab_size"], &told["end_of_text"]),
        (&270.into(), &0.into())
    );
    assert_eq!(told["special"][1]["token"], "<pad>");
    let pieces = told["text"]["pieces"].as_array().expect("pieces");
    let joined: String = pieces
        .iter()
        .filter_map(|piece| piece["token"].as_str())
        .collect();
    assert_eq!(joined, "the cat");
    assert_eq!(told["text"]["tokens"], pieces.len());
    let rate = number(&told["text"]["bytes_per_token"]);
    assert!((rate - 7.0 / pieces.len() as f64).abs() < 1e-12);
    let plain = place.run(&arguments).good();
    assert!(
        plain.contains("[ cat]") && plain.contains("<|endoftext|>"),
        "{plain}"
    );
}

#[test]
fn ties_can_be_broken_either_way() {
    let place = Place::new();
    // Each pair occurs as often as each other one.
    place.file("t.txt", "ab\ncd\n");
    let first = |ties: &str| {
        let train = [
            "tokenizer",
            "train",
            "--input",
            "t.txt",
            "--vocab-size",
            "257",
            "--ties",
            ties,
            "--output",
            "t.json",
        ];
        place.run(&train).good();
        let inspect = ["tokenizer", "inspect", "--tokenizer", "t.json", "--json"];
        place.run(&inspect).json()["longest"][0]["token"].clone()
    };
    assert_eq!((first("hf"), first("greatest")), ("ab".into(), "cd".into()));
}
