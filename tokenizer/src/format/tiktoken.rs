//! .tiktoken files: a token in base64 and its rank, which is its id, on each line.
//!
//! The format holds no merges: whatever two neighbours join to a token may merge, the lowest id first. So every way to
//! cut a token into two tokens is a merge with the token's rank. Split and special tokens are known by the encoding's
//! name. Source: openai/tiktoken, src/lib.rs and tiktoken_ext/openai_public.py.

use rustc_hash::FxHashMap;

use super::hf::Pipeline;
use super::vocab::TokenTable;
use crate::Tokenizer;
use crate::bpe::{Bpe, Merge};
use crate::error::TokenizerError;
use crate::special::AddedToken;
use crate::split;

/// Longest token, in bytes: finding the merges takes the square of it.
const MAX_TOKEN_BYTES: usize = 1024;

/// A published encoding, known by a part of the file's name.
struct Encoding {
    name: &'static str,
    split: &'static str,
    specials: &'static [(&'static str, u32)],
}

const ENCODINGS: [Encoding; 3] = [
    Encoding {
        name: "r50k",
        split: "gpt2",
        specials: &[("<|endoftext|>", 50256)],
    },
    Encoding {
        name: "cl100k",
        split: "gpt4",
        specials: &[
            ("<|endoftext|>", 100_257),
            ("<|fim_prefix|>", 100_258),
            ("<|fim_middle|>", 100_259),
            ("<|fim_suffix|>", 100_260),
            ("<|endofprompt|>", 100_276),
        ],
    },
    Encoding {
        name: "o200k",
        split: "o200k",
        specials: &[("<|endoftext|>", 199_999), ("<|endofprompt|>", 200_018)],
    },
];

/// Reads the text of a file called `name`; `asked` is the caller's split.
pub(super) fn parse(
    text: &str,
    name: &str,
    asked: Option<&str>,
) -> Result<Tokenizer, TokenizerError> {
    let encoding = ENCODINGS
        .iter()
        .find(|encoding| name.contains(encoding.name));
    let split = match (encoding, asked) {
        (Some(encoding), Some(asked)) if asked != encoding.split => {
            return Err(TokenizerError::SplitConflict {
                asked: asked.to_owned(),
                own: encoding.split.to_owned(),
            });
        }
        (Some(encoding), _) => encoding.split,
        (None, Some(asked)) => asked,
        (None, None) => {
            return Err(TokenizerError::SplitNeeded {
                known: split::names(),
            });
        }
    };
    let specials = encoding.map_or(&[][..], |encoding| encoding.specials);
    let split = split::by_name(split)?;

    let lines: Vec<&str> = text.lines().collect();
    let mut table = TokenTable::new(lines.len() + specials.len());
    let mut ids: FxHashMap<Vec<u8>, u32> = FxHashMap::default();
    for (line, number) in lines
        .into_iter()
        .zip(1..)
        .filter(|(line, _)| !line.is_empty())
    {
        let wrong = |detail: &str| TokenizerError::invalid(format!("line {number}"), detail);
        let (token, rank) = line
            .split_once(' ')
            .ok_or_else(|| wrong("is no token and rank"))?;
        let bytes = from_base64(token).ok_or_else(|| wrong("the token is no base64"))?;
        let rank = rank
            .parse()
            .map_err(|error| wrong(&format!("the rank is no number: {error}")))?;
        if bytes.is_empty() || bytes.len() > MAX_TOKEN_BYTES {
            return Err(wrong(&format!(
                "a token has 1 to {MAX_TOKEN_BYTES} bytes, not {}",
                bytes.len()
            )));
        }
        let id = table.set(rank, &bytes, token)?;
        if ids.insert(bytes, id).is_some() {
            return Err(wrong("the token is there twice"));
        }
    }
    for &(token, id) in specials {
        table.set(u64::from(id), token.as_bytes(), token)?;
    }

    let mut byte_ids = [0; 256];
    for byte in 0..=255_u8 {
        byte_ids[byte as usize] = *ids.get(&[byte][..]).ok_or_else(|| {
            TokenizerError::invalid("tokens", format!("byte {byte:#04x} has no token"))
        })?;
    }
    let added = specials
        .iter()
        .map(|&(token, id)| AddedToken::special(token, id))
        .collect();
    Tokenizer::assemble(
        table.into_tokens(),
        Bpe::new(&byte_ids, merges(&ids), None),
        added,
        Pipeline::byte_level(vec![split]),
    )
}

/// Every (left, right) that joins to a token, with the token's id as its rank.
fn merges(ids: &FxHashMap<Vec<u8>, u32>) -> Vec<Merge> {
    let mut merges = Vec::new();
    let mut tokens: Vec<(&Vec<u8>, u32)> = ids.iter().map(|(bytes, &id)| (bytes, id)).collect();
    tokens.sort_unstable_by_key(|token| token.1);
    for (bytes, id) in tokens {
        let start = merges.len();
        for middle in 1..bytes.len() {
            let (left, right) = bytes.split_at(middle);
            if let (Some(&left), Some(&right)) = (ids.get(left), ids.get(right)) {
                merges.push(Merge {
                    left,
                    right,
                    rank: id,
                    result: id,
                });
            }
        }
        merges[start..].sort_unstable_by_key(|merge| (merge.left, merge.right));
    }
    merges
}

/// Standard base64 with padding.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    if !text.len().is_multiple_of(4) || text.len() - digits.len() > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    for group in digits.chunks(4) {
        let mut bits = 0_u32;
        for &digit in group {
            let value = match digit {
                b'A'..=b'Z' => digit - b'A',
                b'a'..=b'z' => digit - b'a' + 26,
                b'0'..=b'9' => digit - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        let len = group.len() * 6 / 8;
        bits <<= 24 - 6 * group.len() as u32;
        bytes.extend_from_slice(&bits.to_be_bytes()[1..=len]);
    }
    Some(bytes)
}
