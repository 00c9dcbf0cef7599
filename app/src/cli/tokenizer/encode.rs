//! `zerollm tokenizer encode`.

use super::{Which, mode};
use crate::cli::Failure;
use crate::cli::model::read_text;
use crate::out;
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Flags of `zerollm tokenizer encode`.
#[derive(Clone, Debug, Args)]
#[command(
    about = "Turn text into token ids",
    long_about = "Turn text into token ids.\n\nSpecial tokens in the text become their ids, and none is added.",
    after_help = "Example:\n  zerollm tokenizer encode --tokenizer tokenizer.json --text \"Once upon a time\"\n  \
        zerollm tokenizer encode --tokenizer gpt2/ --input corpus.txt --output ids.bin\n\n\
        With --output, ids are little-endian uint16, or uint32 where the vocabulary needs it: what data.train reads \
        (token_bytes = 2 or 4). JSON: ids; with --output also output, tokens, token_bytes."
)]
pub struct Arguments {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    text: Text,
    /// Treat special tokens in the text as text
    #[arg(long)]
    no_special: bool,
    /// Write the ids to a file
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What is encoded.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false, id = "what")]
struct Text {
    /// Text file in UTF-8; - is stdin
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Text
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    text: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let tokenizer = arguments.which.load()?;
    let text = match (&arguments.text.input, &arguments.text.text) {
        (Some(file), _) => read_text(file)?,
        (None, text) => text.clone().unwrap_or_default(),
    };
    let ids = tokenizer.encode(&text, mode(arguments.no_special));
    let width = if tokenizer.vocab_size() <= 1 << 16 {
        2
    } else {
        4
    };
    if let Some(file) = &arguments.output {
        write(file, &ids, width)?;
    }
    match (&arguments.output, arguments.json) {
        (None, true) => out::json(&json!({ "ids": ids }))?,
        (Some(file), true) => out::json(&json!({
            "ids": ids,
            "output": file.display().to_string(),
            "tokens": ids.len(),
            "token_bytes": width,
        }))?,
        (None, false) => {
            let words: Vec<String> = ids.iter().map(u32::to_string).collect();
            out::line(&words.join(","))?;
        }
        (Some(file), false) => out::line(&format!(
            "{}: {} ids of {width} bytes",
            crate::text::escape(&file.display().to_string()),
            ids.len()
        ))?,
    }
    Ok(0)
}

/// Writes ids beside their place and renames, so that no reader sees half of them.
fn write(file: &Path, ids: &[u32], width: usize) -> Result<(), Failure> {
    let bytes: Vec<u8> = ids
        .iter()
        .flat_map(|id| id.to_le_bytes().into_iter().take(width))
        .collect();
    let mut beside = file.as_os_str().to_owned();
    beside.push(format!(".{}.tmp", std::process::id()));
    let written = std::fs::write(&beside, bytes).and_then(|()| std::fs::rename(&beside, file));
    written.map_err(|error| {
        // What matters is why it failed; a file left beside is all that could go wrong here.
        drop(std::fs::remove_file(&beside));
        Failure::new(2, format!("{}: {error}", file.display()))
    })
}
