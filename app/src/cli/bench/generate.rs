//! `zerollm bench generate`.

use super::sampling::{Calibrator, Wanted, quartiles};
use super::{Machine, Shape, vocab_size};
use crate::cli::Failure;
use crate::out;
use crate::text;
use clap::Args;
use engine::estimate::{available_bytes, peak_resident_bytes};
use engine::infer::generate::Writing;
use engine::infer::load::Loaded;
use engine::infer::sample::SamplerConfig;
use engine::launch::cpu;
use engine::model::Model;
use engine::param::Params;
use engine::train::step::precision;
use kernels::arena::Arena;
use kernels::philox::Stream;
use serde_json::json;
use std::time::Duration;

/// Flags of `zerollm bench generate`.
#[derive(Clone, Debug, Args)]
#[command(
    about = "Reading a prompt and writing",
    long_about = "Time reading a prompt of random ids and writing behind it, greedily, with random weights of the shape that \
        the configuration gives. One text at a time; medians of at least five texts.",
    after_help = "Example:\n  zerollm bench generate configs/nano.toml --set model.vocab_size=6400\n  \
        zerollm bench generate --set model.init_from=./Qwen3-0.6B     (its shape)\n\n\
        JSON: prompt_tokens, prompt_tokens_per_second, tokens, tokens_per_second (behind the first), both also with _quartiles, \
        weight_gbps (weights read once a token), peak_share (of reading memory, or the cache that holds the weights), samples, \
        dropped, disturbed, peak_memory_bytes, machine."
)]
pub struct Arguments {
    #[command(flatten)]
    shape: Shape,
    /// Length of the prompt [default: half the context, at most 64]
    #[arg(long, value_name = "N")]
    prompt_tokens: Option<usize>,
    /// Tokens to write [default: half the context, at most 64]
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const WANTED: Wanted = Wanted {
    clean: 5,
    least: Duration::from_millis(500),
    limit: Duration::from_secs(20),
};

pub(super) fn run(arguments: &Arguments, limit: Duration) -> Result<u8, Failure> {
    let config = arguments.shape.config()?;
    let vocab = vocab_size(&config)?;
    let model = Model::new(&config.model, vocab);
    let precision = precision(&config);
    let need = Params::reading_bytes(model.specs(), precision) as u64;
    if let Some(free) = available_bytes().filter(|free| need > *free) {
        return Err(Failure::new(
            4,
            format!(
                "the model needs {}, {} are free",
                text::bytes(need),
                text::bytes(free)
            ),
        ));
    }
    let context = config.model.max_positions;
    let half = (context / 2).clamp(1, 64);
    let prompt_tokens = arguments.prompt_tokens.unwrap_or(half);
    let max_tokens = arguments.max_tokens.unwrap_or(half);
    if prompt_tokens == 0 || max_tokens < 2 || prompt_tokens + max_tokens > context {
        return Err(Failure::new(
            2,
            format!(
                "{prompt_tokens} and {max_tokens} tokens: at least 1 and 2, and together at most the context of {context}"
            ),
        ));
    }
    let mut params = Params::for_reading(model.specs().clone(), precision);
    params.init(config.run.seed);
    let mut loaded = Loaded {
        params,
        model,
        tokenizer: None,
        tokenizer_error: None,
        stops: Vec::new(),
        cpu: cpu(&config)?,
        precision,
        arena: Arena::new(0),
    };
    let mut stream = Stream::new(config.run.seed, 0x0be0_c401);
    let prompt: Vec<u32> = (0..prompt_tokens)
        .map(|_| stream.below(vocab as u64) as u32)
        .collect();
    let writing = Writing {
        sampler: SamplerConfig {
            temperature: 0.0,
            ..SamplerConfig::default()
        },
        max_tokens,
        ignore_end: true,
    };
    let threads = loaded.cpu.pool.threads();
    let mut calibrator = Calibrator::new(threads, limit);
    let mut write = || loaded.write(&prompt, vocab, &writing, &mut |_| true);
    // The plans are made at the first text.
    write().map_err(|error| Failure::new(2, error.to_string()))?;
    let samples = calibrator.sample(&WANTED, || {
        let written = write().expect("it went well before");
        let rate = written.tokens_per_second().unwrap_or(f64::NAN);
        (prompt_tokens as f64 / written.prompt_seconds, rate)
    });
    let peak_memory = peak_resident_bytes();
    let machine = Machine::measure(threads).raise(calibrator.best());
    let (reading, rates): (Vec<f64>, Vec<f64>) = samples.kept.iter().copied().unzip();
    let (reading, rate) = (quartiles(reading), quartiles(rates));
    let gbps = need as f64 * rate[1] / 1e9;
    let share = gbps / machine.limits(config.device.bf16).gbps(need);
    if arguments.json {
        let mut object = json!({
            "prompt_tokens": prompt_tokens,
            "prompt_tokens_per_second": reading[1],
            "prompt_tokens_per_second_quartiles": [reading[0], reading[2]],
            "tokens": max_tokens,
            "tokens_per_second": rate[1],
            "tokens_per_second_quartiles": [rate[0], rate[2]],
            "weight_gbps": gbps,
            "peak_share": share,
            "peak_memory_bytes": peak_memory,
            "machine": machine.json(),
        });
        samples.tally().put(&mut object);
        out::json(&object)?;
        return Ok(0);
    }
    out::line(&format!(
        "reading   {:.0} tokens/s, quartiles {:.0} to {:.0} ({prompt_tokens} tokens)",
        reading[1], reading[0], reading[2]
    ))?;
    out::line(&format!(
        "writing   {:.1} tokens/s, quartiles {:.1} to {:.1} ({max_tokens} tokens); weights at {gbps:.1} GB/s, {:.0} % of the \
         machine's reading",
        rate[1],
        rate[0],
        rate[2],
        100.0 * share
    ))?;
    if let Some(note) = samples.tally().note() {
        out::line(&format!("samples   {note}"))?;
    }
    out::line(&format!("memory    {} at most", text::bytes(peak_memory)))?;
    out::line(&machine.line())?;
    Ok(0)
}
