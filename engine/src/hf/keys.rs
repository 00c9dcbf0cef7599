//! A JSON object whose keys are taken one by one; what is left at the end has not been understood.

use super::HfError;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// Sizes beyond this are mistakes; products of two still fit in 64 bits.
const MAX_SIZE: u64 = 1 << 31;

pub(super) struct Keys {
    path: PathBuf,
    /// Prefix of the keys in errors, for nested objects.
    prefix: String,
    map: Map<String, Value>,
}

impl Keys {
    pub(super) fn new(path: &Path, map: Map<String, Value>) -> Self {
        Self {
            path: path.to_owned(),
            prefix: String::new(),
            map,
        }
    }

    /// An error about a key.
    pub(super) fn fault(&self, key: &str, value: &Value, message: impl Into<String>) -> HfError {
        HfError::Key {
            path: self.path.clone(),
            key: format!("{}{key}", self.prefix),
            value: value.to_string(),
            message: message.into(),
        }
    }

    /// Takes a value; null is absent.
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        self.map.shift_remove(key).filter(|value| !value.is_null())
    }

    /// Whether a key is there, even as null.
    pub(super) fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// Takes a size of at least 1.
    pub(super) fn size(&mut self, key: &str, default: Option<usize>) -> Result<usize, HfError> {
        match (self.take(key), default) {
            (Some(value), _) => match value.as_u64() {
                Some(size @ 1..=MAX_SIZE) => Ok(size as usize),
                _ => Err(self.fault(key, &value, "expected a positive whole number")),
            },
            (None, Some(default)) => Ok(default),
            (None, None) => Err(HfError::Key {
                path: self.path.clone(),
                key: format!("{}{key}", self.prefix),
                value: "absent".to_owned(),
                message: "this size is needed".to_owned(),
            }),
        }
    }

    /// Takes a positive, finite number.
    pub(super) fn positive(&mut self, key: &str) -> Result<Option<f64>, HfError> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        match value.as_f64() {
            Some(x) if x.is_finite() && x > 0.0 => Ok(Some(x)),
            _ => Err(self.fault(key, &value, "expected a positive number")),
        }
    }

    /// Takes a boolean.
    pub(super) fn flag(&mut self, key: &str, default: bool) -> Result<bool, HfError> {
        match self.take(key) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(value) => Err(self.fault(key, &value, "expected true or false")),
        }
    }

    /// Takes a key that must have this value where it is there at all.
    pub(super) fn only(&mut self, key: &str, wanted: &Value) -> Result<(), HfError> {
        let Some(value) = self.take(key) else {
            return Ok(());
        };
        let equal = value.is_number() && value.as_f64() == wanted.as_f64();
        if equal || value == *wanted {
            return Ok(());
        }
        Err(self.fault(key, &value, format!("not supported (only {wanted} is)")))
    }

    /// Takes a word of a list.
    pub(super) fn word(
        &mut self,
        key: &str,
        default: &str,
        known: &[&str],
    ) -> Result<String, HfError> {
        match self.take(key) {
            None => Ok(default.to_owned()),
            Some(Value::String(word)) if known.contains(&word.as_str()) => Ok(word),
            Some(value) => {
                let message = format!("not supported (only {} is)", known.join(", "));
                Err(self.fault(key, &value, message))
            }
        }
    }

    /// Takes a token id, a list of them or null; absent gives the default.
    pub(super) fn ids(&mut self, key: &str, default: Option<u32>) -> Result<Vec<u32>, HfError> {
        if !self.has(key) {
            return Ok(default.into_iter().collect());
        }
        let Some(value) = self.take(key) else {
            return Ok(Vec::new());
        };
        let list = match &value {
            Value::Array(list) => list.clone(),
            one => vec![one.clone()],
        };
        list.iter()
            .map(|id| {
                let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
                id.ok_or_else(|| self.fault(key, &value, "expected a token id or a list of them"))
            })
            .collect()
    }

    /// Takes a nested object.
    pub(super) fn object(&mut self, key: &str) -> Result<Option<Self>, HfError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Self {
                path: self.path.clone(),
                prefix: format!("{}{key}.", self.prefix),
                map,
            })),
            Some(value) => Err(self.fault(key, &value, "expected an object")),
        }
    }

    /// Refuses what was not taken, unless it is in `harmless`, null or switched off.
    pub(super) fn finish(self, harmless: &[&str]) -> Result<(), HfError> {
        for (key, value) in &self.map {
            let off = matches!(value, Value::Null | Value::Bool(false));
            if !off && !harmless.contains(&key.as_str()) {
                return Err(self.fault(
                    key,
                    value,
                    "this key is not known for this model_type, so it is not supported",
                ));
            }
        }
        Ok(())
    }
}
