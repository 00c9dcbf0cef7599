//! Whatever can be refused is refused before the first step: with the right exit code, in a few lines that name the
//! place, and without a run folder left behind.

#![cfg(unix)]

#[expect(dead_code, reason = "nothing here stays running")]
mod common;

use common::{Place, config, text};
use std::fs;

/// Something wrong, and what is said about it.
struct Case {
    name: &'static str,
    /// Keys of the configuration that differ.
    keys: &'static [(&'static str, &'static str)],
    /// Further arguments.
    arguments: &'static [&'static str],
    /// Makes the files wrong.
    prepare: fn(&Place),
    code: i32,
    /// Each is in the message.
    says: &'static [&'static str],
}

/// A case in which only the configuration is wrong.
const fn keys(
    name: &'static str,
    keys: &'static [(&'static str, &'static str)],
    says: &'static [&'static str],
) -> Case {
    Case {
        name,
        keys,
        arguments: &[],
        prepare: |_| {},
        code: 2,
        says,
    }
}

/// A case in which a file is wrong.
const fn file(name: &'static str, prepare: fn(&Place), says: &'static [&'static str]) -> Case {
    Case {
        name,
        keys: &[],
        arguments: &[],
        prepare,
        code: 2,
        says,
    }
}

/// A case in which `model.init_from` is the donor's checkpoint, made wrong.
const fn donor(name: &'static str, prepare: fn(&Place), says: &'static [&'static str]) -> Case {
    Case {
        name,
        keys: &[("model.init_from", "\"donor\"")],
        arguments: &[],
        prepare,
        code: 2,
        says,
    }
}

const CASES: &[Case] = &[
    // Data.
    keys(
        "missing data",
        &[("data.train", "[\"no.txt\"]")],
        &["no.txt", "no such file", "data.train"],
    ),
    keys(
        "no data",
        &[("data.train", "[]")],
        &["data.train names no file"],
    ),
    keys(
        "glob without a match",
        &[("data.train", "[\"*.nothing\"]")],
        &["*.nothing", "data.train"],
    ),
    keys(
        "folder as data",
        &[("data.train", "[\".\"]")],
        &["a folder", "*.txt"],
    ),
    file(
        "empty data",
        |p| p.write("text.txt", ""),
        &["text.txt", "no text"],
    ),
    file(
        "data of spaces as short as a row",
        |p| p.write("text.txt", "a b"),
        &["tokens"],
    ),
    file(
        "binary data",
        |p| p.write("text.txt", b"\x7fELF\0\0\0\0rest of it".repeat(99)),
        &["text.txt", "binary"],
    ),
    file(
        "data that is not UTF-8",
        |p| p.write("text.txt", b"caf\xe9 ".repeat(99)),
        &["text.txt", "UTF-8 at byte 3"],
    ),
    file(
        "UTF-16",
        |p| p.write("text.txt", b"\xff\xfeh\0i\0".repeat(99)),
        &["text.txt"],
    ),
    file(
        "too short for a row",
        |p| p.write("text.txt", "only ten b"),
        &["data.train has 10 tokens", "data.sequence_length + 1 = 17"],
    ),
    file(
        "too short for a row without what is held out",
        |p| p.write("text.txt", "only seventeen b."),
        &[
            "data.validation_fraction leaves",
            "data.sequence_length + 1 = 17",
        ],
    ),
    Case {
        name: "too short for a row, all of it trained on",
        keys: &[("data.validation_fraction", "0.0")],
        arguments: &[],
        prepare: |p| p.write("text.txt", "only ten b"),
        code: 2,
        says: &["10 tokens", "17"],
    },
    Case {
        name: "broken JSON line",
        keys: &[("data.train", "[\"lines.jsonl\"]")],
        arguments: &[],
        prepare: |p| p.write("lines.jsonl", jsonl("{\"text\": \"half a li")),
        code: 2,
        says: &["lines.jsonl: line 3", "on_bad_line"],
    },
    Case {
        name: "JSON line without the field",
        keys: &[("data.train", "[\"lines.jsonl\"]")],
        arguments: &[],
        prepare: |p| p.write("lines.jsonl", jsonl("{\"content\": \"other\"}")),
        code: 2,
        says: &["lines.jsonl: line 3", "text"],
    },
    Case {
        name: "fewer ids than the tokenizer has",
        keys: &[
            ("data.train", "[\"ids.bin\"]"),
            ("tokenizer.algorithm", "\"bytes\""),
        ],
        arguments: &["--set", "model.vocab_size=10"],
        prepare: |p| p.write("ids.bin", [1u8, 1].repeat(500)),
        code: 2,
        says: &["model.vocab_size", "256"],
    },
    // Configuration.
    keys(
        "unknown key",
        &[("optimizer.lrr", "1e-3")],
        &["c.toml:", "optimizer.lrr", "lr"],
    ),
    keys(
        "slip in a table",
        &[("modle.layers", "2")],
        &["c.toml:", "modle", "model"],
    ),
    keys(
        "text for a number",
        &[("train.max_steps", "\"many\"")],
        &["c.toml:", "train.max_steps"],
    ),
    keys(
        "number for a list",
        &[("data.train", "3")],
        &["c.toml:", "data.train"],
    ),
    keys(
        "negative size",
        &[("model.dim", "-16")],
        &["c.toml:", "model.dim"],
    ),
    keys(
        "heads that do not divide",
        &[("model.heads", "3")],
        &["c.toml:", "model.heads"],
    ),
    keys(
        "unknown variant",
        &[("optimizer.kind", "\"adamx\"")],
        &["optimizer.kind", "adamw"],
    ),
    keys(
        "vocabulary too small",
        &[("model.vocab_size", "100")],
        &["model.vocab_size", "256"],
    ),
    file(
        "garbage",
        |p| p.write("c.toml", "{{{{ not toml"),
        &["c.toml:1:"],
    ),
    file(
        "binary configuration",
        |p| p.write("c.toml", b"\x00\xff\x80"),
        &["c.toml", "UTF-8"],
    ),
    file(
        "empty configuration",
        |p| p.write("c.toml", ""),
        &["c.toml", "required"],
    ),
    file(
        "configuration that is a folder",
        |p| {
            fs::remove_file(p.path("c.toml")).expect("removed");
            fs::create_dir(p.path("c.toml")).expect("made");
        },
        &["c.toml"],
    ),
    file(
        "no configuration",
        |p| fs::remove_file(p.path("c.toml")).expect("removed"),
        &["c.toml"],
    ),
    // Tokenizer and weights.
    keys(
        "no tokenizer",
        &[
            ("tokenizer.path", "\"none.json\""),
            ("tokenizer.algorithm", ""),
        ],
        &["none.json"],
    ),
    Case {
        name: "tokenizer that is no JSON",
        keys: &[
            ("tokenizer.path", "\"t.json\""),
            ("tokenizer.algorithm", ""),
        ],
        arguments: &[],
        prepare: |p| p.write("t.json", "{\"model\": {\"type\": \"BPE\", \"vo"),
        code: 2,
        says: &["tokenizer", "t.json"],
    },
    Case {
        name: "tokenizer of another program",
        keys: &[
            ("tokenizer.path", "\"t.json\""),
            ("tokenizer.algorithm", ""),
        ],
        arguments: &[],
        prepare: |p| p.write("t.json", "{\"hello\": [1, 2, 3]}"),
        code: 2,
        says: &["tokenizer", "t.json"],
    },
    keys(
        "no weights",
        &[("model.init_from", "\"nowhere\"")],
        &["model.init_from", "nowhere"],
    ),
    donor(
        "contrary shape",
        |p| {
            p.write(
                "c.toml",
                config(&[("model.init_from", "\"donor\""), ("model.layers", "2")]),
            )
        },
        &["model.layers"],
    ),
    donor(
        "half of the weights",
        |p| cut(p, "donor/model.safetensors"),
        &["model.init_from", "model.safetensors"],
    ),
    donor(
        "empty weights",
        |p| p.write("donor/model.safetensors", ""),
        &["model.init_from", "model.safetensors"],
    ),
    donor(
        "weights that are something else",
        |p| p.write("donor/model.safetensors", text(5000)),
        &["model.init_from", "model.safetensors"],
    ),
    donor(
        "foreign weights",
        |p| p.write("donor/model.safetensors", foreign()),
        &["model.init_from"],
    ),
    donor(
        "no weights in the folder",
        |p| fs::remove_file(p.path("donor/model.safetensors")).expect("removed"),
        &["model.init_from", "model.safetensors"],
    ),
    donor(
        "half of config.json",
        |p| cut(p, "donor/config.json"),
        &["model.init_from", "config.json"],
    ),
    Case {
        name: "half of the donor's tokenizer",
        keys: &[
            ("model.init_from", "\"donor\""),
            ("tokenizer.path", "\"donor/tokenizer.json\""),
            ("tokenizer.algorithm", ""),
        ],
        arguments: &[],
        prepare: |p| cut(p, "donor/tokenizer.json"),
        code: 2,
        says: &["tokenizer", "tokenizer.json"],
    },
    // The command line and the machine.
    Case {
        arguments: &["--device", "cuda:999"],
        code: 4,
        ..keys("no such device here", &[], &["cuda:999"])
    },
    Case {
        arguments: &["--device", "abacus"],
        ..keys("no such device anywhere", &[], &["abacus", "cuda"])
    },
    Case {
        arguments: &["--set", "optimizer.lr=fast"],
        ..keys("ill-typed flag", &[], &["optimizer.lr", "--set"])
    },
    Case {
        arguments: &["--set", "nonsense"],
        ..keys("flag without a value", &[], &["nonsense"])
    },
    Case {
        arguments: &["--max-steps", "-3"],
        ..keys("negative steps", &[], &["-3"])
    },
    Case {
        arguments: &["--ui", "hologram"],
        ..keys("no such screen", &[], &["hologram"])
    },
    file(
        "a key that two actions have",
        |place| own(place, "keys.toml", "eval = [\"s\"]\n"),
        &["keys.toml:1:", "both \"sample\" and \"eval\""],
    ),
    file(
        "an action that there is not",
        |place| own(place, "keys.toml", "# mine\nevaluate = [\"E\"]\n"),
        &["keys.toml:2:", "no command", "evaluate"],
    ),
    file(
        "a setting that there is not",
        |place| own(place, "settings.toml", "colour = \"light\"\n"),
        &["settings.toml:1:", "colour", "theme"],
    ),
    Case {
        arguments: &["--keys", "mine.toml"],
        ..file(
            "a key that there is not",
            |place| place.write("mine.toml", "eval = [\"ctrl-shift-e\"]\n"),
            &["mine.toml:1:", "is no key"],
        )
    },
    Case {
        arguments: &["--keys", "none.toml"],
        ..keys("no file of keys", &[], &["none.toml"])
    },
    Case {
        arguments: &["--run", "../r"],
        ..keys("run name with a path", &[], &["../r"])
    },
    Case {
        arguments: &["--runs", "text.txt/runs"],
        ..keys(
            "runs where none can be",
            &[],
            &["text.txt/runs", "--runs", "ZEROLLM_RUNS"],
        )
    },
    Case {
        arguments: &["--runs", "text.txt"],
        ..keys("a file as the folder of runs", &[], &["text.txt", "--runs"])
    },
    Case {
        arguments: &["--resume", "--run", "none"],
        ..keys("no run to resume", &[], &["none"])
    },
    Case {
        arguments: &["--resume"],
        ..keys("no run at all", &[], &["resume"])
    },
];

#[test]
fn what_is_wrong_is_said_before_anything_is_left_behind() {
    let source = Place::new(&[("train.checkpoint_interval", "2"), ("train.max_steps", "2")]);
    source.expect(0, &["train", "c.toml", "--run", "donor", "--ui", "none"]);
    let checkpoint = source.run_path("donor", "checkpoints/step_00000002");
    let mut failures = Vec::new();
    for case in CASES {
        let place = Place::new(case.keys);
        fs::create_dir(place.path("donor")).expect("a temporary folder");
        for entry in fs::read_dir(&checkpoint).expect("a checkpoint") {
            let entry = entry.expect("an entry");
            let to = place.path("donor").join(entry.file_name());
            fs::copy(entry.path(), to).expect("copied");
        }
        (case.prepare)(&place);
        let output = place.run(&[&["train", "c.toml"], case.arguments].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        let mut wrong = Vec::new();
        if output.status.code() != Some(case.code) {
            wrong.push(format!("{} instead of {}", output.status, case.code));
        }
        if !output.stdout.is_empty() {
            wrong.push("it wrote on stdout".to_owned());
        }
        if !(1..=6).contains(&said.trim_end().lines().count()) || said.contains("panicked") {
            wrong.push("not a few lines".to_owned());
        }
        let missing = case.says.iter().filter(|word| !said.contains(**word));
        wrong.extend(missing.map(|word| format!("not a word of {word:?}")));
        if fs::read_dir(place.path("runs")).is_ok_and(|mut runs| runs.next().is_some()) {
            wrong.push("a run folder is left".to_owned());
        }
        if !wrong.is_empty() {
            failures.push(format!("{}: {}:\n{said}", case.name, wrong.join(", ")));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_donor_is_good_when_it_is_whole() {
    let place = Place::new(&[("train.checkpoint_interval", "2"), ("train.max_steps", "2")]);
    place.expect(0, &["train", "c.toml", "--run", "donor", "--ui", "none"]);
    let from = "model.init_from=runs/donor/checkpoints/step_00000002";
    place.expect(
        0,
        &[
            "train", "c.toml", "--run", "r", "--ui", "none", "--set", from,
        ],
    );
    assert_eq!(place.losses("r").len(), 2);
}

#[test]
fn bad_lines_are_skipped_and_counted_where_that_is_asked_for() {
    let place = Place::new(&[
        ("data.train", "[\"lines.jsonl\"]"),
        ("data.on_bad_line", "\"skip\""),
    ]);
    place.write("lines.jsonl", jsonl("not JSON at all"));
    let said = place.expect(0, &["train", "c.toml", "--run", "r", "--ui", "plain"]);
    assert!(said.contains("warning: 1 bad line"), "{said}");
    let events = place.events("r");
    assert!(events.iter().any(|event| event["event"] == "warning"));
}

#[test]
fn a_file_that_may_not_be_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new(&[]);
    let nobody = fs::Permissions::from_mode(0o000);
    fs::set_permissions(place.path("text.txt"), nobody).expect("its owner may");
    if fs::read(place.path("text.txt")).is_ok() {
        eprintln!("skipped: this user may read every file");
        return;
    }
    let said = place.expect(2, &["train", "c.toml"]);
    assert!(said.contains("text.txt"), "{said}");
}

#[test]
fn a_folder_of_runs_that_may_not_be_written_is_refused_in_a_line() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new(&[]);
    place.expect(0, &["train", "c.toml", "--run", "old", "--ui", "none"]);
    let folders = [place.path("runs"), place.run_path("old", "")];
    let allow = |mode: u32| {
        for folder in &folders {
            let permissions = fs::Permissions::from_mode(mode);
            fs::set_permissions(folder, permissions).expect("its owner may");
        }
        let lock = fs::Permissions::from_mode(mode & 0o666);
        fs::set_permissions(place.run_path("old", "run.lock"), lock).expect("its owner may");
    };
    allow(0o555);
    if fs::create_dir(place.path("runs/probe")).is_ok() {
        eprintln!("skipped: this user may write every folder");
        return;
    }
    let begin = ["train", "c.toml", "--run", "new"];
    let resume = ["train", "--run", "old", "--resume", "--max-steps", "30"];
    let said = [place.expect(2, &begin), place.expect(2, &resume)];
    allow(0o755);
    for said in said {
        assert!(said.contains("runs") && said.contains("--runs"), "{said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    }
}

/// Three good lines with a bad one as the third of the four.
/// Writes one of the person's own files.
fn own(place: &Place, name: &str, contents: &str) {
    let folder = place.path("settings/zerollm");
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join(name), contents).expect("written");
}

fn jsonl(bad: &str) -> String {
    let good = serde_json::json!({"text": text(600)});
    format!("{good}\n{good}\n{bad}\n{good}\n")
}

/// Leaves the first half of a file.
fn cut(place: &Place, name: &str) {
    let bytes = fs::read(place.path(name)).expect("a file of the donor");
    place.write(name, &bytes[..bytes.len() / 2]);
}

/// A safetensors file of one tensor that no model of ours has.
fn foreign() -> Vec<u8> {
    let header = r#"{"some.weight":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend([0; 16]);
    bytes
}
