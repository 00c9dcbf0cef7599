//! The `bytes` tokenizer: ids 0 to 255 are the bytes, one more for each special token. No training, no merges.

use crate::Tokenizer;
use crate::bpe::Bpe;
use crate::error::TokenizerError;
use crate::format::hf::Pipeline;
use crate::special::{self, AddedToken};
use crate::split;

impl Tokenizer {
    /// Ids 0 to 255 are the bytes, 256 and on the special tokens in their order.
    ///
    /// # Errors
    /// A special token that is empty, given twice, or the text by which vocabulary files write a byte.
    pub fn bytes(specials: &[String]) -> Result<Self, TokenizerError> {
        special::check_names(specials)?;
        let bytes = (0..=255_u8).map(|byte| Box::from([byte]));
        let tokens = bytes
            .chain(specials.iter().map(|token| Box::from(token.as_bytes())))
            .map(Some)
            .collect();
        let bpe = Bpe::new(&std::array::from_fn(|byte| byte as u32), Vec::new(), None);
        let added = specials
            .iter()
            .zip(256..)
            .map(|(token, id)| AddedToken::special(token, id))
            .collect();
        Self::assemble(
            tokens,
            bpe,
            added,
            Pipeline::byte_level(vec![split::by_name(split::NONE)?]),
        )
    }
}
