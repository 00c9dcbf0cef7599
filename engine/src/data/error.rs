//! What is wrong with the data, in one line each: which file, where in it, and what to do.

use std::path::PathBuf;

/// Data that cannot be trained on.
#[derive(Debug, thiserror::Error)]
#[expect(
    missing_docs,
    reason = "the messages say what the variants and fields are"
)]
pub enum DataError {
    #[error(
        "data.train names no file: add train = [\"file.txt\"] under [data], or --set data.train=file.txt"
    )]
    NoFiles,
    #[error("{}: no such file; check {key}", path.display())]
    Missing { key: &'static str, path: PathBuf },
    #[error("{}: no file matches this pattern; check {key}", pattern.display())]
    NoMatch { key: &'static str, pattern: PathBuf },
    #[error("{}: not a pattern: {reason}; check {key}", pattern.display())]
    BadPattern {
        key: &'static str,
        pattern: PathBuf,
        reason: String,
    },
    #[error("{}: a folder; name its files in {key}, or a pattern such as {}", path.display(), path.join("*.txt").display())]
    Folder { key: &'static str, path: PathBuf },
    #[error("{}: cannot be read: {error}", path.display())]
    Unreadable {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("{}: holds no text; take it out of the list", path.display())]
    Empty { path: PathBuf },
    #[error("{}: not UTF-8 at byte {offset}; convert it, or set data.format if it is no text", path.display())]
    NotUtf8 { path: PathBuf, offset: usize },
    #[error("{}: a binary file (byte {offset} is zero); only text, JSONL and .bin ids are read", path.display())]
    Binary { path: PathBuf, offset: usize },
    #[error("{}: line {line}: {reason}; mend it, or set data.on_bad_line = \"skip\"", path.display())]
    BadLine {
        path: PathBuf,
        line: usize,
        reason: String,
    },
    #[error("{}: {reason}", path.display())]
    BadBin { path: PathBuf, reason: String },
    #[error("{}: id {id} at position {position} is beyond the vocabulary of {vocab}; check model.vocab_size and data.token_bytes", path.display())]
    BigId {
        path: PathBuf,
        position: u64,
        id: u32,
        vocab: usize,
    },
    #[error("{}: a .bin file among texts; give ids or texts, not both", path.display())]
    Mixed { path: PathBuf },
    #[error(
        "data.train has {tokens} tokens, fewer than one row of data.sequence_length + 1 = {need}; add text or shorten the rows"
    )]
    Short { tokens: u64, need: u64 },
    #[error("the validation data has {tokens} tokens; two are the least that can be evaluated")]
    ShortValidation { tokens: u64 },
    #[error(
        "data.validation_fraction leaves {train} of {tokens} tokens to train on, fewer than one row of data.sequence_length + 1 = {need}; add text, shorten the rows or lower the fraction"
    )]
    ShortSplit { train: u64, tokens: u64, need: u64 },
    #[error(
        "data.validation_fraction leaves {validation} tokens to evaluate; two are the least: add text or raise the fraction"
    )]
    EmptySplit { validation: u64 },
    #[error(
        "data.document_mask needs an end-of-text id to find documents in .bin files: set tokenizer.path"
    )]
    NoBorders,
    #[error("{}: text needs a tokenizer", path.display())]
    NoTokenizer { path: PathBuf },
    #[error("reading the data was interrupted")]
    Interrupted,
}
