//! Sources: files as documents.
//!
//! A reader takes the bytes of one file and hands over its documents in order. `text.rs` and `jsonl.rs` read text, `bin.rs`
//! finds the ids of a .bin file.

pub(super) mod bin;
mod jsonl;
mod text;

use std::borrow::Cow;

use kernels::file_map::FileMap;

use super::DataError;
use super::files::Input;
use crate::config::{DataConfig, DataFormat};

/// A document, or the part of one that a file ends in.
#[derive(Debug)]
pub(super) struct Piece<'a> {
    pub(super) text: Cow<'a, str>,
    /// Whether the document is known to end here: a separator followed, or its line ended.
    pub(super) ends: bool,
}

/// Takes the pieces of a file.
pub(super) type Each<'a, 'e, E> = &'e mut dyn FnMut(Piece<'a>) -> Result<(), E>;

/// Maps a file, which must hold something.
pub(super) fn map(input: &Input) -> Result<FileMap, DataError> {
    let path = || input.path.clone();
    let map = FileMap::open(&input.path).map_err(|error| DataError::Unreadable {
        path: path(),
        error,
    })?;
    if map.is_empty() {
        return Err(DataError::Empty { path: path() });
    }
    Ok(map)
}

/// Hands the documents of a text or JSONL file over; returns how many bad lines were skipped.
pub(super) fn read<'a, E: From<DataError>>(
    input: &Input,
    bytes: &'a [u8],
    config: &DataConfig,
    each: Each<'a, '_, E>,
) -> Result<u64, E> {
    if input.format == DataFormat::Jsonl {
        return jsonl::read(&input.path, bytes, config, each);
    }
    let separator = config.document_separator.as_deref();
    text::read(&input.path, bytes, separator, each).map(|()| 0)
}
