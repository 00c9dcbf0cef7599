//! generate and score.

use super::{Place, fixture, ids, number, trained};
use serde_json::Value;

const GREEDY: [&str; 3] = ["--temperature", "0", "--ignore-eos"];

fn generate(arguments: &[&str]) -> Value {
    let arguments = [&["generate", "--json"], arguments].concat();
    trained().run(&arguments).json()
}

#[test]
fn greedy_text_streams_as_it_is_told_and_depends_on_nothing_else() {
    let base = [
        &["--run", "tiny", "--prompt", "One ", "--max-tokens", "12"],
        &GREEDY[..],
    ]
    .concat();
    let told = generate(&base);
    assert_eq!(ids(&told["ids"]).len(), 4 + 12);
    assert_eq!(
        (&told["prompt_tokens"], &told["finish"]),
        (&4.into(), &"max_tokens".into())
    );
    assert!(number(&told["tokens_per_second"]) > 0.0);
    let mut streamed = trained().run(&[&["generate"], &base[..]].concat()).good();
    assert_eq!(streamed.pop(), Some('\n'));
    assert_eq!(streamed, told["text"].as_str().expect("text"));
    for change in [
        &["--seed", "7"][..],
        &["--threads", "1"],
        &["--top-k", "3", "--top-p", "0.5"],
    ] {
        let other = generate(&[&base, change].concat());
        assert_eq!(
            other["ids"], told["ids"],
            "{change:?} changed a greedy text"
        );
    }
    let by_ids = [
        &[
            "--run",
            "tiny@6",
            "--tokens",
            "79,110,101,32",
            "--max-tokens",
            "12",
        ],
        &GREEDY[..],
    ]
    .concat();
    assert_eq!(generate(&by_ids)["ids"], told["ids"]);
    let folder = "runs/tiny/checkpoints/step_00000006";
    let by_folder = [
        &["--model", folder, "--prompt", "One ", "--max-tokens", "12"],
        &GREEDY[..],
    ]
    .concat();
    assert_eq!(generate(&by_folder)["ids"], told["ids"]);
    let older = [
        &["--run", "tiny@3", "--prompt", "One ", "--max-tokens", "12"],
        &GREEDY[..],
    ]
    .concat();
    assert_ne!(
        generate(&older)["ids"],
        told["ids"],
        "step 3 writes like step 6"
    );
}

#[test]
fn seeds_make_texts_and_control_characters_never_reach_the_terminal() {
    let draw = |seed: &str| {
        let arguments = [
            "generate",
            "--run",
            "tiny",
            "--prompt",
            "a",
            "--max-tokens",
            "31",
            "--temperature",
            "50",
            "--ignore-eos",
            "--seed",
            seed,
        ];
        trained().run(&arguments).good()
    };
    assert_eq!(draw("1"), draw("1"));
    assert_ne!(draw("1"), draw("2"));
    let all: String = (0..20).map(|seed: u32| draw(&seed.to_string())).collect();
    assert!(
        all.contains("\\x"),
        "nearly random bytes hold no control character: {all:?}"
    );
    assert!(
        all.chars()
            .all(|c| c == '\n' || c == '\t' || !c.is_control()),
        "{all:?}"
    );
}

#[test]
fn writing_stops_where_the_context_is_full_and_refuses_what_is_longer() {
    let told = generate(
        &[
            &[
                "--run",
                "tiny",
                "--prompt",
                "One day",
                "--max-tokens",
                "500",
            ],
            &GREEDY[..],
        ]
        .concat(),
    );
    assert_eq!(told["finish"], "context");
    // 32 positions are read; the token behind the last is written, and not read any more.
    assert_eq!(ids(&told["ids"]).len(), 33);
    let long = "x".repeat(33);
    let refused = trained().run(&["generate", "--run", "tiny", "--prompt", &long]);
    assert_eq!((refused.code, refused.out.as_str()), (2, ""));
    assert_eq!(refused.err.lines().count(), 1, "{}", refused.err);
    assert!(
        refused.err.contains("33 tokens") && refused.err.contains("32"),
        "{}",
        refused.err
    );
}

