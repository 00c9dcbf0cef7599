//! Decoding token by token: text comes out as soon as its characters are whole.

use crate::Tokenizer;

/// Turns ids into text without ever giving half a character.
///
/// The joined results of [`push`](Self::push) and [`finish`](Self::finish) are [`Tokenizer::decode_lossy`] of all ids.
pub struct StreamDecoder<'a> {
    tokenizer: &'a Tokenizer,
    /// The start of a character whose rest has not come; at most three bytes between two calls.
    pending: Vec<u8>,
}

impl<'a> StreamDecoder<'a> {
    pub(crate) fn new(tokenizer: &'a Tokenizer) -> Self {
        Self {
            tokenizer,
            pending: Vec::new(),
        }
    }

    /// Takes one id; returns the text that it completes, which may be empty. Bytes that can no longer become a
    /// character give U+FFFD; an unknown id gives nothing.
    pub fn push(&mut self, id: u32) -> String {
        self.pending
            .extend_from_slice(self.tokenizer.token_bytes(id).unwrap_or_default());
        let mut text = String::new();
        let mut used = 0;
        for chunk in self.pending.utf8_chunks() {
            text.push_str(chunk.valid());
            used += chunk.valid().len();
            let invalid = chunk.invalid();
            if invalid.is_empty() {
                continue;
            }
            // At the very end, invalid bytes may be the start of a character; `error_len` tells.
            let incomplete =
                std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
            if incomplete && used + invalid.len() == self.pending.len() {
                break;
            }
            text.push('\u{FFFD}');
            used += invalid.len();
        }
        self.pending.drain(..used);
        text
    }

    /// The end: a character that stayed incomplete gives U+FFFD.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.pending).into_owned()
    }
}
