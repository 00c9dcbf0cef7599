//! `zerollm bench gpu`, and the GPU side of `zerollm bench step`: by the device's own clock.

pub(in crate::cli) mod cases;
mod passes;
mod step;

pub(super) use step::{Run, run as run_step};

use crate::cli::{ConfigFlags, Failure};
use crate::out::{self, Table};
use cases::{Measured, measure};
use clap::Args;
use engine::config::Config;
use kernels::gpu::blas::Blas;
use kernels::gpu::{Gpu, GpuError, Info};
use serde_json::{Value, json};

/// Flags of `zerollm bench gpu`.
#[derive(Clone, Debug, Args)]
#[command(
    about = "A GPU's limits, and operations on it as shares of them",
    long_about = "Measure a GPU: how fast it copies within its memory and multiplies matrices, and then operations at the sizes of \
        training, in bf16, forward and backward, each as a share of those two; and alone the update of the weights (adamw, norm) and \
        the classifier's pass over its logits (softmax). Times are the device's own, means of several calls behind one another. Of \
        attention the causal half is counted; GB/s count each tensor once.\n\n\
        Needs --device cuda, rocm, or emulated with --quick (which shows that it works, not how fast).",
    after_help = "Example:\n  zerollm bench gpu --device cuda\n  zerollm bench gpu --device cuda --json\n\n\
        JSON: device, copy_gbps, product_tflops, library (name, or null), operations (op, shape, phase, seconds, tflops, gbps, \
        copy_share, product_share)."
)]
pub struct Arguments {
    #[command(flatten)]
    flags: ConfigFlags,
    /// Small sizes: shows that everything runs
    #[arg(long)]
    quick: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What a device reaches at best, measured in the same run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peak {
    /// Bytes read and written by a copy within the device, 10^9 a second.
    pub copy_gbps: f64,
    /// Of a large bf16 matrix product, 10^12 operations a second.
    pub product_tflops: f64,
}

impl From<GpuError> for Failure {
    fn from(error: GpuError) -> Self {
        Self::new(4, error.to_string())
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let config = Config::demo(&arguments.flags.sets())?;
    let (_, gpu) = engine::device::open(&config)?;
    let Some(gpu) = gpu else {
        return Err(Failure::new(
            4,
            "there is no GPU here: `zerollm doctor` says what is missing; bench step measures the CPU",
        ));
    };
    let peak = cases::peak(&gpu, arguments.quick)?;
    if !arguments.json {
        out::line(&title(gpu.info()))?;
        out::line(&format!(
            "limits    copy {:.0} GB/s, product {:.1} TFLOP/s ({})",
            peak.copy_gbps,
            peak.product_tflops,
            library(&gpu).unwrap_or_else(|| "our own kernels".to_owned())
        ))?;
    }
    let measured = measure(&gpu, arguments.quick)?;
    if arguments.json {
        let rows: Vec<Value> = measured.iter().map(|row| row.json(&peak)).collect();
        out::json(&json!({
            "device": describe(gpu.info()),
            "copy_gbps": peak.copy_gbps,
            "product_tflops": peak.product_tflops,
            "library": library(&gpu),
            "operations": rows,
        }))?;
        return Ok(0);
    }
    out::text(&table(&measured, &peak))?;
    Ok(0)
}

/// The vendor's library of products, where it is used.
fn library(gpu: &Gpu) -> Option<String> {
    gpu.library().map(Blas::name)
}

/// A device as figures name it.
fn describe(info: &Info) -> Value {
    json!({
        "kind": info.kind.name(),
        "index": info.index,
        "name": info.name,
        "arch": info.arch,
        "versions": info.versions,
        "memory": info.memory,
    })
}

fn title(info: &Info) -> String {
    format!(
        "device    {}:{} {} ({}), {}, {}",
        info.kind.name(),
        info.index,
        info.name,
        info.arch,
        info.versions,
        crate::text::bytes(info.memory)
    )
}

fn table(measured: &[Measured], peak: &Peak) -> String {
    let mut table = Table::new(&[
        "op",
        "shape",
        "phase",
        "ms",
        "TFLOP/s",
        "GB/s",
        "% of copy",
        "% of product",
    ]);
    for row in measured {
        table.row(&[
            row.name.to_owned(),
            row.shape.clone(),
            row.phase.to_owned(),
            format!("{:.4}", 1e3 * row.seconds),
            format!("{:.1}", row.tflops()),
            format!("{:.0}", row.gbps()),
            format!("{:.1}", 100.0 * row.gbps() / peak.copy_gbps),
            format!("{:.1}", 100.0 * row.tflops() / peak.product_tflops),
        ]);
    }
    table.lines()
}
