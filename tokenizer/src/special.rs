//! Added tokens: strings found in the text before it is split, each one token.
//!
//! Matching is leftmost-longest over all added tokens, as in the Hugging Face library; `lstrip` and `rstrip` take the
//! white space beside the token into it, `single_word` wants word boundaries. Text from a user is encoded with
//! [`SpecialMode::AsText`], so that only the program itself can write special tokens.

use unicode_general_category::{GeneralCategory, get_general_category};

use crate::alphabet;
use crate::error::TokenizerError;

/// The largest id that any tokenizer may use. Keeps tables small, whatever a file says.
pub(crate) const MAX_ID: u32 = 1 << 24;

/// What to do with the text of a special token inside a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecialMode {
    /// It becomes the token.
    Parse,
    /// It is text like any other. Added tokens that are not special are still found.
    AsText,
}

/// A token that is found in the text as a whole.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddedToken {
    /// Its id.
    pub id: u32,
    /// Its text.
    pub content: String,
    /// Found only where no word character stands beside it.
    #[serde(default)]
    pub single_word: bool,
    /// Takes the white space before it.
    #[serde(default)]
    pub lstrip: bool,
    /// Takes the white space behind it.
    #[serde(default)]
    pub rstrip: bool,
    /// Found after the normalizer, not before.
    #[serde(default)]
    pub normalized: bool,
    /// Control, not text: [`SpecialMode::AsText`] does not find it.
    #[serde(default)]
    pub special: bool,
}

impl AddedToken {
    /// A special token as trainers make it: found exactly, anywhere.
    pub fn special(content: &str, id: u32) -> Self {
        Self {
            id,
            content: content.to_owned(),
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: false,
            special: true,
        }
    }
}

/// Refuses special tokens that could not be told apart from each other or from bytes.
pub(crate) fn check_names(tokens: &[String]) -> Result<(), TokenizerError> {
    for (at, token) in tokens.iter().enumerate() {
        let refuse = |reason: &str| {
            Err(TokenizerError::SpecialToken {
                token: token.clone(),
                reason: reason.to_owned(),
            })
        };
        if token.is_empty() {
            return refuse("is empty");
        }
        if tokens[..at].contains(token) {
            return refuse("is given twice");
        }
        if alphabet::to_bytes(token)
            .is_some_and(|bytes| bytes.len() == 1 || bytes != token.as_bytes())
        {
            return refuse(
                "is also how a vocabulary file writes ordinary bytes; choose another text",
            );
        }
    }
    Ok(())
}

/// A stretch of text between, or at, added tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Segment<'a> {
    Text(&'a str),
    Token(u32),
}

/// A trie over the bytes of some added tokens.
#[derive(Clone, Debug, Default)]
pub(crate) struct Matcher {
    tokens: Vec<AddedToken>,
    /// Children of each node, by byte.
    nodes: Vec<Node>,
    /// Bytes that start a token.
    starts: Vec<bool>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    children: Vec<(u8, u32)>,
    /// Index of the token that ends here.
    token: Option<usize>,
}

impl Matcher {
    /// Finds each of `tokens`; of two with one text, the later.
    pub(crate) fn new<'a>(tokens: impl Iterator<Item = &'a AddedToken>) -> Self {
        let mut matcher = Self {
            tokens: Vec::new(),
            nodes: vec![Node::default()],
            starts: vec![false; 256],
        };
        for token in tokens.filter(|token| !token.content.is_empty()) {
            let mut at = 0;
            for &byte in token.content.as_bytes() {
                at = matcher.child(at, byte).unwrap_or_else(|| {
                    let child = matcher.nodes.len();
                    matcher.nodes[at].children.push((byte, child as u32));
                    matcher.nodes.push(Node::default());
                    child
                });
            }
            matcher.nodes[at].token = Some(matcher.tokens.len());
            matcher.starts[token.content.as_bytes()[0] as usize] = true;
            matcher.tokens.push(token.clone());
        }
        matcher
    }

    fn child(&self, node: usize, byte: u8) -> Option<usize> {
        let children = &self.nodes[node].children;
        children
            .iter()
            .find(|child| child.0 == byte)
            .map(|child| child.1 as usize)
    }

    /// The longest token that starts at `at`, with its end.
    fn longest(&self, text: &[u8], at: usize) -> Option<(&AddedToken, usize)> {
        let mut node = 0;
        let mut found = None;
        for (&byte, end) in text[at..].iter().zip(at + 1..) {
            let Some(child) = self.child(node, byte) else {
                break;
            };
            node = child;
            if let Some(token) = self.nodes[node].token {
                found = Some((&self.tokens[token], end));
            }
        }
        found
    }

    /// Calls `sink` with the segments of `text` in order; no text segment is empty.
    pub(crate) fn segments<'a>(
        &self,
        text: &'a str,
        mode: SpecialMode,
        sink: &mut dyn FnMut(Segment<'a>),
    ) {
        let bytes = text.as_bytes();
        // Text before `done` has been handed on, text before `at` has been searched.
        let (mut done, mut at) = (0, 0);
        while !self.tokens.is_empty() && at < bytes.len() {
            if !self.starts[bytes[at] as usize] {
                at += 1;
                continue;
            }
            let Some((token, end)) = self.longest(bytes, at) else {
                at += 1;
                continue;
            };
            let (mut from, mut to) = (at, end);
            at = end;
            if (token.special && mode == SpecialMode::AsText)
                || (token.single_word && !stands_alone(&text[..from], &text[to..]))
            {
                continue;
            }
            if token.lstrip {
                from = text[..from].trim_end().len().max(done);
            }
            if token.rstrip {
                to = text.len() - text[to..].trim_start().len();
            }
            if done < from {
                sink(Segment::Text(&text[done..from]));
            }
            sink(Segment::Token(token.id));
            done = to;
            at = to;
        }
        if done < text.len() {
            sink(Segment::Text(&text[done..]));
        }
    }
}

