//! `zerollm bench step`.

use super::op::{Rows, rows_json};
use super::{Machine, Shape, quartiles, random_batches, vocab_size};
use crate::cli::Failure;
use crate::out;
use crate::text;
use clap::Args;
use engine::config::Config;
use engine::data::Batch;
use engine::estimate::{available_bytes, memory, peak_resident_bytes};
use engine::launch::cpu;
use engine::model::Model;
use engine::tape::run::Profile;
use engine::train::step::Trainer;
use serde_json::json;
use std::time::{Duration, Instant};

/// Flags of `zerollm bench step`.
#[derive(Clone, Debug, Args)]
#[command(
    about = "A training step on random ids",
    long_about = "Time a training step: forward, backward, clipping and update, on random ids. No data and no tokenizer are \
        opened: the vocabulary is model.vocab_size, else tokenizer.vocab_size.\n\n\
        Two steps warm up, then steps are timed for two seconds and at least --steps of them. Operations are counted as \
        6 N + 12 L C T a token (N: parameters of matrix products, the head included; attention in full).",
    after_help = "Example:\n  zerollm bench step configs/nano.toml --set train.batch_size=4\n  \
        zerollm bench step --profile\n\n\
        JSON: tokens_per_second, step_seconds (median), step_seconds_quartiles, steps, peak_memory_bytes, gflops, peak_share, \
        parameters, machine (isa, threads, peaks); with --profile also profile (op, phase, calls, seconds, share, gflops, \
        gbps), the time of a step spread over its operations."
)]
pub struct Arguments {
    #[command(flatten)]
    shape: Shape,
    /// Time at least this many steps
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(5..))]
    steps: u32,
    /// Print where the time goes, operation by operation
    #[arg(long)]
    profile: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// How long steps are timed, unless they are slow.
const TIMED: Duration = Duration::from_secs(2);
const WARM_UP: u64 = 2;

pub(super) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let config = arguments.shape.config()?;
    let timed = time(&config, arguments.steps as usize, TIMED, arguments.profile)?;
    // Before the machine's peaks are measured, which takes memory of its own.
    let peak_memory = peak_resident_bytes();
    let machine = Machine::measure(&timed.trainer.cpu);
    let [low, median, high] = quartiles(timed.steps.clone());
    let tokens = (config.train.batch_size * config.data.sequence_length) as f64;
    let model = &timed.trainer.model;
    let flops = model.flops_per_token(config.data.sequence_length) * tokens;
    let gflops = flops / median / 1e9;
    let peak_share = gflops / machine.gflops(config.device.bf16);
    let rows = timed.profile.as_ref().map(|profile| {
        let updates: f64 = timed.updates.iter().sum();
        Rows::new(
            profile,
            updates,
            timed.steps.iter().sum(),
            timed.steps.len(),
        )
    });
    let parameters = model.specs().count();
    if arguments.json {
        let mut object = json!({
            "tokens_per_second": tokens / median,
            "step_seconds": median,
            "step_seconds_quartiles": [low, high],
            "steps": timed.steps.len(),
            "peak_memory_bytes": peak_memory,
            "gflops": gflops,
            "peak_share": peak_share,
            "parameters": parameters,
            "machine": machine.json(),
        });
        if let Some(rows) = &rows {
            object["profile"] = rows_json(rows);
        }
        out::json(&object)?;
        return Ok(0);
    }
    out::line(&format!("model     {} parameters", text::count(parameters)))?;
    out::line(&format!(
        "step      {:.4} s, quartiles {low:.4} to {high:.4} ({} steps of {tokens} tokens)",
        median,
        timed.steps.len()
    ))?;
    out::line(&format!("speed     {:.0} tokens/s", tokens / median))?;
    out::line(&format!(
        "work      {gflops:.1} GFLOP/s, {:.1} % of the peak (6 N + 12 L C T a token)",
        100.0 * peak_share
    ))?;
    out::line(&format!("memory    {} at most", text::bytes(peak_memory)))?;
    out::line(&machine.line())?;
    if let Some(rows) = &rows {
        out::text(&format!("\n{}", rows.table(&machine, config.device.bf16)))?;
    }
    Ok(0)
}

/// What was measured.
pub(super) struct Timed {
    pub(super) trainer: Trainer,
    /// Seconds of each step.
    pub(super) steps: Vec<f64>,
    /// Seconds of each step's clipping and update.
    pub(super) updates: Vec<f64>,
    pub(super) profile: Option<Profile>,
}

/// Trains on random ids and takes the time of at least `steps` steps, and of more until `least` is over.
pub(super) fn time(
    config: &Config,
    steps: usize,
    least: Duration,
    profile: bool,
) -> Result<Timed, Failure> {
    let cpu = cpu(config)?;
    let vocab = vocab_size(config)?;
    let model = Model::new(&config.model, vocab);
    let memory = memory(config, &model, &cpu);
    let need = memory.total - memory.runtime;
    if let Some(free) = available_bytes().filter(|free| need > *free) {
        return Err(Failure::new(
            4,
            format!(
                "a step needs {}, {} are free: lower train.micro_batch or set train.recompute = true",
                text::bytes(need),
                text::bytes(free)
            ),
        ));
    }
    let batches: Vec<Batch> = random_batches(config, vocab);
    let mut trainer = Trainer::new(config, model, cpu);
    let mut timed = (Vec::new(), Vec::new());
    let mut begin = Instant::now();
    let mut step = 0;
    while timed.0.len() < steps || (begin.elapsed() < least && timed.0.len() < 1000) {
        step += 1;
        if step == WARM_UP + 1 {
            begin = Instant::now();
            trainer.profile = profile.then(Profile::default);
        }
        let start = Instant::now();
        let gradients = trainer
            .gradients(&batches, step, false, &|| false)
            .expect("nothing stops it");
        let update = Instant::now();
        // Random ids teach nothing: the rate is small, so that nothing overflows.
        trainer.update(&gradients, 1e-9, step, config.train.clip_norm);
        if step > WARM_UP {
            timed.0.push(start.elapsed().as_secs_f64());
            timed.1.push(update.elapsed().as_secs_f64());
        }
    }
    let profile = trainer.profile.take();
    Ok(Timed {
        trainer,
        steps: timed.0,
        updates: timed.1,
        profile,
    })
}
