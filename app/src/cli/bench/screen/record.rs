//! A made-up run: the events of a long training, cheap to make and different at every step.

use engine::link::{Body, ConfigValue, Eval, Event, Layers, Memory, Started, Step};
use kernels::philox;

/// Layers of the made-up model.
const LAYERS: usize = 14;
/// Tokens of a step.
const TOKENS: u64 = 8192;
/// Seconds of a step.
const SECONDS: f64 = 0.174;
const TIME: &str = "2026-03-01T14:00:00.000Z";

fn event(body: Body) -> Event {
    let time = TIME.to_owned();
    Event { body, time }
}

/// A number from -1 to 1 that follows from `i`.
fn noise(i: u64) -> f64 {
    f64::from(philox::Stream::new(i, 0x5c4e_e400).below(20_001) as u32) / 10_000.0 - 1.0
}

fn layers() -> Vec<String> {
    (0..LAYERS).map(|layer| format!("blocks.{layer}")).collect()
}

/// The head of the run.
pub(super) fn started(max_steps: u64) -> Event {
    let value = |key: &str, value: &str| ConfigValue {
        key: key.to_owned(),
        value: value.to_owned(),
        class: "restart".to_owned(),
        source: "file".to_owned(),
    };
    let started = Started {
        schema: 1,
        run: "bench".to_owned(),
        attempt: 1,
        config_version: 1,
        parameters: 22_500_000,
        device: "cpu".to_owned(),
        isa: "avx512".to_owned(),
        threads: 2,
        precision: "f32".to_owned(),
        max_steps,
        tokens_per_step: TOKENS,
        floor_loss: Some(1.2),
        layers: layers(),
        memory: Memory {
            parameters: 90_000_000,
            gradients: 90_000_000,
            optimizer: 180_000_000,
            activations: 700_000_000,
            total: 1_060_000_000,
            ..Memory::default()
        },
        config: vec![
            value("model.layers", "14"),
            value("model.dim", "512"),
            value("data.sequence_length", "512"),
            value("optimizer.lr", "0.001"),
        ],
        ..Started::default()
    };
    event(Body::Started(Box::new(started)))
}

/// Step `step`: a loss that falls, with noise and now and then a spike.
pub(super) fn step(step: u64) -> Event {
    let s = step as f64;
    let spike = if step.is_multiple_of(9973) { 3.0 } else { 0.0 };
    let noise = noise(step);
    let loss = 1.5 + 6.0 / (1.0 + s / 400.0) + 0.1 * noise + spike;
    event(Body::Step(Step {
        step,
        attempt: 1,
        loss,
        lr: 1e-3 * (s / 1000.0).min(1.0) / (1.0 + s / 2e6),
        grad_norm: 0.4 + 0.3 * noise.abs() + spike,
        clipped: spike > 0.0,
        tokens: step * TOKENS,
        tokens_per_second: 47_000.0 + 1500.0 * noise,
        step_seconds: SECONDS,
        data_wait_seconds: 0.001,
    }))
}

fn evaluated(step: u64) -> Event {
    let loss = 1.55 + 6.0 / (1.0 + step as f64 / 400.0);
    event(Body::Eval(Eval {
        step,
        split: "validation".to_owned(),
        loss,
        perplexity: loss.exp(),
        bits_per_byte: Some(loss / 2.0),
        tokens: 65_536,
        best: true,
    }))
}

fn measured(step: u64) -> Event {
    let of = |scale: f64| -> Vec<f64> {
        let layers = 0..LAYERS as u64;
        let value = |layer| scale * (1.0 + 0.1 * noise(step + layer));
        layers.map(value).collect()
    };
    event(Body::Layers(Layers {
        step,
        names: layers(),
        activation_rms: of(0.6),
        gradient_rms: of(2e-4),
        weight_rms: of(0.02),
        update_ratio: of(1e-3),
        ..Layers::default()
    }))
}

fn wrote(step: u64) -> Event {
    event(Body::Sample {
        step,
        prompt: "The small fox".to_owned(),
        text: " sees a red house near the river. She asks the old farmer for bread.".to_owned(),
        readable: None,
    })
}

fn saved(step: u64) -> Event {
    event(Body::Checkpoint {
        step,
        path: format!("checkpoints/step_{step:08}"),
        seconds: 0.4,
        bytes: 360_000_000,
        reason: "interval".to_owned(),
    })
}

/// All events of a run of `rows` steps, handed on one by one.
///
/// # Errors
/// The first of `take`.
pub(super) fn tell<E>(rows: u64, mut take: impl FnMut(Event) -> Result<(), E>) -> Result<(), E> {
    let every = |parts: u64, step: u64| step.is_multiple_of((rows / parts).max(1));
    take(started(rows * 2))?;
    for number in 1..=rows {
        take(step(number))?;
        if every(2000, number) {
            take(measured(number))?;
        }
        if every(200, number) {
            take(evaluated(number))?;
        }
        if every(100, number) {
            take(wrote(number))?;
        }
        if every(50, number) {
            take(saved(number))?;
        }
    }
    Ok(())
}
