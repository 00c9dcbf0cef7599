//! No split: the whole text is one piece. For the `bytes` tokenizer, and for experiments on what splitting buys.

use super::Split;

/// The split that leaves the text whole.
pub(super) struct Whole;

/// Its registry name: `ByteLevel` without `use_regex` stands for it in tokenizer.json.
pub(crate) const NAME: &str = "none";

impl Split for Whole {
    fn name(&self) -> &'static str {
        NAME
    }

    fn help(&self) -> &'static str {
        "the whole text is one piece"
    }

    fn patterns(&self) -> &'static [&'static str] {
        &[]
    }

    fn ends_words(&self) -> bool {
        false
    }

    fn piece_end(&self, text: &[u8], _start: usize) -> usize {
        text.len()
    }
}
