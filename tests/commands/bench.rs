//! bench.

use super::{Place, TINY, number};
use serde_json::Value;

/// Checks the machine that every measurement names.
fn is_machine(machine: &Value) {
    let peaks = [
        "f32_gflops",
        "f32_one_thread_gflops",
        "bf16_gflops",
        "l1_read_gbps",
        "l2_read_gbps",
        "read_gbps",
        "triad_gbps",
    ];
    for peak in peaks {
        assert!(number(&machine["peaks"][peak]) > 0.0, "{peak} of {machine}");
    }
    // Null where the machine has no such instruction or cache.
    for peak in [
        "bf16_instruction_gflops",
        "int8_gops",
        "l3_read_gbps",
        "triad_streaming_gbps",
    ] {
        let figure = machine["peaks"].get(peak);
        let figure = figure.unwrap_or_else(|| panic!("{peak} of {machine}"));
        assert!(figure.is_null() || number(figure) > 0.0, "{peak}");
    }
    for name in ["isa", "cpu", "os", "compiler", "commit", "date"] {
        let text = machine[name].as_str();
        assert!(text.is_some_and(|text| !text.is_empty()), "{name}");
    }
    assert!(machine["disturbed"].is_boolean());
    for name in ["threads", "cores", "memory_bytes"] {
        assert!(machine[name].is_u64(), "{name}");
    }
    for name in ["l1_bytes", "l2_bytes", "l3_bytes"] {
        assert!(machine["caches"][name].is_u64(), "{name}");
    }
}

/// Checks that some samples count, and that quartiles enclose the median.
fn is_sampled(told: &Value, medians: &[&str]) {
    let (samples, dropped) = (number(&told["samples"]), number(&told["dropped"]));
    assert!(samples > dropped && dropped >= 0.0, "{told}");
    let disturbed = number(&told["disturbed"]);
    assert!(disturbed + dropped <= samples && disturbed >= 0.0, "{told}");
    for name in medians {
        let quartiles = &told[format!("{name}_quartiles")];
        let (low, high) = (number(&quartiles[0]), number(&quartiles[1]));
        let median = number(&told[*name]);
        assert!(
            low <= median && median <= high && low > 0.0,
            "{name}: {told}"
        );
    }
}

/// Checks the share of a peak; there may be none.
fn is_share(row: &Value) {
    let share = row.get("peak_share").expect("a share");
    let bound = row["bound"].as_str();
    if share.is_null() {
        assert_eq!(bound, None, "{row}");
    } else {
        assert!((0.0..=1.5).contains(&number(share)), "{row}");
        assert!(matches!(bound, Some("operations" | "memory")), "{row}");
    }
}

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
        .run(&[
            "bench",
            "step",
            "bench.toml",
            "--profile",
            "--limit",
            "0",
            "--json",
        ])
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
    is_machine(&told["machine"]);
    is_sampled(&told, &["step_seconds"]);
    let profile = told["profile"].as_array().expect("rows");
    let shares: f64 = profile.iter().map(|row| number(&row["share"])).sum();
    assert!((0.99..1.01).contains(&shares), "shares sum to {shares}");
    assert!(
        profile
            .iter()
            .any(|row| row["op"] == "attention" && row["phase"] == "backward")
    );
    let (rest, lines) = profile.split_last().expect("rows");
    assert_eq!(rest["op"], "rest");
    lines.iter().for_each(is_share);
    let updates = lines.iter().filter(|row| row["phase"] == "update");
    let updates: Vec<&str> = updates.filter_map(|row| row["op"].as_str()).collect();
    assert!(updates.contains(&"clip norm") && updates.contains(&"optimizer"));
    let limits = lines.iter().map(|row| number(&row["roofline_seconds"]));
    let roofline = number(&told["roofline_seconds"]);
    assert!((limits.sum::<f64>() - roofline).abs() < 1e-9 && roofline > 0.0);
    assert!((0.0..=1.0).contains(&number(&told["roofline_share"])));
    // The classifier makes its logits in its backward: three products of 128 x 16 x 50.
    let classifier = lines.iter().find(|row| row["op"] == "classifier");
    let classifier = classifier.expect("it is in every step");
    let flops = number(&classifier["gflops"]) * number(&classifier["seconds"]) * 1e9;
    let want = 3.0 * 2.0 * 128.0 * 16.0 * 50.0;
    assert!(
        (flops / want - 1.0).abs() < 1e-6,
        "{flops} instead of {want}"
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
        .run(&["bench", "generate", "tiny.toml", "--limit", "0", "--json"])
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
    is_machine(&told["machine"]);
    is_sampled(&told, &["prompt_tokens_per_second", "tokens_per_second"]);
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
        "--limit",
        "0",
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
    is_machine(&told["machine"]);
    is_sampled(
        &told,
        &[
            "encode_mb_per_second",
            "encode_all_threads_mb_per_second",
            "decode_mb_per_second",
        ],
    );
    let plain = place
        .run(&["bench", "step", "tiny.toml", "--profile", "--limit", "0"])
        .good();
    assert!(
        plain.contains("tokens/s") && plain.contains("% of peak"),
        "{plain}"
    );
    assert!(plain.contains("\nroofline  "), "{plain}");
}

