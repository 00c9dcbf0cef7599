//! Tests of the configuration: what is read, what is refused and where, and who beats whom.

mod flags;

use super::schema::{SECTIONS, every};
use super::*;
use crate::registry::{Default as Preset, Key, Kind, SLOTS};
use crate::watch::RULES;
use proptest::prelude::*;
use std::path::PathBuf;

/// The least that a configuration must say.
const BASE: &str = "data.sequence_length = 8\nmodel.layers = 2\nmodel.dim = 16\nmodel.heads = 4\n\
                    train = { batch_size = 4, max_steps = 10 }\noptimizer.lr = 1e-3\n";

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| (*s).to_owned()).collect()
}

fn base(sets: &[&str]) -> Config {
    Config::parse(None, BASE, &strings(sets)).unwrap()
}

fn refused(text: &str, sets: &[&str]) -> String {
    let file = Some(Path::new("x.toml"));
    let message = match Config::parse(file, text, &strings(sets)) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("accepted: {text} {sets:?}"),
    };
    assert!(!message.contains('\n'), "{message}");
    message
}

fn presets() -> Vec<PathBuf> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    files
}

#[test]
fn defaults_fill_what_the_file_leaves_out() {
    let c = base(&[]);
    assert_eq!((c.run.name.as_str(), c.run.seed), ("run", 0));
    assert_eq!((c.model.kv_heads, c.model.head_dim), (4, 4));
    assert_eq!((c.model.max_positions, c.train.micro_batch), (8, 4));
    assert_eq!(c.model.ffn.kind(), "swiglu");
    assert_eq!(c.model.ffn.int("hidden"), 64);
    assert_eq!(base(&["model.ffn.kind=mlp"]).model.ffn.int("hidden"), 64);
    let wide = base(&["model.dim=512"]);
    assert_eq!(wide.model.ffn.int("hidden"), 1408);
    assert_eq!(c.model.norm.float("eps"), 1e-5);
    assert_eq!(c.model.position.text("layout"), "half");
    assert!(!c.model.norm.flag("zero_centered") && c.model.tie_embeddings);
    assert_eq!(c.optimizer.choice.floats("betas"), [0.9, 0.95]);
    assert_eq!(c.train.eval_batches, None);
    assert_eq!(base(&["model.mixer.kind=mqa"]).model.kv_heads, 1);
}

