//! The commands that read models, runs and tokenizers, run through the built program: what they print, how they refuse, and
//! how they end.

#[path = "commands/bench.rs"]
mod bench;
#[path = "commands/chat.rs"]
mod chat;
#[path = "commands/export.rs"]
mod export;
#[path = "commands/model.rs"]
mod model;
#[path = "commands/refusals.rs"]
mod refusals;
#[path = "commands/runs.rs"]
mod runs;
#[path = "commands/tokenizer.rs"]
mod tokenizer;

use serde_json::Value;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;

/// A small run with two checkpoints, trained once for all tests: a byte tokenizer, rows of 32 bytes.
const TINY: &str = "[data]\nsource = \"storybook\"\nsequence_length = 32\n\
    [tokenizer]\nalgorithm = \"bytes\"\nspecial = [\"<|endoftext|>\"]\n\
    [model]\nlayers = 1\ndim = 16\nheads = 2\nkv_heads = 1\n\
    [optimizer]\nlr = 1e-2\n\
    [train]\nbatch_size = 4\nmax_steps = 6\neval_interval = 3\ncheckpoint_interval = 3\n\
    [telemetry]\nlayer_interval = 3\n";

/// What a command printed and how it ended.
struct Told {
    code: i32,
    out: String,
    err: String,
}

impl Told {
    fn new(output: Output) -> Self {
        Self {
            code: output.status.code().expect("it was not killed"),
            out: String::from_utf8(output.stdout).expect("UTF-8 on stdout"),
            err: String::from_utf8(output.stderr).expect("UTF-8 on stderr"),
        }
    }

    /// What was printed, if it went well and nothing was said on stderr.
    fn good(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{}", self.out);
        self.out
    }

    /// The one JSON object that was printed.
    fn json(self) -> Value {
        let out = self.good();
        assert_eq!(out.lines().count(), 1, "{out}");
        let value: Value = serde_json::from_str(&out).expect("JSON");
        assert!(value.is_object(), "{out}");
        value
    }
}

/// A folder in which commands are run, with a cache of its own.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(&path, content).expect("a written file");
        path
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_zerollm"));
        command
            .args(arguments)
            .current_dir(self.path())
            .env("ZEROLLM_CACHE", self.path().join("cache"))
            .env_remove("ZEROLLM_RUNS")
            .env_remove("ZEROLLM_ISA")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Told {
        Told::new(self.command(arguments).output().expect("it starts"))
    }
}

/// The folder in which run `tiny` was trained.
fn trained() -> &'static Place {
    static PLACE: OnceLock<Place> = OnceLock::new();
    PLACE.get_or_init(|| {
        let place = Place::new();
        place.file("tiny.toml", TINY);
        place.file(
            "story.txt",
            "One day a girl named Lily found a ball in the park. ".repeat(4),
        );
        place
            .run(&["train", "tiny.toml", "--run", "tiny", "--ui", "none"])
            .good();
        place
    })
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

fn ids(value: &Value) -> Vec<u64> {
    let list = value
        .as_array()
        .unwrap_or_else(|| panic!("{value} is no list"));
    list.iter().map(|id| id.as_u64().expect("an id")).collect()
}

/// A folder of Hugging Face's form, with what the library computes for it in `reference.json`.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../engine/tests/fixtures/hf")
        .join(name)
}

#[test]
fn a_configuration_may_come_through_a_pipe() {
    let place = Place::new();
    for words in [
        &["estimate", "/dev/stdin", "--json"][..],
        &["train", "/dev/stdin", "--run", "piped", "--ui", "none"],
    ] {
        let mut command = place.command(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let mut pipe = child.stdin.take().expect("a pipe");
        pipe.write_all(TINY.as_bytes()).expect("it reads");
        drop(pipe);
        Told::new(child.wait_with_output().expect("it ends")).good();
    }
}

#[test]
fn every_command_teaches_with_an_example() {
    let place = Place::new();
    let commands: [&[&str]; 23] = [
        &["train"],
        &["estimate"],
        &["generate"],
        &["score"],
        &["tokenizer"],
        &["tokenizer", "train"],
        &["tokenizer", "encode"],
        &["tokenizer", "decode"],
        &["tokenizer", "inspect"],
        &["runs"],
        &["show"],
        &["metric"],
        &["compare"],
        &["export"],
        &["doctor"],
        &["bench"],
        &["bench", "machine"],
        &["bench", "op"],
        &["bench", "step"],
        &["bench", "tokenizer"],
        &["bench", "data"],
        &["bench", "generate"],
        &["cache"],
    ];
    for command in commands {
        let help = place.run(&[command, &["--help"]].concat()).good();
        let example = format!("zerollm {}", command.join(" "));
        assert!(
            help.contains("Example") && help.contains(&example),
            "{command:?} shows no example:\n{help}"
        );
    }
}

#[test]
fn the_doctor_finds_nothing() {
    let report = Place::new().run(&["doctor", "--json"]).json();
    assert_eq!(report["ok"], true, "{report}");
    let checks = report["checks"].as_array().expect("checks");
    assert!(checks.len() > 15, "{report}");
    for check in checks {
        assert!(
            check["ok"] == true && number(&check["seconds"]) >= 0.0,
            "{check}"
        );
    }
    for wanted in [
        "kernel linear",
        "model gradient (llama)",
        "checkpoint there and back",
    ] {
        assert!(
            checks.iter().any(|check| check["name"] == wanted),
            "{wanted}"
        );
    }
}

#[test]
fn the_cache_is_shown_and_cleared() {
    let place = Place::new();
    place.file("cache/tokens-x.bin", [0; 100]);
    let shown = place.run(&["cache", "--json"]).json();
    assert_eq!(shown["bytes"], 100);
    assert_eq!(shown["files"][0]["name"], "tokens-x.bin");
    assert!(place.run(&["cache"]).good().contains("100 B"));
    let cleared = place.run(&["cache", "--clear", "--json"]).json();
    assert_eq!(
        (&cleared["freed"], &cleared["bytes"]),
        (&100.into(), &0.into())
    );
    assert!(!place.path().join("cache/tokens-x.bin").exists());
}
