//! What a run will need, before it starts: memory from its plan, and whether that fits this machine.

use crate::config::Config;
use crate::infer::chat::{CONTEXT, Need};
use crate::link::Memory;
use crate::model::Model;
use crate::optim;
use crate::param::{Group, Params};
use crate::tape::plan::{On, Options, Plan};
use crate::tape::{Tape, fuse};
use crate::train::step::{keep_packed, precision};
use kernels::cpu::gemm::packed_bytes;
use kernels::{Cpu, Precision};

/// Memory by kind for training `model` as `config` says. Nothing of that size is allocated: the training step is recorded
/// and planned. `runtime` is what the process holds already.
pub fn memory<'a>(config: &Config, model: &Model, on: impl Into<On<'a>>) -> Memory {
    let on = on.into();
    let precision = precision(config);
    let seq = config.data.sequence_length;
    let mut tape = Tape::new(precision);
    let vars = model.record_training(
        &mut tape,
        config.train.micro_batch,
        seq,
        config.train.recompute,
    );
    let tape = if config.train.fuse {
        fuse::fuse(tape)
    } else {
        tape
    };
    let plan = Plan::new(&tape, Some(vars.loss), on, Options::default());
    let parameters = Params::flat_bytes(model.specs(), precision) as u64;
    let mut workspace = plan.workspace_bytes() as u64;
    // Ids, targets, positions and document starts of a step: being trained on, two ready, and one being made.
    let data = 4 * 4 * 4 * (config.train.batch_size * seq) as u64;
    let micro_batches = config.train.batch_size.div_ceil(config.train.micro_batch);
    match on {
        On::Cpu(cpu) if keep_packed(config.train.micro_batch * seq, micro_batches) => {
            workspace += packed_weights(model, cpu, precision);
        }
        On::Gpu(_) => {
            // The ids of two micro-batches, filled by turns, and the weights rounded once, as factors of products.
            workspace += 2 * 4 * 4 * (config.train.micro_batch * seq) as u64;
            if precision == Precision::Bf16 {
                workspace += parameters / 2;
            }
        }
        On::Cpu(_) => {}
    }
    let mut memory = Memory {
        parameters,
        gradients: parameters,
        optimizer: parameters * optim::state_arrays(&config.optimizer) as u64,
        activations: (plan.bytes() - plan.workspace_bytes()) as u64,
        workspace,
        data,
        runtime: resident_bytes(),
        total: 0,
    };
    memory.total = memory.parameters
        + memory.gradients
        + memory.optimizer
        + memory.activations
        + memory.workspace
        + memory.data
        + memory.runtime;
    memory
}

/// Bytes that a chat with `model` takes while a run trains it: its own copy of the weights, caches, and what lies between
/// operations.
pub fn chat(model: &Model, precision: Precision) -> u64 {
    Need::of(model, precision, CONTEXT, &Cpu::new(1)).total()
}

/// Bytes of all weights of products, packed for the forward and for the backward.
fn packed_weights(model: &Model, cpu: &Cpu, precision: Precision) -> u64 {
    let specs = model.specs().all();
    let tied = specs.iter().all(|spec| spec.group != Group::Head);
    let multiplies = |group| match group {
        Group::Matrix | Group::Head => true,
        Group::Embedding => tied,
        Group::Vector => false,
    };
    let bytes = specs.iter().map(|spec| match spec.shape[..] {
        [n, k] if multiplies(spec.group) => {
            packed_bytes(cpu, precision, n, k) + packed_bytes(cpu, precision, k, n)
        }
        _ => 0,
    });
    bytes.sum::<usize>() as u64
}

/// Bytes that this process has resident now; 0 where the system does not say.
pub fn resident_bytes() -> u64 {
    status("VmRSS:")
}

/// Most bytes that this process had resident; 0 where the system does not say.
pub fn peak_resident_bytes() -> u64 {
    status("VmHWM:")
}

fn status(key: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(key));
    line.and_then(|line| line.split_whitespace().nth(1))
        .and_then(|kib| kib.parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}

/// Bytes that this process may still take: what the system has free, or less where a container's limit says so. `None` where
/// nobody says.
pub fn available_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find(|line| line.starts_with("MemAvailable:"))?;
    let free = line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024;
    let read = |path: &str| {
        std::fs::read_to_string(path)
            .ok()?
            .trim()
            .parse::<u64>()
            .ok()
    };
    let limit = [
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        (
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        ),
    ]
    .into_iter()
    .find_map(|(limit, used)| Some(read(limit)?.saturating_sub(read(used)?)));
    Some(limit.map_or(free, |limit| limit.min(free)))
}

/// Threads that this process may use: what affinity allows, or less where a container's quota says so.
pub fn allowed_threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
