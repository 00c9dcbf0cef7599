//! Lists of numbers, as [`super::number`] writes them.

use super::number::{Either, text};
use serde::ser::SerializeSeq as _;
use serde::{Deserialize as _, Deserializer, Serializer};

/// Writes each as [`super::number`] does.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(xs: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
    let mut seq = serializer.serialize_seq(Some(xs.len()))?;
    for x in xs {
        match text(*x) {
            Some(word) => seq.serialize_element(word)?,
            None => seq.serialize_element(x)?,
        }
    }
    seq.end()
}

/// Reads what [`serialize`] writes.
///
/// # Errors
/// If an element is neither a number nor one of the words.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
    Vec::<Either>::deserialize(deserializer)?
        .into_iter()
        .map(|x| x.value().map_err(serde::de::Error::custom))
        .collect()
}
