//! `zerollm doctor`: checks that this program computes rightly on this machine.
//!
//! `kernels.rs` checks each operation, `model.rs` whole models, `files.rs` what is written and read back. A check is a
//! function that says what it found, or what is wrong.

mod files;
mod gpu;
mod kernels;
mod model;

use super::{ConfigFlags, Failure};
use crate::out;
use crate::text::{escape, fit};
use ::kernels::gpu::devices;
use ::kernels::{Cpu, Isa};
use clap::Args;
use engine::config::Config;
use engine::estimate::{allowed_threads, available_bytes};
use serde_json::json;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

/// Flags of `zerollm doctor`.
#[derive(Clone, Debug, Args)]
#[command(
    about = "Check that this program computes rightly on this machine",
    long_about = "Check that this program computes rightly on this machine: the gradient of every operation against finite \
        differences, every instruction set against plain code, any number of threads against one, the gradient of a whole \
        model, learning a batch by heart, writing against training, tokenizers and checkpoints there and back.\n\n\
        Where there is a GPU, or --device names one, its kernels are compiled and every operation is compared with its scalar \
        definition, and training with the CPU's. --device emulated does so without a GPU: the kernels run on the CPU.\n\n\
        A missing GPU is no failure. Exit code 1 if any check fails.",
    after_help = "Example:\n  zerollm doctor\n  zerollm doctor --device cuda\n  zerollm doctor --json\n\n\
        JSON: ok, seconds, devices (name, detail), checks (name, ok, detail, seconds)."
)]
pub struct Arguments {
    #[command(flatten)]
    flags: ConfigFlags,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What a check found, or what is wrong.
type Outcome = Result<String, String>;

/// A thing to check.
struct Check {
    name: String,
    run: Box<dyn Fn() -> Outcome>,
}

impl Check {
    fn new(name: impl Into<String>, run: impl Fn() -> Outcome + 'static) -> Self {
        Self {
            name: name.into(),
            run: Box::new(run),
        }
    }
}

/// A check that was made.
struct Done {
    name: String,
    outcome: Outcome,
    seconds: f64,
}

/// Runs it.
///
/// # Errors
/// If a check fails.
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let start = Instant::now();
    let config = Config::demo(&arguments.flags.sets())?;
    let (_, gpu) = engine::device::open(&config)?;
    let devices = devices();
    if !arguments.json {
        for (name, detail) in &devices {
            out::line(&format!("      {} {}", fit(name, 28), escape(detail)))?;
        }
    }
    let mut checks = kernels::checks();
    checks.extend(model::checks());
    checks.extend(files::checks());
    if let Some(gpu) = &gpu {
        checks.extend(gpu::checks(gpu));
    }
    let done = examine(&checks, &mut |done| {
        if arguments.json {
            return Ok(());
        }
        let (word, detail) = match &done.outcome {
            Ok(detail) => ("ok  ", detail),
            Err(detail) => ("FAIL", detail),
        };
        out::line(&format!(
            "{word}  {} {:>6.2} s  {}",
            fit(&done.name, 28),
            done.seconds,
            escape(detail)
        ))
    })?;
    let failed = done.iter().filter(|done| done.outcome.is_err()).count();
    let seconds = start.elapsed().as_secs_f64();
    if arguments.json {
        let devices = devices
            .iter()
            .map(|(name, detail)| json!({ "name": name, "detail": detail }));
        let checks = done.iter().map(|done| {
            let (Ok(detail) | Err(detail)) = &done.outcome;
            json!({
                "name": done.name,
                "ok": done.outcome.is_ok(),
                "detail": detail,
                "seconds": done.seconds,
            })
        });
        out::json(&json!({
            "ok": failed == 0,
            "seconds": seconds,
            "devices": devices.collect::<serde_json::Value>(),
            "checks": checks.collect::<serde_json::Value>(),
        }))?;
    } else {
        out::line(&format!(
            "{} of {} checks passed in {seconds:.1} s",
            done.len() - failed,
            done.len()
        ))?;
    }
    if failed > 0 {
        return Err(Failure::new(
            1,
            format!("{failed} of {} checks failed", done.len()),
        ));
    }
    Ok(0)
}

/// Makes the checks one after the other; one that panics has failed.
fn examine(
    checks: &[Check],
    each: &mut dyn FnMut(&Done) -> Result<(), Failure>,
) -> Result<Vec<Done>, Failure> {
    let mut all = Vec::new();
    for check in checks {
        let start = Instant::now();
        let outcome = quietly(|| catch_unwind(AssertUnwindSafe(&check.run)));
        let outcome = outcome.unwrap_or_else(|panic| {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            Err(format!("it stopped: {}", text.unwrap_or("unknown")))
        });
        let done = Done {
            name: check.name.clone(),
            outcome,
            seconds: start.elapsed().as_secs_f64(),
        };
        each(&done)?;
        all.push(done);
    }
    Ok(all)
}

/// Keeps a panic from writing to stderr: the check's line tells it.
fn quietly<T>(work: impl FnOnce() -> T) -> T {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = work();
    std::panic::set_hook(hook);
    result
}

/// The devices, with a line each: what they are, or what is missing and how to get it.
fn devices() -> Vec<(String, String)> {
    let sets: Vec<&str> = Isa::available().iter().map(|isa| isa.name()).collect();
    let memory = available_bytes().map_or("an unknown amount of memory".to_owned(), |bytes| {
        format!("{} of memory", crate::text::bytes(bytes))
    });
    let cpu = format!(
        "{} threads, {memory} free, {} (has {})",
        allowed_threads(),
        Isa::detected().name(),
        sets.join(", ")
    );
    let mut all = vec![("cpu".to_owned(), cpu)];
    all.extend(devices::list().iter().map(|found| {
        let kind = found.kind.name();
        let name = match found.index {
            Some(index) => format!("{kind}:{index}"),
            None => kind.to_owned(),
        };
        let detail = match &found.info {
            Ok(info) => format!(
                "{} ({}), {} of memory, {}",
                info.name,
                info.arch,
                crate::text::bytes(info.memory),
                info.versions
            ),
            Err(missing) => match &found.name {
                Some(name) => format!("{name}: {missing}"),
                None => missing.to_string(),
            },
        };
        (name, detail)
    }));
    all
}

/// The CPU that models are checked on: two threads, so that splitting is checked too.
fn cpu() -> Cpu {
    Cpu::new(2)
}

/// A check's verdict on a number that must be below a bound; a NaN is not.
fn below(what: &str, value: f64, bound: f64) -> Outcome {
    if value < bound {
        Ok(format!("{what} {value:.1e} (below {bound:.0e})"))
    } else {
        Err(format!("{what} {value:.1e}, should be below {bound:.0e}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_and_panics_are_told_and_counted() {
        let checks = [
            Check::new("good", || Ok("fine".to_owned())),
            Check::new("bad", || below("error", f64::NAN, 1.0)),
            Check::new("worse", || panic!("out of shape")),
        ];
        let done = examine(&checks, &mut |_| Ok(())).unwrap();
        assert_eq!(done[0].outcome, Ok("fine".to_owned()));
        assert!(done[1].outcome.is_err());
        assert_eq!(done[2].outcome, Err("it stopped: out of shape".to_owned()));
    }
}
