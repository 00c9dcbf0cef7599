//! What is wrong is told in one line on stderr, with exit code 2, and nothing on stdout.

use super::{Place, trained};

/// Commands, with a part of the line that each is refused with.
fn refused(place: &Place, cases: &[(&[&str], &str)]) {
    for (arguments, part) in cases {
        let told = place.run(arguments);
        assert_eq!(
            (told.code, told.out.as_str()),
            (2, ""),
            "{arguments:?}: {}",
            told.err
        );
        assert!(
            told.err.starts_with("zerollm: "),
            "{arguments:?}: {}",
            told.err
        );
        assert_eq!(told.err.lines().count(), 1, "{arguments:?}: {}", told.err);
        assert!(told.err.contains(part), "{arguments:?}: {}", told.err);
        assert!(
            !told.err.chars().any(|c| c.is_control() && c != '\n'),
            "{:?}",
            told.err
        );
    }
}

#[test]
fn models_that_are_none() {
    let place = trained();
    place.file("nothing/readme", "");
    place.file("empty/config.json", "");
    place.file("garbage/config.json", [0xff, 0xfe, 0x00]);
    place.file("other/config.json", "{\"model_type\": \"bert\"}");
    let llama = std::fs::read(super::fixture("llama").join("config.json")).expect("a fixture");
    place.file("weightless/config.json", &llama);
    place.file("broken/config.json", &llama);
    place.file("broken/model.safetensors", [7; 100]);
    let by_model = |folder: &'static str| ["generate", "--tokens", "1", "--model", folder];
    refused(
        place,
        &[
            (&by_model("nowhere"), "nowhere: there is no such folder"),
            (&by_model("tiny.toml"), "this is a file"),
            (&by_model("nothing"), "no config.json"),
            (&by_model("empty"), "empty/config.json"),
            (&by_model("garbage"), "garbage/config.json"),
            (&by_model("other"), "bert"),
            (&by_model("weightless"), "weightless"),
            (&by_model("broken"), "broken/model.safetensors"),
            (&by_model("runs/tiny"), "--run runs/tiny"),
            (
                &["generate", "--run", "no\u{1b}body", "--tokens", "1"],
                "body",
            ),
            (
                &["generate", "--run", "nobody", "--tokens", "1"],
                "no run nobody",
            ),
            (
                &["generate", "--run", "tiny@4", "--tokens", "1"],
                "there are those of 3, 6",
            ),
            (
                &["generate", "--run", "tiny", "--tokens", "1,300"],
                "ids 0 to 256",
            ),
            (
                &["generate", "--run", "tiny", "--tokens", "1,x"],
                "`x` is no token id",
            ),
            (&["generate", "--run", "tiny", "--tokens", ""], "no ids"),
            (&["score", "--run", "tiny", "--tokens", "5"], "at least two"),
            (
                &["score", "--run", "tiny", "--input", "nowhere.txt"],
                "nowhere.txt",
            ),
            (&["score", "--run", "tiny", "--input", "runs"], "runs"),
        ],
    );
    let told = place.run(&[
        "generate", "--run", "tiny", "--prompt", "a", "--device", "cuda",
    ]);
    assert_eq!(told.code, 4, "{}", told.err);
}

#[test]
fn ids_need_no_tokenizer() {
    // One that cannot be read is told, and does no harm.
    let place = Place::new();
    for file in ["config.json", "model.safetensors"] {
        let content = std::fs::read(super::fixture("llama").join(file)).expect("a fixture");
        place.file(&format!("unread/{file}"), content);
    }
    place.file("unread/tokenizer.json", "{}");
    let base = ["generate", "--model", "unread", "--max-tokens", "2"];
    let told = place.run(&[&base[..], &["--tokens", "1,2"]].concat());
    assert_eq!(
        (told.code, told.out.lines().count()),
        (0, 1),
        "{}",
        told.err
    );
    assert!(told.err.contains("tokenizer.json"), "{}", told.err);
    assert_eq!(told.err.lines().count(), 1, "{}", told.err);
    let prompt = [&base[..], &["--prompt", "a"]].concat();
    refused(&place, &[(&prompt, "--tokens")]);
}

#[test]
fn a_runs_own_checkpoint_that_is_damaged() {
    let place = Place::new();
    place.file("tiny.toml", super::TINY);
    place
        .run(&["train", "tiny.toml", "--run", "hurt", "--ui", "none"])
        .good();
    let newest = place
        .path()
        .join("runs/hurt/checkpoints/step_00000006/model.safetensors");
    let mut bytes = std::fs::read(&newest).expect("weights");
    *bytes.last_mut().expect("not empty") ^= 1;
    std::fs::write(&newest, bytes).expect("written");
    // The one before serves, and that is told.
    let base = ["generate", "--tokens", "1", "--max-tokens", "2", "--run"];
    let told = place.run(&[&base[..], &["hurt"]].concat());
    assert_eq!(told.code, 0, "{}", told.err);
    assert!(
        told.err.contains("step_00000006") && told.err.lines().count() == 1,
        "{}",
        told.err
    );
    let told = place.run(&[&base[..], &["hurt@6"]].concat());
    assert_eq!((told.code, told.out.as_str()), (5, ""), "{}", told.err);
    std::fs::remove_dir_all(place.path().join("runs/hurt/checkpoints/step_00000003"))
        .expect("removed");
    let told = place.run(&[&base[..], &["hurt"]].concat());
    assert_eq!(told.code, 5, "{}", told.err);
}

