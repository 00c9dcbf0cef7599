//! Text to token ids and back.
//!
//! A [`Tokenizer`] finds added tokens in the text (`special`), cuts what lies between into pieces (`split`), merges
//! the bytes of each piece by rank (`bpe`), and joins bytes to decode. Decoding the ids of a text gives its bytes,
//! unless a loaded file asks for NFC or lacks bytes. [`bpe::train`] learns a tokenizer, [`Tokenizer::load`] reads the
//! common files (`format`), [`Tokenizer::bytes`] needs neither.
//!
//! The crate knows no other crate of the workspace and touches no file but those it is told to load or save.
//! Reading order: `split`, `bpe`, `bpe::train`, `special`, `format`.

pub mod bpe;
pub mod split;

mod alphabet;
mod bytes;
mod error;
mod format;
mod special;
mod stream;

use std::borrow::Cow;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;
use rustc_hash::FxHashMap;

pub use bpe::{Ties, TrainOptions, TrainProgress, train};
pub use error::TokenizerError;
pub use format::LoadOptions;
pub use special::{AddedToken, SpecialMode};
pub use stream::StreamDecoder;

use bpe::{Bpe, Scratch};
use format::hf::Pipeline;
use special::{MAX_ID, Matcher, Segment};

/// Names under which tokenizers keep their end of text, the most telling first.
const END_OF_TEXT: [&str; 9] = [
    "<|endoftext|>",
    "</s>",
    "<|end_of_text|>",
    "<eos>",
    "<|eos|>",
    "[EOS]",
    "<\u{FF5C}end\u{2581}of\u{2581}sentence\u{FF5C}>",
    "<|im_end|>",
    "<|eot_id|>",
];

/// A tokenizer: immutable, and shared by threads through a reference.
pub struct Tokenizer {
    /// Bytes of each id; `None` where the ids have a hole.
    tokens: Vec<Option<Box<[u8]>>>,
    ids: FxHashMap<Box<[u8]>, u32>,
    bpe: Bpe,
    added: Vec<AddedToken>,
    /// Added tokens found before and after the normalizer.
    raw_matcher: Matcher,
    normalized_matcher: Matcher,
    pipeline: Pipeline,
    /// Working memory of threads that are not encoding now.
    scratch: Mutex<Vec<Scratch>>,
}

impl Tokenizer {
    /// Puts the parts together; `added` lie in `tokens` too.
    pub(crate) fn assemble(
        tokens: Vec<Option<Box<[u8]>>>,
        bpe: Bpe,
        added: Vec<AddedToken>,
        pipeline: Pipeline,
    ) -> Result<Self, TokenizerError> {
        // Ranks share 32 bits with the place in a piece.
        for (what, count) in [
            ("the vocabulary", tokens.len()),
            ("the list of merges", bpe.merges().len()),
        ] {
            if count >= MAX_ID as usize {
                let detail = format!("{count} entries; the most is {}", MAX_ID - 1);
                return Err(TokenizerError::TooLarge { what, detail });
            }
        }
        let mut ids = FxHashMap::default();
        for (bytes, id) in tokens.iter().zip(0..) {
            if let Some(bytes) = bytes {
                ids.entry(bytes.clone()).or_insert(id);
            }
        }
        let after_normalizer = |token: &&AddedToken| token.normalized && pipeline.normalizes();
        let raw_matcher = Matcher::new(added.iter().filter(|token| !after_normalizer(token)));
        let normalized_matcher = Matcher::new(added.iter().filter(after_normalizer));
        Ok(Self {
            tokens,
            ids,
            bpe,
            added,
            raw_matcher,
            normalized_matcher,
            pipeline,
            scratch: Mutex::new(Vec::new()),
        })
    }