#[test]
fn the_machine_is_measured() {
    let place = Place::new();
    let told = place.run(&["bench", "machine", "--json"]).json();
    is_machine(&told);
    let plain = place.run(&["bench", "machine", "--threads", "1"]).good();
    for word in ["with 1 threads", "f32 ", "reads ", "triad ", "rustc"] {
        assert!(plain.contains(word), "{word}: {plain}");
    }
    let missing = told["peaks"]["bf16_instruction_gflops"].is_null();
    assert_eq!(
        !missing,
        plain.contains("processor's instruction"),
        "{plain}"
    );
}

#[test]
fn operations_are_timed_alone() {
    let place = Place::new();
    let shapes = [
        ("matmul", "33x16x20", 6),
        ("attention", "1x2x1x16x8", 4),
        ("adamw", "1000", 1),
    ];
    for (name, shape, lines) in shapes {
        let told = place
            .run(&[
                "bench", "op", name, "--shape", shape, "--limit", "0", "--json",
            ])
            .json();
        is_machine(&told["machine"]);
        let ops = told["ops"].as_array().expect("lines");
        assert_eq!(ops.len(), lines, "{told}");
        for line in ops {
            assert_eq!((&line["op"], &line["shape"]), (&name.into(), &shape.into()));
            assert!(line["precision"].is_string() && line["phase"].is_string());
            assert!(number(&line["gflops"]) > 0.0 && number(&line["gbps"]) > 0.0);
            is_sampled(line, &["seconds"]);
            is_share(line);
        }
    }
    let refusals: [(&[&str], &str); 5] = [
        (&["nothing"], "matmul"),
        (&["matmul", "--shape", "3x4"], "M x K x N"),
        (&["all", "--shape", "3x4x5"], "one operation"),
        (&["adamw", "--precision", "bf16"], "f32 only"),
        (&["attention", "--shape", "1x3x2x4x8"], "heads"),
    ];
    for (arguments, word) in refusals {
        let told = place.run(&[&["bench", "op"], arguments].concat());
        assert_eq!(told.code, 2, "{arguments:?}: {}", told.err);
        assert!(told.err.contains(word), "{arguments:?}: {}", told.err);
    }
}

#[test]
fn data_are_encoded_and_loaded() {
    let place = Place::new();
    place.file(
        "text.txt",
        "some words to cut, some words to count\n".repeat(2000),
    );
    let text = TINY.replace("source = \"storybook\"", "train = [\"text.txt\"]");
    place.file("data.toml", text);
    let told = place
        .run(&["bench", "data", "data.toml", "--limit", "0", "--json"])
        .json();
    is_machine(&told["machine"]);
    assert_eq!(told["bytes"], 78_000);
    assert!(number(&told["tokens"]) >= 78_000.0 && told["documents"].is_u64());
    is_sampled(
        &told,
        &[
            "cold_mb_per_second",
            "warm_mb_per_second",
            "loader_tokens_per_second",
        ],
    );
    assert!(
        !place.path().join("cache").exists(),
        "its own cache is used"
    );
    // Stories are endless and never in a file.
    place.file("tiny.toml", TINY);
    let told = place
        .run(&["bench", "data", "tiny.toml", "--limit", "0", "--json"])
        .json();
    for name in ["bytes", "documents", "tokens", "cold_mb_per_second"] {
        assert!(told.get(name).is_some_and(Value::is_null), "{name}: {told}");
    }
    is_sampled(&told, &["loader_tokens_per_second"]);
}

#[test]
fn the_screen_is_measured_without_a_terminal() {
    let place = Place::new();
    let small = ["--rows", "20000", "--metrics", "9", "--frames", "5"];
    let arguments = [&["bench", "screen", "--json"][..], &small].concat();
    let told = place
        .run(&[&arguments[..], &["--seconds", "1"]].concat())
        .json();
    is_machine(&told["machine"]);
    let screens = told["screens"].as_array().expect("screens");
    for name in ["train", "layers", "runs", "compare", "train, heard"] {
        let screen = screens.iter().find(|screen| screen["screen"] == name);
        let screen = screen.unwrap_or_else(|| panic!("{name}: {told}"));
        assert!(number(&screen["frame_seconds"]) > 0.0, "{screen}");
        // Over a slow line: what a step changes, not the whole screen, which is several times that.
        assert!(number(&screen["bytes_p99"]) < 8000.0, "{screen}");
        assert!(
            number(&screen["first_bytes"]) > number(&screen["bytes"]),
            "{screen}"
        );
    }
    for name in [
        "open_seconds",
        "figures_seconds",
        "hear_seconds",
        "key_seconds",
        "step_seconds",
    ] {
        assert!(number(&told[name]) > 0.0, "{name}: {told}");
    }
    let rate = |part: &str| number(&told[part]["frames_per_second"]);
    assert!(
        rate("calm") < rate("lively") && rate("lively") < 45.0,
        "{told}"
    );
    if cfg!(unix) {
        // Not a measurement: this build is slow, and other tests run beside it.
        let share = number(&told["lively"]["core_share"]);
        assert!(share > 0.0 && share < 0.5, "{share}");
    }
    let quick = [&["bench", "screen"][..], &small, &["--seconds", "0"]].concat();
    let plain = place.run(&quick).good();
    for word in ["20000 steps at 200 x 60", "train, heard", "compare: 3 runs"] {
        assert!(plain.contains(word), "{word}: {plain}");
    }
    assert!(!plain.contains("nobody at the keys"), "{plain}");
}
