//! `zerollm bench op`: operations alone, at sizes that people quote, or inside small training steps.

mod case;
mod matmul;
mod ops;
mod steps;
mod tensor;
mod update;

use super::Machine;
use super::sampling::{Calibrator, Tally, Wanted, quartiles};
use crate::cli::{ConfigFlags, Failure};
use crate::out::{self, Table};
use crate::text;
use case::{CASES, KINDS, Kind, Stage};
use clap::Args;
use engine::config::Config;
use engine::estimate::available_bytes;
use engine::launch::cpu;
use engine::profile::{Limits, Share, Work};
use kernels::ops::OPS;
use kernels::{Cpu, Precision};
use serde_json::{Value, json};
use std::time::Duration;

/// Flags of `zerollm bench op`.
#[derive(Clone, Debug, Args)]
#[command(
    about = "Operations alone at sizes that people quote, or inside small training steps",
    long_about = "With the name of one of matmul, attention, attention_cached, classifier, cross_entropy, rmsnorm, gated, adamw, norm (or all): \
        time it alone, at fixed sizes, in f32 and bf16, with values in memory as in training. matmul is the three products of a \
        linear map: forward x w^T, dX = dy w, dW = dy^T x; of attention the causal half is counted; adamw includes the norm \
        for clipping. The same memory is used again and again, so that small sizes lie in a cache.\n\n\
        Without a name, or with that of another operation: time each where it works, inside training steps of small models \
        that together use all of them (2048 tokens, 256 channels, 4 heads, a vocabulary of 4096), fused and not.\n\n\
        Medians with quartiles. Samples taken while the machine was disturbed are dropped: see `zerollm bench --help`. GB/s count \
        the least possible traffic: each tensor once. Behind the share of the peak stands of which: f of operations, m of \
        reading the smallest cache that holds the tensors, or memory.",
    after_help = "Example:\n  zerollm bench op all\n  zerollm bench op matmul --shape 8192x512x2048 --precision f32\n  \
        zerollm bench op attention --set device.threads=1 --json\n  zerollm bench op\n\n\
        JSON: ops (op, phase, seconds, gflops, gbps, peak_share, bound; alone also shape, precision, seconds_quartiles, \
        samples, dropped, disturbed; inside steps also calls), machine; inside steps samples, dropped and disturbed are of the \
        whole."
)]
pub struct Arguments {
    /// The operation, or all that are timed alone
    name: Option<String>,
    /// Sizes instead of the fixed ones, such as 8192x512x2048 (M x K x N of a matmul); needs a name
    #[arg(long, value_name = "SIZES", requires = "name")]
    shape: Option<String>,
    /// Only this precision
    #[arg(long, value_name = "PRECISION", value_parser = ["f32", "bf16"])]
    precision: Option<String>,
    #[command(flatten)]
    flags: ConfigFlags,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Samples of a line.
const WANTED: Wanted = Wanted {
    clean: 7,
    least: Duration::from_millis(200),
    limit: Duration::from_secs(3),
};

pub(super) fn run(arguments: &Arguments, limit: Duration) -> Result<u8, Failure> {
    let Some(name) = arguments.name.as_deref() else {
        return steps::run(arguments, limit);
    };
    let kinds: Vec<&Kind> = match case::kind(name) {
        Some(kind) => vec![kind],
        None if name == "all" => KINDS.to_vec(),
        None if OPS.iter().any(|op| op.name == name) => {
            return steps::run(arguments, limit);
        }
        None => return Err(unknown(name)),
    };
    let mut cases: Vec<(&Kind, Vec<usize>)> = Vec::new();
    for kind in kinds {
        if let Some(shape) = &arguments.shape {
            if name == "all" {
                return Err(Failure::new(2, "--shape needs the name of one operation"));
            }
            let dims = kind.parse(shape);
            cases.push((kind, dims.map_err(|error| Failure::new(2, error))?));
        } else {
            let own = CASES.iter().filter(|(name, _)| *name == kind.name);
            cases.extend(own.map(|(_, dims)| (kind, dims.to_vec())));
        }
    }
    let cpu = cpu(&Config::demo(&arguments.flags.sets())?)?;
    let mut calibrator = Calibrator::new(cpu.pool.threads(), limit);
    let mut lines = Vec::new();
    for (kind, dims) in &cases {
        for precision in [Precision::F32, Precision::Bf16] {
            let asked = arguments.precision.as_deref();
            let wanted = asked.is_none_or(|name| name == precision.name());
            if wanted && (kind.bf16 || precision == Precision::F32) {
                lines.extend(measure(&cpu, &mut calibrator, kind, precision, dims)?);
            }
        }
    }
    if lines.is_empty() {
        return Err(Failure::new(2, format!("{name} is done in f32 only")));
    }
    let machine = Machine::measure(cpu.pool.threads()).raise(calibrator.best());
    print(&lines, &machine, arguments.json)?;
    Ok(0)
}

/// Names are refused with those that exist.
fn unknown(name: &str) -> Failure {
    let alone = KINDS.iter().map(|kind| kind.name);
    let others = OPS.iter().map(|op| op.name);
    let others = others.filter(|name| case::kind(name).is_none());
    Failure::new(
        2,
        format!(
            "no operation `{}`; alone there are {}, all; inside steps {}",
            text::escape(name),
            alone.collect::<Vec<_>>().join(", "),
            others.collect::<Vec<_>>().join(", ")
        ),
    )
}

/// One line of the result.
struct Line {
    kind: &'static str,
    shape: String,
    precision: Precision,
    stage: Stage,
    /// Seconds: lower quartile, median, upper quartile.
    seconds: [f64; 3],
    work: Work,
    tally: Tally,
}

/// Times all stages of one kind of work at one size.
fn measure(
    cpu: &Cpu,
    calibrator: &mut Calibrator,
    kind: &Kind,
    precision: Precision,
    dims: &[usize],
) -> Result<Vec<Line>, Failure> {
    let shape = Kind::shape(dims);
    let need = (kind.bytes)(dims);
    if let Some(free) = available_bytes().filter(|free| need > *free) {
        return Err(Failure::new(
            4,
            format!(
                "{} {shape} needs {}, {} are free",
                kind.name,
                text::bytes(need),
                text::bytes(free)
            ),
        ));
    }
    let runner = (kind.build)(cpu, precision, dims);
    let mut runner =
        runner.map_err(|error| Failure::new(2, format!("--shape {shape}: {error}")))?;
    let stages = (kind.stages)(dims).iter();
    Ok(stages
        .map(|stage| {
            // Memory and caches are warm, and threads awake.
            runner.run(cpu, *stage);
            let samples = calibrator.sample(&WANTED, || {
                let start = std::time::Instant::now();
                runner.run(cpu, *stage);
                start.elapsed().as_secs_f64()
            });
            let tally = samples.tally();
            let seconds = quartiles(samples.kept);
            let (flops, bytes) = runner.work(*stage);
            Line {
                kind: kind.name,
                shape: shape.clone(),
                precision,
                stage: *stage,
                seconds,
                work: Work {
                    seconds: seconds[1],
                    calls: 1,
                    flops,
                    bytes,
                },
                tally,
            }
        })
        .collect())
}

fn print(lines: &[Line], machine: &Machine, json: bool) -> Result<(), Failure> {
    let limits = |precision| machine.limits(precision == Precision::Bf16);
    if json {
        let ops = lines.iter().map(|line| {
            let mut object = json!({
                "op": line.kind,
                "shape": line.shape,
                "precision": line.precision.name(),
                "phase": line.stage.name(),
                "seconds": line.seconds[1],
                "seconds_quartiles": [line.seconds[0], line.seconds[2]],
                "gflops": line.work.gflops(),
                "gbps": line.work.gbps(),
            });
            line.tally.put(&mut object);
            add_share(&mut object, &line.work, &limits(line.precision));
            object
        });
        return out::json(&json!({ "ops": ops.collect::<Value>(), "machine": machine.json() }));
    }
    let mut table = Table::new(&[
        "op",
        "shape",
        "precision",
        "phase",
        "ms",
        "(quartiles)",
        "GFLOP/s",
        "GB/s",
        "% of peak",
        "dropped",
    ]);
    for line in lines {
        let [low, median, high] = line.seconds.map(|seconds| 1e3 * seconds);
        table.row(&[
            line.kind.to_owned(),
            line.shape.clone(),
            line.precision.name().to_owned(),
            line.stage.name().to_owned(),
            format!("{median:.3}"),
            format!("({low:.3} to {high:.3})"),
            format!("{:.1}", line.work.gflops()),
            format!("{:.1}", line.work.gbps()),
            percent(limits(line.precision).share(&line.work)),
            if line.tally.disturbed > 0 {
                "none: disturbed".to_owned()
            } else {
                format!("{} of {}", line.tally.dropped, line.tally.taken)
            },
        ]);
    }
    out::line(&machine.line())?;
    let mut tally = Tally::default();
    for line in lines {
        tally.merge(&line.tally);
    }
    if let Some(note) = tally.note() {
        out::line(&format!("samples   {note}"))?;
    }
    out::text(&format!("\n{}", table.lines()))
}

/// `85 f`: per cent of the peak, and of which.
pub(super) fn percent(share: Option<Share>) -> String {
    share.map_or("-".to_owned(), |share| {
        format!("{:.0} {}", 100.0 * share.of_peak, share.bound.letter())
    })
}

/// Adds share of the peak, and of which, to a line of JSON.
fn add_share(object: &mut Value, work: &Work, limits: &Limits) {
    let share = limits.share(work);
    object["peak_share"] = json!(share.map(|share| share.of_peak));
    object["bound"] = json!(share.map(|share| share.bound.name()));
}
