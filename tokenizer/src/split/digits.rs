//! Single digits apart, all between them together: the `Digits` component of tokenizer.json with `individual_digits`,
//! which stands in front of another split (SmolLM, StarCoder).

use super::Split;
use super::class::{LETTER, NUMBER, OTHER, SPACE, class_at, run};

/// The split into digits and the rest.
pub(super) struct Digits;

/// Its registry name: the component `Digits` stands for it in tokenizer.json.
pub(crate) const NAME: &str = "digits";

impl Split for Digits {
    fn name(&self) -> &'static str {
        NAME
    }

    fn help(&self) -> &'static str {
        "every digit apart, all between two digits together"
    }

    fn patterns(&self) -> &'static [&'static str] {
        &[]
    }

    fn ends_words(&self) -> bool {
        false
    }

    fn piece_end(&self, text: &[u8], start: usize) -> usize {
        let (class, len) = class_at(text, start);
        if class & NUMBER != 0 {
            start + len
        } else {
            run(text, start + len, LETTER | SPACE | OTHER)
        }
    }
}
