//! Weights go through a checkpoint of ours and come back.

use super::{ARCHITECTURES, Reference, VOCAB, config, fixture, logits, trainer, worst};
use engine::checkpoint::{Contents, TrainerState, verify, write};
use engine::config::{Config, MODEL_RECORD_FIELD, model_record};
use engine::model::Model;
use engine::model::store::{Export, OptimizerSource, load_weights, source};
use engine::safetensors::Weights;
use engine::train::step::Trainer;
use kernels::Precision;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Writes what a trainer holds as a checkpoint below `root`.
pub(super) fn save(
    root: &Path,
    config: &Config,
    trainer: &Trainer,
    tokenizer: Option<&[u8]>,
    eos: &[u32],
) -> PathBuf {
    let record = model_record(config, trainer.model.vocab_size());
    let export = Export::new(&trainer.model, eos, &record);
    let values = |name: &str| {
        let id = trainer.params.id(name)?;
        Some(trainer.params.value(id))
    };
    let contents = Contents {
        model: &source(&export, &values),
        optimizer: &OptimizerSource(trainer.optimizer.as_ref()),
        config: &export.config,
        generation_config: &export.generation_config,
        tokenizer,
        trainer: &TrainerState {
            step: 3,
            ..TrainerState::default()
        },
    };
    let written = write(root, &contents, "requested").expect("written");
    verify(&written.path).expect("a valid checkpoint");
    written.path
}

/// Shape and bits of every tensor of a folder, by name.
fn everything(folder: &Path) -> BTreeMap<String, (Vec<usize>, Vec<u32>)> {
    let mut weights = Weights::open(folder).expect("weights");
    let names: Vec<String> = weights.names().map(str::to_owned).collect();
    let all = names.into_iter().map(|name| {
        let shape = weights.entry(&name).expect("listed").info.shape.clone();
        let mut values = vec![0.0; shape.iter().product()];
        weights.read_into(&name, &mut values).expect("readable");
        (name, (shape, values.iter().map(|x| x.to_bits()).collect()))
    });
    all.collect()
}

/// A model of `config` with the weights of `folder`, and its logits.
fn logits_of(config: &Config, folder: &Path) -> Vec<f64> {
    let model = Model::new(&config.model, VOCAB);
    let mut params = model.init(99, Precision::F32, false);
    load_weights(folder, &model, &mut params).expect("weights that fit");
    logits(&model, &mut params, Precision::F32)
}

#[test]
fn a_model_comes_back_from_a_checkpoint() {
    let root = tempfile::tempdir().unwrap();
    for architecture in ARCHITECTURES {
        let folder = fixture(architecture);
        let original = config(&folder, &[]);
        let trainer = trainer(architecture, &[]);
        let saved = save(
            &root.path().join(architecture),
            &original,
            &trainer,
            None,
            &[2],
        );
        assert!(everything(&folder) == everything(&saved), "{architecture}");

        let again = config(&saved, &[]);
        let mut expected = original.model.clone();
        expected.init_from = Some(saved.clone());
        assert_eq!(again.model, expected, "{architecture}");
        let wanted = Reference::of(architecture).array("logits").unwrap();
        let error = worst(&logits_of(&again, &saved), &wanted);
        assert!(error < 1e-4, "{architecture}: logits differ by {error:e}");

        // What others read says the same as our own record.
        let path = saved.join("config.json");
        let mut json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let own = json.as_object_mut().unwrap().remove(MODEL_RECORD_FIELD);
        assert!(own.is_some(), "{architecture}");
        fs::write(&path, json.to_string()).unwrap();
        assert_eq!(config(&saved, &[]).model, expected, "{architecture}");
    }
}

#[test]
fn a_model_of_no_known_architecture_comes_back_too() {
    let root = tempfile::tempdir().unwrap();
    let sets = [
        "model.layers=2",
        "model.dim=24",
        "model.heads=4",
        "model.kv_heads=1",
        "model.vocab_size=64",
        "model.mixer.kind=\"mqa\"",
        "model.ffn.kind=\"relu2\"",
        "model.norm.placement=\"sandwich\"",
        "model.norm.zero_centered=true",
        "model.position.layout=\"interleaved\"",
        "model.tie_embeddings=false",
        "model.init_std=0.3",
    ]
    .map(str::to_owned);
    let text = "[data]\nsource = \"storybook\"\nsequence_length = 16\n[optimizer]\nlr = 1e-3\n\
        [train]\nbatch_size = 2\nmax_steps = 10\n";
    let native = Config::parse(None, text, &sets).unwrap();
    let model = Model::new(&native.model, VOCAB);
    let mut trainer = Trainer::new(&native, model, kernels::Cpu::new(2));
    let saved = save(root.path(), &native, &trainer, None, &[]);
    let again = config(&saved, &[]);
    let expected = logits(&trainer.model, &mut trainer.params, Precision::F32);
    let found = logits_of(&again, &saved);
    assert!(found == expected, "logits changed");
    assert!(
        expected.iter().any(|x| x.abs() > 0.1),
        "logits that show something"
    );
}
