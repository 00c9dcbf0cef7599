//! The resolved keys: every key that applies, with its value, where it came from and where that was written.

use super::error::{ConfigError, Place};
use super::layer::Source;
use super::value::Value;
use crate::registry::Key;

/// One key that applies.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) key: &'static Key,
    /// None: not set, and there is no value without (`tokenizer.path`).
    pub(super) value: Option<Value>,
    pub(super) source: Source,
    pub(super) place: Place,
}

/// All keys that apply, in the order of the help.
#[derive(Clone, Debug)]
pub(super) struct Entries {
    pub(super) list: Vec<Entry>,
    /// Name of the configuration, for errors that have no place.
    pub(super) file: String,
}

impl Entries {
    pub(super) fn entry(&self, path: &str) -> Option<&Entry> {
        self.list.iter().find(|entry| entry.path == path)
    }

    pub(super) fn get(&self, path: &str) -> Option<&Value> {
        self.entry(path)?.value.as_ref()
    }

    pub(super) fn int(&self, path: &str) -> Option<usize> {
        match self.get(path)? {
            Value::Int(x) => usize::try_from(*x).ok(),
            _ => None,
        }
    }

    pub(super) fn float(&self, path: &str) -> Option<f64> {
        match self.get(path)? {
            Value::Float(x) => Some(*x),
            _ => None,
        }
    }

    pub(super) fn text(&self, path: &str) -> Option<&str> {
        match self.get(path)? {
            Value::Text(x) => Some(x),
            _ => None,
        }
    }

    pub(super) fn texts(&self, path: &str) -> Vec<String> {
        match self.get(path) {
            Some(Value::List(items)) => items
                .iter()
                .filter_map(|item| match item {
                    Value::Text(x) => Some(x.clone()),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Fills in a value that follows from others.
    pub(super) fn derive(&mut self, path: &str, value: Value) {
        if let Some(entry) = self.list.iter_mut().find(|entry| entry.path == path)
            && entry.value.is_none()
        {
            entry.value = Some(value);
        }
    }

    /// The error `message`, at the first of `paths` that the strongest author wrote.
    pub(super) fn blame(&self, paths: &[&str], message: impl Into<String>) -> ConfigError {
        let written = paths
            .iter()
            .rev()
            .filter_map(|path| self.entry(path))
            .filter(|entry| entry.source != Source::Default)
            .max_by_key(|entry| entry.source);
        match written {
            Some(entry) => entry.place.error(&entry.path, message),
            None => Place::named(&self.file).error(paths[0], message),
        }
    }
}
