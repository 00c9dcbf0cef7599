//! bench.

use super::{Place, TINY, number};

#[test]
fn a_step_is_timed_without_data_or_tokenizer() {
    let place = Place::new();
    // Files that do not exist: nothing of them may be opened.
    let text = TINY
        .replace("source = \"storybook\"", "train = [\"nowhere/*.txt\"]")
        .replace(
            "algorithm = \"bytes\"\nspecial = [\"<|endoftext|>\"]",
            "path = \"nowhere.json\"",
        )
        .replace("[model]", "[model]\nvocab_size = 50");
    place.file("bench.toml", &text);
    let told = place
        .run(&["bench", "step", "bench.toml", "--profile", "--json"])
        .json();
    for name in [
        "tokens_per_second",
        "step_seconds",
        "peak_memory_bytes",
        "gflops",
    ] {
        assert!(number(&told[name]) > 0.0, "{name} of {told}");
    }
    assert!(number(&told["steps"]) >= 5.0);
    let tokens = number(&told["tokens_per_second"]) * number(&told["step_seconds"]);
    assert!((tokens - 128.0).abs() < 1e-6, "{tokens} tokens a step");
    for peak in ["f32_gflops", "bf16_gflops", "read_gbps"] {
        assert!(number(&told["machine"]["peaks"][peak]) > 0.0, "{peak}");
    }
    assert!(told["machine"]["isa"].is_string() && told["machine"]["threads"].is_u64());
    let profile = told["profile"].as_array().expect("rows");
    let shares: f64 = profile.iter().map(|row| number(&row["share"])).sum();
    assert!((0.99..1.01).contains(&shares), "shares sum to {shares}");
    assert!(
        profile
            .iter()
            .any(|row| row["op"] == "attention" && row["phase"] == "backward")
    );
    let without = text.replace("vocab_size = 50\n", "");
    place.file("bench.toml", without);
    let refused = place.run(&["bench", "step", "bench.toml"]);
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("model.vocab_size"), "{}", refused.err);
}

#[test]
fn writing_and_tokenizers_are_timed() {
    let place = Place::new();
    place.file("tiny.toml", TINY);
    let told = place
        .run(&["bench", "generate", "tiny.toml", "--json"])
        .json();
    assert_eq!(
        (&told["prompt_tokens"], &told["tokens"]),
        (&16.into(), &16.into())
    );
    for name in [
        "prompt_tokens_per_second",
        "tokens_per_second",
        "weight_gbps",
    ] {
        assert!(number(&told[name]) > 0.0, "{name} of {told}");
    }
    place.file(
        "text.txt",
        "some words to cut, some words to count\n".repeat(2000),
    );
    let arguments = [
        "bench",
        "tokenizer",
        "--input",
        "text.txt",
        "--vocab-size",
        "270",
        "--json",
    ];
    let told = place.run(&arguments).json();
    assert_eq!(
        (&told["bytes"], &told["vocab_size"]),
        (&78_000.into(), &270.into())
    );
    for name in [
        "encode_mb_per_second",
        "decode_mb_per_second",
        "train_seconds",
    ] {
        assert!(number(&told[name]) > 0.0, "{name} of {told}");
    }
    let plain = place
        .run(&["bench", "step", "tiny.toml", "--profile"])
        .good();
    assert!(
        plain.contains("tokens/s") && plain.contains("% of peak"),
        "{plain}"
    );
}
