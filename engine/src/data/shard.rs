//! Token shards: all ids of some files, in one file that is mapped.
//!
//! Layout, all little-endian: the ids (2 bytes each where the vocabulary allows, else 4), the starts of the documents (u64),
//! and 64 bytes that describe them. The description comes last so that a shard is written in one pass. Its name is a hash
//! of everything that it follows from: the files' bytes, the tokenizer, the options.

use std::io::{self, Write};
use std::sync::Arc;

use kernels::file_map::FileMap;
use tokenizer::{SpecialMode, Tokenizer};

use super::cache::Cache;
use super::files::Input;
use super::source::{self, Piece};
use super::{DataError, Report, unless};
use crate::config::DataConfig;
use crate::link::Interrupt;

const MAGIC: &[u8; 8] = b"ZLTOKENS";
const VERSION: u64 = 1;
const FOOTER: usize = 64;
/// Bytes of text that are encoded at once, on all threads.
const AT_ONCE: usize = 4 << 20;
/// Bytes that are hashed before a signal is asked for.
const HASHED_AT_ONCE: usize = 64 << 20;

/// Ids and documents of some files.
#[derive(Clone, Debug)]
pub(super) struct Shard {
    bytes: Arc<Bytes>,
    width: usize,
    tokens: u64,
    documents: u64,
    text_bytes: u64,
    skipped: u64,
    fingerprint: blake3::Hash,
}

/// A shard's bytes: mapped, or in memory where the cache cannot be written.
#[derive(Debug)]
enum Bytes {
    Mapped(FileMap),
    Owned(Vec<u8>),
}

impl Bytes {
    fn get(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Owned(bytes) => bytes,
        }
    }
}

/// Why a shard could not be written.
enum BuildError {
    Data(DataError),
    Io(io::Error),
}

impl From<DataError> for BuildError {
    fn from(error: DataError) -> Self {
        Self::Data(error)
    }
}

impl From<io::Error> for BuildError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Shard {
    /// The ids of `inputs`: from the cache, else encoded and put there.
    pub(super) fn open(
        inputs: &[Input],
        config: &DataConfig,
        tokenizer: &Tokenizer,
        cache: Option<&Cache>,
        interrupt: &Interrupt,
    ) -> Result<Self, DataError> {
        let mut maps = Vec::with_capacity(inputs.len());
        for input in inputs {
            maps.push(source::map(input)?);
        }
        let key = key(inputs, &maps, config, tokenizer, interrupt)?;
        let name = format!("tokens-{}.bin", key.to_hex());
        let mapped = |path: std::path::PathBuf| {
            let bytes = Bytes::Mapped(FileMap::open(path).ok()?);
            Self::read(bytes, key)
        };
        let cached = |cache: &Cache| cache.get(&name).and_then(mapped);
        if let Some(shard) = cache.and_then(cached) {
            return Ok(shard);
        }
        if let Some(cache) = cache {
            let write = |file: &mut _| build(inputs, &maps, config, tokenizer, interrupt, file);
            match cache.put(&name, write) {
                Ok(path) => {
                    if let Some(shard) = mapped(path) {
                        return Ok(shard);
                    }
                }
                Err(BuildError::Data(error)) => return Err(error),
                // An unwritable or full cache is done without.
                Err(BuildError::Io(_)) => {}
            }
        }
        let mut bytes = Vec::new();
        match build(inputs, &maps, config, tokenizer, interrupt, &mut bytes) {
            Ok(()) => {}
            Err(BuildError::Data(error)) => return Err(error),
            Err(BuildError::Io(error)) => {
                let path = inputs[0].path.clone();
                return Err(DataError::Unreadable { path, error });
            }
        }
        Ok(Self::read(Bytes::Owned(bytes), key).expect("what was just written is whole"))
    }

    /// A shard from its bytes; none if they are no whole shard.
    fn read(bytes: Bytes, fingerprint: blake3::Hash) -> Option<Self> {
        let all = bytes.get();
        let footer = all.get(all.len().checked_sub(FOOTER)?..)?;
        let word = |index: usize| {
            let bytes = footer[8 * index..8 * index + 8].try_into().ok()?;
            Some(u64::from_le_bytes(bytes))
        };
        let (version, width, tokens) = (word(1)?, word(2)?, word(3)?);
        let (documents, text_bytes, skipped) = (word(4)?, word(5)?, word(6)?);
        let length = tokens
            .checked_mul(width)?
            .checked_add(documents.checked_mul(8)?)?;
        let whole = footer[..8] == *MAGIC
            && version == VERSION
            && (width == 2 || width == 4)
            && length + FOOTER as u64 == all.len() as u64;
        whole.then(|| Self {
            width: width as usize,
            bytes: Arc::new(bytes),
            tokens,
            documents,
            text_bytes,
            skipped,
            fingerprint,
        })
    }

    pub(super) fn tokens(&self) -> u64 {
        self.tokens
    }

    pub(super) fn documents(&self) -> u64 {
        self.documents
    }

