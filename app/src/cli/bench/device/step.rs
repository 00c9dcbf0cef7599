//! `zerollm bench step` on a GPU: whole steps by the wall clock, and by the device's where the time goes.

use super::{cases, describe, title};
use crate::cli::Failure;
use crate::cli::bench::sampling::quartiles;
use crate::cli::bench::step::{rows, table};
use crate::cli::bench::{random_batches, vocab_size};
use crate::{out, text};
use engine::config::Config;
use engine::model::Model;
use engine::profile::{Breakdown, Level, Limits, Profile};
use engine::train::ahead::{Ahead, Planned};
use engine::train::step::Trainer;
use kernels::Cpu;
use kernels::gpu::{Gpu, GpuError, Kind};
use serde_json::json;
use std::time::Instant;

/// Steps before the first that counts: one compiles, two are captured, one a slot.
const WARM_UP: u64 = 5;
/// Steps that are profiled.
const PROFILED: usize = 3;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli::bench) struct Run {
    /// Steps that count.
    pub steps: u32,
    /// Whether to show where the time goes.
    pub profile: bool,
    /// Whether to print JSON.
    pub json: bool,
}

pub(in crate::cli::bench) fn run(
    config: &Config,
    cpu: Cpu,
    gpu: &Gpu,
    run: Run,
) -> Result<u8, Failure> {
    let vocab = vocab_size(config)?;
    let model = Model::new(&config.model, vocab);
    engine::device::check_room(config, &model, gpu)?;
    let memory = engine::device::memory(config, &model, gpu.info());
    let flops_per_token = model.flops_per_token(config.data.sequence_length);
    let parameters = model.specs().count();
    let peak = cases::peak(gpu, gpu.info().kind == Kind::Emulated)?;
    let batches = random_batches(config, vocab);
    let mut trainer = Trainer::on(config, model, cpu, Some(gpu.clone()))?;
    let mut number = 0;
    let mut step = |trainer: &mut Trainer| -> Result<f64, GpuError> {
        number += 1;
        let start = Instant::now();
        // As in a run: the update and the next batch are known beforehand.
        let ahead = Ahead {
            update: Some(Planned {
                lr: 1e-9,
                step: number,
                clip_norm: config.train.clip_norm,
                most_loss: f64::INFINITY,
            }),
            next: batches.first(),
        };
        let gradients = trainer.gradients_ahead(&batches, number, false, &ahead, &|| false)?;
        let gradients = gradients.expect("nothing stops it");
        // Random ids teach nothing: the rate is small, so that nothing overflows.
        trainer.update(&gradients, 1e-9, number, config.train.clip_norm)?;
        gpu.driver().synchronize()?;
        Ok(start.elapsed().as_secs_f64())
    };
    for _ in 0..WARM_UP {
        step(&mut trainer)?;
    }
    let mut seconds = Vec::new();
    for _ in 0..run.steps {
        seconds.push(step(&mut trainer)?);
    }
    let count = seconds.len();
    let [low, median, high] = quartiles(seconds);
    let mut profile = Profile::default();
    let mut profiled_seconds = 0.0;
    for _ in 0..PROFILED {
        trainer.profile = Some(Profile::default());
        profiled_seconds += step(&mut trainer)?;
        if let Some(one) = trainer.profile.take() {
            profile.merge(&one);
        }
    }
    let all: f64 = profile.rows.iter().map(|row| row.work.seconds).sum();
    let busy = all / PROFILED as f64;
    let idle = (1.0 - busy / median).max(0.0);
    let limits = Limits {
        gflops: 1e3 * peak.product_tflops,
        levels: vec![Level {
            bytes: u64::MAX,
            gbps: peak.copy_gbps,
        }],
    };
    let breakdown = Breakdown::new(&profile, PROFILED, profiled_seconds, &limits);
    let tokens = (config.train.batch_size * config.data.sequence_length) as f64;
    let tflops = flops_per_token * tokens / median / 1e12;
    if run.json {
        let mut object = json!({
            "device": describe(gpu.info()),
            "tokens_per_second": tokens / median,
            "step_seconds": median,
            "step_seconds_quartiles": [low, high],
            "steps": count,
            "device_memory_bytes": memory,
            "tflops": tflops,
            "product_share": tflops / peak.product_tflops,
            "copy_gbps": peak.copy_gbps,
            "product_tflops": peak.product_tflops,
            "idle_share": idle,
            "parameters": parameters,
        });
        if run.profile {
            object["profile"] = rows(&breakdown);
            object["roofline_seconds"] = json!(breakdown.roofline_seconds);
        }
        out::json(&object)?;
        return Ok(0);
    }
    out::line(&title(gpu.info()))?;
    out::line(&format!("model     {} parameters", text::count(parameters)))?;
    out::line(&format!(
        "step      {median:.5} s, quartiles {low:.5} to {high:.5} ({count} steps of {tokens} tokens)"
    ))?;
    out::line(&format!("speed     {:.0} tokens/s", tokens / median))?;
    out::line(&format!(
        "work      {tflops:.2} TFLOP/s, {:.1} % of the product's {:.1} (6 N + 12 L C T a token)",
        100.0 * tflops / peak.product_tflops,
        peak.product_tflops
    ))?;
    out::line(&format!(
        "idle      {:.1} % of the step (operations alone take {busy:.5} s by the device's clock)",
        100.0 * idle
    ))?;
    out::line(&format!("memory    {} on the device", text::bytes(memory)))?;
    if run.profile {
        out::text(&format!("\n{}", table(&breakdown)))?;
    }
    Ok(0)
}