#[test]
fn faults_are_named_with_line_column_and_a_way_out() {
    let at = |more: &str| refused(&format!("{BASE}{more}"), &[]);
    for (text, message) in [
        (
            "[tokenizer]\nvocab_sise = 3",
            "x.toml:8:1: tokenizer.vocab_sise: unknown key; did you mean tokenizer.vocab_size?",
        ),
        (
            "[tokeniser]\npath = 3",
            "x.toml:7:2: tokeniser: unknown table; did you mean [tokenizer]?",
        ),
        (
            "lr = 3",
            "x.toml:7:1: lr: unknown key; did you mean optimizer.lr?",
        ),
        (
            "[telemetry]\nlr = 3",
            "x.toml:8:1: telemetry.lr: unknown key; did you mean optimizer.lr?",
        ),
        (
            "[telemetry]\nxyzzy = 3",
            "x.toml:8:1: telemetry.xyzzy: unknown key; [telemetry] has layer_interval, prometheus, system_interval, tensorboard",
        ),
        (
            "[run]\nseed = \"a\"",
            "x.toml:8:8: run.seed: expected a whole number from 0 on, found \"a\"",
        ),
        (
            "[run]\nseed = -1",
            "x.toml:8:8: run.seed: expected a whole number from 0 on, found -1",
        ),
        (
            "[run]\nseed = 1e3",
            "x.toml:8:8: run.seed: expected a whole number from 0 on, found 1000.0 (write 1000)",
        ),
        (
            "[run]\nseed = { a = 1 }",
            "x.toml:8:8: run.seed: expected a whole number from 0 on, found a table",
        ),
        (
            "[run.seed]\na = 1",
            "x.toml:7:6: run.seed: expected a whole number from 0 on, found a table",
        ),
        (
            "[[run]]\nseed = 1",
            "x.toml:7:3: run: expected a table, such as { kind = \"...\" }",
        ),
        (
            "run = 1",
            "x.toml:7:1: run: expected a table, such as { kind = \"...\" }",
        ),
        (
            "[schedule]\nkind = \"cosin\"",
            "x.toml:8:8: schedule.kind: expected one of constant, linear, cosine, wsd, found \"cosin\"; did you mean \"cosine\"?",
        ),
        (
            "[schedule]\ndecay_shape = \"sqrt\"",
            "x.toml:8:15: schedule.decay_shape: no key of kind \"constant\", which has warmup_steps, min_lr, lr_scale",
        ),
        (
            "[data]\nsequence_length = 8",
            "x.toml:7:2: not valid TOML: duplicate key",
        ),
        ("[run", "x.toml:7:5: not valid TOML: "),
        (
            "[device]\nprecision = \"fp16\"",
            "x.toml:8:13: device.precision: expected one of \"f32\", \"bf16\", found \"fp16\"",
        ),
        (
            "[device]\nkind = \"gpu\"",
            "x.toml:8:8: device.kind: expected auto, cpu, cuda, cuda:N, rocm, rocm:N or emulated, found \"gpu\"",
        ),
        (
            "[run]\nname = \"a/b\"",
            "x.toml:8:8: run.name: \"a/b\" cannot name a folder; use letters, digits, - and _",
        ),
        (
            "[schedule]\nlr_scale = nan",
            "x.toml:8:12: schedule.lr_scale: expected a number from 0 on, found NaN",
        ),
        (
            "[schedule]\nkind = \"cosine\"\nmin_lr = 1",
            "x.toml:9:10: schedule.min_lr: min_lr 1.0 is above optimizer.lr 0.001",
        ),
        (
            "[tokenizer]\nalgorithm = \"bpe\"",
            "x.toml: tokenizer.vocab_size: required for bpe: add vocab_size = 6400, say, under [tokenizer]",
        ),
        (
            "[tokenizer]\nalgorithm = \"bytes\"\nspecial = [\"a\", \"b\", \"a\"]",
            "x.toml:9:11: tokenizer.special: \"a\" is there twice",
        ),
        (
            "[tokenizer]\nalgorithm = \"bytes\"\npath = \"t\"",
            "x.toml:8:13: tokenizer.algorithm: tokenizer.path names a finished tokenizer: remove one",
        ),
        (
            "[sample]\nprompts = [\"a\", 1]",
            "x.toml:8:11: sample.prompts: expected a text in quotes, found 1",
        ),
    ] {
        let found = at(text);
        assert!(found.starts_with(message), "{text}\n {found}\n {message}");
    }
    let message = refused("[model]\nlayers = 1", &[]);
    assert_eq!(
        message,
        "x.toml: data.sequence_length: required: add sequence_length = ... under [data]"
    );
}

