//! `zerollm bench op`, and the table of a profile.

use super::Machine;
use super::step::time;
use crate::cli::{ConfigFlags, Failure};
use crate::out::{self, Table};
use clap::Args;
use engine::config::Config;
use engine::tape::plan::Phase;
use engine::tape::run::{Profile, ProfileRow};
use kernels::ops::OPS;
use serde_json::{Value, json};
use std::time::Duration;

/// Flags of `zerollm bench op`.
#[derive(Clone, Debug, Args)]
#[command(
    about = "Each operation inside small training steps",
    long_about = "Time each operation where it works: inside training steps of small models that together use all of them \
        (2048 tokens, 256 channels, 4 heads, a vocabulary of 4096), fused and not.\n\n\
        Behind the share of the peak stands of which: f of operations, m of memory. There is none where the bytes counted do \
        not come from memory (a cache, a gradient made in place).",
    after_help = "Example:\n  zerollm bench op\n  zerollm bench op attention --set device.precision=bf16\n\n\
        JSON: ops (op, phase, calls, seconds a call, gflops, gbps), machine. GB/s counts each tensor that the operation \
        touches once; tensors may come from a cache, so it can exceed the machine's."
)]
pub struct Arguments {
    /// Only the operation of this name
    name: Option<String>,
    #[command(flatten)]
    flags: ConfigFlags,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const BASE: &str = "data = { source = \"storybook\", sequence_length = 256 }\n\
    train = { batch_size = 8, max_steps = 1 }\noptimizer.lr = 1.0\n\
    model = { layers = 2, dim = 256, heads = 4, kv_heads = 2, vocab_size = 4096 }\n";

/// How long each model is timed, unless it is slow.
const TIMED: Duration = Duration::from_millis(500);

/// The models, as `key=value`.
const MODELS: &[&[&str]] = &[
    &["model.mixer.qk_norm=true", "train.fuse=false"],
    &["train.fuse=true"],
    &[
        "model.norm.kind=layernorm",
        "model.ffn.kind=mlp",
        "model.position.kind=sinusoidal",
        "model.dropout=0.1",
        "train.fuse=false",
    ],
    &["model.norm.kind=layernorm", "model.ffn.kind=mlp"],
];

/// One configuration of [`MODELS`].
fn config(model: &[&str], flags: &[String]) -> Result<Config, Failure> {
    let mut sets: Vec<String> = model.iter().map(|set| (*set).to_owned()).collect();
    sets.extend(flags.iter().cloned());
    Ok(Config::parse(None, BASE, &sets)?)
}

pub(super) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let known: Vec<&str> = OPS.iter().map(|op| op.name).collect();
    if let Some(name) = &arguments.name
        && !known.contains(&name.as_str())
    {
        return Err(Failure::new(
            2,
            format!(
                "no operation `{}`; there are {}",
                crate::text::escape(name),
                known.join(", ")
            ),
        ));
    }
    let flags = arguments.flags.sets();
    let mut all = Profile::default();
    let mut machine = None;
    let mut bf16 = false;
    for model in MODELS {
        let config = config(model, &flags)?;
        bf16 = config.device.bf16;
        let timed = time(&config, 5, TIMED, true)?;
        for row in timed.profile.into_iter().flat_map(|profile| profile.rows) {
            add(&mut all, row);
        }
        machine = Some(timed.trainer.cpu);
    }
    let cpu = machine.ok_or_else(|| Failure::new(1, "no model was timed"))?;
    let machine = Machine::measure(&cpu);
    if let Some(name) = &arguments.name {
        all.rows.retain(|row| row.name.starts_with(name.as_str()));
    }
    if all.rows.is_empty() {
        return Err(Failure::new(
            1,
            "no model of this benchmark uses that operation",
        ));
    }
    all.rows.sort_by_key(|row| (row.name, word(row.phase)));
    if arguments.json {
        let ops = all.rows.iter().map(|row| {
            json!({
                "op": row.name,
                "phase": word(row.phase),
                "calls": row.calls,
                "seconds": row.seconds / row.calls as f64,
                "gflops": rate(row.flops, row.seconds),
                "gbps": rate(row.bytes, row.seconds),
            })
        });
        out::json(&json!({ "ops": ops.collect::<Value>(), "machine": machine.json() }))?;
        return Ok(0);
    }
    let mut table = Table::new(&["op", "phase", "us a call", "GFLOP/s", "GB/s", "% of peak"]);
    for row in &all.rows {
        table.row(&[
            row.name.to_owned(),
            word(row.phase).to_owned(),
            format!("{:.1}", 1e6 * row.seconds / row.calls as f64),
            format!("{:.1}", rate(row.flops, row.seconds)),
            format!("{:.1}", rate(row.bytes, row.seconds)),
            peak(row, &machine, bf16),
        ]);
    }
    out::line(&machine.line())?;
    out::text(&format!("\n{}", table.lines()))?;
    Ok(0)
}

