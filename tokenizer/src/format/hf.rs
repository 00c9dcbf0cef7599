//! tokenizer.json, the file of the Hugging Face `tokenizers` library: read strictly, written canonically.
//!
//! Read are byte-level BPE models: the normalizer NFC or none, a `ByteLevel` pre-tokenizer alone or behind `Split` with
//! a pattern of [`crate::split`] and `Digits`, the `ByteLevel` decoder. Post-processors only add tokens around a text,
//! which encoding here never does: they are checked and kept for the next reader. Anything else is an error that names
//! the component. The same tokenizer always gives the same text, so that its hash identifies it.

use std::borrow::Cow;

use serde_json::{Map, Value, json};
use unicode_normalization::{IsNormalized, UnicodeNormalization as _, is_nfc_quick};

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
        let names: Vec<Option<String>> = self
            .tokens
            .iter()
            .zip(0..)
            .map(
                |(bytes, id)| match self.added.iter().find(|added| added.id == id) {
                    Some(added) => Some(added.content.clone()),
                    None => bytes.as_deref().map(alphabet::to_text),
                },
            )
            .collect();
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

/// An object of the file, with its place for messages.
struct Fields<'a> {
    place: String,
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    fn new(place: &str, value: &'a Value) -> Result<Self, TokenizerError> {
        match value {
            Value::Object(map) => Ok(Self {
                place: place.to_owned(),
                map,
            }),
            other => Err(TokenizerError::invalid(
                place,
                format!("expected an object, found {}", kind(other)),
            )),
        }
    }

    /// A component: an object with a `type`, which becomes part of its place.
    fn component(place: &str, value: &'a Value) -> Result<(Self, &'a str), TokenizerError> {
        let mut fields = Self::new(place, value)?;
        let name = match fields.get("type") {
            Value::String(name) => name,
            _ => return Err(TokenizerError::invalid(place, "has no `type`")),
        };
        fields.place = format!("{place}.{name}");
        Ok((fields, name))
    }

    fn get(&self, name: &str) -> &'a Value {
        self.map.get(name).unwrap_or(&Value::Null)
    }

    fn wrong(&self, name: &str, expected: &str) -> TokenizerError {
        let found = kind(self.get(name));
        TokenizerError::invalid(
            format!("{}.{name}", self.place),
            format!("expected {expected}, found {found}"),
        )
    }

    fn text(&self, name: &str) -> Result<&'a str, TokenizerError> {
        self.get(name)
            .as_str()
            .ok_or_else(|| self.wrong(name, "a string"))
    }

    fn flag(&self, name: &str, default: Option<bool>) -> Result<bool, TokenizerError> {
        match (self.get(name), default) {
            (Value::Bool(flag), _) => Ok(*flag),
            (Value::Null, Some(default)) => Ok(default),
            _ => Err(self.wrong(name, "true or false")),
        }
    }

    fn map(&self, name: &str) -> Result<&'a Map<String, Value>, TokenizerError> {
        self.get(name)
            .as_object()
            .ok_or_else(|| self.wrong(name, "an object"))
    }

    fn list(&self, name: &str) -> Result<&'a [Value], TokenizerError> {
        self.get(name)
            .as_array()
            .map(Vec::as_slice)
            .ok_or_else(|| self.wrong(name, "a list"))
    }

    /// Refuses fields that are not `known`.
    fn only(&self, known: &[&str]) -> Result<(), TokenizerError> {
        match self.map.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(TokenizerError::unsupported(
                format!("{}.{key}", self.place),
                "unknown field",
            )),
            None => Ok(()),
        }
    }

    fn unsupported(&self, detail: &str) -> TokenizerError {
        TokenizerError::unsupported(&self.place, detail)
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a flag",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Whether the text becomes NFC.
fn read_normalizer(value: &Value, place: &str) -> Result<bool, TokenizerError> {
    if value.is_null() {
        return Ok(false);
    }
    let (fields, name) = Fields::component(place, value)?;
    match name {
        "NFC" => fields.only(&["type"]).map(|()| true),
        "Sequence" => {
            fields.only(&["type", "normalizers"])?;
            let mut nfc = false;
            for step in fields.list("normalizers")? {
                nfc |= read_normalizer(step, &fields.place)?;
            }
            Ok(nfc)
        }
        _ => Err(fields.unsupported("known are NFC and Sequence")),
    }
}

/// Appends the splits of a pre-tokenizer; true if it ends in bytes.
fn read_pre_tokenizer(
    value: &Value,
    place: &str,
    splits: &mut Vec<&'static dyn Split>,
) -> Result<bool, TokenizerError> {
    if value.is_null() {
        return Ok(false);
    }
    let (fields, name) = Fields::component(place, value)?;
    match name {
        "ByteLevel" => {
            fields.only(&["type", "add_prefix_space", "trim_offsets", "use_regex"])?;
            fields.flag("trim_offsets", Some(true))?;
            if fields.flag("add_prefix_space", None)? {
                return Err(fields
                    .unsupported("add_prefix_space = true changes the text; only false is known"));
            }
            if fields.flag("use_regex", Some(true))? {
                splits.push(split::by_name(split::GPT2)?);
            }
            Ok(true)
        }
        "Sequence" => {
            fields.only(&["type", "pretokenizers"])?;
            let mut bytes = false;
            for step in fields.list("pretokenizers")? {
                if bytes {
                    return Err(fields.unsupported("ByteLevel must be the last step"));
                }
                bytes = read_pre_tokenizer(step, &fields.place, splits)?;
            }
            Ok(bytes)
        }
        "Digits" => {
            fields.only(&["type", "individual_digits"])?;
            if !fields.flag("individual_digits", None)? {
                return Err(fields.unsupported("only individual_digits = true is known"));
            }
            splits.push(split::by_name(split::DIGITS)?);
            Ok(false)
        }
        "Split" => {
            fields.only(&["type", "pattern", "behavior", "invert"])?;
            let pattern = Fields::new(&format!("{}.pattern", fields.place), fields.get("pattern"))?;
            pattern.only(&["Regex"])?;
            let regex = pattern.text("Regex")?;
            // The known patterns match every character, so that keeping only the matches cuts as isolating them does.
            match (fields.text("behavior")?, fields.flag("invert", None)?) {
                ("Isolated", false) | ("Removed", true) => {}
                (behavior, invert) => {
                    let detail = format!(
                        "behavior {behavior} with invert = {invert}; known is Isolated with false"
                    );
                    return Err(fields.unsupported(&detail));
                }
            }
            let known = split::by_pattern(regex);
            splits.push(
                known.ok_or_else(|| fields.unsupported(&format!("unknown pattern {regex:?}")))?,
            );
            Ok(false)
        }
        _ => Err(fields.unsupported("known are ByteLevel, Split, Digits and Sequence")),
    }
}

fn check_post_processor(value: &Value, place: &str) -> Result<(), TokenizerError> {
    if value.is_null() {
        return Ok(());
    }
    let (fields, name) = Fields::component(place, value)?;
    match name {
        "ByteLevel" => fields.only(&["type", "add_prefix_space", "trim_offsets", "use_regex"]),
        "TemplateProcessing" => fields.only(&["type", "single", "pair", "special_tokens"]),
        "BertProcessing" => fields.only(&["type", "sep", "cls"]),
        "RobertaProcessing" => fields.only(&["type", "sep", "cls", "trim_offsets", "add_prefix_space"]),
        "Sequence" => {
            fields.only(&["type", "processors"])?;
            fields.list("processors")?.iter().try_for_each(|step| check_post_processor(step, &fields.place))
        }
        _ => Err(fields
            .unsupported("known are ByteLevel, TemplateProcessing, BertProcessing, RobertaProcessing and Sequence")),
    }
}

fn check_decoder(value: &Value) -> Result<(), TokenizerError> {
    if value.is_null() {
        return Ok(());
    }
    let (fields, name) = Fields::component("decoder", value)?;
    match name {
        "ByteLevel" => fields.only(&["type", "add_prefix_space", "trim_offsets", "use_regex"]),
        _ => Err(fields.unsupported("known is ByteLevel")),
    }
}

/// Checks the model's switches; returns `ignore_merges`.
fn check_model(model: &Fields<'_>) -> Result<bool, TokenizerError> {
    model.only(&[
        "type",
        "dropout",
        "unk_token",
        "continuing_subword_prefix",
        "end_of_word_suffix",
        "fuse_unk",
        "byte_fallback",
        "ignore_merges",
        "vocab",
        "merges",
    ])?;
    // Older files leave the type out.
    if !model.get("type").is_null() && model.text("type")? != "BPE" {
        return Err(TokenizerError::unsupported(
            format!("model.{}", model.text("type")?),
            "known is BPE",
        ));
    }
    let dropout = model.get("dropout");
    if !dropout.is_null() && dropout.as_f64() != Some(0.0) {
        return Err(TokenizerError::unsupported(
            "model.dropout",
            "set it to null: encoding is deterministic",
        ));
    }
    for affix in ["continuing_subword_prefix", "end_of_word_suffix"] {
        if !model.get(affix).is_null() && !model.text(affix)?.is_empty() {
            return Err(TokenizerError::unsupported(
                format!("model.{affix}"),
                "byte-level models have none",
            ));
        }
    }
    if model.flag("byte_fallback", Some(false))? {
        return Err(TokenizerError::unsupported(
            "model.byte_fallback",
            "byte-level models need none",
        ));
    }
    // Every byte is in the vocabulary, so that nothing is ever unknown.
    model.flag("fuse_unk", Some(false))?;
    if !model.get("unk_token").is_null() {
        model.text("unk_token")?;
    }
    model.flag("ignore_merges", Some(false))
}

/// Merges as ["a", "b"] or, in older files, "a b".
fn read_merges<'a>(model: &Fields<'a>) -> Result<Vec<(&'a str, &'a str)>, TokenizerError> {
    let read = |(at, merge): (usize, &'a Value)| {
        let wrong = || {
            TokenizerError::invalid(
                format!("model.merges[{at}]"),
                format!("{merge} is no pair of tokens"),
            )
        };
        match merge {
            Value::String(line) => super::vocab::pair(line).ok_or_else(wrong),
            Value::Array(pair) => match &pair[..] {
                [Value::String(left), Value::String(right)] => Ok((left.as_str(), right.as_str())),
                _ => Err(wrong()),
            },
            _ => Err(wrong()),
        }
    };
    model.list("merges")?.iter().enumerate().map(read).collect()
}

fn read_added(value: &Value) -> Result<Vec<AddedToken>, TokenizerError> {
    let Value::Array(tokens) = value else {
        return match value {
            Value::Null => Ok(Vec::new()),
            other => Err(TokenizerError::invalid(
                "added_tokens",
                format!("expected a list, found {}", kind(other)),
            )),
        };
    };
    let read = |(at, token): (usize, &Value)| {
        serde::Deserialize::deserialize(token).map_err(|error: serde_json::Error| {
            TokenizerError::invalid(format!("added_tokens[{at}]"), error.to_string())
        })
    };
    tokens.iter().enumerate().map(read).collect()
}
