//! `zerollm bench tokenizer`.

use super::Machine;
use super::sampling::{Calibrator, Tally, Wanted, quartiles};
use crate::cli::Failure;
use crate::cli::model::read_text;
use crate::out;
use crate::text;
use clap::Args;
use engine::config::Config;
use engine::estimate::allowed_threads;
use serde_json::json;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokenizer::{SpecialMode, Tokenizer, TrainOptions};

/// Flags of `zerollm bench tokenizer`.
#[derive(Clone, Debug, Args)]
#[command(
    about = "Training a tokenizer, encoding and decoding",
    long_about = "Time training a tokenizer, encoding (one thread, and all) and decoding, on 4 MiB of the embedded stories or \
        on a file. Encoding and decoding are the medians of at least five tries; MB are 10^6 bytes of text.",
    after_help = "Example:\n  zerollm bench tokenizer\n  zerollm bench tokenizer --input corpus.txt --vocab-size 6400\n\n\
        JSON: bytes, vocab_size, train_seconds (null with --tokenizer), encode_mb_per_second, \
        encode_all_threads_mb_per_second, decode_mb_per_second (each also with _quartiles), bytes_per_token, samples, dropped, \
        disturbed, machine."
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

const WANTED: Wanted = Wanted {
    clean: 5,
    least: Duration::ZERO,
    limit: Duration::from_secs(10),
};

pub(super) fn run(arguments: &Arguments, limit: Duration) -> Result<u8, Failure> {
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
    let mut calibrator = Calibrator::new(allowed_threads(), limit);
    let mut tally = Tally::default();
    let mut rate = |work: &mut dyn FnMut()| {
        let samples = calibrator.sample(&WANTED, || {
            let start = Instant::now();
            work();
            bytes as f64 / 1e6 / start.elapsed().as_secs_f64()
        });
        tally.add(&samples);
        quartiles(samples.kept)
    };
    let encode = rate(&mut || drop(std::hint::black_box(tokenizer.encode(&whole, mode))));
    let encode_all = rate(&mut || drop(std::hint::black_box(tokenizer.encode_batch(&texts, mode))));
    let decode = rate(&mut || drop(std::hint::black_box(tokenizer.decode(&ids))));
    let machine = Machine::measure(allowed_threads()).raise(calibrator.best());
    let bytes_per_token = bytes as f64 / ids.len().max(1) as f64;
    if arguments.json {
        let mut object = json!({
            "bytes": bytes,
            "vocab_size": tokenizer.vocab_size(),
            "train_seconds": train_seconds,
            "encode_mb_per_second": encode[1],
            "encode_mb_per_second_quartiles": [encode[0], encode[2]],
            "encode_all_threads_mb_per_second": encode_all[1],
            "encode_all_threads_mb_per_second_quartiles": [encode_all[0], encode_all[2]],
            "decode_mb_per_second": decode[1],
            "decode_mb_per_second_quartiles": [decode[0], decode[2]],
            "bytes_per_token": bytes_per_token,
            "machine": machine.json(),
        });
        tally.put(&mut object);
        out::json(&object)?;
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
    let told = |[low, median, high]: [f64; 3]| {
        format!("{median:.1} MB/s, quartiles {low:.1} to {high:.1}")
    };
    out::line(&format!("encoding   {} (one thread)", told(encode)))?;
    out::line(&format!("           {} (all threads)", told(encode_all)))?;
    out::line(&format!("decoding   {}", told(decode)))?;
    if let Some(note) = tally.note() {
        out::line(&format!("samples    {note}"))?;
    }
    out::line(&machine.line())?;
    Ok(0)
}