#[test]
fn files_and_names() {
    let place = Place::new();
    place.file("empty", "");
    place.file("garbage", [b'a', b'\n', 0xff, 0xfe, 0x00]);
    place.file("text", "words");
    place.file("odd.bin", [1, 2, 3]);
    place.file("folder/readme", "");
    place.file("t.json", "{\"model\": 7}");
    place.file("runs/x/events.jsonl", "not an event\n");
    let train = |file: &'static str| {
        [
            "tokenizer",
            "train",
            "--vocab-size",
            "300",
            "--output",
            "o.json",
            "--input",
            file,
        ]
    };
    let encode = ["tokenizer", "encode", "--tokenizer"];
    let bytes = place.run(&[
        "tokenizer",
        "train",
        "--vocab-size",
        "256",
        "--output",
        "b.json",
        "--input",
        "text",
    ]);
    assert_eq!(bytes.code, 0, "{}", bytes.err);
    refused(
        &place,
        &[
            (&train("nowhere"), "nowhere"),
            (&train("empty"), "empty: the file is empty"),
            (&train("garbage"), "not a text in UTF-8 (line 2)"),
            (&train("runs"), "this is a folder"),
            (
                &[
                    "tokenizer",
                    "train",
                    "--vocab-size",
                    "10",
                    "--output",
                    "o.json",
                    "--input",
                    "text",
                ],
                "too small",
            ),
            (
                &[
                    "tokenizer",
                    "train",
                    "--vocab-size",
                    "300",
                    "--output",
                    "no/o.json",
                    "--input",
                    "text",
                ],
                "no such folder",
            ),
            (
                &[
                    "tokenizer",
                    "train",
                    "--vocab-size",
                    "300",
                    "--pre-tokenizer",
                    "x",
                    "--output",
                    "o.json",
                    "--input",
                    "text",
                ],
                "gpt2",
            ),
            (
                &[&encode[..], &["nowhere", "--text", "a"]].concat(),
                "nowhere",
            ),
            (&[&encode[..], &["empty", "--text", "a"]].concat(), "empty"),
            (
                &[&encode[..], &["garbage", "--text", "a"]].concat(),
                "garbage",
            ),
            (
                &[&encode[..], &["t.json", "--text", "a"]].concat(),
                "t.json",
            ),
            (
                &[&encode[..], &["b.json", "--input", "garbage"]].concat(),
                "line 2, byte 3",
            ),
            (
                &[
                    "tokenizer",
                    "decode",
                    "--tokenizer",
                    "b.json",
                    "--tokens",
                    "256",
                ],
                "ids 0 to 255",
            ),
            (
                &[
                    "tokenizer",
                    "decode",
                    "--tokenizer",
                    "b.json",
                    "--input",
                    "odd.bin",
                ],
                "3 bytes",
            ),
            (&["show", "nobody"], "no run nobody"),
            (&["metric", "x", "lose"], "no figure `lose`"),
            (&["compare", "x", "y"], "no run y"),
            (&["runs", "--runs", "nowhere"], "no such folder"),
            (&["bench", "step", "nowhere.toml"], "no such file"),
            (
                &["bench", "step", "folder"],
                "folder: this is a folder, not a",
            ),
            (
                &["estimate", "nowhere.toml"],
                "nowhere.toml: there is no such file",
            ),
            (&["estimate", "folder"], "folder: this is a folder, not a"),
            (
                &["estimate", "/dev/null"],
                "/dev/null: data.sequence_length: required",
            ),
            (&["train", "folder"], "folder: this is a folder, not a"),
            (&["bench", "step", "garbage"], "garbage"),
            (&["bench", "op", "sine"], "no operation `sine`"),
            (&["bench", "generate", "--prompt-tokens", "1000"], "context"),
        ],
    );
    assert!(
        !place.path().join("o.json").exists(),
        "a refused training left a file"
    );
}

#[test]
fn usage() {
    let place = Place::new();
    for arguments in [
        &["generate", "--run", "x"][..],
        &["generate", "--prompt", "x"],
        &["generate", "--run", "x", "--model", "y", "--prompt", "z"],
        &[
            "generate",
            "--run",
            "x",
            "--prompt",
            "x",
            "--temperature",
            "-1",
        ],
        &["generate", "--run", "x", "--prompt", "x", "--top-p", "0"],
        &["score", "--run", "x"],
        &["compare", "x"],
        &["metric", "x"],
        &["bench", "step", "--steps", "4"],
        &[
            "tokenizer",
            "train",
            "--input",
            "x",
            "--algorithm",
            "unigram",
            "--vocab-size",
            "300",
            "--output",
            "y",
        ],
    ] {
        let told = place.run(arguments);
        assert_eq!(
            (told.code, told.out.as_str()),
            (2, ""),
            "{arguments:?}: {}",
            told.err
        );
        assert!(
            told.err.starts_with("zerollm: ") && !told.err.contains("panicked"),
            "{}",
            told.err
        );
    }
}
