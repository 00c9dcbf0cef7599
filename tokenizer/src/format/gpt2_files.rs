//! vocab.json with merges.txt, as GPT-2 was released: GPT-2's split and `<|endoftext|>`.

use serde_json::{Map, Value};

use super::hf::Pipeline;
use super::vocab::{VocabFile, pair};
use crate::Tokenizer;
use crate::error::TokenizerError;
use crate::special::AddedToken;
use crate::split;

/// The special token of these files.
const END_OF_TEXT: &str = "<|endoftext|>";

/// Reads the two texts. `<|endoftext|>` has the vocabulary's id for it, else the next free one.
pub(super) fn parse(vocab: &str, merges: &str) -> Result<Tokenizer, TokenizerError> {
    let vocab: Map<String, Value> = serde_json::from_str(vocab).map_err(|error| {
        TokenizerError::invalid("vocab.json", format!("no object of token ids: {error}"))
    })?;
    let lines = merges
        .lines()
        .enumerate()
        .filter(|(at, line)| !(line.is_empty() || *at == 0 && line.starts_with("#version")));
    let merges = lines
        .map(|(at, line)| {
            let wrong = || {
                TokenizerError::invalid(
                    format!("merges.txt line {}", at + 1),
                    "is no pair of tokens",
                )
            };
            pair(line).ok_or_else(wrong)
        })
        .collect::<Result<_, _>>()?;
    let known = vocab.get(END_OF_TEXT).map(Value::as_u64);
    let next = || {
        vocab
            .values()
            .filter_map(Value::as_u64)
            .max()
            .map_or(0, |id| id.saturating_add(1))
    };
    let id = known
        .unwrap_or_else(|| Some(next()))
        .and_then(|id| u32::try_from(id).ok());
    let id = id.ok_or_else(|| {
        TokenizerError::invalid("vocab.json", format!("no id for {END_OF_TEXT:?}"))
    })?;
    VocabFile {
        vocab: &vocab,
        merges,
        added: vec![AddedToken::special(END_OF_TEXT, id)],
        ignore_merges: false,
        pipeline: Pipeline::byte_level(vec![split::by_name(split::GPT2)?]),
    }
    .build()
}