#[test]
fn keys_that_contradict_each_other_are_refused() {
    for (sets, message) in [
        (
            &["model.heads=3"][..],
            "--set: model.heads: 3 heads do not divide dim 16; change one of them or set model.head_dim",
        ),
        (
            &["model.kv_heads=3"],
            "--set: model.kv_heads: 3 key-value heads do not divide 4 heads",
        ),
        (
            &["model.mixer.kind=mha", "model.kv_heads=2"],
            "--set: model.kv_heads: mha has as many as heads, 4; remove the key or take gqa",
        ),
        (
            &["model.mixer.kind=mqa", "model.kv_heads=2"],
            "--set: model.kv_heads: mqa has one; remove the key or take gqa",
        ),
        (
            &["model.head_dim=3"],
            "--set: model.head_dim: rope turns pairs of channels: head_dim must be even, not 3",
        ),
        (
            &["model.max_positions=4"],
            "--set: model.max_positions: data.sequence_length 8 is longer than model.max_positions 4",
        ),
        (
            &["train.micro_batch=5"],
            "--set: train.micro_batch: micro_batch 5 is more than train.batch_size 4",
        ),
        (
            &["optimizer.betas=[0.9, 1.0]"],
            "--set: optimizer.betas: expected two numbers from 0 to below 1, such as [0.9, 0.95]",
        ),
        (
            &["optimizer.betas=[0.9]"],
            "--set: optimizer.betas: expected two numbers",
        ),
        (
            &["optimizer.kind=sgd", "optimizer.nesterov=true"],
            "--set: optimizer.nesterov: needs optimizer.momentum above 0",
        ),
        (
            &["optimizer.kind=sgd", "optimizer.momentum=1"],
            "--set: optimizer.momentum: must be below 1",
        ),
        (
            &["data.validation=a", "data.validation_fraction=0.1"],
            "--set: data.validation_fraction: data.validation names files already: remove one of the two",
        ),
        (
            &["data.token_bytes=3"],
            "--set: data.token_bytes: expected 2 or 4, found 3",
        ),
        (
            &["data.source=storybook", "data.train=a"],
            "--set: data.train: the storybook needs no files",
        ),
        (
            &["sample.top_p=0"],
            "--set: sample.top_p: must be above 0; 1 is off",
        ),
        (
            &["tokenizer.algorithm=bytes", "model.vocab_size=255"],
            "--set: model.vocab_size: smaller than the tokenizer's 256",
        ),
        (
            &["tokenizer.vocab_size=300"],
            "--set: tokenizer.vocab_size: needs tokenizer.algorithm",
        ),
        (
            &["train.max_steps=0"],
            "--set: train.max_steps: expected a whole number from 1 on, found 0",
        ),
        (
            &["train.max_steps=many"],
            "--set: train.max_steps: expected a whole number from 1 on, found \"many\"",
        ),
        (
            &["optimizer.lr=-1"],
            "--set: optimizer.lr: expected a number from 0 on, found -1.0",
        ),
        (
            &["optimizer.lr"],
            "--set: optimizer.lr: expected key=value, such as optimizer.lr=3e-4",
        ),
        (&["optimiser.lr=1"], "--set: optimiser.lr: unknown key"),
        (
            &["model.ffn.activation=relu"],
            "--set: model.ffn.activation: no key of kind \"swiglu\", which has hidden, bias",
        ),
    ] {
        let found = refused(BASE, sets);
        assert!(found.starts_with(message), "{sets:?}\n {found}\n {message}");
    }
    assert_eq!(
        base(&["model.heads=3", "model.head_dim=6"]).model.head_dim,
        6
    );
}

#[test]
fn paths_are_relative_to_whoever_wrote_them() {
    let text = format!("{BASE}data.train = [\"../d/a.txt\", \"/abs.txt\"]");
    let c = Config::parse(Some(Path::new("/conf/sub/my-run.toml")), &text, &[]).unwrap();
    let expected = ["/conf/sub/../d/a.txt", "/abs.txt"].map(PathBuf::from);
    assert_eq!(c.data.train, expected);
    assert_eq!(c.run.name, "my-run");
    // A pipe has no folder.
    let here = std::env::current_dir().unwrap().join("../d/a.txt");
    for pipe in ["/dev/stdin", "/dev/fd/63", "/proc/self/fd/63"] {
        let c = Config::parse(Some(Path::new(pipe)), &text, &[]).unwrap();
        assert_eq!(c.data.train[0], here, "{pipe}");
    }
    let odd = Config::parse(Some(Path::new("/conf/.a b@1?.toml")), BASE, &[]).unwrap();
    assert_eq!(odd.run.name, "a b-1-");
}

