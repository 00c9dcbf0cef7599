//! Same seed, same program, same machine: the same losses to the bit, at any number of threads, with dropout, with
//! activations recomputed, stopped and resumed or not. A step cut into other micro-batches differs by rounding only.

use engine::checkpoint::load_tensors;
use engine::config::Config;
use engine::data::{self, Dataset, Loader};
use engine::model::Model;
use engine::model::store::{Export, OptimizerSink, OptimizerSource, load_weights, source};
use engine::safetensors;
use engine::train::step::Trainer;
use kernels::Cpu;
use serde_json::Value;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use tokenizer::Tokenizer;

/// Optimizer steps of a run.
const STEPS: u64 = 4;

fn config(sets: &[&str]) -> Config {
    // Sizes that no tile divides, and rows enough for several threads.
    let text = "[data]\nsource = \"storybook\"\nsequence_length = 50\n\
        [model]\nlayers = 2\ndim = 72\nheads = 6\nkv_heads = 2\nffn = { hidden = 168 }\n\
        [optimizer]\nlr = 0.003\n[train]\nbatch_size = 6\nmax_steps = 100\n";
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    Config::parse(None, text, &sets).expect("a valid configuration")
}

fn stories(config: &Config) -> (Arc<Dataset>, usize) {
    let tokenizer = Arc::new(Tokenizer::bytes(&["<|endoftext|>".to_owned()]).expect("a tokenizer"));
    let vocab = tokenizer.vocab_size();
    let data = data::open(config, Some(&tokenizer), vocab, None).expect("stories");
    (data.train, vocab)
}

fn trainer(config: &Config, threads: usize) -> Trainer {
    let (_, vocab) = stories(config);
    Trainer::new(config, Model::new(&config.model, vocab), Cpu::new(threads))
}

/// Trains on steps `first..=last` of the storybook; loss and gradient norm of each.
fn train(config: &Config, trainer: &mut Trainer, first: u64, last: u64) -> Vec<(f64, f64)> {
    let (dataset, _) = stories(config);
    let cut = &config.train;
    let mut loader = Loader::new(dataset, cut.batch_size, cut.micro_batch, first);
    (first..=last)
        .map(|step| {
            let data = loader.next_step();
            assert_eq!(data.step, step);
            let gradients = trainer
                .gradients(&data.micro_batches, step, step == 2, &|| false)
                .expect("a CPU does not fail")
                .expect("not stopped");
            trainer
                .update(&gradients, config.optimizer.lr, step, cut.clip_norm)
                .expect("a CPU does not fail");
            (gradients.loss, gradients.norm)
        })
        .collect()
}

fn losses(sets: &[&str], threads: usize) -> Vec<(f64, f64)> {
    let config = config(sets);
    train(&config, &mut trainer(&config, threads), 1, STEPS)
}

/// Bits, so that two NaN are equal and 0 is not -0.
fn bits(losses: &[(f64, f64)]) -> Vec<[u64; 2]> {
    losses
        .iter()
        .map(|(l, n)| [l.to_bits(), n.to_bits()])
        .collect()
}

#[test]
fn threads_change_no_bit() {
    for sets in [
        &[][..],
        &["model.dropout=0.2"],
        &["device.precision=\"bf16\""],
        &["optimizer.stochastic_rounding=true"],
        // Longer than the tiles of attention, more tokens than a product sums in one go.
        &["data.sequence_length=150", "train.batch_size=8"],
        &[
            "train.micro_batch=4",
            "model.mixer.qk_norm=true",
            "model.ffn.kind=\"geglu\"",
        ],
        &[
            "model.norm.kind=\"layernorm\"",
            "model.position.kind=\"learned\"",
            "model.ffn.kind=\"mlp\"",
            "model.ffn.bias=true",
            "model.mixer.qkv_bias=true",
            "model.tie_embeddings=false",
        ],
    ] {
        let one = losses(sets, 1);
        assert!(
            one[3].0 < one[0].0,
            "{sets:?}: nothing was learned: {one:?}"
        );
        for threads in [2, 3] {
            let more = losses(sets, threads);
            assert_eq!(bits(&more), bits(&one), "{sets:?} with {threads} threads");
        }
    }
}

#[test]
fn another_seed_changes_losses_and_dropout_acts() {
    let plain = losses(&[], 2);
    assert_ne!(bits(&losses(&["run.seed=1"], 2)), bits(&plain));
    assert_ne!(bits(&losses(&["model.dropout=0.2"], 2)), bits(&plain));
}

#[test]
fn recomputing_changes_no_bit() {
    for sets in [&["model.dropout=0.2"][..], &["device.precision=\"bf16\""]] {
        let with = [sets, &["train.recompute=true"]].concat();
        assert_eq!(bits(&losses(&with, 2)), bits(&losses(sets, 2)), "{sets:?}");
    }
}

#[test]
fn micro_batches_change_rounding_only() {
    // 4 does not divide 6: the last micro-batch is padded.
    for dropout in ["model.dropout=0", "model.dropout=0.2"] {
        let whole = losses(&[dropout], 2);
        for cut in [
            "train.micro_batch=1",
            "train.micro_batch=3",
            "train.micro_batch=4",
        ] {
            for (part, whole) in losses(&[dropout, cut], 2).iter().zip(&whole) {
                assert!(
                    (part.0 - whole.0).abs() < 1e-5 && (part.1 - whole.1).abs() < 1e-5 * whole.1,
                    "{dropout} {cut}: {part:?} instead of {whole:?}"
                );
            }
        }
    }
}

/// Writes weights and optimizer below `folder`.
fn save(folder: &Path, trainer: &Trainer) {
    let export = Export::new(&trainer.model, &[], &Value::Null);
    let values = |name: &str| {
        let id = trainer.params.id(name)?;
        Some(trainer.params.value(id))
    };
    let weights = source(&export, &values);
    let optimizer = OptimizerSource(trainer.optimizer.as_ref());
    let parts: [(&str, &dyn engine::checkpoint::TensorSource); 2] = [
        ("model.safetensors", &weights),
        ("optimizer.safetensors", &optimizer),
    ];
    for (name, part) in parts {
        let mut out = File::create(folder.join(name)).expect("a new file");
        let mut data = |index, out: &mut dyn std::io::Write| part.write(index, out);
        safetensors::write(&mut out, &part.tensors(), &[], &mut data).expect("written");
    }
}

#[test]
fn a_resumed_run_has_the_same_bits() {
    for sets in [
        &["model.dropout=0.2"][..],
        &["optimizer.kind=\"sgd\""],
        &["optimizer.stochastic_rounding=true"],
    ] {
        let config = config(sets);
        let straight = train(&config, &mut trainer(&config, 2), 1, STEPS);
        let folder = tempfile::tempdir().unwrap();
        let mut first = trainer(&config, 3);
        train(&config, &mut first, 1, 2);
        save(folder.path(), &first);

        let mut second = trainer(&config, 1);
        load_weights(
            &folder.path().join("model.safetensors"),
            &second.model,
            &mut second.params,
        )
        .unwrap();
        let state = folder.path().join("optimizer.safetensors");
        load_tensors(&state, &mut OptimizerSink(second.optimizer.as_mut())).unwrap();
        let rest = train(&config, &mut second, 3, STEPS);
        assert_eq!(bits(&rest), bits(&straight[2..]), "{sets:?}");
    }
}
