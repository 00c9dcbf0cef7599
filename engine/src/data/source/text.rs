//! Plain text: documents between separators, or one document a file.

use std::borrow::Cow;
use std::path::Path;

use super::{DataError, Each, Piece};

/// Hands the documents of the text `bytes` over. A separator ends a document and is no part of it; so does the end of the
/// file, which hands nothing over where it follows a separator.
pub(super) fn read<'a, E: From<DataError>>(
    path: &Path,
    bytes: &'a [u8],
    separator: Option<&str>,
    each: Each<'a, '_, E>,
) -> Result<(), E> {
    let mut text = check(path, bytes)?;
    while let Some((document, rest)) = separator.and_then(|s| text.split_once(s)) {
        each(Piece {
            text: Cow::Borrowed(document),
            ends: true,
        })?;
        text = rest;
    }
    if text.is_empty() {
        return Ok(());
    }
    each(Piece {
        text: Cow::Borrowed(text),
        ends: false,
    })
}

/// The text without a byte order mark, if it is one.
fn check<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a str, DataError> {
    let path = || path.to_owned();
    // A file of another kind is told so, and not that it is badly written text.
    if let Some(offset) = bytes.iter().position(|byte| *byte == 0) {
        return Err(DataError::Binary {
            path: path(),
            offset,
        });
    }
    let text = std::str::from_utf8(bytes).map_err(|e| DataError::NotUtf8 {
        path: path(),
        offset: e.valid_up_to(),
    })?;
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    if text.is_empty() {
        return Err(DataError::Empty { path: path() });
    }
    Ok(text)
}