#[test]
fn edits_beat_flags_beat_the_file_beats_the_checkpoint_beats_presets() {
    let text = format!("{BASE}model.preset = \"qwen2\"\nmodel.norm.eps = 2e-6\n");
    let stored = base(&[
        "schedule.lr_scale=0.5",
        "optimizer.lr=9",
        "run.seed=3",
        "schedule.kind=linear",
    ]);
    let stored = stored.to_toml();
    let sources = Sources {
        text: &text,
        flags: &strings(&["train.clip_norm=2", "train.log_interval=5"]),
        edits: &strings(&["train.log_interval=6"]),
        checkpoint: Some(&stored),
        ..Sources::default()
    };
    let c = Config::resolve(&sources).unwrap();
    assert_eq!(
        (c.schedule.lr_scale, c.schedule.choice.kind()),
        (0.5, "linear")
    );
    assert_eq!(
        (c.optimizer.lr, c.run.seed),
        (1e-3, 0),
        "the file, and a restart key"
    );
    assert_eq!((c.train.clip_norm, c.train.log_interval), (2.0, 6));
    assert_eq!(c.model.norm.float("eps"), 2e-6);
    assert_eq!(c.model.position.float("theta"), 1e6);
    assert!(c.model.mixer.flag("qkv_bias") && !c.model.mixer.flag("out_bias"));
    let source = |key: &str| {
        let value = c.effective().into_iter().find(|v| v.key == key).unwrap();
        (value.source, value.class)
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(source("schedule.lr_scale"), pair("checkpoint", "live"));
    assert_eq!(source("optimizer.lr"), pair("file", "live"));
    assert_eq!(source("train.log_interval"), pair("edit", "live"));
    assert_eq!(source("train.clip_norm"), pair("flag", "live"));
    assert_eq!(source("model.position.theta"), pair("preset", "restart"));
    assert_eq!(source("train.micro_batch"), pair("default", "boundary"));
}

#[test]
fn a_choice_drops_what_weaker_authors_said_of_another_variant() {
    let text = format!(
        "{BASE}model.preset = \"gpt2\"\nmodel.ffn.kind = \"swiglu\"\nmodel.position.kind = \"rope\"\nmodel.position.theta = 5.0\n"
    );
    let c = Config::parse(None, &text, &[]).unwrap();
    assert!(!c.model.ffn.has("activation") && c.model.ffn.flag("bias"));
    let c = Config::parse(None, &text, &strings(&["model.position.kind=none"])).unwrap();
    assert!(!c.model.position.has("theta"));
}

#[test]
fn every_preset_of_a_family_says_only_what_exists() {
    for name in preset::NAMES {
        for (path, toml) in preset::choices(name) {
            let key = schema::find(path)
                .next()
                .unwrap_or_else(|| panic!("{path}"));
            let toml = toml.parse().unwrap();
            Value::read(&toml, &key.kind, Path::new("")).unwrap();
        }
        let c = base(&[&format!("model.preset={name}")]);
        assert_eq!(c.model.norm.kind() == "layernorm", *name == "gpt2");
        assert_eq!(c.model.mixer.flag("qk_norm"), *name == "qwen3");
    }
}

#[test]
fn shipped_configurations_are_accepted_and_explained() {
    let files = presets();
    assert!(files.len() >= 7, "{files:?}");
    for file in files {
        let c = Config::load(&file, &[]).unwrap_or_else(|e| panic!("{e}"));
        let again = Config::parse(None, &c.to_toml(), &[]).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(c, again, "{}", file.display());
        let text = read(&file).unwrap();
        assert!(text.starts_with("# "), "{}", file.display());
        assert!(
            text.lines().all(|line| line.chars().count() <= 120),
            "{}",
            file.display()
        );
    }
    let c = Config::demo(&strings(&["train.max_steps=3"])).unwrap();
    assert_eq!((c.run.name.as_str(), c.train.max_steps), ("demo", 3));
    assert_eq!(c.data.source, DataSource::Storybook);
    let recipe = presets()
        .into_iter()
        .find(|p| p.ends_with("shakespeare.toml"))
        .unwrap();
    let c = Config::load(&recipe, &[]).unwrap();
    assert_eq!((c.model.layers, c.model.dim, c.model.heads), (4, 128, 4));
    assert_eq!(
        (
            c.schedule.lr(100, 1e-3, 2000),
            c.schedule.lr(2000, 1e-3, 2000)
        ),
        (1e-3, 1e-4)
    );
}

/// A TOML literal that `kind` takes and that is not its default.
fn example(kind: &Kind) -> String {
    match kind {
        Kind::Bool => "true".to_owned(),
        Kind::Int { min, .. } => (min + 1).to_string(),
        Kind::Float { min, .. } => format!("{:?}", min.max(0.0) + 0.125),
        Kind::Text | Kind::Path => "\"a\"".to_owned(),
        Kind::Choice(words) => format!("\"{}\"", words[words.len() - 1]),
        Kind::List(kind) => format!("[{}, {}]", example(kind), example(kind)),
    }
}

#[test]
fn every_key_of_the_help_is_read_and_survives_a_round_trip() {
    let help = Config::schema_help();
    let try_key = |path: &str, value: &str, more: &[&str]| {
        assert!(help.contains(&format!("  {path}\n")), "{path}");
        let mut sets = strings(more);
        sets.push(format!("{path}={value}"));
        match Config::parse(None, BASE, &sets) {
            Ok(c) => {
                let shown = c.effective().into_iter().find(|v| v.key == path);
                assert_eq!(shown.map(|v| v.source).as_deref(), Some("flag"), "{path}");
                assert_eq!(Config::parse(None, &c.to_toml(), &[]), Ok(c), "{path}");
            }
            // The example is well typed; only a check between keys may refuse it.
            Err(e) => assert!(!e.message.starts_with("unknown"), "{e}"),
        }
    };
    for section in SECTIONS {
        for key in section.keys {
            let value = match key.name {
                "kind" => "\"cpu\"".to_owned(),
                "init_from" => continue,
                _ => example(&key.kind),
            };
            try_key(&format!("{}.{}", section.name, key.name), &value, &[]);
        }
    }
    for rule in RULES {
        for key in rule.keys {
            try_key(
                &format!("{}.{}", rule.path, key.name),
                &example(&key.kind),
                &[],
            );
        }
    }
    for slot in SLOTS {
        for (index, variant) in slot.variants.iter().enumerate() {
            let kind = format!("{}.kind={}", slot.path, variant.kind);
            assert!(help.contains(&format!("\"{}\": {}", variant.kind, variant.summary)));
            base(&[&kind]);
            for key in slot.keys_of(index) {
                try_key(
                    &format!("{}.{}", slot.path, key.name),
                    &example(&key.kind),
                    &[&kind],
                );
            }
        }
    }
    let defaults = |key: &&Key| matches!(key.default, Preset::Is(_));
    for key in every().map(|(_, key)| key).filter(defaults) {
        let Preset::Is(toml) = key.default else {
            continue;
        };
        let toml = toml.parse().unwrap();
        Value::read(&toml, &key.kind, Path::new(""))
            .unwrap_or_else(|e| panic!("{}: {e}", key.name));
    }
}

#[test]
fn differences_carry_their_class() {
    let old = base(&["data.document_separator=x"]);
    let new = base(&[
        "optimizer.lr=2e-3",
        "train.batch_size=8",
        "schedule.kind=wsd",
    ]);
    let found: Vec<_> = diff(&old, &new)
        .into_iter()
        .map(|(c, class)| format!("{} {} -> {} {}", c.key, c.from, c.to, class.word()))
        .collect();
    assert_eq!(
        found,
        [
            "data.document_separator \"x\" ->  restart",
            "optimizer.lr 0.001 -> 0.002 live",
            "schedule.kind \"constant\" -> \"wsd\" live",
            "schedule.decay_fraction  -> 0.2 live",
            "schedule.decay_shape  -> \"linear\" live",
            "train.batch_size 4 -> 8 restart",
            "train.micro_batch 4 -> 8 boundary",
        ]
    );
    assert!(diff(&old, &old).is_empty());
    assert_eq!(classify("optimizer.betas"), Some(Class::Live));
    assert_eq!(classify("train.micro_batch"), Some(Class::Boundary));
    assert_eq!(classify("model.ffn.activation"), Some(Class::Restart));
    assert_eq!(classify("model.nothing"), None);
}

#[test]
fn broken_tables_are_refused_rather_than_a_panic() {
    for text in [
        "==\n[._[._",
        "={=<=u==",
        "a = =={=a\n.\n[x]",
        "[a]\n=={=a\n.b = 1\n[a.b]",
    ] {
        let error = Config::parse(Some(Path::new("x.toml")), text, &[]).unwrap_err();
        assert!(error.to_string().starts_with("x.toml"), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_text_makes_it_panic(at in 0usize..4000, cut in 0usize..40, insert in "[\\[\\]{}=\"'#.,a-z0-9 \n\u{e9}-]{0,12}") {
        let mut text: Vec<char> = DEMO.chars().collect();
        let at = at.min(text.len());
        let end = (at + cut).min(text.len());
        text.splice(at..end, insert.chars());
        let text: String = text.into_iter().collect();
        if let Err(error) = Config::parse(Some(Path::new("x.toml")), &text, &[]) {
            prop_assert!(!error.to_string().contains('\n'));
        }
    }

    #[test]
    fn no_flag_makes_it_panic(flag in "(train|model|optimizer|)\\.?(lr|ffn|kind|betas|[a-z\u{e9}.\"]{0,5})=?[\\[\\]{}=\"'a-z0-9 \n.-]{0,12}") {
        if let Err(error) = Config::demo(&[flag]) {
            prop_assert!(!error.to_string().contains('\n'));
        }
    }
}
