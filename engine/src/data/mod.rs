//! Data: from files, or from the storybook, to batches of rows.
//!
//! [`open`] is the way in. `files.rs` finds the files, `source/` reads their documents, `shard.rs` encodes them once and
//! keeps the ids in a [`Cache`]; `bins.rs` reads ids that others encoded; `story.rs` needs no file. A [`Dataset`] cuts ids
//! into rows, any of which is reached at once, in an order that a seed fixes (`order.rs`); a [`Loader`] has the next steps'
//! batches ready. Nothing is padded but the last row of validation data: rows are cut from the stream wherever they fall.

mod bins;
mod cache;
mod dataset;
mod error;
mod files;
mod loader;
mod order;
mod shard;
mod source;
mod story;
pub mod storybook;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokenizer::Tokenizer;

pub use cache::Cache;
pub use dataset::{Batch, Dataset};
pub use error::DataError;
pub use loader::{Loader, StepData};

use crate::config::{Config, DataConfig, DataFormat, DataSource};
use crate::link::Interrupt;
use bins::Bins;
use dataset::{Rows, Window};
use files::{Input, expand, is_bin};
use shard::Shard;
use story::Stories;
use storybook::Storybook;

const TRAIN: &str = "data.train";
const VALIDATION: &str = "data.validation";
/// Rows of the storybook that are evaluated.
const STORY_VALIDATION_ROWS: u64 = 256;
/// Turns the seed of the training stories into that of the evaluated ones.
const HELD_OUT: u64 = 0x6865_6C64_206F_7574;
/// Bytes of stories that a tokenizer is trained on.
const STORY_TEXT: usize = 4 << 20;

/// What is trained on and what is evaluated.
#[derive(Clone, Debug)]
pub struct Datasets {
    /// Rows to train on.
    pub train: Arc<Dataset>,
    /// Rows to evaluate, where there are any.
    pub validation: Option<Arc<Dataset>>,
    /// What was read, validation data not counted where it has files of its own.
    pub report: Report,
}

impl Datasets {
    /// No data: in place of those of a run that has given its memory back.
    pub fn none() -> Self {
        let rows = Rows::Bins {
            bins: Arc::new(Bins::none()),
            begin: 0,
            end: 0,
            stop: None,
        };
        let train = Dataset {
            rows,
            length: 1,
            shuffle: None,
            mask: false,
            tail: false,
            byte_lengths: None,
            bytes_per_token: None,
            floor: None,
            fingerprint: String::new(),
        };
        Self {
            train: Arc::new(train),
            validation: None,
            report: Report::default(),
        }
    }
}

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Files.
    pub files: usize,
    /// Documents; None for .bin files.
    pub documents: Option<u64>,
    /// Bytes of text, separators left out; None for .bin files.
    pub bytes: Option<u64>,
    /// Ids.
    pub tokens: u64,
    /// JSONL lines that were skipped as bad.
    pub skipped_lines: u64,
}

/// Whether the data are .bin files, which need no tokenizer.
///
/// # Errors
/// If `data.train` names no file, or one that is not there.
pub fn is_binary(config: &DataConfig) -> Result<bool, DataError> {
    match config.source {
        DataSource::Storybook => Ok(false),
        DataSource::Files => Ok(is_bin(&train_files(config)?[0])),
    }
}

/// Opens the data of a configuration: finds the files, encodes them or takes their ids from the cache, splits.
///
/// `vocab_size` is the model's, which ids of .bin files must not exceed. `tokenizer` may be None for them.
///
/// # Errors
/// If there is nothing, or something that cannot be trained on; each names the file and the place in it.
pub fn open(
    config: &Config,
    tokenizer: Option<&Arc<Tokenizer>>,
    vocab_size: usize,
    cache: Option<&Cache>,
) -> Result<Datasets, DataError> {
    open_unless(config, tokenizer, vocab_size, cache, &Interrupt::default())
}

/// As [`open`], and given up soon after `interrupt` is raised.
///
/// # Errors
/// As [`open`], and [`DataError::Interrupted`].
pub fn open_unless(
    config: &Config,
    tokenizer: Option<&Arc<Tokenizer>>,
    vocab_size: usize,
    cache: Option<&Cache>,
    interrupt: &Interrupt,
) -> Result<Datasets, DataError> {
    let data = &config.data;
    let opener = Opener {
        data,
        seed: config.run.seed,
        tokenizer,
        vocab_size,
        cache,
        interrupt,
        byte_lengths: tokenizer.map(|tokenizer| byte_lengths(tokenizer)),
    };
    match (data.source, tokenizer) {
        (DataSource::Storybook, Some(tokenizer)) => Ok(opener.stories(tokenizer)),
        (DataSource::Storybook, None) => Err(DataError::NoTokenizer {
            path: "storybook".into(),
        }),
        (DataSource::Files, _) => opener.files(),
    }
}

