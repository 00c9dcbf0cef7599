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

/// The same of a number that may be absent: `null` then, which a number that is not finite must not become.
pub mod optional {
    use super::Either;
    use serde::{Deserialize as _, Deserializer, Serializer};

    /// Writes a number as [`super::serialize`] does, or null.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(x: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
        match x {
            Some(x) => super::serialize(x, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// Reads what [`serialize`] writes.
    ///
    /// # Errors
    /// If it is neither null, a number nor one of the words.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<f64>, D::Error> {
        let found = Option::<Either>::deserialize(d)?.map(Either::value);
        found.transpose().map_err(serde::de::Error::custom)
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
