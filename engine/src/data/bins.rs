//! The ids of .bin files as one stream, read where they stand.

use kernels::file_map::FileMap;

use super::files::Input;
use super::source::{self, bin};
use super::{DataError, Report, unless};
use crate::link::Interrupt;

/// Bytes that are looked at before a signal is asked for.
const AT_ONCE: usize = 16 << 20;

/// The ids of some .bin files, one behind the other.
#[derive(Debug)]
pub(super) struct Bins {
    files: Vec<File>,
    tokens: u64,
    fingerprint: blake3::Hash,
}

#[derive(Debug)]
struct File {
    map: FileMap,
    ids: bin::Ids,
    /// Position of its first id in the stream.
    first: u64,
}

impl Bins {
    /// No files.
    pub(super) fn none() -> Self {
        Self {
            files: Vec::new(),
            tokens: 0,
            fingerprint: blake3::Hasher::new().finalize(),
        }
    }

    /// Maps the files and looks at every id: one beyond `vocab` is refused.
    pub(super) fn open(
        inputs: &[Input],
        width: usize,
        vocab: usize,
        interrupt: &Interrupt,
    ) -> Result<Self, DataError> {
        let mut hash = blake3::Hasher::new();
        let mut bins = Self::none();
        for input in inputs {
            let map = source::map(input)?;
            let ids = bin::find(input, &map, width)?;
            let bytes = &map[ids.start..];
            hash.update(&[ids.width as u8]);
            hash.update(&ids.count.to_le_bytes());
            for (part, number) in bytes.chunks(AT_ONCE).zip(0..) {
                unless(interrupt)?;
                let mut found = numbers(part, ids.width).enumerate();
                if let Some((at, id)) = found.find(|(_, id)| *id as usize >= vocab) {
                    return Err(DataError::BigId {
                        path: input.path.clone(),
                        position: (number * (AT_ONCE / ids.width) + at) as u64,
                        id,
                        vocab,
                    });
                }
                hash.update(part);
            }
            let first = bins.tokens;
            bins.tokens += ids.count;
            bins.files.push(File { map, ids, first });
        }
        bins.fingerprint = hash.finalize();
        Ok(bins)
    }

    pub(super) fn tokens(&self) -> u64 {
        self.tokens
    }

    pub(super) fn fingerprint(&self) -> blake3::Hash {
        self.fingerprint
    }

    pub(super) fn report(&self) -> Report {
        Report {
            files: self.files.len(),
            documents: None,
            bytes: None,
            tokens: self.tokens,
            skipped_lines: 0,
        }
    }

    /// Appends ids `start..start + count` to `out`.
    pub(super) fn read(&self, start: u64, count: usize, out: &mut Vec<i32>) {
        let end = start + count as u64;
        for file in &self.files {
            let from = start.max(file.first);
            let to = end.min(file.first + file.ids.count);
            if from < to {
                let at = file.ids.start + (from - file.first) as usize * file.ids.width;
                let bytes = &file.map[at..at + (to - from) as usize * file.ids.width];
                out.extend(numbers(bytes, file.ids.width).map(|id| id as i32));
            }
        }
    }
}

/// Little-endian numbers of `width` bytes, 2 or 4.
pub(super) fn numbers(bytes: &[u8], width: usize) -> impl Iterator<Item = u32> {
    bytes.chunks_exact(width).map(move |id| match *id {
        [a, b] => u32::from(u16::from_le_bytes([a, b])),
        [a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
        _ => 0,
    })
}