fn stands_alone(before: &str, behind: &str) -> bool {
    !before.chars().next_back().is_some_and(is_word) && !behind.chars().next().is_some_and(is_word)
}

/// `\w` of Unicode's regular expressions.
fn is_word(c: char) -> bool {
    use GeneralCategory as Category;
    c.is_alphanumeric()
        || matches!(c, '\u{200C}' | '\u{200D}')
        || matches!(
            get_general_category(c),
            Category::ConnectorPunctuation
                | Category::NonspacingMark
                | Category::SpacingMark
                | Category::EnclosingMark
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(tokens: &[AddedToken], text: &str, mode: SpecialMode) -> Vec<String> {
        let mut out = Vec::new();
        Matcher::new(tokens.iter()).segments(text, mode, &mut |segment| {
            out.push(match segment {
                Segment::Text(text) => text.to_owned(),
                Segment::Token(id) => format!("#{id}"),
            });
        });
        out
    }

    #[test]
    fn takes_the_leftmost_longest() {
        let tokens = [
            AddedToken::special("<a>", 1),
            AddedToken::special("<a><b>", 2),
            AddedToken::special("<b>", 3),
        ];
        let found = segments(&tokens, "x<a><b><b><a>y", SpecialMode::Parse);
        assert_eq!(found, ["x", "#2", "#3", "#1", "y"]);
        assert_eq!(segments(&tokens, "<a<b>", SpecialMode::Parse), ["<a", "#3"]);
        assert_eq!(segments(&tokens, "", SpecialMode::Parse), [""; 0]);
    }

    #[test]
    fn a_users_special_token_is_text() {
        let word = AddedToken {
            special: false,
            ..AddedToken::special("<w>", 2)
        };
        let tokens = [AddedToken::special("<|eot|>", 1), word];
        assert_eq!(
            segments(&tokens, "a<|eot|><w>", SpecialMode::AsText),
            ["a<|eot|>", "#2"]
        );
    }

    #[test]
    fn strips_space_and_wants_words() {
        let both = AddedToken {
            lstrip: true,
            rstrip: true,
            ..AddedToken::special("<m>", 1)
        };
        assert_eq!(
            segments(
                std::slice::from_ref(&both),
                "a \t<m>\n <m> b",
                SpecialMode::Parse
            ),
            ["a", "#1", "#1", "b"]
        );
        let word = AddedToken {
            single_word: true,
            ..AddedToken::special("cat", 1)
        };
        assert_eq!(
            segments(&[word], "cat concat cat_ (cat)", SpecialMode::Parse),
            ["#1", " concat cat_ (", "#1", ")"]
        );
    }

    #[test]
    fn refuses_ambiguous_names() {
        let check = |names: &[&str]| {
            check_names(
                &names
                    .iter()
                    .map(|&name| name.to_owned())
                    .collect::<Vec<_>>(),
            )
        };
        assert!(check(&["<|endoftext|>", "<\u{FF5C}end\u{FF5C}>", "[PAD]"]).is_ok());
        for bad in [&["a"][..], &[""], &["<s>", "<s>"], &["\u{120}the"]] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}
