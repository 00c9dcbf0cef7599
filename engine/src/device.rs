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
            "no micro-batch fits, even recomputed: take a smaller model or sequence_length"
                .to_owned()
        }),
    })
}

/// The first change that makes a run fit in `room` bytes: a smaller micro-batch, then recomputation with the largest
/// micro-batch that it allows.
fn fitting(config: &Config, model: &Model, info: &Info, room: u64) -> Option<String> {
    for recompute in [false, true] {
        let mut rows = config.train.micro_batch;
        while rows > 0 {
            let mut other = config.clone();
            other.train.micro_batch = rows;
            other.train.recompute = config.train.recompute || recompute;
            let need = memory(&other, model, info);
            if need <= room {
                let recomputed = if other.train.recompute && !config.train.recompute {
                    " and train.recompute = true"
                } else {
                    ""
                };
                return Some(format!(
                    "train.micro_batch = {rows}{recomputed} would take {} MiB",
                    need >> 20
                ));
            }
            rows /= 2;
        }
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
