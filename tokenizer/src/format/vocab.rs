//! From the strings of a vocabulary file to a tokenizer, with every contradiction refused.

use rustc_hash::FxHashMap;
use serde_json::{Map, Value};

use super::hf::Pipeline;
use crate::bpe::{Bpe, Merge, NO_TOKEN};
use crate::error::TokenizerError;
use crate::special::{AddedToken, MAX_ID};
use crate::{Tokenizer, alphabet};

/// What tokenizer.json and vocab.json with merges.txt have in common.
pub(super) struct VocabFile<'a> {
    /// Token strings, in GPT-2's alphabet, to ids.
    pub vocab: &'a Map<String, Value>,
    /// By rank.
    pub merges: Vec<(&'a str, &'a str)>,
    pub added: Vec<AddedToken>,
    /// Whether a piece that is a token is taken whole.
    pub ignore_merges: bool,
    pub pipeline: Pipeline,
}

/// The two tokens of an "a b" line: tokens hold no space themselves.
pub(super) fn pair(line: &str) -> Option<(&str, &str)> {
    line.split_once(' ')
        .filter(|(left, right)| !left.is_empty() && !right.is_empty() && !right.contains(' '))
}

/// A table of tokens by id that refuses ids far beyond the number of tokens, so that a small file takes small memory.
pub(super) struct TokenTable {
    tokens: Vec<Option<Box<[u8]>>>,
    limit: usize,
}

impl TokenTable {
    /// For a file of `entries` tokens.
    pub(super) fn new(entries: usize) -> Self {
        Self {
            tokens: Vec::new(),
            limit: (entries.saturating_mul(4) + (1 << 16)).min(MAX_ID as usize),
        }
    }

    /// Gives `id` its bytes; `name` is for the message.
    pub(super) fn set(&mut self, id: u64, bytes: &[u8], name: &str) -> Result<u32, TokenizerError> {
        let at = usize::try_from(id).unwrap_or(usize::MAX);
        if at >= self.limit {
            let detail = format!("id {id} is far beyond the number of tokens");
            return Err(TokenizerError::invalid(format!("token {name:?}"), detail));
        }
        if at >= self.tokens.len() {
            self.tokens.resize(at + 1, None);
        }
        if self.tokens[at].replace(bytes.into()).is_some() {
            return Err(TokenizerError::invalid(
                format!("token {name:?}"),
                format!("id {id} is already taken"),
            ));
        }
        Ok(id as u32)
    }

    pub(super) fn into_tokens(self) -> Vec<Option<Box<[u8]>>> {
        self.tokens
    }
}

impl VocabFile<'_> {
    pub(super) fn build(self) -> Result<Tokenizer, TokenizerError> {
        let mut table = TokenTable::new(self.vocab.len() + self.added.len());
        let mut ids: FxHashMap<&str, u32> = FxHashMap::default();
        let added: FxHashMap<&str, &AddedToken> = self
            .added
            .iter()
            .map(|token| (token.content.as_str(), token))
            .collect();
        for (name, id) in self.vocab {
            let id = id.as_u64().ok_or_else(|| {
                TokenizerError::invalid(
                    format!("vocabulary entry {name:?}"),
                    format!("{id} is no token id"),
                )
            })?;
            // An added token stands for its text, any other for the bytes behind its characters.
            let bytes = match (alphabet::to_bytes(name), added.get(name.as_str())) {
                (Some(bytes), Some(_)) if bytes != name.as_bytes() => {
                    return Err(TokenizerError::invalid(
                        format!("added token {name:?}"),
                        "is also how the vocabulary writes ordinary bytes",
                    ));
                }
                (_, Some(_)) => name.clone().into_bytes(),
                (Some(bytes), None) => bytes,
                (None, None) => {
                    return Err(TokenizerError::unsupported(
                        format!("vocabulary entry {name:?}"),
                        "it is not written in the byte alphabet, so that the model is not byte-level",
                    ));
                }
            };
            ids.insert(name, table.set(id, &bytes, name)?);
        }
        for token in &self.added {
            match ids.get(token.content.as_str()) {
                Some(&id) if id == token.id => {}
                Some(&id) => {
                    return Err(TokenizerError::invalid(
                        format!("added token {:?}", token.content),
                        format!("has id {} there and {id} elsewhere", token.id),
                    ));
                }
                None => {
                    let name = &token.content;
                    ids.insert(name, table.set(u64::from(token.id), name.as_bytes(), name)?);
                }
            }
        }

        let byte_ids = std::array::from_fn(|byte| {
            let name = alphabet::char_of(byte as u8).to_string();
            ids.get(name.as_str()).copied().unwrap_or(NO_TOKEN)
        });
        if byte_ids.iter().all(|&id| id == NO_TOKEN) {
            return Err(TokenizerError::invalid(
                "vocabulary",
                "holds no single byte",
            ));
        }
        let merges = self.number_merges(&ids)?;
        let whole = self.ignore_merges.then(|| {
            let tokens = self
                .vocab
                .keys()
                .filter(|name| !added.contains_key(name.as_str()));
            tokens
                .filter_map(|name| Some((alphabet::to_bytes(name)?.into(), ids[name.as_str()])))
                .collect()
        });
        Tokenizer::assemble(
            table.into_tokens(),
            Bpe::new(&byte_ids, merges, whole),
            self.added,
            self.pipeline,
        )
    }

    /// The merges with their ids. Of a pair that is listed twice, the last place counts.
    fn number_merges(&self, ids: &FxHashMap<&str, u32>) -> Result<Vec<Merge>, TokenizerError> {
        let mut last: FxHashMap<(u32, u32), usize> = FxHashMap::default();
        let mut merges = Vec::with_capacity(self.merges.len());
        for (at, (left, right)) in self.merges.iter().enumerate() {
            let id = |name: &str| {
                ids.get(name).copied().ok_or_else(|| {
                    TokenizerError::invalid(
                        format!("merge {at} ({left:?}, {right:?})"),
                        format!("{name:?} is no token"),
                    )
                })
            };
            let merge = Merge {
                left: id(left)?,
                right: id(right)?,
                rank: 0,
                result: id(&format!("{left}{right}"))?,
            };
            last.insert((merge.left, merge.right), at);
            merges.push(merge);
        }
        let mut at = 0;
        merges.retain(|merge| {
            at += 1;
            last[&(merge.left, merge.right)] == at - 1
        });
        for (merge, rank) in merges.iter_mut().zip(0..) {
            merge.rank = rank;
        }
        Ok(merges)
    }
}
