//! `zerollm bench step`.

use super::op::percent;
use super::sampling::{Calibrator, Samples, Wanted, quartiles};
use super::{Machine, Shape, device, random_batches, vocab_size};
use crate::cli::Failure;
use crate::out::{self, Table};
use crate::text;
use clap::Args;
use engine::config::Config;
use engine::data::Batch;
use engine::estimate::{available_bytes, memory, peak_resident_bytes};
use engine::launch::cpu;
use engine::model::Model;
use engine::profile::{Breakdown, Profile};
use engine::train::step::Trainer;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Flags of `zerollm bench step`.
#[derive(Clone, Debug, Args)]
#[command(
    about = "A training step on random ids",
    long_about = "Time a training step: forward, backward, clipping and update, on random ids. No data and no tokenizer are \
        opened: the vocabulary is model.vocab_size, else tokenizer.vocab_size.\n\n\
        Two steps warm up, then steps are timed for two seconds and at least --steps of them; steps beside which the machine was \
        disturbed are dropped and others taken, for half a minute at most. Operations are counted as 6 N + 12 L C T a token (N: \
        parameters of matrix products, the head included; attention in full).\n\n\
        --profile adds a line an operation and phase, with the norm for clipping and the optimizer. Behind the share of the \
        peak stands of which: f of operations, m of reading the smallest cache that holds the tensors, or memory; none where \
        not all bytes counted were moved (a gradient made in place). rest is what belongs to no line; roofline is what the step \
        would take if every operation ran at that limit and nothing else took time.",
    after_help = "Example:\n  zerollm bench step configs/nano.toml --set train.batch_size=4\n  \
        zerollm bench step --profile\n\n\
        JSON: tokens_per_second, step_seconds (median), step_seconds_quartiles, steps (that count), samples, dropped, disturbed, \
        peak_memory_bytes, gflops, peak_share, parameters, machine; with --profile also profile (op, phase, calls, seconds, share, \
        gflops, gbps, peak_share, bound, roofline_seconds), the time of a step spread over its operations, roofline_seconds and \
        roofline_share."
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

const WARM_UP: u64 = 2;

pub(super) fn run(arguments: &Arguments, limit: Duration) -> Result<u8, Failure> {
    let config = arguments.shape.config()?;
    if let (cpu, Some(gpu)) = engine::device::open(&config)? {
        let run = device::Run {
            steps: arguments.steps,
            profile: arguments.profile,
            json: arguments.json,
        };
        return device::run_step(&config, cpu, &gpu, run);
    }
    let threads = cpu(&config)?.pool.threads();
    let mut calibrator = Calibrator::new(threads, limit);
    let wanted = Wanted {
        clean: arguments.steps as usize,
        least: Duration::from_secs(2),
        limit: Duration::from_secs(30),
    };
    let timed = time(&config, &wanted, arguments.profile, &mut calibrator)?;
    // Before the machine's peaks are measured, which takes memory of its own.
    let peak_memory = peak_resident_bytes();
    let machine = Machine::measure(threads).raise(calibrator.best());
    let limits = machine.limits(config.device.bf16);
    let steps = timed.samples.kept.len();
    let seconds = || timed.samples.kept.iter().map(|step| step.seconds);
    let [low, median, high] = quartiles(seconds().collect());
    let tokens = (config.train.batch_size * config.data.sequence_length) as f64;
    let model = &timed.trainer.model;
    let flops = model.flops_per_token(config.data.sequence_length) * tokens;
    let gflops = flops / median / 1e9;
    let peak_share = gflops / limits.gflops;
    let breakdown = arguments
        .profile
        .then(|| Breakdown::new(&timed.profile(), steps, seconds().sum(), &limits));
    let parameters = model.specs().count();
    if arguments.json {
        let mut object = json!({
            "tokens_per_second": tokens / median,
            "step_seconds": median,
            "step_seconds_quartiles": [low, high],
            "steps": steps,
            "peak_memory_bytes": peak_memory,
            "gflops": gflops,
            "peak_share": peak_share,
            "parameters": parameters,
            "machine": machine.json(),
        });
        timed.samples.tally().put(&mut object);
        if let Some(breakdown) = &breakdown {
            object["profile"] = rows(breakdown);
            object["roofline_seconds"] = json!(breakdown.roofline_seconds);
            object["roofline_share"] = json!(breakdown.roofline_share());
        }
        out::json(&object)?;
        return Ok(0);
    }
    out::line(&format!("model     {} parameters", text::count(parameters)))?;
    out::line(&format!(
        "step      {median:.4} s, quartiles {low:.4} to {high:.4} ({steps} steps of {tokens} tokens)"
    ))?;
    if let Some(note) = timed.samples.tally().note() {
        out::line(&format!("samples   {note}"))?;
    }
    out::line(&format!("speed     {:.0} tokens/s", tokens / median))?;
    out::line(&format!(
        "work      {gflops:.1} GFLOP/s, {:.1} % of the peak (6 N + 12 L C T a token)",
        100.0 * peak_share
    ))?;
    out::line(&format!("memory    {} at most", text::bytes(peak_memory)))?;
    out::line(&machine.line())?;
    if let Some(breakdown) = &breakdown {
        out::text(&format!("\n{}", table(breakdown)))?;
        out::line(&format!(
            "\nroofline  {:.4} s a step at the limits of the machine: {:.1} % of the {:.4} s that it takes",
            breakdown.roofline_seconds,
            100.0 * breakdown.roofline_share(),
            breakdown.step_seconds
        ))?;
    }
    Ok(0)
}

