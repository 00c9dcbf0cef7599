//! Non-finite numbers as strings: JSON has none.

use serde::{Deserialize, Deserializer, Serialize as _, Serializer};

/// Writes a number, or "NaN", "inf", "-inf".
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(x: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    match text(*x) {
        Some(word) => word.serialize(serializer),
        None => x.serialize(serializer),
    }
}

/// Reads what [`serialize`] writes.
///
/// # Errors
/// If it is neither a number nor one of the words.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Either::deserialize(deserializer)?
        .value()
        .map_err(serde::de::Error::custom)
}

pub(super) fn text(x: f64) -> Option<&'static str> {
    if x.is_nan() {
        Some("NaN")
    } else if x == f64::INFINITY {
        Some("inf")
    } else if x == f64::NEG_INFINITY {
        Some("-inf")
    } else {
        None
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Either {
    Number(f64),
    Word(String),
}

impl Either {
    pub(super) fn value(self) -> Result<f64, String> {
        match self {
            Self::Number(x) => Ok(x),
            Self::Word(word) => match word.as_str() {
                "NaN" => Ok(f64::NAN),
                "inf" => Ok(f64::INFINITY),
                "-inf" => Ok(f64::NEG_INFINITY),
                _ => Err(format!("expected a number, found {word:?}")),
            },
        }
    }
}
