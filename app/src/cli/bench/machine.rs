//! `zerollm bench machine`.

use super::Machine;
use crate::cli::Failure;
use crate::out;
use clap::Args;
use engine::estimate::allowed_threads;
use kernels::Cpu;

/// Flags of `zerollm bench machine`.
#[derive(Clone, Debug, Args)]
#[command(
    about = "What the machine can do at most: multiply-adds and reads of memory",
    long_about = "Measure what the machine can do at most: multiply-adds from registers in f32 and bf16 (one counts two \
        operations; the best of five tries), and reading 256 MiB of memory in order (the better of two).",
    after_help = "Example:\n  zerollm bench machine --threads 1\n  ZEROLLM_ISA=avx2 zerollm bench machine --json\n\n\
        JSON: isa, threads, peaks (f32_gflops, bf16_gflops, read_gbps)."
)]
pub struct Arguments {
    /// Threads [default: what affinity and quota allow]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let threads = arguments.threads.map_or_else(allowed_threads, usize::from);
    let machine = Machine::measure(&Cpu::new(threads));
    if arguments.json {
        out::json(&machine.json())?;
    } else {
        out::line(&machine.line())?;
    }
    Ok(0)
}
