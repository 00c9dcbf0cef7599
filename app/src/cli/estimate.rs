//! `zerollm estimate`: what a run will need.

use super::{ConfigFlags, Failure};
use crate::out;
use clap::Args;
use engine::config::Config;
use engine::data::{Batch, Cache};
use engine::estimate::{available_bytes, memory};
use engine::launch::LaunchError;
use engine::setup::Setup;
use engine::train::ahead::{Ahead, Planned};
use engine::train::step::{Trainer, precision};
use kernels::Cpu;
use kernels::gpu::Gpu;
use serde_json::json;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Flags of `zerollm estimate`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  zerollm estimate configs/nano.toml --set train.batch_size=8")]
pub struct Arguments {
    /// Configuration file (TOML); without one the embedded demo
    pub config: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub flags: ConfigFlags,
}

/// How long the probe trains, warm-up left out.
const PROBE: Duration = Duration::from_secs(2);

/// Runs it.
///
/// # Errors
/// If the configuration is refused, or it does not fit (exit 4).
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let sets = arguments.flags.sets();
    let config = match &arguments.config {
        Some(file) => Config::load(file, &sets)?,
        None => Config::demo(&sets)?,
    };
    let (cpu, gpu) = engine::device::open(&config)?;
    let setup = Setup::new(config, Cache::of_user().as_ref(), &mut |_| {})?;
    let memory = match &gpu {
        Some(gpu) => memory(&setup.config, &setup.model, gpu.info()),
        None => memory(&setup.config, &setup.model, &cpu),
    };
    let parameters = setup.model.specs().count();
    let chat = engine::estimate::chat(&setup.model, precision(&setup.config));
    let fits = match &gpu {
        Some(gpu) => engine::device::check_room(&setup.config, &setup.model, gpu).is_ok(),
        None => available_bytes().is_none_or(|free| memory.total - memory.runtime <= free),
    };
    let max_steps = setup.config.train.max_steps as f64;
    let step_seconds = if fits {
        Some(probe(setup, cpu, gpu)?)
    } else {
        None
    };
    let to_finish = step_seconds.map(|step| step * max_steps);
    if arguments.json {
        out::json(&json!({
            "parameters": parameters,
            "memory": memory,
            "chat_bytes": chat,
            "step_seconds": step_seconds,
            "seconds_to_finish": to_finish,
            "fits": fits,
        }))?;
    } else {
        let mib = |bytes: u64| format!("{:10.1} MiB", bytes as f64 / f64::from(1 << 20));
        out::line(&format!("parameters   {parameters:>10}"))?;
        out::line("memory")?;
        for (name, bytes) in [
            ("parameters", memory.parameters),
            ("gradients", memory.gradients),
            ("optimizer", memory.optimizer),
            ("activations", memory.activations),
            ("workspace", memory.workspace),
            ("data", memory.data),
            ("runtime", memory.runtime),
            ("total", memory.total),
        ] {
            out::line(&format!("  {name:<11}{}", mib(bytes)))?;
        }
        out::line(&format!("  {:<11}{}", "a chat adds", mib(chat)))?;
        match step_seconds.zip(to_finish) {
            Some((step, finish)) => {
                out::line(&format!(
                    "step         {step:>10.4} s   (measured over two seconds, median)"
                ))?;
                out::line(&format!("to finish    {}", crate::text::duration(finish)))?;
            }
            None => out::line("it does not fit into the memory that is free")?,
        }
    }
    if fits {
        Ok(0)
    } else {
        Err(Failure::new(
            4,
            "it does not fit into the memory that is free",
        ))
    }
}

/// Median time of a step on real data. Parameters change, and are thrown away.
fn probe(setup: Setup, cpu: Cpu, gpu: Option<Gpu>) -> Result<f64, LaunchError> {
    let train = setup.config.train.clone();
    let mut trainer = Trainer::on(&setup.config, setup.model, cpu, gpu)?;
    let mut times = Vec::new();
    let mut step = 0;
    let begin = Instant::now();
    while step < 4 || (begin.elapsed() < PROBE && step < 10_000) {
        step += 1;
        let data = setup
            .datasets
            .train
            .step(step, train.batch_size, train.micro_batch);
        let start = Instant::now();
        let batches: &[Batch] = &data.micro_batches;
        let planned = Planned {
            lr: 1e-9,
            step,
            clip_norm: train.clip_norm,
            most_loss: f64::INFINITY,
        };
        let ahead = Ahead {
            update: Some(planned),
            next: None,
        };
        if let Some(gradients) = trainer.gradients_ahead(batches, step, false, &ahead, &|| false)? {
            trainer.update(&gradients, 1e-9, step, train.clip_norm)?;
        }
        // The first step also touches memory for the first time.
        if step > 2 {
            times.push(start.elapsed().as_secs_f64());
        }
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}
