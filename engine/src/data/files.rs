//! From the paths and patterns of a configuration to files.

use std::path::{Component, Path, PathBuf};

use super::DataError;
use crate::config::DataFormat;

/// A file to read, its format known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Input {
    pub(super) path: PathBuf,
    pub(super) format: DataFormat,
}

/// The files that `patterns` name, in that order, the matches of a pattern sorted. `key` is for errors.
pub(super) fn expand(
    patterns: &[PathBuf],
    format: DataFormat,
    key: &'static str,
) -> Result<Vec<Input>, DataError> {
    let mut inputs = Vec::new();
    for pattern in patterns {
        for path in matches(pattern, key)? {
            let format = if format == DataFormat::Auto {
                by_name(&path)
            } else {
                format
            };
            inputs.push(Input { path, format });
        }
    }
    if let Some(odd) = inputs.iter().find(|i| is_bin(i) != is_bin(&inputs[0])) {
        let path = if is_bin(odd) { odd } else { &inputs[0] }.path.clone();
        return Err(DataError::Mixed { path });
    }
    Ok(inputs)
}

pub(super) fn is_bin(input: &Input) -> bool {
    input.format == DataFormat::Bin
}

fn by_name(path: &Path) -> DataFormat {
    let extension = path.extension().and_then(|e| e.to_str());
    match extension.map(str::to_ascii_lowercase).as_deref() {
        Some("jsonl" | "ndjson") => DataFormat::Jsonl,
        Some("bin") => DataFormat::Bin,
        _ => DataFormat::Text,
    }
}

fn matches(pattern: &Path, key: &'static str) -> Result<Vec<PathBuf>, DataError> {
    match std::fs::metadata(pattern) {
        Ok(metadata) if metadata.is_dir() => {
            let path = pattern.to_owned();
            return Err(DataError::Folder { key, path });
        }
        // A file whose name looks like a pattern is meant as it is.
        Ok(_) => return Ok(vec![pattern.to_owned()]),
        Err(_) => {}
    }
    let Some(text) = escape_existing(pattern) else {
        let path = pattern.to_owned();
        return Err(DataError::Missing { key, path });
    };
    let bad = |reason: String| DataError::BadPattern {
        key,
        pattern: pattern.to_owned(),
        reason,
    };
    let mut found = Vec::new();
    for path in glob::glob(&text).map_err(|e| bad(e.to_string()))? {
        let path = path.map_err(|e| DataError::Unreadable {
            path: e.path().to_owned(),
            error: e.into(),
        })?;
        if path.is_file() {
            found.push(path);
        }
    }
    if found.is_empty() {
        let pattern = pattern.to_owned();
        return Err(DataError::NoMatch { key, pattern });
    }
    found.sort();
    Ok(found)
}

/// `pattern` as text for the matcher, with the folders that exist taken literally: the configuration's own folder may be
/// called `[1]`. None if nothing of it is a pattern.
fn escape_existing(pattern: &Path) -> Option<String> {
    let mut folder = PathBuf::new();
    let mut text = String::new();
    let mut is_pattern = false;
    for component in pattern.components() {
        folder.push(component);
        let name = component.as_os_str().to_str()?;
        if !text.is_empty() && !text.ends_with(std::path::MAIN_SEPARATOR) {
            text.push(std::path::MAIN_SEPARATOR);
        }
        if !matches!(component, Component::Normal(_)) {
            text.push_str(name);
        } else if folder.is_dir() {
            text.push_str(&glob::Pattern::escape(name));
        } else {
            is_pattern |= name.contains(['*', '?', '[']);
            text.push_str(name);
        }
    }
    is_pattern.then_some(text)
}
