//! JSONL: a JSON object a line, whose `data.text_field` is a document.

use std::borrow::Cow;
use std::path::Path;

use serde_json::Value as Json;

use super::{DataError, Each, Piece};
use crate::config::DataConfig;

/// Hands the documents of the lines `bytes` over, or skips bad lines where the configuration says so; returns how many.
/// Blank lines are nothing.
pub(super) fn read<'a, E: From<DataError>>(
    path: &Path,
    bytes: &'a [u8],
    config: &DataConfig,
    each: Each<'a, '_, E>,
) -> Result<u64, E> {
    let bytes = bytes.strip_prefix("\u{FEFF}".as_bytes()).unwrap_or(bytes);
    let (mut good, mut skipped) = (0u64, 0);
    for (line, number) in bytes.split(|byte| *byte == b'\n').zip(1..) {
        if line.trim_ascii().is_empty() {
            continue;
        }
        match document(line, &config.text_field) {
            Ok(text) => {
                good += 1;
                each(Piece {
                    text: Cow::Owned(text),
                    ends: true,
                })?;
            }
            Err(_) if config.skip_bad_lines => skipped += 1,
            Err(reason) => {
                let path = path.to_owned();
                let line = number;
                return Err(DataError::BadLine { path, line, reason }.into());
            }
        }
    }
    if good == 0 {
        let path = path.to_owned();
        return Err(DataError::Empty { path }.into());
    }
    Ok(skipped)
}

/// The text of a line, or what is wrong with it.
fn document(line: &[u8], field: &str) -> Result<String, String> {
    let line = std::str::from_utf8(line)
        .map_err(|e| format!("not UTF-8 at byte {} of the line", e.valid_up_to()))?;
    let json: Json = serde_json::from_str(line)
        .map_err(|e| format!("not valid JSON at column {}", e.column()))?;
    let Json::Object(mut fields) = json else {
        return Err("not a JSON object".to_owned());
    };
    match fields.remove(field) {
        Some(Json::String(text)) => Ok(text),
        Some(_) => Err(format!("field {field:?} is not a text (data.text_field)")),
        None => Err(format!("no field {field:?} (data.text_field)")),
    }
}
