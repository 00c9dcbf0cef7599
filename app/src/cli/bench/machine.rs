//! `zerollm bench machine`, and the machine as every other measurement names it.

use super::sampling::{WAITED, waited};
use crate::cli::Failure;
use crate::out;
use crate::text;
use clap::Args;
use engine::estimate::{allowed_threads, available_bytes};
use engine::profile::{Level, Limits};
use kernels::cpu::peak::{self, Peak};
use kernels::{Cpu, Isa};
use serde_json::{Value, json};
use std::time::Instant;

/// Flags of `zerollm bench machine`.
#[derive(Clone, Debug, Args)]
#[command(
    about = "What the machine can do at most: multiply-adds, caches, memory",
    long_about = "Measure what the machine can do at most, in less than two seconds: multiply-adds from registers in f32 (one \
        thread and all), products of bf16 as our kernels make them and by the processor's own instruction, of 8-bit integers; \
        reading the caches and memory in order; and the triad a = b + s c in memory, with plain stores and with such as pass \
        the caches by. A multiply-add counts two operations, the triad three arrays. Each figure is the best of some tries: a \
        limit is what the machine does undisturbed.",
    after_help = "Example:\n  zerollm bench machine --threads 1\n  ZEROLLM_ISA=avx2 zerollm bench machine --json\n\n\
        JSON: isa, threads, peaks (f32_gflops, f32_one_thread_gflops, bf16_gflops, bf16_instruction_gflops, int8_gops, \
        l1_read_gbps, l2_read_gbps, l3_read_gbps, read_gbps, triad_gbps, triad_streaming_gbps; null where the machine has no \
        such instruction or cache), disturbed (whether threads waited for a processor meanwhile), caches (l1_bytes, l2_bytes, l3_bytes), cpu, cores, memory_bytes, os, compiler, commit, date. \
        Every other bench prints the same object as machine."
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
    let machine = Machine::measure(threads);
    if arguments.json {
        out::json(&machine.json())?;
    } else {
        out::text(&machine.text())?;
    }
    Ok(0)
}

/// The machine with its limits, measured now.
#[derive(Debug)]
pub(super) struct Machine {
    isa: Isa,
    threads: usize,
    peak: Peak,
    /// Share of the time that threads waited for a processor while it was measured; 0 where the system does not say.
    waited: f64,
}

impl Machine {
    /// Measures with so many threads.
    pub(super) fn measure(threads: usize) -> Self {
        let cpu = Cpu::new(threads);
        let most = available_bytes().map_or(usize::MAX, |free| (free / 2) as usize);
        let (start, before) = (Instant::now(), waited());
        let peak = peak::measure(&cpu, most);
        Self {
            isa: cpu.isa,
            threads,
            peak,
            waited: (waited() - before) / start.elapsed().as_secs_f64(),
        }
    }

    /// Takes over a higher peak of `f32` that was seen elsewhere in the same process.
    pub(super) fn raise(mut self, f32_gflops: f64) -> Self {
        let peak = &mut self.peak;
        peak.f32_gflops = peak.f32_gflops.max(f32_gflops);
        if self.isa != Isa::Avx512Bf16 {
            peak.bf16_gflops = peak.bf16_gflops.max(f32_gflops);
        }
        self
    }

    /// What a roofline needs: peaks in the precision of a run, and each level of memory with the largest working set that is
    /// taken to lie in it. The third level is shared with whoever else uses the processor: half of it is counted.
    pub(super) fn limits(&self, bf16: bool) -> Limits {
        let Peak { caches, .. } = &self.peak;
        let own = |bytes: usize| (bytes * self.threads) as u64;
        let mut levels = vec![
            (own(caches.l1), self.peak.l1_read_gbps),
            (own(caches.l2), self.peak.l2_read_gbps),
        ];
        levels.extend(
            self.peak
                .l3_read_gbps
                .map(|gbps| (caches.l3 as u64 / 2, gbps)),
        );
        levels.push((u64::MAX, self.peak.read_gbps));
        let levels = levels.into_iter();
        Limits {
            gflops: if bf16 {
                self.peak.bf16_gflops
            } else {
                self.peak.f32_gflops
            },
            levels: levels.map(|(bytes, gbps)| Level { bytes, gbps }).collect(),
        }
    }

