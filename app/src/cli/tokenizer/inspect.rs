//! `zerollm tokenizer inspect`.

use super::{Which, mode};
use crate::cli::Failure;
use crate::cli::model::read_text;
use crate::out::{self, Table};
use crate::text::escape;
use clap::Args;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::PathBuf;
use tokenizer::Tokenizer;

/// Flags of `zerollm tokenizer inspect`.
#[derive(Clone, Debug, Args)]
#[command(
    about = "Say what is in a tokenizer, and how it cuts a text",
    long_about = "Say what is in a tokenizer; with a text, how it is cut, and how many bytes a token stands for.",
    after_help = "Example:\n  zerollm tokenizer inspect --tokenizer tokenizer.json --text \"Once upon a time\"\n  \
        zerollm tokenizer inspect --tokenizer gpt2/ --input corpus.txt --json\n\n\
        JSON: vocab_size, special (id, token), end_of_text, longest (id, bytes, token); with a text also text: tokens, bytes, \
        bytes_per_token, distinct (tokens that occur), pieces (id, token; at most 1000)."
)]
pub struct Arguments {
    #[command(flatten)]
    which: Which,
    /// Text to cut
    #[arg(
        long,
        value_name = "TEXT",
        allow_hyphen_values = true,
        conflicts_with = "input"
    )]
    text: Option<String>,
    /// Text file to cut; - is stdin
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Treat special tokens in the text as text
    #[arg(long)]
    no_special: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Longest tokens that are shown.
const LONGEST: usize = 10;
/// Pieces of a text that are shown.
const PIECES: usize = 1000;

/// How a text is cut.
struct Cut {
    ids: Vec<u32>,
    bytes: usize,
    distinct: usize,
}

pub(super) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let tokenizer = arguments.which.load()?;
    let text = match (&arguments.text, &arguments.input) {
        (Some(text), _) => Some(text.clone()),
        (None, Some(file)) => Some(read_text(file)?),
        (None, None) => None,
    };
    let cut = text.map(|text| {
        let ids = tokenizer.encode(&text, mode(arguments.no_special));
        let distinct = ids.iter().collect::<BTreeSet<_>>().len();
        Cut {
            ids,
            bytes: text.len(),
            distinct,
        }
    });
    let longest = longest(&tokenizer);
    if arguments.json {
        show_json(&tokenizer, &longest, cut.as_ref())?;
    } else {
        show(&tokenizer, &longest, cut.as_ref())?;
    }
    Ok(0)
}

/// The longest tokens that are text, by length and then id.
fn longest(tokenizer: &Tokenizer) -> Vec<(u32, usize)> {
    let special: BTreeSet<u32> = tokenizer.special_tokens().map(|token| token.id).collect();
    let mut all: Vec<(u32, usize)> = (0..tokenizer.vocab_size() as u32)
        .filter(|id| !special.contains(id))
        .filter_map(|id| Some((id, tokenizer.token_bytes(id)?.len())))
        .collect();
    all.sort_by_key(|(id, length)| (std::cmp::Reverse(*length), *id));
    all.truncate(LONGEST);
    all
}

fn token(tokenizer: &Tokenizer, id: u32) -> String {
    tokenizer.decode_lossy(&[id])
}

fn show_json(
    tokenizer: &Tokenizer,
    longest: &[(u32, usize)],
    cut: Option<&Cut>,
) -> Result<(), Failure> {
    let special: Vec<_> = tokenizer
        .special_tokens()
        .map(|token| json!({ "id": token.id, "token": token.content }))
        .collect();
    let longest: Vec<_> = longest
        .iter()
        .map(|(id, bytes)| json!({ "id": id, "bytes": bytes, "token": token(tokenizer, *id) }))
        .collect();
    let text = cut.map(|cut| {
        let pieces: Vec<_> = cut.ids[..cut.ids.len().min(PIECES)]
            .iter()
            .map(|id| json!({ "id": id, "token": token(tokenizer, *id) }))
            .collect();
        json!({
            "tokens": cut.ids.len(),
            "bytes": cut.bytes,
            "bytes_per_token": bytes_per_token(cut),
            "distinct": cut.distinct,
            "pieces": pieces,
        })
    });
    out::json(&json!({
        "vocab_size": tokenizer.vocab_size(),
        "special": special,
        "end_of_text": tokenizer.end_of_text(),
        "longest": longest,
        "text": text,
    }))
}

fn bytes_per_token(cut: &Cut) -> Option<f64> {
    (!cut.ids.is_empty()).then(|| cut.bytes as f64 / cut.ids.len() as f64)
}

fn show(tokenizer: &Tokenizer, longest: &[(u32, usize)], cut: Option<&Cut>) -> Result<(), Failure> {
    out::line(&format!("tokens       {}", tokenizer.vocab_size()))?;
    let end = tokenizer.end_of_text();
    let end = end.map_or("none".to_owned(), |id| {
        format!("{id} {}", escape(&token(tokenizer, id)))
    });
    out::line(&format!("end of text  {end}"))?;
    let mut table = Table::new(&["special", "id"]);
    for token in tokenizer.special_tokens() {
        table.row(&[token.content.clone(), token.id.to_string()]);
    }
    out::text(&format!("\n{}", table.lines()))?;
    let mut table = Table::new(&["longest", "bytes", "id"]);
    for (id, bytes) in longest {
        let token = crate::text::truncate(&escape(&token(tokenizer, *id)), 60);
        table.row(&[format!("[{token}]"), bytes.to_string(), id.to_string()]);
    }
    out::text(&format!("\n{}", table.lines()))?;
    let Some(cut) = cut else { return Ok(()) };
    out::line(&format!(
        "\ntext         {} bytes in {} tokens ({} different), {} bytes a token",
        cut.bytes,
        cut.ids.len(),
        cut.distinct,
        bytes_per_token(cut).map_or("-".to_owned(), |x| format!("{x:.3}"))
    ))?;
    let mut table = Table::new(&["piece", "id"]);
    for id in cut.ids.iter().take(PIECES) {
        table.row(&[format!("[{}]", token(tokenizer, *id)), id.to_string()]);
    }
    out::text(&format!("\n{}", table.lines()))?;
    if cut.ids.len() > PIECES {
        out::line(&format!("... and {} more", cut.ids.len() - PIECES))?;
    }
    Ok(())
}