fn add(all: &mut Profile, row: ProfileRow) {
    let known = all
        .rows
        .iter_mut()
        .find(|known| known.name == row.name && known.phase == row.phase);
    match known {
        Some(known) => {
            known.seconds += row.seconds;
            known.calls += row.calls;
            known.flops += row.flops;
            known.bytes += row.bytes;
        }
        None => all.rows.push(row),
    }
}

/// The word for a phase.
fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Forward => "forward",
        Phase::Recompute => "recompute",
        Phase::Backward => "backward",
    }
}

/// 10^9 a second.
fn rate(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds.max(1e-12) / 1e9
}

/// The larger of the shares of the two peaks: `f` of operations, `m` of memory. Nothing where bytes are counted that do not
/// come from memory: tensors in a cache, gradients made in place.
fn peak(row: &ProfileRow, machine: &Machine, bf16: bool) -> String {
    let work = 100.0 * rate(row.flops, row.seconds) / machine.gflops(bf16);
    let memory = 100.0 * rate(row.bytes, row.seconds) / machine.peak.read_gbps;
    if memory > 200.0 {
        "-".to_owned()
    } else if work >= memory {
        format!("{work:.0} f")
    } else {
        format!("{memory:.0} m")
    }
}

/// Where the time of a step goes.
pub(super) struct Rows {
    operations: Vec<ProfileRow>,
    /// Clipping and update, seconds of all steps.
    update: f64,
    /// Seconds of all steps.
    total: f64,
    steps: usize,
}

impl Rows {
    /// The profile of `steps` steps, the longest first.
    pub(super) fn new(profile: &Profile, update: f64, total: f64, steps: usize) -> Self {
        let mut rows = profile.rows.clone();
        rows.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        Self {
            operations: rows,
            update,
            total,
            steps,
        }
    }

    /// What belongs to no operation: inputs, statistics, the norm of the gradient.
    fn rest(&self) -> f64 {
        let operations: f64 = self.operations.iter().map(|row| row.seconds).sum();
        (self.total - operations - self.update).max(0.0)
    }

    /// A line an operation and phase; `f` or `m` behind the share of the peak says which: of operations or of memory.
    pub(super) fn table(&self, machine: &Machine, bf16: bool) -> String {
        let mut table = Table::new(&[
            "op",
            "phase",
            "calls",
            "ms a step",
            "share",
            "GFLOP/s",
            "GB/s",
            "% of peak",
        ]);
        let steps = self.steps as f64;
        for row in &self.operations {
            table.row(&[
                row.name.to_owned(),
                word(row.phase).to_owned(),
                (row.calls / self.steps as u64).to_string(),
                format!("{:.3}", 1e3 * row.seconds / steps),
                format!("{:.1} %", 100.0 * row.seconds / self.total),
                format!("{:.1}", rate(row.flops, row.seconds)),
                format!("{:.1}", rate(row.bytes, row.seconds)),
                peak(row, machine, bf16),
            ]);
        }
        for (name, seconds) in [("optimizer", self.update), ("rest", self.rest())] {
            table.row(&[
                name.to_owned(),
                String::new(),
                String::new(),
                format!("{:.3}", 1e3 * seconds / steps),
                format!("{:.1} %", 100.0 * seconds / self.total),
            ]);
        }
        table.lines()
    }
}

/// The same as JSON; seconds are of one step.
pub(super) fn rows_json(rows: &Rows) -> Value {
    let steps = rows.steps as f64;
    let operations = rows.operations.iter().map(|row| {
        json!({
            "op": row.name,
            "phase": word(row.phase),
            "calls": row.calls / rows.steps as u64,
            "seconds": row.seconds / steps,
            "share": row.seconds / rows.total,
            "gflops": rate(row.flops, row.seconds),
            "gbps": rate(row.bytes, row.seconds),
        })
    });
    let others = [("optimizer", rows.update), ("rest", rows.rest())];
    let others = others.map(|(name, seconds)| {
        json!({ "op": name, "seconds": seconds / steps, "share": seconds / rows.total })
    });
    operations.chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_models_use_every_operation() {
        let mut seen = std::collections::BTreeSet::new();
        for model in MODELS {
            let config = config(
                model,
                &[
                    "train.batch_size=1".to_owned(),
                    "data.sequence_length=8".to_owned(),
                ],
            )
            .unwrap();
            let timed = time(&config, 5, Duration::ZERO, true).unwrap();
            seen.extend(timed.profile.unwrap().rows.iter().map(|row| row.name));
        }
        for op in OPS {
            assert!(
                seen.iter().any(|name| name.starts_with(op.name)),
                "{} is in no model of `bench op`: add one to MODELS",
                op.name
            );
        }
    }
}
