//! Operations inside small training steps.

use super::{Arguments, add_share, percent};
use crate::cli::Failure;
use crate::cli::bench::Machine;
use crate::cli::bench::sampling::{Calibrator, Tally, Wanted};
use crate::cli::bench::step::time;
use crate::out::{self, Table};
use engine::config::Config;
use engine::profile::Profile;
use serde_json::{Value, json};
use std::time::Duration;

const BASE: &str = "data = { source = \"storybook\", sequence_length = 256 }\n\
    train = { batch_size = 8, max_steps = 1 }\noptimizer.lr = 1.0\n\
    model = { layers = 2, dim = 256, heads = 4, kv_heads = 2, vocab_size = 4096 }\n";

/// Steps of each model.
const WANTED: Wanted = Wanted {
    clean: 5,
    least: Duration::from_millis(500),
    limit: Duration::from_secs(5),
};

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

pub(super) fn run(arguments: &Arguments, limit: Duration) -> Result<u8, Failure> {
    if arguments.shape.is_some() {
        return Err(Failure::new(
            2,
            "--shape: this operation is timed inside training steps, whose sizes are fixed",
        ));
    }
    let mut flags = arguments.flags.sets();
    let precision = arguments.precision.iter();
    flags.extend(precision.map(|name| format!("device.precision={name}")));
    let configs: Vec<Config> = MODELS
        .iter()
        .map(|model| config(model, &flags))
        .collect::<Result<_, _>>()?;
    let threads = engine::launch::cpu(&configs[0])?.pool.threads();
    let mut calibrator = Calibrator::new(threads, limit);
    let mut all = Profile::default();
    let mut tally = Tally::default();
    for config in &configs {
        let timed = time(config, &WANTED, true, &mut calibrator)?;
        tally.add(&timed.samples);
        all.merge(&timed.profile());
    }
    let machine = Machine::measure(threads).raise(calibrator.best());
    let limits = machine.limits(configs[0].device.bf16);
    if let Some(name) = &arguments.name {
        all.rows.retain(|row| row.name.starts_with(name.as_str()));
    }
    if all.rows.is_empty() {
        return Err(Failure::new(
            1,
            "no model of this benchmark uses that operation",
        ));
    }
    all.rows.sort_by_key(|row| (row.name, row.part));
    if arguments.json {
        let ops = all.rows.iter().map(|row| {
            let mut object = json!({
                "op": row.name,
                "phase": row.part.name(),
                "calls": row.work.calls,
                "seconds": row.work.seconds / row.work.calls as f64,
                "gflops": row.work.gflops(),
                "gbps": row.work.gbps(),
            });
            add_share(&mut object, &row.work, &limits);
            object
        });
        let mut object = json!({
            "ops": ops.collect::<Value>(),
            "machine": machine.json(),
        });
        tally.put(&mut object);
        out::json(&object)?;
        return Ok(0);
    }
    let mut table = Table::new(&["op", "phase", "us a call", "GFLOP/s", "GB/s", "% of peak"]);
    for row in &all.rows {
        table.row(&[
            row.name.to_owned(),
            row.part.name().to_owned(),
            format!("{:.1}", 1e6 * row.work.seconds / row.work.calls as f64),
            format!("{:.1}", row.work.gflops()),
            format!("{:.1}", row.work.gbps()),
            percent(limits.share(&row.work)),
        ]);
    }
    out::line(&machine.line())?;
    if let Some(note) = tally.note() {
        out::line(&format!("samples   {note}"))?;
    }
    out::text(&format!("\n{}", table.lines()))?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernels::ops::OPS;

    #[test]
    fn the_models_use_every_operation() {
        let mut seen = std::collections::BTreeSet::new();
        let mut calibrator = Calibrator::new(1, Duration::ZERO);
        let wanted = Wanted {
            clean: 1,
            least: Duration::ZERO,
            limit: Duration::ZERO,
        };
        for model in MODELS {
            let config = config(
                model,
                &[
                    "train.batch_size=1".to_owned(),
                    "data.sequence_length=8".to_owned(),
                ],
            )
            .unwrap();
            let timed = time(&config, &wanted, true, &mut calibrator).unwrap();
            seen.extend(timed.profile().rows.iter().map(|row| row.name));
        }
        for op in OPS {
            assert!(
                seen.iter().any(|name| name.starts_with(op.name)),
                "{} is in no model of `bench op`: add one to MODELS",
                op.name
            );
        }
        assert!(seen.contains(engine::profile::CLIP_NORM));
        assert!(seen.contains(engine::profile::OPTIMIZER));
    }
}