    /// The ids of `text`. No token is added in front or behind.
    pub fn encode(&self, text: &str, mode: SpecialMode) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len() / 3 + 8);
        let kept = self
            .scratch
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let mut scratch = kept.unwrap_or_else(Scratch::new);
        self.encode_with(text, mode, &mut scratch, &mut ids);
        self.scratch
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(scratch);
        ids
    }

    /// The ids of each text, on the threads of the current rayon pool.
    pub fn encode_batch<S: AsRef<str> + Sync>(
        &self,
        texts: &[S],
        mode: SpecialMode,
    ) -> Vec<Vec<u32>> {
        texts
            .par_iter()
            .map(|text| self.encode(text.as_ref(), mode))
            .collect()
    }

    fn encode_with(
        &self,
        text: &str,
        mode: SpecialMode,
        scratch: &mut Scratch,
        ids: &mut Vec<u32>,
    ) {
        self.raw_matcher
            .segments(text, mode, &mut |segment| match segment {
                Segment::Token(id) => ids.push(id),
                Segment::Text(text) => match self.pipeline.normalize(text) {
                    Cow::Borrowed(text) => self.encode_normalized(text, mode, scratch, ids),
                    Cow::Owned(text) => self.encode_normalized(&text, mode, scratch, ids),
                },
            });
    }

    fn encode_normalized(
        &self,
        text: &str,
        mode: SpecialMode,
        scratch: &mut Scratch,
        ids: &mut Vec<u32>,
    ) {
        self.normalized_matcher
            .segments(text, mode, &mut |segment| match segment {
                Segment::Token(id) => ids.push(id),
                Segment::Text(text) => {
                    split::for_each_piece(self.pipeline.splits(), text, &mut |piece| {
                        self.bpe.encode_piece(piece, scratch, ids);
                    });
                }
            });
    }

    /// The bytes of `ids`, special tokens included. An unknown id (a padded row of a model) gives nothing.
    pub fn decode(&self, ids: &[u32]) -> Vec<u8> {
        ids.iter()
            .filter_map(|&id| self.token_bytes(id))
            .flatten()
            .copied()
            .collect()
    }

    /// [`decode`](Self::decode) as text: bytes that are no UTF-8 become U+FFFD.
    pub fn decode_lossy(&self, ids: &[u32]) -> String {
        String::from_utf8_lossy(&self.decode(ids)).into_owned()
    }

    /// Decodes one id at a time, for text that is shown as it is generated.
    pub fn stream_decoder(&self) -> StreamDecoder<'_> {
        StreamDecoder::new(self)
    }

    /// The bytes of a token; `None` for an id that means nothing.
    pub fn token_bytes(&self, id: u32) -> Option<&[u8]> {
        self.tokens.get(id as usize)?.as_deref()
    }

    /// The largest id plus one: the least size of a model's embedding.
    pub fn vocab_size(&self) -> usize {
        self.tokens.len()
    }

    /// The added tokens that are special, by id.
    pub fn special_tokens(&self) -> impl Iterator<Item = &AddedToken> {
        self.added.iter().filter(|token| token.special)
    }

    /// The id of the added token, or else of the token, with this text.
    pub fn id_of(&self, token: &str) -> Option<u32> {
        let added = self.added.iter().find(|added| added.content == token);
        added
            .map(|added| added.id)
            .or_else(|| self.ids.get(token.as_bytes()).copied())
    }

    /// The id that ends a text: of the special token `<|endoftext|>`, else `</s>`, `<|end_of_text|>`, `<eos>` or
    /// another customary name; `None` if there is none of them.
    pub fn end_of_text(&self) -> Option<u32> {
        let special = |name: &&str| self.special_tokens().find(|token| token.content == **name);
        END_OF_TEXT.iter().find_map(special).map(|token| token.id)
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab_size", &self.vocab_size())
            .field("merges", &self.bpe.merges().len())
            .field(
                "splits",
                &self
                    .pipeline
                    .splits()
                    .iter()
                    .map(|split| split.name())
                    .collect::<Vec<_>>(),
            )
            .field("added", &self.added.len())
            .finish_non_exhaustive()
    }
}