    /// Where document `index` begins; the number of ids for one behind the last.
    pub(super) fn start(&self, index: u64) -> u64 {
        if index >= self.documents {
            return self.tokens;
        }
        let at = self.tokens as usize * self.width + 8 * index as usize;
        let bytes = &self.bytes.get()[at..at + 8];
        u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
    }

    /// The first document that begins at `token` or later.
    pub(super) fn document_from(&self, token: u64) -> u64 {
        let (mut low, mut high) = (0, self.documents);
        while low < high {
            let middle = low.midpoint(high);
            if self.start(middle) < token {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The bytes of ids `start..start + count`, with their width.
    pub(super) fn ids(&self, start: u64, count: usize) -> (&[u8], usize) {
        let at = start as usize * self.width;
        (&self.bytes.get()[at..at + count * self.width], self.width)
    }

    pub(super) fn fingerprint(&self) -> blake3::Hash {
        self.fingerprint
    }

    pub(super) fn report(&self, files: usize) -> Report {
        Report {
            files,
            documents: Some(self.documents),
            bytes: Some(self.text_bytes),
            tokens: self.tokens,
            skipped_lines: self.skipped,
        }
    }
}

/// Hash of everything that a shard follows from.
fn key(
    inputs: &[Input],
    maps: &[FileMap],
    config: &DataConfig,
    tokenizer: &Tokenizer,
    interrupt: &Interrupt,
) -> Result<blake3::Hash, DataError> {
    let mut hash = blake3::Hasher::new();
    let mut field = |bytes: &[u8]| {
        hash.update(&(bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    field(&VERSION.to_le_bytes());
    field(tokenizer.to_hf_json().as_bytes());
    field(config.text_field.as_bytes());
    field(&[u8::from(config.skip_bad_lines)]);
    field(
        config
            .document_separator
            .as_deref()
            .unwrap_or("")
            .as_bytes(),
    );
    for (input, map) in inputs.iter().zip(maps) {
        field(format!("{:?}", input.format).as_bytes());
        let mut whole = blake3::Hasher::new();
        for part in map.chunks(HASHED_AT_ONCE) {
            unless(interrupt)?;
            whole.update(part);
        }
        field(whole.finalize().as_bytes());
    }
    Ok(hash.finalize())
}

/// Encodes the documents of `inputs` and writes them as a shard.
fn build(
    inputs: &[Input],
    maps: &[FileMap],
    config: &DataConfig,
    tokenizer: &Tokenizer,
    interrupt: &Interrupt,
    out: &mut impl Write,
) -> Result<(), BuildError> {
    let mut writer = Writer {
        out,
        tokenizer,
        end: tokenizer.end_of_text(),
        width: if tokenizer.vocab_size() <= 1 << 16 {
            2
        } else {
            4
        },
        tokens: 0,
        starts: Vec::new(),
        text_bytes: 0,
        open: false,
        buffer: Vec::new(),
    };
    let mut skipped = 0;
    for (input, map) in inputs.iter().zip(maps) {
        let mut pieces = Vec::new();
        let mut size = 0;
        skipped += source::read(input, map, config, &mut |piece: Piece<'_>| {
            size += piece.text.len();
            pieces.push(piece);
            if size >= AT_ONCE {
                unless(interrupt)?;
                size = 0;
                writer.write(&std::mem::take(&mut pieces))?;
            }
            Ok::<_, BuildError>(())
        })?;
        unless(interrupt)?;
        writer.write(&pieces)?;
    }
    unless(interrupt)?;
    writer.finish(skipped)?;
    Ok(())
}

struct Writer<'a, W> {
    out: &'a mut W,
    tokenizer: &'a Tokenizer,
    end: Option<u32>,
    width: usize,
    tokens: u64,
    starts: Vec<u64>,
    text_bytes: u64,
    /// Whether the last document has not been ended.
    open: bool,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<'_, W> {
    fn write(&mut self, pieces: &[Piece<'_>]) -> io::Result<()> {
        let end = self.end;
        let texts: Vec<_> = pieces.iter().map(|piece| &*piece.text).collect();
        let encoded = self.tokenizer.encode_batch(&texts, SpecialMode::AsText);
        for (piece, ids) in pieces.iter().zip(encoded) {
            // A file that ended within a document is a document; another begins behind it.
            if std::mem::take(&mut self.open) {
                self.ids(end.as_slice());
            }
            self.starts.push(self.tokens);
            self.text_bytes += piece.text.len() as u64;
            self.ids(&ids);
            if piece.ends {
                self.ids(end.as_slice());
            }
            self.open = !piece.ends;
            self.out.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }

    fn ids(&mut self, ids: &[u32]) {
        self.tokens += ids.len() as u64;
        for id in ids {
            self.buffer.extend(&id.to_le_bytes()[..self.width]);
        }
    }

    fn finish(self, skipped: u64) -> io::Result<()> {
        for start in &self.starts {
            self.out.write_all(&start.to_le_bytes())?;
        }
        self.out.write_all(MAGIC)?;
        for word in [
            VERSION,
            self.width as u64,
            self.tokens,
            self.starts.len() as u64,
            self.text_bytes,
            skipped,
            0,
        ] {
            self.out.write_all(&word.to_le_bytes())?;
        }
        Ok(())
    }
}
