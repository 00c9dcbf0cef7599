//! The device that `[device]` names: what trains, and whether a run fits on it.

use crate::config::Config;
use crate::data::Cache;
use crate::estimate;
use crate::launch::{LaunchError, cpu};
use crate::model::Model;
use kernels::Cpu;
use kernels::gpu::compiled;
use kernels::gpu::{Gpu, GpuError, Info, devices};

/// Share of a device's free memory that a run may take: the rest is for its libraries and for fragments.
const USABLE: f64 = 0.95;

/// Threads of the CPU, and the GPU where `device.kind` names one, or `auto` finds one.
///
/// # Errors
/// If the device is not there or cannot be used; the line says what is missing.
pub fn open(config: &Config) -> Result<(Cpu, Option<Gpu>), LaunchError> {
    let mut host = config.clone();
    "cpu".clone_into(&mut host.device.kind);
    let cpu = cpu(&host)?;
    let cache = Cache::of_user().map(|cache| compiled::Cache::new(cache.folder().join("kernels")));
    let gpu = match config.device.kind.as_str() {
        "cpu" => None,
        "auto" => devices::first(cache),
        named => {
            let (kind, index) = devices::parse(named).map_err(LaunchError::Device)?;
            let opened = devices::open(kind, index, cache);
            Some(opened.map_err(|error| refused(named, &error))?)
        }
    };
    if let Some(gpu) = &gpu {
        gpu.use_own_products(config.device.own_products);
    }
    Ok((cpu, gpu))
}

fn refused(named: &str, error: &GpuError) -> LaunchError {
    LaunchError::Device(format!("device {named}: {error}"))
}

/// Bytes of device memory that training `model` as `config` says takes, from its plan.
pub fn memory(config: &Config, model: &Model, info: &Info) -> u64 {
    let memory = estimate::memory(config, model, info);
    memory.total - memory.data - memory.runtime
}

/// Refuses a run that does not fit the device, before anything is taken, with what would fit.
///
/// # Errors
/// If it does not fit, or the device does not say what is free.
pub fn check_room(config: &Config, model: &Model, gpu: &Gpu) -> Result<(), LaunchError> {
    let info = gpu.info();
    let name = format!("{}:{}", info.kind.name(), info.index);
    let free = gpu.driver().free_memory();
    let free = free.map_err(|error| refused(&name, &error))?;
    let need = memory(config, model, info);
    let room = (free as f64 * USABLE) as u64;
    if need <= room {
        return Ok(());
    }
    let fitting = fitting(config, model, info, room);
    Err(LaunchError::DeviceMemory {
        device: name,
        need,
        free,
        advice: fitting.unwrap_or_else(|| {
            "no micro-batch fits, even recomputed in bf16: take a smaller model or sequence_length"
                .to_owned()
        }),
    })
}

/// What would make a run fit in `room` bytes: the largest micro-batch for the run as it is, recomputed, in `bf16`, and both. Of
/// these a change is named only where it allows a larger micro-batch than the lesser ones before it.
fn fitting(config: &Config, model: &Model, info: &Info, room: u64) -> Option<String> {
    let mut found: Vec<String> = Vec::new();
    let mut largest = 0;
    for (recompute, bf16) in [(false, false), (true, false), (false, true), (true, true)] {
        if (recompute && config.train.recompute) || (bf16 && config.device.bf16) {
            continue;
        }
        let mut other = config.clone();
        other.train.recompute |= recompute;
        other.device.bf16 |= bf16;
        let Some((rows, need)) = largest_micro_batch(&mut other, model, info, room) else {
            continue;
        };
        if rows <= largest {
            continue;
        }
        largest = rows;
        let mut change = format!("train.micro_batch = {rows}");
        if recompute {
            change.push_str(" and train.recompute = true");
        }
        if bf16 {
            change.push_str(" and device.precision = \"bf16\"");
        }
        found.push(format!("{change} would take {} MiB", need >> 20));
    }
    (!found.is_empty()).then(|| found.join("; "))
}