    pub(super) fn json(&self) -> Value {
        let Peak { caches, .. } = &self.peak;
        json!({
            "isa": self.isa.name(),
            "threads": self.threads,
            "peaks": {
                "f32_gflops": self.peak.f32_gflops,
                "f32_one_thread_gflops": self.peak.f32_one_thread_gflops,
                "bf16_gflops": self.peak.bf16_gflops,
                "bf16_instruction_gflops": self.peak.bf16_instruction_gflops,
                "int8_gops": self.peak.int8_gops,
                "l1_read_gbps": self.peak.l1_read_gbps,
                "l2_read_gbps": self.peak.l2_read_gbps,
                "l3_read_gbps": self.peak.l3_read_gbps,
                "read_gbps": self.peak.read_gbps,
                "triad_gbps": self.peak.triad_gbps,
                "triad_streaming_gbps": self.peak.triad_streaming_gbps,
            },
            "disturbed": self.waited > WAITED,
            "caches": { "l1_bytes": caches.l1, "l2_bytes": caches.l2, "l3_bytes": caches.l3 },
            "cpu": cpu_name(),
            "cores": cores(),
            "memory_bytes": memory_bytes(),
            "os": os(),
            "compiler": env!("ZEROLLM_RUSTC"),
            "commit": crate::COMMIT,
            "date": engine::train::run::now(),
        })
    }

    /// One line, for the other measurements.
    pub(super) fn line(&self) -> String {
        let disturbed = if self.waited > WAITED {
            ", while other programs used the processors"
        } else {
            ""
        };
        format!(
            "machine   {} with {} threads: f32 {:.0} GFLOP/s, bf16 {:.0} GFLOP/s, reads {:.1} GB/s (measured{disturbed})",
            self.isa.name(),
            self.threads,
            self.peak.f32_gflops,
            self.peak.bf16_gflops,
            self.peak.read_gbps
        )
    }

    /// Everything, in lines.
    fn text(&self) -> String {
        let Peak { caches, .. } = &self.peak;
        let mut lines = vec![
            self.line(),
            format!(
                "cpu       {}; {} cores, {}, {}, {}",
                text::escape(&cpu_name()),
                cores(),
                text::bytes(memory_bytes()),
                text::escape(&os()),
                env!("ZEROLLM_RUSTC")
            ),
            format!(
                "f32       {:.0} GFLOP/s; {:.0} with one thread",
                self.peak.f32_gflops, self.peak.f32_one_thread_gflops
            ),
        ];
        let instruction = self.peak.bf16_instruction_gflops;
        let instruction =
            instruction.map(|rate| format!("; {rate:.0} by the processor's instruction"));
        lines.push(format!(
            "bf16      {:.0} GFLOP/s as the kernels multiply{}",
            self.peak.bf16_gflops,
            instruction.unwrap_or_default()
        ));
        if let Some(rate) = self.peak.int8_gops {
            lines.push(format!("int8      {rate:.0} GOP/s"));
        }
        let level = |bytes: usize, rate: f64| format!("{rate:.0} ({})", text::bytes(bytes as u64));
        let mut reads = vec![
            format!("L1 {}", level(caches.l1, self.peak.l1_read_gbps)),
            format!("L2 {}", level(caches.l2, self.peak.l2_read_gbps)),
        ];
        let third = self.peak.l3_read_gbps;
        reads.extend(third.map(|rate| format!("L3 {}", level(caches.l3, rate))));
        reads.push(format!("memory {:.1}", self.peak.read_gbps));
        lines.push(format!("reads     {} GB/s", reads.join(", ")));
        let streaming = self.peak.triad_streaming_gbps;
        let streaming = streaming.map(|rate| format!("; {rate:.1} with streaming stores"));
        lines.push(format!(
            "triad     {:.1} GB/s{}",
            self.peak.triad_gbps,
            streaming.unwrap_or_default()
        ));
        lines.join("\n") + "\n"
    }
}

/// Value of the first line `key : value` of /proc/cpuinfo.
fn cpu_info(text: &str, key: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim().to_owned())
    })
}

/// The processor's name with family and model, since one name may stand for several generations.
fn cpu_name() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = cpu_info(&text, "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    match (cpu_info(&text, "cpu family"), cpu_info(&text, "model")) {
        (Some(family), Some(model)) => format!("{name} (family {family}, model {model})"),
        _ => name,
    }
}

/// Processors that the system runs threads on.
fn cores() -> usize {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let listed = text.lines().filter(|line| line.starts_with("processor"));
    match listed.count() {
        0 => allowed_threads(),
        count => count,
    }
}

/// Memory of the machine; 0 where the system does not say.
fn memory_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = cpu_info(&text, "MemTotal");
    let kib = total.and_then(|value| value.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// The system and its version.
fn os() -> String {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok();
    match (read("ostype"), read("osrelease")) {
        (Some(name), Some(release)) => format!("{} {}", name.trim(), release.trim()),
        _ => std::env::consts::OS.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_read_from_its_description() {
        let text = "processor\t: 0\ncpu family\t: 6\nmodel\t\t: 207\nmodel name\t: A: fast one\n";
        assert_eq!(cpu_info(text, "model").as_deref(), Some("207"));
        assert_eq!(cpu_info(text, "model name").as_deref(), Some("A: fast one"));
        assert_eq!(cpu_info(text, "flags"), None);
    }
}