#[test]
fn the_end_of_text_ends_it() {
    let place = Place::new();
    // One token fits all: the model learns to end at once.
    let text = super::TINY
        .replace(
            "source = \"storybook\"",
            "train = [\"ends.txt\"]\ndocument_separator = \"|\"",
        )
        .replace("max_steps = 6", "max_steps = 150");
    place.file("ends.toml", text);
    place.file("ends.txt", "ab|".repeat(400));
    place
        .run(&["train", "ends.toml", "--run", "ends", "--ui", "none"])
        .good();
    let base = [
        "generate",
        "--run",
        "ends",
        "--prompt",
        "a",
        "--temperature",
        "0",
        "--max-tokens",
        "9",
        "--json",
    ];
    let told = place.run(&base).json();
    assert_eq!(
        (&told["text"], &told["finish"]),
        (&"b".into(), &"end_of_text".into())
    );
    let on = place.run(&[&base[..], &["--ignore-eos"]].concat()).json();
    assert_eq!(ids(&on["ids"])[..5], [97, 98, 256, 97, 98]);
    let empty = [
        "generate",
        "--run",
        "ends",
        "--prompt",
        "",
        "--temperature",
        "0",
        "--json",
    ];
    let told = place.run(&empty).json();
    assert_eq!(
        (&told["text"], &told["ids"][0]),
        (&"ab".into(), &256.into())
    );
    // The special token in a prompt is itself.
    let prompt = [
        "generate",
        "--run",
        "ends",
        "--prompt",
        "b<|endoftext|>",
        "--temperature",
        "0",
        "--json",
    ];
    assert_eq!(ids(&place.run(&prompt).json()["ids"])[..2], [98, 256]);
}

fn score(arguments: &[&str]) -> Value {
    trained()
        .run(&[&["score", "--json"], arguments].concat())
        .json()
}

#[test]
fn scores_fit_together() {
    let told = score(&["--run", "tiny", "--input", "story.txt"]);
    let logprobs = told["logprobs"].as_array().expect("a list");
    let count = ids(&told["ids"]).len();
    assert_eq!((count, logprobs.len()), (208, 208), "a byte a token");
    assert!(logprobs[0].is_null());
    let total: f64 = logprobs[1..].iter().map(number).sum();
    let mean = number(&told["mean_loss"]);
    assert!((mean + total / 207.0).abs() < 1e-9);
    assert!((number(&told["perplexity"]) / mean.exp() - 1.0).abs() < 1e-9);
    assert!((number(&told["bits_per_byte"]) - mean / std::f64::consts::LN_2).abs() < 1e-9);
    // The first window (32 ids are read) does not depend on what follows.
    let first: Vec<String> = ids(&told["ids"])[..33].iter().map(u64::to_string).collect();
    let alone = score(&["--run", "tiny", "--tokens", &first.join(",")]);
    assert!(alone["bits_per_byte"].is_null());
    assert_eq!(
        alone["logprobs"].as_array().expect("a list")[..],
        logprobs[..33]
    );
    // The second begins half a context later: the 34th token is scored with the 17 before it.
    let window: Vec<String> = ids(&told["ids"])[16..49]
        .iter()
        .map(u64::to_string)
        .collect();
    let second = score(&["--run", "tiny", "--tokens", &window.join(",")]);
    for at in 17..33 {
        let (a, b) = (number(&second["logprobs"][at]), number(&logprobs[16 + at]));
        assert!(
            (a - b).abs() < 1e-6,
            "token {at} of the second window: {a} and {b}"
        );
    }
}

#[test]
fn folders_of_others_give_what_their_library_gives() {
    for name in ["gpt2", "llama", "mistral", "qwen2", "qwen3"] {
        let folder = fixture(name);
        let reference = std::fs::read(folder.join("reference.json")).expect("a fixture");
        let reference: Value = serde_json::from_slice(&reference).expect("JSON");
        let join = |list: &[u64]| {
            list.iter()
                .map(u64::to_string)
                .collect::<Vec<_>>()
                .join(",")
        };
        let folder = folder.to_str().expect("UTF-8");
        let prompt = ids(&reference["greedy"]["prompt"]);
        let whole = ids(&reference["greedy"]["ids"]);
        let more = (whole.len() - prompt.len()).to_string();
        let told = generate(
            &[
                &[
                    "--model",
                    folder,
                    "--tokens",
                    &join(&prompt),
                    "--max-tokens",
                    &more,
                ],
                &GREEDY[..],
            ]
            .concat(),
        );
        assert_eq!(ids(&told["ids"]), whole, "{name}");
        assert!(told["text"].is_null(), "{name} has no tokenizer");
        let (mut loss, mut count) = (0.0, 0.0);
        let rows = reference["inputs"].as_array().expect("rows");
        for (row, targets) in rows
            .iter()
            .zip(reference["targets"].as_array().expect("rows"))
        {
            let mut tokens = ids(row);
            tokens.extend(ids(targets).last());
            let told = score(&["--model", folder, "--tokens", &join(&tokens)]);
            loss += number(&told["mean_loss"]) * (tokens.len() - 1) as f64;
            count += (tokens.len() - 1) as f64;
        }
        let want = number(&reference["loss"]);
        assert!(
            (loss / count - want).abs() < 1e-4,
            "{name}: {} and {want}",
            loss / count
        );
    }
}