/// The largest micro-batch, of the configured one and its halves, that fits in `room` bytes, and what it takes.
fn largest_micro_batch(
    config: &mut Config,
    model: &Model,
    info: &Info,
    room: u64,
) -> Option<(usize, u64)> {
    while config.train.micro_batch > 0 {
        let need = memory(config, model, info);
        if need <= room {
            return Some((config.train.micro_batch, need));
        }
        config.train.micro_batch /= 2;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernels::gpu::Kind;

    fn config(sets: &[&str]) -> Config {
        let text = "data.sequence_length = 64\nmodel = { layers = 2, dim = 64, heads = 2 }\n\
                    train = { batch_size = 16, max_steps = 10 }\noptimizer.lr = 1e-3\n";
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        Config::parse(None, text, &sets).unwrap()
    }

    fn info() -> Info {
        Info {
            kind: Kind::Cuda,
            index: 0,
            name: "a device".to_owned(),
            arch: "sm_90".to_owned(),
            versions: String::new(),
            warp: 32,
            multiprocessors: 132,
            shared_bytes: 227 << 10,
            memory: 1 << 37,
        }
    }

    #[test]
    fn the_advice_fits_and_is_the_least_change() {
        let config = config(&[]);
        let model = Model::new(&config.model, 512);
        let need = |rows: usize, recompute| {
            let mut config = config.clone();
            config.train.micro_batch = rows;
            config.train.recompute = recompute;
            memory(&config, &model, &info())
        };
        let advice = |room| fitting(&config, &model, &info(), room);
        let at = |rows, recompute| advice(need(rows, recompute));
        assert!(
            at(16, false)
                .unwrap()
                .starts_with("train.micro_batch = 16 would")
        );
        assert!(
            at(8, false)
                .unwrap()
                .starts_with("train.micro_batch = 8 would")
        );
        let least = need(1, false);
        assert!(need(1, true) < least);
        let recomputed = advice(least - 1).unwrap();
        assert!(
            recomputed.contains("and train.recompute = true"),
            "{recomputed}"
        );
        assert_eq!(advice(1000), None);
        // Where more than one change helps, each that allows more is named, the least first.
        let several = at(4, false).unwrap();
        let changes: Vec<&str> = several.split("; ").collect();
        let rows = |change: &str| {
            let number = change.strip_prefix("train.micro_batch = ").unwrap();
            let number = number.split(' ').next().unwrap();
            number.parse::<usize>().unwrap()
        };
        assert!(rows(changes[0]) == 4 && changes.len() > 1, "{several}");
        assert!(changes.is_sorted_by_key(|change| rows(change)), "{several}");
        for change in &changes[1..] {
            let mut other = config.clone();
            other.train.micro_batch = rows(change);
            other.train.recompute = change.contains("recompute");
            other.device.bf16 = change.contains("bf16");
            assert!(
                memory(&other, &model, &info()) <= need(4, false),
                "{change}"
            );
        }
    }

    #[test]
    fn precision_is_advised_where_it_helps_and_never_what_is_set_already() {
        let f32 = config(&[]);
        let model = Model::new(&f32.model, 512);
        let mut best = f32.clone();
        (best.device.bf16, best.train.recompute) = (true, true);
        let room = memory(&best, &model, &info());
        let advice = fitting(&f32, &model, &info(), room).unwrap();
        assert!(
            advice.contains(
                "train.micro_batch = 16 and train.recompute = true and device.precision = \"bf16\""
            ),
            "{advice}"
        );
        let mut set = f32.clone();
        set.device.bf16 = true;
        let advice = fitting(&set, &model, &info(), room).unwrap();
        assert!(
            advice.contains("train.micro_batch = 16 and train.recompute = true would"),
            "{advice}"
        );
        assert!(!advice.contains("precision"), "{advice}");
    }

    #[test]
    fn a_device_that_is_not_there_is_refused_in_a_line() {
        let error = open(&config(&["device.kind=rocm:999"])).unwrap_err();
        assert_eq!(error.exit_code(), 4);
        let text = error.to_string();
        assert!(
            text.starts_with("device rocm:999: ") && !text.contains('\n'),
            "{text}"
        );
    }
}
