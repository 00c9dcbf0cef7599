//! Ids in .bin files: nanoGPT's, which are bare little-endian numbers, and llm.c's, which have a header.

use super::DataError;
use crate::data::files::Input;

/// First word of llm.c's header: of 256 little-endian 32-bit words, the second being the version, the third the number of
/// ids that follow.
const LLM_C: u32 = 20_240_520;
const HEADER: usize = 256 * 4;

/// Where in a .bin file its ids stand, and how wide they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::data) struct Ids {
    pub(in crate::data) start: usize,
    pub(in crate::data) count: u64,
    pub(in crate::data) width: usize,
}

/// Finds the ids of the file `bytes`, `width` bytes each where it has no header.
pub(in crate::data) fn find(input: &Input, bytes: &[u8], width: usize) -> Result<Ids, DataError> {
    let bad = |reason: String| DataError::BadBin {
        path: input.path.clone(),
        reason,
    };
    let word = |index: usize| {
        let bytes = bytes.get(4 * index..4 * index + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    if word(0) == Some(LLM_C) {
        if bytes.len() < HEADER {
            return Err(bad(
                "cut off within llm.c's header; copy it again".to_owned()
            ));
        }
        let (version, count) = (word(1).unwrap_or(0), word(2).unwrap_or(0) as u64);
        if version != 1 {
            let reason = format!("llm.c's header says version {version}; only 1 is read");
            return Err(bad(reason));
        }
        let held = (bytes.len() - HEADER) as u64;
        if held != 2 * count {
            return Err(bad(format!(
                "llm.c's header says {count} ids of 2 bytes, but {held} bytes follow; copy it again"
            )));
        }
        return Ok(Ids {
            start: HEADER,
            count,
            width: 2,
        });
    }
    if !bytes.len().is_multiple_of(width) {
        return Err(bad(format!(
            "{} bytes are no whole number of ids of {width} bytes; check data.token_bytes",
            bytes.len()
        )));
    }
    Ok(Ids {
        start: 0,
        count: (bytes.len() / width) as u64,
        width,
    })
}
