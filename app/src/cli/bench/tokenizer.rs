//! `zerollm bench tokenizer`.

use super::quartiles;
use crate::cli::Failure;
use crate::cli::model::read_text;
use crate::out;
use crate::text;
use clap::Args;
use engine::config::Config;
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;
use tokenizer::{SpecialMode, Tokenizer, TrainOptions};

/// Flags of `zerollm bench tokenizer`.
#[derive(Clone, Debug, Args)]
#[command(
    about = "Training a tokenizer, encoding and decoding",
    long_about = "Time training a tokenizer, encoding (one thread, and all) and decoding, on 4 MiB of the embedded stories or \
        on a file. Encoding and decoding are the medians of five tries; MB are 10^6 bytes of text.",
    after_help = "Example:\n  zerollm bench tokenizer\n  zerollm bench tokenizer --input corpus.txt --vocab-size 6400\n\n\
        JSON: bytes, vocab_size, train_seconds (null with --tokenizer), encode_mb_per_second, \
        encode_all_threads_mb_per_second, decode_mb_per_second, bytes_per_token."
)]
pub struct Arguments {
    /// Text file; - is stdin
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// A tokenizer to use instead of training one
    #[arg(long, value_name = "T")]
    tokenizer: Option<PathBuf>,
    /// Tokens to train for
    #[arg(long, value_name = "N", default_value_t = 2048)]
    vocab_size: usize,
    /// How text is split: gpt2, gpt4, ...
    #[arg(long, value_name = "NAME", default_value = "gpt2")]
    pre_tokenizer: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const TRIES: usize = 5;

pub(super) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let texts = match &arguments.input {
        Some(file) => read_text(file)?
            .split_inclusive('\n')
            .map(str::to_owned)
            .collect(),
        None => engine::data::training_texts(&Config::demo(&[])?)
            .map_err(|error| Failure::new(2, error.to_string()))?,
    };
    let start = Instant::now();
    let (tokenizer, train_seconds) = if let Some(path) = &arguments.tokenizer {
        (Tokenizer::load(path)?, None)
    } else {
        let options = TrainOptions {
            vocab_size: arguments.vocab_size,
            split: arguments.pre_tokenizer.clone(),
            ..TrainOptions::default()
        };
        let trained = ::tokenizer::train(&texts, options)?;
        (trained, Some(start.elapsed().as_secs_f64()))
    };
    let bytes: usize = texts.iter().map(String::len).sum();
    let whole = texts.concat();
    let mode = SpecialMode::AsText;
    let ids = tokenizer.encode(&whole, mode);
    let rate = |work: &mut dyn FnMut()| {
        let times = (0..TRIES).map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        });
        bytes as f64 / 1e6 / quartiles(times.collect())[1]
    };
    let encode = rate(&mut || drop(std::hint::black_box(tokenizer.encode(&whole, mode))));
    let encode_all = rate(&mut || drop(std::hint::black_box(tokenizer.encode_batch(&texts, mode))));
    let decode = rate(&mut || drop(std::hint::black_box(tokenizer.decode(&ids))));
    let bytes_per_token = bytes as f64 / ids.len().max(1) as f64;
    if arguments.json {
        out::json(&json!({
            "bytes": bytes,
            "vocab_size": tokenizer.vocab_size(),
            "train_seconds": train_seconds,
            "encode_mb_per_second": encode,
            "encode_all_threads_mb_per_second": encode_all,
            "decode_mb_per_second": decode,
            "bytes_per_token": bytes_per_token,
        }))?;
        return Ok(0);
    }
    out::line(&format!(
        "text       {} in {} tokens ({bytes_per_token:.3} bytes a token, vocabulary {})",
        text::bytes(bytes as u64),
        ids.len(),
        tokenizer.vocab_size()
    ))?;
    if let Some(seconds) = train_seconds {
        out::line(&format!("training   {seconds:.3} s"))?;
    }
    out::line(&format!(
        "encoding   {encode:.1} MB/s on one thread, {encode_all:.1} MB/s on all"
    ))?;
    out::line(&format!("decoding   {decode:.1} MB/s"))?;
    Ok(0)
}
