//! tokenizer.json, the file of the Hugging Face `tokenizers` library: read strictly, written canonically.
//!
//! Read are byte-level BPE models: the normalizer NFC or none, a `ByteLevel` pre-tokenizer alone or behind `Split` with
//! a pattern of [`crate::split`] and `Digits`, the `ByteLevel` decoder. Post-processors only add tokens around a text,
//! which encoding here never does: they are checked and kept for the next reader. Anything else is an error that names
//! the component. The same tokenizer always gives the same text, so that its hash identifies it.

use std::borrow::Cow;

use serde_json::{Map, Value, json};
use unicode_normalization::{IsNormalized, UnicodeNormalization as _, is_nfc_quick};

use super::components::{
    Fields, check_decoder, check_model, check_post_processor, read_added, read_merges,
    read_normalizer, read_pre_tokenizer,
};
use super::vocab::VocabFile;
use crate::error::TokenizerError;
use crate::special::AddedToken;
use crate::split::{self, Split};
use crate::{Tokenizer, alphabet};

/// What happens around the model, and how the file says it.
#[derive(Clone)]
pub(crate) struct Pipeline {
    nfc: bool,
    splits: Vec<&'static dyn Split>,
    normalizer: Value,
    pre_tokenizer: Value,
    post_processor: Value,
    decoder: Value,
}

impl Pipeline {
    /// The pipeline of a trained tokenizer: `splits`, then bytes.
    pub(crate) fn byte_level(splits: Vec<&'static dyn Split>) -> Self {
        let byte_level = |use_regex: bool| json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex });
        let mut steps = Vec::new();
        let mut use_regex = false;
        for split in &splits {
            use_regex = split.name() == split::GPT2;
            if split.name() == split::DIGITS {
                steps.push(json!({ "type": "Digits", "individual_digits": true }));
            } else if let (false, [pattern, ..]) = (use_regex, split.patterns()) {
                steps.push(
                    json!({ "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false }),
                );
            }
        }
        steps.push(byte_level(use_regex));
        let pre_tokenizer = match <[Value; 1]>::try_from(steps) {
            Ok([step]) => step,
            Err(steps) => json!({ "type": "Sequence", "pretokenizers": steps }),
        };
        Self {
            nfc: false,
            splits,
            normalizer: Value::Null,
            pre_tokenizer,
            post_processor: Value::Null,
            decoder: byte_level(true),
        }
    }

    /// Each cuts the pieces of the one before.
    pub(crate) fn splits(&self) -> &[&'static dyn Split] {
        &self.splits
    }

    /// Whether text changes before it is split.
    pub(crate) fn normalizes(&self) -> bool {
        self.nfc
    }

    /// The text as the model sees it.
    pub(crate) fn normalize<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.nfc && is_nfc_quick(text.chars()) != IsNormalized::Yes {
            Cow::Owned(text.nfc().collect())
        } else {
            Cow::Borrowed(text)
        }
    }
}

impl Tokenizer {
    /// Reads the text of a tokenizer.json.
    ///
    /// # Errors
    /// Malformed or contradictory content, and every component that this crate cannot honour.
    pub fn from_hf_json(text: &str) -> Result<Self, TokenizerError> {
        let file: Value = serde_json::from_str(text).map_err(TokenizerError::Json)?;
        let file = Fields::new("tokenizer.json", &file)?;
        file.only(&[
            "version",
            "truncation",
            "padding",
            "added_tokens",
            "normalizer",
            "pre_tokenizer",
            "post_processor",
            "decoder",
            "model",
        ])?;
        if !matches!(file.get("version"), Value::Null) && file.text("version")? != "1.0" {
            return Err(TokenizerError::unsupported(
                "version",
                format!("{}; known is \"1.0\"", file.get("version")),
            ));
        }
        for component in ["truncation", "padding"] {
            if !file.get(component).is_null() {
                return Err(TokenizerError::unsupported(
                    component,
                    "set it to null: lengths are the caller's affair",
                ));
            }
        }
        let mut splits = Vec::new();
        if !read_pre_tokenizer(file.get("pre_tokenizer"), "pre_tokenizer", &mut splits)? {
            return Err(TokenizerError::unsupported(
                "pre_tokenizer",
                "does not end in ByteLevel, so that the model is not byte-level",
            ));
        }
        if splits.is_empty() {
            splits.push(split::by_name(split::NONE)?);
        }
        check_post_processor(file.get("post_processor"), "post_processor")?;
        check_decoder(file.get("decoder"))?;
        let pipeline = Pipeline {
            nfc: read_normalizer(file.get("normalizer"), "normalizer")?,
            splits,
            normalizer: file.get("normalizer").clone(),
            pre_tokenizer: file.get("pre_tokenizer").clone(),
            post_processor: file.get("post_processor").clone(),
            decoder: file.get("decoder").clone(),
        };
        let model = Fields::new("model", file.get("model"))?;
        VocabFile {
            ignore_merges: check_model(&model)?,
            vocab: model.map("vocab")?,
            merges: read_merges(&model)?,
            added: read_added(file.get("added_tokens"))?,
            pipeline,
        }
        .build()
    }

    /// The tokenizer as the text of a tokenizer.json that Hugging Face's library opens: same tokenizer, same text.
    pub fn to_hf_json(&self) -> String {
        let mut names: Vec<Option<String>> = self
            .tokens
            .iter()
            .map(|bytes| bytes.as_deref().map(alphabet::to_text))
            .collect();
        for token in &self.added {
            // A text that would read as other bytes there stays out of the vocabulary.
            let plain = alphabet::to_bytes(&token.content)
                .is_none_or(|bytes| bytes == token.content.as_bytes());
            names[token.id as usize] = plain.then(|| token.content.clone());
        }
        let name = |id: u32| names[id as usize].as_deref().unwrap_or_default();
        let vocab: Map<String, Value> = names
            .iter()
            .zip(0_u32..)
            .filter_map(|(name, id)| Some((name.clone()?, id.into())))
            .collect();
        let merges: Vec<Value> = self
            .bpe
            .merges()
            .iter()
            .map(|merge| json!([name(merge.left), name(merge.right)]))
            .collect();
        let mut added: Vec<&AddedToken> = self.added.iter().collect();
        added.sort_by_key(|token| token.id);
        let file = json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added,
            "normalizer": self.pipeline.normalizer,
            "pre_tokenizer": self.pipeline.pre_tokenizer,
            "post_processor": self.pipeline.post_processor,
            "decoder": self.pipeline.decoder,
            "model": {
                "type": "BPE",
                "dropout": null,
                "unk_token": null,
                "continuing_subword_prefix": null,
                "end_of_word_suffix": null,
                "fuse_unk": false,
                "byte_fallback": false,
                "ignore_merges": self.bpe.ignores_merges(),
                "vocab": vocab,
                "merges": merges,
            },
        });
        format!("{file:#}")
    }
}
