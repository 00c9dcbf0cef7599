//! The components of a tokenizer.json: each is read, or refused by its name.

use serde_json::{Map, Value};

use crate::alphabet;
use crate::error::TokenizerError;
use crate::special::AddedToken;
use crate::split::{self, Split};

/// An object of the file, with its place for messages.
pub(super) struct Fields<'a> {
    place: String,
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(place: &str, value: &'a Value) -> Result<Self, TokenizerError> {
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
        let Value::String(name) = fields.get("type") else {
            return Err(TokenizerError::invalid(place, "has no `type`"));
        };
        fields.place = format!("{place}.{name}");
        Ok((fields, name))
    }

    pub(super) fn get(&self, name: &str) -> &'a Value {
        self.map.get(name).unwrap_or(&Value::Null)
    }

    fn wrong(&self, name: &str, expected: &str) -> TokenizerError {
        let found = kind(self.get(name));
        TokenizerError::invalid(
            format!("{}.{name}", self.place),
            format!("expected {expected}, found {found}"),
        )
    }

    pub(super) fn text(&self, name: &str) -> Result<&'a str, TokenizerError> {
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

    pub(super) fn map(&self, name: &str) -> Result<&'a Map<String, Value>, TokenizerError> {
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
    pub(super) fn only(&self, known: &[&str]) -> Result<(), TokenizerError> {
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
pub(super) fn read_normalizer(value: &Value, place: &str) -> Result<bool, TokenizerError> {
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
pub(super) fn read_pre_tokenizer(
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

pub(super) fn check_post_processor(value: &Value, place: &str) -> Result<(), TokenizerError> {
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

pub(super) fn check_decoder(value: &Value) -> Result<(), TokenizerError> {
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
pub(super) fn check_model(model: &Fields<'_>) -> Result<bool, TokenizerError> {
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
    model.flag("fuse_unk", Some(false))?;
    if !model.get("unk_token").is_null() {
        // With a token for every byte nothing is unknown.
        model.text("unk_token")?;
        let vocab = model.map("vocab")?;
        if let Some(byte) =
            (0..=255).find(|&byte| !vocab.contains_key(&alphabet::char_of(byte).to_string()))
        {
            let detail = format!("byte {byte:#04x} has no token, so that it would be needed");
            return Err(TokenizerError::unsupported("model.unk_token", detail));
        }
    }
    model.flag("ignore_merges", Some(false))
}

/// Merges as lists of two tokens or, in older files, as lines with a space between.
pub(super) fn read_merges<'a>(
    model: &Fields<'a>,
) -> Result<Vec<(&'a str, &'a str)>, TokenizerError> {
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

pub(super) fn read_added(value: &Value) -> Result<Vec<AddedToken>, TokenizerError> {
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
