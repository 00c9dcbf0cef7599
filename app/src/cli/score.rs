//! `zerollm score`: how likely a text is to a model.

use super::Failure;
use super::model::{ModelFlags, check_ids, need_tokenizer, parse_ids, read_text};
use crate::out;
use clap::Args;
use serde_json::{Value, json};
use std::f64::consts::LN_2;
use std::path::PathBuf;
use tokenizer::{SpecialMode, Tokenizer};

/// Flags of `zerollm score`.
#[derive(Clone, Debug, Args)]
#[command(
    about = "Say how likely a text is to a model",
    long_about = "Say how likely each token of a text is to a model, given those before it.\n\n\
        A text longer than the model's context is read in windows of the context that overlap by half: the first half of \
        each window (but the first) is only read again, so every token behind the first window is scored with at least half \
        a context before it. The first token has nothing before it and is not scored.",
    after_help = "Examples:\n  zerollm score --run demo --input story.txt\n  \
        zerollm score --model ./gpt2 --tokens 464,3280,318 --json\n\n\
        JSON: ids, logprobs (natural log; the first is null), mean_loss (nats a token), perplexity (e^mean_loss), \
        bits_per_byte (of the text that the scored tokens stand for, special tokens none; null for --tokens)."
)]
pub struct Arguments {
    #[command(flatten)]
    pub model: ModelFlags,
    #[command(flatten)]
    pub text: Text,
    /// Treat special tokens in the text as text
    #[arg(long, conflicts_with = "tokens")]
    pub no_special: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What is scored.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false, id = "what")]
pub struct Text {
    /// Text file in UTF-8; - is stdin
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Token ids, as 1,2,3; needs no tokenizer
    #[arg(long, value_name = "IDS")]
    pub tokens: Option<String>,
}

/// Runs it.
///
/// # Errors
/// If there is no such model or text.
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let ids = arguments
        .text
        .tokens
        .as_deref()
        .map(parse_ids)
        .transpose()?;
    let text = arguments.text.input.as_deref().map(read_text).transpose()?;
    let mut loaded = arguments.model.load()?;
    let ids = match (ids, &text) {
        (Some(ids), _) => ids,
        (None, text) => {
            let tokenizer = need_tokenizer(&loaded)?;
            let mode = if arguments.no_special {
                SpecialMode::AsText
            } else {
                SpecialMode::Parse
            };
            tokenizer.encode(text.as_deref().unwrap_or_default(), mode)
        }
    };
    check_ids(&ids, &loaded)?;
    if ids.len() < 2 {
        return Err(Failure::new(
            2,
            format!(
                "{} token: nothing to score, at least two are needed",
                ids.len()
            ),
        ));
    }
    let logprobs = loaded
        .score(&ids)
        .map_err(|error| Failure::new(4, error.to_string()))?;
    let mean_loss = -logprobs.iter().sum::<f64>() / logprobs.len() as f64;
    let bits_per_byte = text
        .as_ref()
        .and(loaded.tokenizer.as_ref())
        .map(|tokenizer| text_bytes(tokenizer, &ids[1..]))
        .filter(|bytes| *bytes > 0)
        .map(|bytes| mean_loss * logprobs.len() as f64 / LN_2 / bytes as f64);
    if arguments.json {
        let logprobs: Vec<Value> = std::iter::once(Value::Null)
            .chain(logprobs.iter().map(|x| super::number(*x)))
            .collect();
        out::json(&json!({
            "ids": ids,
            "logprobs": logprobs,
            "mean_loss": super::number(mean_loss),
            "perplexity": super::number(mean_loss.exp()),
            "bits_per_byte": bits_per_byte.map(super::number),
        }))?;
    } else {
        out::line(&format!("tokens         {:>10}", ids.len()))?;
        out::line(&format!("mean loss      {mean_loss:>10.4} nats a token"))?;
        out::line(&format!("perplexity     {:>10.4}", mean_loss.exp()))?;
        if let Some(bits) = bits_per_byte {
            out::line(&format!("bits per byte  {bits:>10.4}"))?;
        }
    }
    Ok(0)
}

/// Bytes of text that `ids` stand for; special tokens are no text.
fn text_bytes(tokenizer: &Tokenizer, ids: &[u32]) -> u64 {
    let special: Vec<u32> = tokenizer.special_tokens().map(|token| token.id).collect();
    let texts = ids.iter().filter(|id| !special.contains(id));
    texts
        .filter_map(|id| tokenizer.token_bytes(*id))
        .map(|bytes| bytes.len() as u64)
        .sum()
}
