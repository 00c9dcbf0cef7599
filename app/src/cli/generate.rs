//! `zerollm generate`: continues a prompt.

use super::Failure;
use super::model::{ModelFlags, check_ids, need_tokenizer, parse_ids};
use super::sampling::Sampling;
use crate::out;
use clap::Args;
use engine::infer::load::Loaded;
use serde_json::json;
use tokenizer::SpecialMode;

/// Flags of `zerollm generate`.
#[derive(Clone, Debug, Args)]
#[command(
    about = "Continue a prompt",
    long_about = "Continue a prompt with a model.\n\n\
        Text goes to stdout as it is made, without the prompt; control characters are shown escaped. Tokens are chosen as \
        in Hugging Face's library: logits divided by the temperature, then top-k, then top-p, then a draw. The same seed \
        gives the same text. Writing stops at the model's end-of-text id, after --max-tokens, or when the context is full.",
    after_help = "Examples:\n  zerollm generate --run demo --prompt \"One day \"\n  \
        zerollm generate --run demo@500 --prompt \"One day \" --temperature 0     (greedy)\n  \
        zerollm generate --model ./Qwen3-0.6B --tokens 785,6722,315 --max-tokens 20 --json\n\n\
        JSON: text (what was written; null without a tokenizer), ids (prompt included), prompt_tokens, finish \
        (end_of_text, max_tokens, context), prompt_seconds, tokens_per_second (behind the first token, whose time is the \
        prompt's; null for fewer than two)."
)]
pub struct Arguments {
    #[command(flatten)]
    pub model: ModelFlags,
    #[command(flatten)]
    pub prompt: Prompt,
    #[command(flatten)]
    pub sampling: Sampling,
    /// Go on behind the end of the text
    #[arg(long)]
    pub ignore_eos: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What is continued.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false, id = "what")]
pub struct Prompt {
    /// Text to continue; special tokens in it become their ids
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub prompt: Option<String>,
    /// Token ids to continue, as 1,2,3; needs no tokenizer
    #[arg(long, value_name = "IDS")]
    pub tokens: Option<String>,
}

/// Runs it.
///
/// # Errors
/// If there is no such model, or the prompt does not fit it.
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let tokens = arguments.prompt.tokens.as_deref();
    let ids = tokens.map(parse_ids).transpose()?;
    let mut loaded = arguments.model.load()?;
    let prompt = match (ids, &arguments.prompt.prompt) {
        (Some(ids), _) => ids,
        (None, text) => encode(text.as_deref().unwrap_or_default(), &loaded)?,
    };
    check_ids(&prompt, &loaded)?;
    let writing = arguments.sampling.writing(arguments.ignore_eos);
    if let Some(error) = &loaded.tokenizer_error {
        eprintln!("zerollm: {error}; ids take the place of text");
    }
    // The decoder borrows the tokenizer while the model writes.
    let tokenizer = loaded.tokenizer.take();
    let writable = tokenizer
        .as_ref()
        .map_or(loaded.model.vocab_size(), tokenizer::Tokenizer::vocab_size);
    let mut decoder = tokenizer.as_ref().map(tokenizer::Tokenizer::stream_decoder);
    let mut text = String::new();
    let mut first = true;
    let mut failure = None;
    let outcome = loaded.write(&prompt, writable, &writing, &mut |id| {
        let piece = match &mut decoder {
            Some(decoder) => decoder.push(id),
            None if first => id.to_string(),
            None => format!(",{id}"),
        };
        first = false;
        if arguments.json {
            text.push_str(&piece);
            return true;
        }
        failure = show(&piece, &mut text).err();
        failure.is_none()
    });
    if let Some(failure) = failure {
        return Err(failure);
    }
    let written = outcome.map_err(|error| {
        Failure::new(
            error.exit_code(),
            format!("the prompt has {} tokens: {error}", prompt.len()),
        )
    })?;
    let rest = decoder.map_or_else(String::new, tokenizer::StreamDecoder::finish);
    if !arguments.json {
        show(&rest, &mut text)?;
        if !text.ends_with('\n') {
            out::line("")?;
        }
        return Ok(0);
    }
    text.push_str(&rest);
    let ids: Vec<u32> = prompt.iter().chain(&written.tokens).copied().collect();
    out::json(&json!({
        "text": tokenizer.is_some().then_some(text),
        "ids": ids,
        "prompt_tokens": prompt.len(),
        "finish": written.finish.word(),
        "prompt_seconds": written.prompt_seconds,
        "tokens_per_second": written.tokens_per_second(),
    }))?;
    Ok(0)
}

/// Prints a piece and remembers it, to know how the text ends.
fn show(piece: &str, text: &mut String) -> Result<(), Failure> {
    if piece.is_empty() {
        return Ok(());
    }
    piece.clone_into(text);
    out::text(&out::visible(piece))
}

/// The ids of a prompt; of an empty one the id behind which a text begins.
fn encode(text: &str, loaded: &Loaded) -> Result<Vec<u32>, Failure> {
    let tokenizer = need_tokenizer(loaded)?;
    let mut ids = tokenizer.encode(text, SpecialMode::Parse);
    if ids.is_empty() {
        let start = loaded
            .stops
            .first()
            .copied()
            .or_else(|| tokenizer.end_of_text());
        ids.extend(start);
    }
    if ids.is_empty() {
        ids = tokenizer.encode("\n", SpecialMode::AsText);
    }
    if ids.is_empty() {
        return Err(Failure::new(2, "--prompt: there is no token in it"));
    }
    Ok(ids)
}
