//! What is written and read back: tokenizers and checkpoints.

use super::model::{LLAMA, VOCAB, batch, toy};
use super::{Check, Outcome, cpu};
use engine::checkpoint::{self, Contents, DataPosition, TrainerState, load_tensors};
use engine::config::{Config, model_record};
use engine::data::storybook::Storybook;
use engine::model::Model;
use engine::model::store::{Export, OptimizerSink, OptimizerSource, load_weights, source};
use engine::train::step::Trainer;
use kernels::philox::Stream;
use tokenizer::{SpecialMode, Tokenizer, TrainOptions};

pub(super) fn checks() -> Vec<Check> {
    vec![
        Check::new("tokenizers there and back", tokenizers),
        Check::new("checkpoint there and back", checkpoints),
    ]
}

const END: &str = "<|endoftext|>";

/// Text with everything in it: stories in two languages, every kind of character, broken words.
fn texts() -> Vec<String> {
    let mut texts: Vec<String> = Storybook::new(3)
        .stories()
        .take(40)
        .map(|story| story.text)
        .collect();
    let mut stream = Stream::new(8, 0xd0c8);
    for _ in 0..40 {
        let length = stream.below(60);
        let text = (0..length).filter_map(|_| {
            let most = [0x80, 0x800, 0x1_0000, 0x11_0000][stream.below(4) as usize];
            char::from_u32(stream.below(most) as u32)
        });
        texts.push(text.collect());
    }
    texts.push(format!("a{END}b {END}"));
    texts
}

/// Ids of a text give the text, with byte-level tokenizers of every split, and after saving and loading them.
fn tokenizers() -> Outcome {
    let texts = texts();
    let special = vec![END.to_owned()];
    let mut all = vec![Tokenizer::bytes(&special).map_err(|error| error.to_string())?];
    for split in tokenizer::split::SPLITS {
        let options = TrainOptions {
            vocab_size: 400,
            specials: special.clone(),
            split: split.name().to_owned(),
            ..TrainOptions::default()
        };
        all.push(tokenizer::train(&texts, options).map_err(|error| error.to_string())?);
    }
    for tokenizer in &all {
        let json = tokenizer.to_hf_json();
        let loaded = Tokenizer::from_hf_json(&json).map_err(|error| error.to_string())?;
        for text in &texts {
            for mode in [SpecialMode::Parse, SpecialMode::AsText] {
                let ids = tokenizer.encode(text, mode);
                if tokenizer.decode(&ids) != text.as_bytes() {
                    return Err(format!("{text:?} comes back otherwise ({tokenizer:?})"));
                }
                if loaded.encode(text, mode) != ids {
                    return Err(format!(
                        "{text:?} has other ids after saving ({tokenizer:?})"
                    ));
                }
            }
        }
    }
    Ok(format!("{} tokenizers, {} texts", all.len(), texts.len()))
}

/// A run that goes on from a checkpoint trains the same bits as one that was not stopped.
fn checkpoints() -> Outcome {
    let config = toy(LLAMA)?;
    let folder = tempfile::tempdir().map_err(|error| format!("temporary folder: {error}"))?;
    let mut one = trainer(&config);
    train(&mut one, 1..=2)?;
    let path = save(&config, &one, folder.path())?;
    checkpoint::verify(&path).map_err(|error| error.to_string())?;
    let mut other = trainer(&config);
    load_weights(&path, &other.model, &mut other.params).map_err(|error| error.to_string())?;
    load_tensors(
        &path.join(checkpoint::OPTIMIZER),
        &mut OptimizerSink(&mut *other.optimizer),
    )
    .map_err(|error| error.to_string())?;
    if one.params.values() != other.params.values() {
        return Err("the weights come back otherwise".to_owned());
    }
    let (a, b) = (train(&mut one, 3..=4)?, train(&mut other, 3..=4)?);
    if a.to_bits() != b.to_bits() || one.params.values() != other.params.values() {
        return Err(format!("going on gives other bits: loss {a} and {b}"));
    }
    damage(&path.join(checkpoint::MODEL)).map_err(|error| error.to_string())?;
    if checkpoint::verify(&path).is_ok() {
        return Err("a damaged checkpoint passes for whole".to_owned());
    }
    Ok("going on gives the same bits; damage is noticed".to_owned())
}

fn trainer(config: &Config) -> Trainer {
    Trainer::new(config, Model::new(&config.model, VOCAB), cpu())
}

/// The loss of the last of some steps.
fn train(trainer: &mut Trainer, steps: std::ops::RangeInclusive<u64>) -> Result<f64, String> {
    let mut loss = f64::NAN;
    for step in steps {
        let gradients = trainer
            .gradients(&[batch(2, 16, step)], step, false, &|| false)
            .map_err(|error| error.to_string())?
            .ok_or("it stopped by itself")?;
        trainer
            .update(&gradients, 1e-2, step, 1.0)
            .map_err(|error| error.to_string())?;
        loss = gradients.loss;
    }
    Ok(loss)
}

fn save(
    config: &Config,
    trainer: &Trainer,
    folder: &std::path::Path,
) -> Result<std::path::PathBuf, String> {
    let export = Export::new(&trainer.model, &[], &model_record(config, VOCAB));
    let params = &trainer.params;
    let values = |name: &str| params.id(name).map(|id| params.value(id));
    let contents = Contents {
        model: &source(&export, &values),
        optimizer: &OptimizerSource(&*trainer.optimizer),
        config: &export.config,
        generation_config: &export.generation_config,
        tokenizer: None,
        trainer: &TrainerState {
            step: 2,
            data: DataPosition::default(),
            ..TrainerState::default()
        },
    };
    let written = checkpoint::write(folder, &contents, "command");
    Ok(written.map_err(|error| error.to_string())?.path)
}

/// Changes the last byte of a file.
fn damage(file: &std::path::Path) -> std::io::Result<()> {
    let mut bytes = std::fs::read(file)?;
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    std::fs::write(file, bytes)
}
