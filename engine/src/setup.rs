//! From a configuration to everything that training needs: tokenizer, data, model.
//!
//! Whatever can be refused is refused here, before a run's folder exists.

use crate::config::{Config, DataSource};
use crate::data::{self, Cache, DataError, Datasets};
use crate::hf::HfError;
use crate::link::Interrupt;
use crate::model::Model;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokenizer::{LoadOptions, Tokenizer, TokenizerError, TrainOptions, TrainProgress};

/// What a run is made of.
#[derive(Debug)]
pub struct Setup {
    /// The configuration.
    pub config: Config,
    /// The tokenizer; none for `.bin` data without one.
    pub tokenizer: Option<Arc<Tokenizer>>,
    /// What is trained on and evaluated.
    pub datasets: Datasets,
    /// The model, without memory.
    pub model: Model,
}

/// Why a configuration cannot be trained.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The tokenizer cannot be read or trained.
    #[error("tokenizer: {0}")]
    Tokenizer(#[from] TokenizerError),
    /// The data cannot be trained on.
    #[error("{0}")]
    Data(#[from] DataError),
    /// The weights of `model.init_from` do not fit.
    #[error("model.init_from: {0}")]
    Weights(#[from] HfError),
    /// Model and tokenizer disagree.
    #[error(
        "model.vocab_size = {model} is smaller than the tokenizer's {tokenizer} tokens; raise it or leave it out"
    )]
    Vocabulary {
        /// What the configuration says.
        model: usize,
        /// What the tokenizer has.
        tokenizer: usize,
    },
    /// Nobody says how many tokens there are.
    #[error(
        "model.vocab_size is missing: data in .bin files come without a tokenizer, so set it (or tokenizer.path)"
    )]
    NoVocabulary,
    /// A name of an algorithm that does not exist.
    #[error("tokenizer.algorithm: {0}")]
    Algorithm(String),
    /// There is no such device.
    #[error("{0}")]
    Device(String),
}

/// What preparation is busy with, for a person who waits.
pub type Progress<'a> = &'a mut dyn FnMut(&str);

impl Setup {
    /// Prepares `config`: reads or trains the tokenizer, encodes the data (both are kept in `cache`), and shapes the model.
    ///
    /// # Errors
    /// If anything cannot be trained on; a line that says what, where, and what to do.
    pub fn new(
        config: Config,
        cache: Option<&Cache>,
        progress: Progress<'_>,
    ) -> Result<Self, SetupError> {
        let interrupt = Interrupt::default();
        Self::unless(&interrupt, config, None, cache, progress)
    }

    /// As [`Setup::new`], and given up soon after `interrupt` is raised. `own` is the checkpoint that the run goes on from:
    /// it has the tokenizer that was trained, and that of `model.init_from` should its folder have gone.
    ///
    /// # Errors
    /// As [`Setup::new`]; given up, an error of the step that it was at.
    pub fn unless(
        interrupt: &Interrupt,
        config: Config,
        own: Option<&Path>,
        cache: Option<&Cache>,
        progress: Progress<'_>,
    ) -> Result<Self, SetupError> {
        let tokenizer = tokenizer(&config, own, cache, interrupt, progress)?.map(Arc::new);
        let vocab_size = vocab_size(&config, tokenizer.as_deref())?;
        progress("reading the data");
        let datasets =
            data::open_unless(&config, tokenizer.as_ref(), vocab_size, cache, interrupt)?;
        let model = Model::new(&config.model, vocab_size);
        Ok(Self {
            config,
            tokenizer,
            datasets,
            model,
        })
    }

    /// Ids that end a text.
    pub fn end_of_text(&self) -> Option<u32> {
        self.tokenizer
            .as_ref()
            .and_then(|tokenizer| tokenizer.end_of_text())
    }
}

/// Size of the vocabulary: the model's, else the tokenizer's.
///
/// # Errors
/// If they disagree, or neither says.
pub fn vocab_size(config: &Config, tokenizer: Option<&Tokenizer>) -> Result<usize, SetupError> {
    match (
        config.model.vocab_size,
        tokenizer.map(Tokenizer::vocab_size),
    ) {
        (Some(model), Some(tokenizer)) if model < tokenizer => {
            Err(SetupError::Vocabulary { model, tokenizer })
        }
        (Some(model), _) => Ok(model),
        (None, Some(tokenizer)) => Ok(tokenizer),
        (None, None) => Err(SetupError::NoVocabulary),
    }
}

