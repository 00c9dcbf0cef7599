//! Learning the merges: count the pieces of the text, then merge the most frequent pair again and again.
//!
//! `count` cuts and counts on all threads; `learn` merges on one, incrementally; `queue` says which pair is next. The
//! result depends on the counts alone, so that it is the same at any number of threads.
//! Source: Sennrich et al. 2016, arXiv:1508.07909.

mod count;
mod learn;
mod queue;
#[cfg(test)]
mod tests;

use rustc_hash::FxHashMap;

use super::{Bpe, Merge};
use crate::error::TokenizerError;
use crate::special::{self, AddedToken};
use crate::{Tokenizer, alphabet, format, split};

/// Which pair goes first among those of the highest count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ties {
    /// As the Hugging Face trainer: the pair of the smallest (left id, right id).
    #[default]
    Hf,
    /// The lexicographically greatest (left bytes, right bytes).
    Greatest,
}

/// How far training is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrainProgress {
    /// Text is being cut and counted.
    Counting {
        /// Bytes of text seen so far.
        bytes: u64,
    },
    /// Pairs are being merged.
    Merging {
        /// Tokens in the vocabulary so far.
        tokens: usize,
        /// Tokens asked for.
        vocab_size: usize,
    },
}

/// What to learn, and how.
pub struct TrainOptions<'a> {
    /// Tokens in all: the 256 bytes and the special tokens count. Fewer result where the text has no more pairs.
    pub vocab_size: usize,
    /// Special tokens, in the order of their ids from 0.
    pub specials: Vec<String>,
    /// Name of the split, one of [`split::SPLITS`].
    pub split: String,
    /// The tie rule.
    pub ties: Ties,
    /// Worker threads; 0 takes those of the current rayon pool.
    pub threads: usize,
    /// Called now and then from the calling thread.
    pub progress: Option<&'a mut dyn FnMut(TrainProgress)>,
    /// Asked often, from any thread; once it says yes, training ends with [`TokenizerError::Interrupted`].
    pub stop: Option<&'a (dyn Fn() -> bool + Sync)>,
}

impl Default for TrainOptions<'_> {
    fn default() -> Self {
        Self {
            vocab_size: 6400,
            specials: Vec::new(),
            split: "gpt2".to_owned(),
            ties: Ties::default(),
            threads: 0,
            progress: None,
            stop: None,
        }
    }
}

/// Trains a byte-level BPE on `inputs`.
///
/// Each input is a text of its own: no piece reaches over its end. (The Hugging Face library does the same for each
/// string of `train_from_iterator`, and for each *line* of the files of `train`.) Special tokens inside a text are
/// ordinary text here.
///
/// Ids are those of the Hugging Face library's `BpeTrainer` with the byte-level initial alphabet: the special tokens,
/// the 256 bytes in the order of their characters, the merges.
///
/// # Errors
/// An unknown split, a vocabulary smaller than its fixed part, an impossible special token, more distinct text than
/// 2^32 bytes, or a stop that was asked for.
pub fn train<I>(inputs: I, mut options: TrainOptions<'_>) -> Result<Tokenizer, TokenizerError>
where
    I: IntoIterator,
    I::Item: AsRef<str>,
{
    let split = split::by_name(&options.split)?;
    let tokens = initial_tokens(&options)?;
    let mut progress = options.progress.take();
    let mut report = |at: TrainProgress| {
        if let Some(progress) = &mut progress {
            progress(at);
        }
    };
    let threads = if options.threads == 0 {
        rayon::current_num_threads()
    } else {
        options.threads
    };
    let stop = options.stop.unwrap_or(&|| false);
    let pieces = count::count_pieces(inputs, split, threads, &mut report, stop)?;
    let learned = learn::learn(
        &pieces,
        tokens,
        options.vocab_size,
        options.ties,
        &mut report,
        stop,
    )?;
    drop(pieces);
    build(learned, &options, split)
}

/// The tokens before the first merge.
struct InitialTokens {
    /// Bytes of each id: special tokens, then the alphabet.
    tokens: Vec<Box<[u8]>>,
    byte_ids: [u32; 256],
    /// Ids of the special tokens by their bytes: a merge may make the same text.
    specials: FxHashMap<Box<[u8]>, u32>,
}

fn initial_tokens(options: &TrainOptions<'_>) -> Result<InitialTokens, TokenizerError> {
    special::check_names(&options.specials)?;
    if options.vocab_size < 256 + options.specials.len() {
        return Err(TokenizerError::VocabularyTooSmall {
            asked: options.vocab_size,
            specials: options.specials.len(),
        });
    }
    if options.vocab_size > special::MAX_ID as usize {
        return Err(TokenizerError::TooLarge {
            what: "vocabulary size",
            detail: format!("{}; the largest is {}", options.vocab_size, special::MAX_ID),
        });
    }
    let mut tokens: Vec<Box<[u8]>> = options
        .specials
        .iter()
        .map(|token| token.as_bytes().into())
        .collect();
    let specials = tokens.iter().cloned().zip(0..).collect();
    let mut byte_ids = [0; 256];
    for byte in alphabet::bytes_by_char() {
        byte_ids[byte as usize] = tokens.len() as u32;
        tokens.push([byte].into());
    }
    Ok(InitialTokens {
        tokens,
        byte_ids,
        specials,
    })
}

/// What was learned.
struct Learned {
    tokens: Vec<Box<[u8]>>,
    byte_ids: [u32; 256],
    /// (left, right, result) in order.
    merges: Vec<(u32, u32, u32)>,
}

fn build(
    learned: Learned,
    options: &TrainOptions<'_>,
    split: &'static dyn split::Split,
) -> Result<Tokenizer, TokenizerError> {
    let merges = learned
        .merges
        .iter()
        .zip(0..)
        .map(|(&(left, right, result), rank)| Merge {
            left,
            right,
            rank,
            result,
        })
        .collect();
    let added = options
        .specials
        .iter()
        .zip(0..)
        .map(|(token, id)| AddedToken::special(token, id))
        .collect();
    Tokenizer::assemble(
        learned.tokens.into_iter().map(Some).collect(),
        Bpe::new(&learned.byte_ids, merges, None),
        added,
        format::hf::Pipeline::byte_level(vec![split]),
    )
}
