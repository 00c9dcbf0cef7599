//! `zerollm tokenizer decode`.

use super::Which;
use crate::cli::Failure;
use crate::cli::model::parse_ids;
use crate::out;
use clap::Args;
use serde_json::json;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

/// Flags of `zerollm tokenizer decode`.
#[derive(Clone, Debug, Args)]
#[command(
    about = "Turn token ids into text",
    long_about = "Turn token ids into text.\n\nInto a file or a pipe go the very bytes that the ids stand for; on a terminal \
        control characters are shown escaped.",
    after_help = "Example:\n  zerollm tokenizer decode --tokenizer tokenizer.json --tokens 785,6722,315\n  \
        zerollm tokenizer decode --tokenizer gpt2/ --input ids.bin > text.txt\n\n\
        JSON: text (bytes that are no UTF-8 become U+FFFD)."
)]
pub struct Arguments {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    ids: Ids,
    /// Bytes of an id in --input [default: 2, or 4 where the vocabulary needs it]
    #[arg(long, value_name = "N", value_parser = ["2", "4"])]
    token_bytes: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What is decoded.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false, id = "what")]
struct Ids {
    /// Token ids, as 1,2,3
    #[arg(long, value_name = "IDS")]
    tokens: Option<String>,
    /// File of little-endian ids, as encode --output writes them
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let tokenizer = arguments.which.load()?;
    let size = tokenizer.vocab_size();
    let ids = match (&arguments.ids.tokens, &arguments.ids.input) {
        (Some(text), _) => parse_ids(text)?,
        (None, file) => {
            let narrow = match arguments.token_bytes.as_deref() {
                Some(width) => width == "2",
                None => size <= 1 << 16,
            };
            let width = if narrow { 2 } else { 4 };
            read(file.as_deref().unwrap_or(Path::new("")), width)?
        }
    };
    if let Some(id) = ids.iter().find(|id| **id as usize >= size) {
        return Err(Failure::new(
            2,
            format!(
                "token id {id}: the tokenizer has ids 0 to {}",
                size.saturating_sub(1)
            ),
        ));
    }
    let bytes = tokenizer.decode(&ids);
    if arguments.json {
        out::json(&json!({ "text": String::from_utf8_lossy(&bytes) }))?;
    } else if std::io::stdout().is_terminal() {
        out::line(&out::visible(&String::from_utf8_lossy(&bytes)))?;
    } else {
        out::bytes(&bytes)?;
    }
    Ok(0)
}

fn read(file: &Path, width: usize) -> Result<Vec<u32>, Failure> {
    let fail = |message: String| Failure::new(2, format!("{}: {message}", file.display()));
    let bytes = std::fs::read(file).map_err(|error| fail(error.to_string()))?;
    if bytes.is_empty() {
        return Err(fail("the file is empty".to_owned()));
    }
    if !bytes.len().is_multiple_of(width) {
        return Err(fail(format!(
            "{} bytes are no whole number of ids of {width} bytes",
            bytes.len()
        )));
    }
    let ids = bytes.chunks_exact(width).map(|id| {
        let mut whole = [0; 4];
        whole[..width].copy_from_slice(id);
        u32::from_le_bytes(whole)
    });
    Ok(ids.collect())
}