/// The texts that a tokenizer is trained on: the documents of the training data, without those held out.
///
/// # Errors
/// As [`open`].
pub fn training_texts(config: &Config) -> Result<Vec<String>, DataError> {
    training_texts_unless(config, &Interrupt::default())
}

/// As [`training_texts`], and given up soon after `interrupt` is raised.
///
/// # Errors
/// As [`open_unless`].
pub fn training_texts_unless(
    config: &Config,
    interrupt: &Interrupt,
) -> Result<Vec<String>, DataError> {
    let data = &config.data;
    let mut texts = Vec::new();
    if data.source == DataSource::Storybook {
        let mut size = 0;
        let stories = Storybook::new(config.run.seed).stories();
        texts.extend(stories.map(|story| story.text).take_while(|text| {
            size += text.len();
            size < STORY_TEXT
        }));
        return Ok(texts);
    }
    for input in train_files(data)? {
        let map = source::map(&input)?;
        if is_bin(&input) {
            return Err(DataError::Mixed { path: input.path });
        }
        source::read::<DataError>(&input, &map, data, &mut |piece| {
            unless(interrupt)?;
            texts.push(piece.text.into_owned());
            Ok(())
        })?;
    }
    let kept = 1.0 - data.validation_fraction;
    if let [text] = texts.as_mut_slice() {
        let mut end = (text.len() as f64 * kept) as usize;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    } else if data.validation_fraction > 0.0 {
        texts.truncate(kept_documents(texts.len() as u64, kept) as usize);
    }
    Ok(texts)
}

/// An error once `interrupt` is raised: asked between two pieces of long work.
fn unless(interrupt: &Interrupt) -> Result<(), DataError> {
    if interrupt.is_raised() {
        Err(DataError::Interrupted)
    } else {
        Ok(())
    }
}

/// How many of `documents` (at least two) are trained on where the share `kept` is: at least one, and not all.
fn kept_documents(documents: u64, kept: f64) -> u64 {
    ((documents as f64 * kept) as u64).clamp(1, documents - 1)
}

fn train_files(config: &DataConfig) -> Result<Vec<Input>, DataError> {
    let files = expand(&config.train, config.format, TRAIN)?;
    if files.is_empty() {
        return Err(DataError::NoFiles);
    }
    Ok(files)
}

/// Bytes of text that each id stands for; special tokens are no text.
fn byte_lengths(tokenizer: &Tokenizer) -> Arc<[u32]> {
    let ids = 0..tokenizer.vocab_size() as u32;
    let mut lengths: Vec<u32> = ids
        .map(|id| tokenizer.token_bytes(id).map_or(0, <[u8]>::len) as u32)
        .collect();
    for token in tokenizer.special_tokens() {
        if let Some(length) = lengths.get_mut(token.id as usize) {
            *length = 0;
        }
    }
    lengths.into()
}

struct Opener<'a> {
    data: &'a DataConfig,
    seed: u64,
    tokenizer: Option<&'a Arc<Tokenizer>>,
    vocab_size: usize,
    cache: Option<&'a Cache>,
    interrupt: &'a Interrupt,
    byte_lengths: Option<Arc<[u32]>>,
}

/// Ids of some files, whole.
enum Stream {
    Shard(Shard),
    Bins(Arc<Bins>),
}

impl Stream {
    fn tokens(&self) -> u64 {
        match self {
            Self::Shard(shard) => shard.tokens(),
            Self::Bins(bins) => bins.tokens(),
        }
    }

    /// Where the held-out part begins if the share `kept` is trained on: at a document, or within the only one.
    fn split(&self, kept: f64) -> u64 {
        match self {
            Self::Shard(shard) if shard.documents() > 1 => {
                shard.start(kept_documents(shard.documents(), kept))
            }
            _ => (self.tokens() as f64 * kept) as u64,
        }
    }
}

