//! The small models that the tests of variants go through, and batches for them.

use engine::config::Config;
use engine::data::Batch;
use engine::registry::SLOTS;
use kernels::philox::Stream;

/// Tokens.
pub const VOCAB: usize = 11;

pub fn config(sets: &[&str]) -> Config {
    let text = "[data]\nsource = \"storybook\"\nsequence_length = 12\n\
        [model]\nlayers = 2\ndim = 16\nheads = 4\nkv_heads = 2\nvocab_size = 11\ninit_std = 0.3\nffn = { hidden = 24 }\n\
        [optimizer]\nlr = 0.01\n[train]\nbatch_size = 4\nmax_steps = 100\n";
    let sets: Vec<String> = sets.iter().map(|s| (*s).to_owned()).collect();
    Config::parse(None, text, &sets).expect("a valid configuration")
}

/// Every variant alone, and combinations that real models use.
pub fn all() -> Vec<(String, Config)> {
    let mut list = Vec::new();
    for slot in SLOTS.iter().filter(|slot| slot.path.starts_with("model.")) {
        for variant in slot.variants {
            let set = format!("{}.kind=\"{}\"", slot.path, variant.kind);
            let kv = match variant.kind {
                "mha" => "model.kv_heads=4",
                "mqa" => "model.kv_heads=1",
                _ => "model.kv_heads=2",
            };
            list.push((set.clone(), config(&[&set, kv])));
        }
    }
    for sets in [
        &["model.norm.placement=\"post\""][..],
        &[
            "model.norm.placement=\"sandwich\"",
            "model.norm.zero_centered=true",
        ],
        &["model.mixer.qk_norm=true"],
        &[
            "model.mixer.qkv_bias=true",
            "model.mixer.out_bias=true",
            "model.ffn.bias=true",
        ],
        &["model.tie_embeddings=false"],
        &["model.position.layout=\"interleaved\""],
        &["model.dropout=0.1"],
        &["train.recompute=true"],
        &["train.fuse=false"],
    ] {
        list.push((sets.join(" "), config(sets)));
    }
    list
}

pub fn batch(rows: usize, seq: usize, seed: u64, doc: usize) -> Batch {
    let mut stream = Stream::new(seed, 9);
    let tokens: Vec<i32> = (0..rows * seq)
        .map(|_| stream.below(VOCAB as u64) as i32)
        .collect();
    let targets: Vec<i32> = (0..rows * seq)
        .map(|_| stream.below(VOCAB as u64 + 1) as i32 - 1)
        .collect();
    let start = |i: usize| i % seq / doc * doc;
    Batch {
        rows,
        height: rows,
        tokens,
        targets,
        positions: (0..rows * seq)
            .map(|i| (i % seq - start(i)) as i32)
            .collect(),
        doc_start: (0..rows * seq).map(|i| start(i) as i32).collect(),
        row0: 0,
        valid_targets: 0,
        target_bytes: None,
    }
}

pub fn valid_targets(batch: &Batch) -> u64 {
    batch.targets.iter().filter(|t| **t >= 0).count() as u64
}