/// The tokenizer that the configuration asks for; none where `.bin` data need none. `own` is the folder of a checkpoint that
/// stands in for `model.init_from` where that is gone.
///
/// # Errors
/// If it cannot be read or trained, or `interrupt` was raised.
pub fn tokenizer(
    config: &Config,
    own: Option<&Path>,
    cache: Option<&Cache>,
    interrupt: &Interrupt,
    progress: Progress<'_>,
) -> Result<Option<Tokenizer>, SetupError> {
    let wanted = &config.tokenizer;
    if let Some(path) = &wanted.path {
        return Ok(Some(Tokenizer::load_with(path, &LoadOptions::default())?));
    }
    let from = config.model.init_from.as_deref();
    let from = from.map(|folder| own.filter(|_| !folder.exists()).unwrap_or(folder));
    if let (None, Some(folder)) = (&wanted.algorithm, from)
        && (folder.join("tokenizer.json").exists() || folder.join("vocab.json").exists())
    {
        return Ok(Some(Tokenizer::load(folder)?));
    }
    match wanted.algorithm.as_deref() {
        None if config.data.source == DataSource::Files && data::is_binary(&config.data)? => {
            Ok(None)
        }
        None | Some("bytes") => Ok(Some(Tokenizer::bytes(&wanted.special)?)),
        // It was trained on the data that the run began with; a fork's may be others.
        Some("bpe") if own.is_some_and(|own| own.join("tokenizer.json").exists()) => {
            Ok(own.map(Tokenizer::load).transpose()?)
        }
        Some("bpe") => train_tokenizer(config, cache, interrupt, progress).map(Some),
        Some(other) => Err(SetupError::Algorithm(format!(
            "{other} is not known; bytes and bpe are"
        ))),
    }
}

/// Trains a BPE tokenizer on the training data, or takes it from the cache.
fn train_tokenizer(
    config: &Config,
    cache: Option<&Cache>,
    interrupt: &Interrupt,
    progress: Progress<'_>,
) -> Result<Tokenizer, SetupError> {
    let wanted = &config.tokenizer;
    progress("reading text for the tokenizer");
    let texts = data::training_texts_unless(config, interrupt)?;
    let vocab_size = wanted.vocab_size.unwrap_or(6400);
    let mut hasher = blake3::Hasher::new();
    for part in [
        vocab_size.to_string(),
        wanted.pre_tokenizer.clone(),
        wanted.special.join("\u{0}"),
    ] {
        hasher.update(part.as_bytes()).update(b"\0\0");
    }
    for text in &texts {
        hasher
            .update(&(text.len() as u64).to_le_bytes())
            .update(text.as_bytes());
    }
    let name = format!("tokenizer-{}.json", hasher.finalize().to_hex());
    if let Some(path) = cache.and_then(|cache| cache.get(&name))
        && let Ok(tokenizer) = Tokenizer::load(&path)
    {
        return Ok(tokenizer);
    }
    let mut report = |state: TrainProgress| match state {
        TrainProgress::Counting { .. } => progress("training the tokenizer: counting"),
        TrainProgress::Merging { tokens, vocab_size } => {
            progress(&format!(
                "training the tokenizer: {tokens} of {vocab_size} tokens"
            ));
        }
    };
    let options = TrainOptions {
        vocab_size,
        specials: wanted.special.clone(),
        split: wanted.pre_tokenizer.clone(),
        progress: Some(&mut report),
        stop: Some(&|| interrupt.is_raised()),
        ..TrainOptions::default()
    };
    // A text is a line with its ending, as Hugging Face's trainer reads files.
    let tokenizer = tokenizer::train(
        texts.iter().flat_map(|text| text.split_inclusive('\n')),
        options,
    )?;
    if let Some(cache) = cache {
        // A cache that cannot be written costs time at the next start, nothing else.
        let json = tokenizer.to_hf_json();
        let _: Result<PathBuf, std::io::Error> =
            cache.put(&name, |out| std::io::Write::write_all(out, json.as_bytes()));
    }
    Ok(tokenizer)
}