impl Opener<'_> {
    fn files(&self) -> Result<Datasets, DataError> {
        let data = self.data;
        let train = train_files(data)?;
        let validation = expand(&data.validation, data.format, VALIDATION)?;
        let (stream, report) = self.stream(&train)?;
        let tokens = stream.tokens();
        let need = data.sequence_length as u64 + 1;
        if tokens < need {
            return Err(DataError::Short { tokens, need });
        }
        let (train, validation) = if data.validation_fraction > 0.0 {
            let split = stream.split(1.0 - data.validation_fraction);
            if split < need {
                return Err(DataError::ShortSplit {
                    train: split,
                    tokens,
                    need,
                });
            }
            if tokens - split < 2 {
                return Err(DataError::EmptySplit {
                    validation: tokens - split,
                });
            }
            let held_out = self.dataset(&stream, split, tokens, true);
            (self.dataset(&stream, 0, split, false), Some(held_out))
        } else if validation.is_empty() {
            (self.dataset(&stream, 0, tokens, false), None)
        } else {
            let (other, _) = self.stream(&validation)?;
            let count = other.tokens();
            if count < 2 {
                return Err(DataError::ShortValidation { tokens: count });
            }
            let validation = self.dataset(&other, 0, count, true);
            (self.dataset(&stream, 0, tokens, false), Some(validation))
        };
        Ok(Datasets {
            train,
            validation,
            report,
        })
    }

    fn stream(&self, inputs: &[Input]) -> Result<(Stream, Report), DataError> {
        if inputs[0].format == DataFormat::Bin {
            if self.data.document_mask && self.stop().is_none() {
                return Err(DataError::NoBorders);
            }
            let bins = Bins::open(
                inputs,
                self.data.token_bytes,
                self.vocab_size,
                self.interrupt,
            )?;
            let report = bins.report();
            return Ok((Stream::Bins(Arc::new(bins)), report));
        }
        let Some(tokenizer) = self.tokenizer else {
            let path = inputs[0].path.clone();
            return Err(DataError::NoTokenizer { path });
        };
        let shard = Shard::open(inputs, self.data, tokenizer, self.cache, self.interrupt)?;
        let report = shard.report(inputs.len());
        Ok((Stream::Shard(shard), report))
    }

    fn stop(&self) -> Option<i32> {
        self.tokenizer?.end_of_text().map(|id| id as i32)
    }

    fn dataset(&self, stream: &Stream, begin: u64, end: u64, validation: bool) -> Arc<Dataset> {
        let (rows, fingerprint) = match stream {
            Stream::Shard(shard) => {
                let fingerprint = shard.fingerprint();
                let shard = shard.clone();
                (Rows::Shard { shard, begin, end }, fingerprint)
            }
            Stream::Bins(bins) => {
                let fingerprint = bins.fingerprint();
                let (bins, stop) = (Arc::clone(bins), self.stop());
                let rows = Rows::Bins {
                    bins,
                    begin,
                    end,
                    stop,
                };
                (rows, fingerprint)
            }
        };
        let known = Known {
            bytes_per_token: self.bytes_per_token(stream),
            floor: None,
            fingerprint: format!("{}-{begin}-{end}", fingerprint.to_hex()),
        };
        self.finish(rows, validation, known)
    }

    fn bytes_per_token(&self, stream: &Stream) -> Option<f64> {
        let lengths = self.byte_lengths.as_ref()?;
        match stream {
            Stream::Shard(shard) => {
                let report = shard.report(0);
                Some(report.bytes? as f64 / report.tokens as f64)
            }
            Stream::Bins(bins) => {
                let mut ids = Vec::new();
                bins.read(0, bins.tokens().min(1 << 20) as usize, &mut ids);
                let length = |id: &i32| lengths.get(*id as usize).copied().unwrap_or(0) as u64;
                Some(ids.iter().map(length).sum::<u64>() as f64 / ids.len() as f64)
            }
        }
    }

    fn stories(&self, tokenizer: &Arc<Tokenizer>) -> Datasets {
        let length = self.data.sequence_length;
        let dataset = |seed: u64, rows: u64, validation: bool| {
            let stories = Stories::new(seed, length, Arc::clone(tokenizer));
            let name = blake3::hash(tokenizer.to_hf_json().as_bytes()).to_hex();
            let known = Known {
                bytes_per_token: Some(stories.bytes_per_token()),
                floor: Some(Storybook::expected().bits_per_byte()),
                fingerprint: format!("storybook-{seed}-{name}"),
            };
            self.finish(Rows::Stories { stories, rows }, validation, known)
        };
        Datasets {
            train: dataset(self.seed, u64::MAX, false),
            validation: Some(dataset(self.seed ^ HELD_OUT, STORY_VALIDATION_ROWS, true)),
            report: Report::default(),
        }
    }

    /// The dataset of `rows`, with this configuration's settings.
    fn finish(&self, rows: Rows, validation: bool, known: Known) -> Arc<Dataset> {
        let endless = matches!(rows, Rows::Stories { .. });
        Arc::new(Dataset {
            rows,
            length: self.data.sequence_length,
            // Stories come in no order that a permutation could improve.
            shuffle: (self.data.shuffled && !validation && !endless).then_some(self.seed),
            mask: self.data.document_mask,
            tail: validation,
            byte_lengths: self.byte_lengths.clone(),
            bytes_per_token: known.bytes_per_token,
            floor: known.floor,
            fingerprint: known.fingerprint,
        })
    }
}

/// What is known of some data besides its rows.
struct Known {
    bytes_per_token: Option<f64>,
    floor: Option<f64>,
    fingerprint: String,
}