/// A line an operation and phase, the rest, and the sum.
pub(super) fn table(breakdown: &Breakdown) -> String {
    let mut table = Table::new(&[
        "op",
        "phase",
        "calls",
        "ms a step",
        "share",
        "GFLOP/s",
        "GB/s",
        "% of peak",
        "roofline ms",
    ]);
    let ms = |seconds: f64| format!("{:.3}", 1e3 * seconds);
    let share = |share: f64| format!("{:.1} %", 100.0 * share);
    for line in &breakdown.lines {
        let gflops = if line.gflops > 0.0 {
            format!("{:.1}", line.gflops)
        } else {
            "-".to_owned()
        };
        table.row(&[
            line.name.to_owned(),
            line.part.name().to_owned(),
            line.calls.to_string(),
            ms(line.seconds),
            share(line.share),
            gflops,
            format!("{:.1}", line.gbps),
            percent(line.peak),
            ms(line.roofline_seconds),
        ]);
    }
    let none = String::new;
    table.row(&[
        "rest".to_owned(),
        none(),
        none(),
        ms(breakdown.rest_seconds),
        share(breakdown.rest_share()),
    ]);
    table.lines()
}

/// The same as JSON.
pub(super) fn rows(breakdown: &Breakdown) -> Value {
    let operations = breakdown.lines.iter().map(|line| {
        json!({
            "op": line.name,
            "phase": line.part.name(),
            "calls": line.calls,
            "seconds": line.seconds,
            "share": line.share,
            "gflops": line.gflops,
            "gbps": line.gbps,
            "peak_share": line.peak.map(|share| share.of_peak),
            "bound": line.peak.map(|share| share.bound.name()),
            "roofline_seconds": line.roofline_seconds,
        })
    });
    let rest = json!({
        "op": "rest",
        "seconds": breakdown.rest_seconds,
        "share": breakdown.rest_share(),
    });
    operations.chain([rest]).collect()
}

/// One step.
pub(super) struct Step {
    seconds: f64,
    profile: Option<Profile>,
}

/// What was measured.
pub(super) struct Timed {
    pub(super) trainer: Trainer,
    pub(super) samples: Samples<Step>,
}

impl Timed {
    /// Of all steps that count.
    pub(super) fn profile(&self) -> Profile {
        let mut all = Profile::default();
        for profile in self
            .samples
            .kept
            .iter()
            .filter_map(|step| step.profile.as_ref())
        {
            all.merge(profile);
        }
        all
    }
}

/// Trains on random ids and times steps as `wanted` says.
pub(super) fn time(
    config: &Config,
    wanted: &Wanted,
    profile: bool,
    calibrator: &mut Calibrator,
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
    let mut number = 0;
    let mut step = || {
        number += 1;
        trainer.profile = profile.then(Profile::default);
        let start = Instant::now();
        let gradients = trainer
            .gradients(&batches, number, false, &|| false)
            .expect("a CPU does not fail")
            .expect("nothing stops it");
        // Random ids teach nothing: the rate is small, so that nothing overflows.
        trainer
            .update(&gradients, 1e-9, number, config.train.clip_norm)
            .expect("a CPU does not fail");
        Step {
            seconds: start.elapsed().as_secs_f64(),
            profile: trainer.profile.take(),
        }
    };
    for _ in 0..WARM_UP {
        step();
    }
    let samples = calibrator.sample(wanted, step);
    Ok(Timed { trainer, samples })
}
