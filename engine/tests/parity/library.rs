//! Hugging Face's library opens the checkpoints that we write, where it is installed.

use super::round_trip::save;
use super::{SEQ, logits, worst};
use engine::config::Config;
use engine::model::Model;
use engine::train::step::Trainer;
use kernels::{Cpu, Precision};
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use tokenizer::{SpecialMode, Tokenizer, TrainOptions};

/// What make_hf.py exits with where a package is missing.
const NOT_INSTALLED: i32 = 77;

/// Texts that tell tokenizers apart: spaces, digits, contractions, other scripts, special tokens.
const TEXTS: [&str; 4] = [
    "Once upon a time, there was a small fox.\n\n  It couldn't count to 12345!",
    "  leading and trailing  \t\r\n",
    "na\u{EF}ve caf\u{E9} \u{4F60}\u{597D}\u{FF0C}\u{4E16}\u{754C} \u{1F98A}\u{200D}",
    "one<|endoftext|>two <|endoftext|>",
];

/// What the library says of each folder, or `None` (said aloud) where it is not installed.
fn ask(folders: &[PathBuf], question: &Value) -> Option<Vec<Value>> {
    let Ok(python) = std::env::var("ZEROLLM_TEST_PYTHON") else {
        eprintln!("skipped: set ZEROLLM_TEST_PYTHON to a Python with torch and transformers");
        return None;
    };
    let mut child = Command::new(&python)
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/make_hf.py"
        ))
        .arg("--open")
        .args(folders)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ZEROLLM_TEST_PYTHON is a program");
    let mut stdin = child.stdin.take().expect("piped");
    // A script that ends before it reads is judged by its exit code.
    drop(stdin.write_all(question.to_string().as_bytes()));
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    if output.status.code() == Some(NOT_INSTALLED) {
        eprintln!("skipped: {python} has no torch and transformers");
        return None;
    }
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(serde_json::from_slice(&output.stdout).expect("its answer"))
}

/// Configurations that the library knows, by the tokenizer that they are saved with.
fn models() -> Vec<(&'static str, Tokenizer, &'static [&'static str])> {
    let special = vec!["<|endoftext|>".to_owned()];
    let bytes = || Tokenizer::bytes(&special).expect("a tokenizer");
    let bpe = |split: &str| {
        let options = TrainOptions {
            vocab_size: 400,
            specials: special.clone(),
            split: split.to_owned(),
            threads: 2,
            ..TrainOptions::default()
        };
        tokenizer::train(&TEXTS[..3], options).expect("a tokenizer")
    };
    vec![
        ("llama", bytes(), &["model.tie_embeddings=false"]),
        (
            "llama with biases",
            bpe("llama3"),
            &[
                "model.mixer.qkv_bias=true",
                "model.mixer.out_bias=true",
                "model.ffn.bias=true",
            ],
        ),
        ("qwen2", bpe("qwen2"), &["model.mixer.qkv_bias=true"]),
        (
            "qwen3",
            bpe("gpt4"),
            &["model.mixer.qk_norm=true", "model.head_dim=12"],
        ),
        ("gpt2", bpe("gpt2"), GPT2),
        ("gpt2 without biases", bytes(), GPT2_WITHOUT_BIASES),
    ]
}

/// GPT-2's mathematics.
const GPT2: &[&str] = &[
    "model.kv_heads=4",
    "model.norm.kind=\"layernorm\"",
    "model.position.kind=\"learned\"",
    "model.ffn.kind=\"mlp\"",
    "model.mixer.qkv_bias=true",
    "model.mixer.out_bias=true",
    "model.ffn.bias=true",
];

const GPT2_WITHOUT_BIASES: &[&str] = &[
    "model.kv_heads=4",
    "model.norm.kind=\"layernorm\"",
    "model.norm.bias=false",
    "model.position.kind=\"learned\"",
    "model.ffn.kind=\"mlp\"",
];

fn config(sets: &[&str]) -> Config {
    let text = "[data]\nsource = \"storybook\"\nsequence_length = 16\n\
        [model]\nlayers = 2\ndim = 32\nheads = 4\nkv_heads = 2\ninit_std = 0.3\nffn = { hidden = 48 }\n\
        [optimizer]\nlr = 1e-3\n[train]\nbatch_size = 2\nmax_steps = 10\n";
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    Config::parse(None, text, &sets).expect("a valid configuration")
}

#[test]
fn the_library_opens_our_checkpoints() {
    let root = tempfile::tempdir().unwrap();
    let mut folders = Vec::new();
    let mut expected = Vec::new();
    let mut inputs = Value::Null;
    for (name, tokenizer, sets) in models() {
        let config = config(sets);
        let model = Model::new(&config.model, tokenizer.vocab_size());
        let mut trainer = Trainer::new(&config, model, Cpu::new(2));
        // Gains away from one and biases away from zero, so that nothing hides behind them.
        let values = trainer.params.values_mut();
        values
            .iter_mut()
            .zip(0_u32..)
            .for_each(|(x, i)| *x += 0.1 * (i as f32 * 0.7).sin());
        let eos = tokenizer.end_of_text().unwrap();
        let json = tokenizer.to_hf_json();
        folders.push(save(
            &root.path().join(name),
            &config,
            &trainer,
            Some(json.as_bytes()),
            &[eos],
        ));
        inputs = super::Reference::of("llama").json["inputs"].clone();
        let ids = TEXTS.map(|text| tokenizer.encode(text, SpecialMode::Parse));
        let logits = logits(&trainer.model, &mut trainer.params, Precision::F32);
        assert_eq!(logits.len(), 2 * SEQ * tokenizer.vocab_size());
        expected.push((name, eos, json!(ids), logits));
    }
    let question = json!({"inputs": inputs, "texts": TEXTS});
    let Some(answers) = ask(&folders, &question) else {
        return;
    };
    assert_eq!(answers.len(), expected.len());
    for ((name, eos, ids, logits), answer) in expected.into_iter().zip(answers) {
        let theirs = answer["logits"].as_array().unwrap();
        let theirs: Vec<f32> = theirs.iter().map(|x| x.as_f64().unwrap() as f32).collect();
        let error = worst(&logits, &theirs);
        eprintln!("{name} ({}): logits differ by {error:.1e}", answer["class"]);
        assert!(error < 1e-4, "{name}: logits differ by {error:e}");
        assert_eq!(answer["ids"], ids, "{name}: tokenizer.json alone");
        assert_eq!(answer["auto"], ids, "{name}: the folder's tokenizer");
        assert_eq!(answer["eos"], eos, "{name}");
        assert_eq!(answer["decoded"], json!(TEXTS), "{name}");
    }
}
