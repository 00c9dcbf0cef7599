//! Made-up runs for the tests of the screen: plausible, deterministic, with a spike, an edit, checkpoints and samples.

use engine::link::{
    Attention, Body, Change, Command, ConfigValue, Eval, Event, Layers, Memory, Started, Step,
};
use engine::sketch::{Counter, Sketch};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

mod machine;
pub mod samples;
mod states;

pub use states::states;

use super::Workbench;
use crate::chart::glyph::GlyphSet;
use crate::lang::Lang;
use crate::theme::{Palette, Theme};
use crate::view::View;

/// Steps that the made-up run shall make.
pub const MAX_STEPS: u64 = 2000;

pub fn event(body: Body, seconds: u64) -> Event {
    let (h, m, s) = (14 + seconds / 3600, seconds / 60 % 60, seconds % 60);
    Event {
        body,
        time: format!("2026-03-01T{h:02}:{m:02}:{s:02}Z"),
    }
}

/// Numbers between -1 and 1 that look random.
fn noise(i: u64) -> f64 {
    let mut x = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bd1_e995;
    x ^= x >> 31;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 27;
    (x % 20_001) as f64 / 10_000.0 - 1.0
}

pub fn started() -> Event {
    let value = |key: &str, value: &str, class: &str, source: &str| ConfigValue {
        key: key.into(),
        value: value.into(),
        class: class.into(),
        source: source.into(),
    };
    event(
        Body::Started(Box::new(Started {
            schema: 1,
            run: "demo".into(),
            attempt: 1,
            config_version: 1,
            parameters: 3_412_608,
            device: "cpu".into(),
            isa: "avx512".into(),
            threads: 8,
            precision: "f32".into(),
            step: 0,
            max_steps: MAX_STEPS,
            tokens_per_step: 8192,
            floor_bits_per_byte: Some(0.62),
            floor_loss: Some(1.21),
            bytes_per_token: Some(2.8),
            layers: layer_names(),
            memory: Memory {
                parameters: 13_650_432,
                gradients: 13_650_432,
                optimizer: 27_300_864,
                activations: 201_326_592,
                workspace: 33_554_432,
                data: 4_194_304,
                runtime: 41_943_040,
                total: 335_620_096,
            },
            chat_bytes: 18_874_368,
            config: vec![
                value("run.name", "\"demo\"", "restart", "file"),
                value("run.seed", "0", "restart", "default"),
                value("data.train", "[\"text.txt\"]", "restart", "file"),
                value("data.sequence_length", "256", "restart", "file"),
                value("model.layers", "6", "restart", "file"),
                value("model.dim", "256", "restart", "file"),
                value("model.heads", "4", "restart", "file"),
                value("model.mixer.kind", "\"gqa\"", "restart", "default"),
                value("optimizer.kind", "\"adamw\"", "restart", "default"),
                value("optimizer.lr", "0.001", "live", "file"),
                value("optimizer.weight_decay", "0.1", "live", "default"),
                value("schedule.kind", "\"cosine\"", "live", "file"),
                value("schedule.lr_scale", "1.0", "live", "default"),
                value("schedule.warmup_steps", "100", "live", "file"),
                value("train.batch_size", "32", "restart", "file"),
                value("train.micro_batch", "32", "boundary", "default"),
                value("train.max_steps", "2000", "live", "flag"),
                value("train.clip_norm", "1.0", "live", "default"),
                value("train.eval_interval", "200", "live", "file"),
                value("train.checkpoint_interval", "500", "live", "file"),
            ],
        })),
        0,
    )
}

fn layer_names() -> Vec<String> {
    let mut names = vec!["embed".to_owned()];
    for block in 0..6 {
        names.push(format!("blocks.{block}.mixer"));
        names.push(format!("blocks.{block}.ffn"));
    }
    names.push("norm".into());
    names.push("head".into());
    names
}

pub fn step(step: u64) -> Event {
    let s = step as f64;
    let loss = 1.45 + 6.6 * (-s / 160.0).exp() + 0.9 * (-s / 900.0).exp() + 0.07 * noise(step);
    let spike = if step == 1203 { 3.4 } else { 0.0 };
    let warmup = (s / 100.0).min(1.0);
    let lr = 1e-3 * warmup * (0.55 + 0.45 * (std::f64::consts::PI * s / MAX_STEPS as f64).cos());
    let grad_norm = 0.4 + 3.0 * (-s / 60.0).exp() + 0.12 * noise(step + 7).abs() + spike * 2.0;
    event(
        Body::Step(Step {
            step,
            attempt: 1,
            loss: loss + spike,
            lr,
            grad_norm,
            clipped: grad_norm > 1.0,
            tokens: step * 8192,
            tokens_per_second: 47_000.0 + 1500.0 * noise(step + 3)
                - if step % 200 == 1 { 20_000.0 } else { 0.0 },
            step_seconds: 0.174,
            data_wait_seconds: 0.001,
        }),
        step * 174 / 1000,
    )
}

/// A bell, a little to the right of zero, with a few values that are zero.
fn sketch(scale: f64) -> Sketch {
    const COUNT: usize = 400;
    let mut counter = Counter::new(COUNT, &[1]);
    counter.add(COUNT, |at| {
        let share = (at as f64 + 0.5) / COUNT as f64;
        let value = (2.0 * share - 1.0).atanh() * 1.1 + 0.1;
        if at % 50 == 0 {
            0.0
        } else {
            (scale * value) as f32
        }
    });
    counter.sketch()
}

fn layers(step: u64) -> Event {
    let names = layer_names();
    let value = |scale: f64, grow: f64| -> Vec<f64> {
        (0..names.len() as u64)
            .map(|i| {
                let drift = 1.0 + grow * (step as f64 / 800.0).min(1.5);
                scale * drift * (1.0 + i as f64 * 0.12) * (1.0 + 0.1 * noise(step * 31 + i))
            })
            .collect()
    };
    let mut activation_rms = value(0.6, 0.8);
    if step > 1500 {
        activation_rms[10] *= 9.0;
    }
    let gradient_rms = value(2e-4, -0.5);
    let spread = |scales: &[f64]| scales.iter().map(|scale| sketch(*scale)).collect();
    event(
        Body::Layers(Layers {
            step,
            activation_max: activation_rms.iter().map(|rms| rms * 5.5).collect(),
            activation_nonfinite: vec![0.0; names.len()],
            activation_sketch: spread(&activation_rms),
            gradient_sketch: spread(&gradient_rms),
            activation_rms,
            gradient_rms,
            weight_rms: value(0.02, 0.9),
            update_ratio: value(1.1e-3, -0.4),
            dead_share: (0..names.len())
                .map(|i| if i % 4 == 2 { 0.01 * i as f64 } else { 0.0 })
                .collect(),
            names,
        }),
        step * 174 / 1000,
    )
}

fn eval(step: u64) -> Event {
    let s = step as f64;
    let loss = 1.5 + 6.6 * (-s / 160.0).exp() + 0.92 * (-s / 900.0).exp();
    event(
        Body::Eval(Eval {
            step,
            split: "validation".into(),
            loss,
            perplexity: loss.exp(),
            bits_per_byte: Some(loss / std::f64::consts::LN_2 / 2.8),
            tokens: 65_536,
            best: true,
        }),
        step * 174 / 1000,
    )
}

fn sample(step: u64) -> Event {
    event(
        Body::Sample {
            step,
            prompt: "The small fox".into(),
            text: " sees a red house near the river. She asks the old farmer for bread, and the farmer gives her a \
                   warm apple.\nThe child runs home before the rain begins."
                .into(),
            readable: Some(0.35 + step as f64 / 4000.0),
        },
        step * 174 / 1000,
    )
}

/// Where tokens look: at themselves, at the first, and a little at what is between.
pub fn attention(step: u64, tokens: &[&str], layers: usize, heads: usize) -> Event {
    let row = |i: usize| -> Vec<f64> {
        let weight = |j: usize| match j {
            0 => 3.0,
            j if j == i => 2.0,
            j => 0.1 + (noise((i * 31 + j) as u64) + 1.0) / 4.0,
        };
        let sum: f64 = (0..=i).map(weight).sum();
        (0..=i)
            .map(|j| (weight(j) / sum * 1e3).round() / 1e3)
            .collect()
    };
    let map = Attention {
        step,
        prompt: tokens.concat(),
        tokens: tokens.iter().map(|t| (*t).to_owned()).collect(),
        skipped: 0,
        layer: 0,
        head: 0,
        rows: (0..tokens.len()).map(row).collect(),
        entropies: (0..layers)
            .map(|l| (0..heads).map(|h| 0.4 * (l + h) as f64).collect())
            .collect(),
    };
    event(Body::Attention(Box::new(map)), step * 174 / 1000)
}

pub fn checkpoint(step: u64, reason: &str) -> Event {
    event(
        Body::Checkpoint {
            step,
            path: format!("checkpoints/step_{step:08}"),
            seconds: 0.41,
            bytes: 54_601_728,
            reason: reason.into(),
        },
        step * 174 / 1000,
    )
}

/// All events of the run up to a step.
pub fn events(until: u64) -> Vec<Event> {
    let mut events = vec![started(), machine::plan()];
    for s in 1..=until {
        events.push(step(s));
        if s % 25 == 0 {
            events.push(layers(s));
        }
        if s == 7 {
            events.push(machine::profile(s));
        }
        if s % 100 == 0 {
            events.push(machine::system(s));
        }
        if s % 200 == 0 {
            events.push(eval(s));
            events.push(sample(s));
        }
        if s % 500 == 0 {
            events.push(checkpoint(s, "interval"));
        }
        if s == 900 {
            events.push(event(
                Body::ConfigApplied {
                    step: s,
                    version: 2,
                    changes: vec![Change {
                        key: "schedule.lr_scale".into(),
                        from: "1.0".into(),
                        to: "0.5".into(),
                    }],
                },
                s * 174 / 1000,
            ));
        }
        if s == 1203 {
            let message = "grad_norm 7.24 is 17x its median";
            events.push(event(
                Body::Warning {
                    step: s,
                    message: message.into(),
                    note: false,
                },
                s * 174 / 1000,
            ));
        }
    }
    events
}

pub fn bench() -> Workbench {
    Workbench::new(View::new(
        Lang::En,
        Theme::new(Palette::Mono),
        GlyphSet::Braille,
    ))
}

pub fn hear_all(bench: &mut Workbench, events: &[Event]) {
    for event in events {
        bench.hear(event);
    }
}

/// The made-up run in full training.
pub fn normal() -> Workbench {
    let mut bench = bench();
    hear_all(&mut bench, &events(640));
    bench
}

/// What the engine was asked for since the last call.
pub fn asked(bench: &mut Workbench) -> Vec<Command> {
    std::mem::take(&mut bench.outbox)
        .into_iter()
        .map(|r| r.command)
        .collect()
}

/// Presses keys.
pub fn press(bench: &mut Workbench, keys: &[&str]) {
    for key in keys {
        bench.press(key);
    }
}

/// Types a text, one key a character.
pub fn type_text(bench: &mut Workbench, text: &str) {
    for c in text.chars() {
        match c {
            ' ' => bench.press("space"),
            c => bench.press(&c.to_string()),
        }
    }
}

/// Gives a line to the command line.
pub fn line(bench: &mut Workbench, line: &str) {
    bench.press(":");
    type_text(bench, line);
    bench.press("enter");
}

/// The event of a change that is in force.
pub fn applied(version: u32, key: &str, from: &str, to: &str) -> Event {
    let body = Body::ConfigApplied {
        step: 640,
        version,
        changes: vec![Change {
            key: key.into(),
            from: from.into(),
            to: to.into(),
        }],
    };
    event(body, 640)
}

/// The request to change a key.
pub fn set(key: &str, value: &str) -> Command {
    Command::Set {
        key: key.into(),
        value: value.into(),
    }
}

/// The screen as lines of text.
pub fn text(bench: &Workbench, width: u16, height: u16) -> String {
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    bench.render(area, &mut buffer);
    lines(&buffer, area)
}

/// The cells of an area as lines of text.
pub fn lines(buffer: &Buffer, area: Rect) -> String {
    let mut out = String::new();
    for y in 0..area.height {
        let mut skip = 0;
        for x in 0..area.width {
            // The cell behind a wide character holds nothing of its own.
            if skip > 0 {
                skip -= 1;
                continue;
            }
            let symbol = buffer[(x, y)].symbol();
            skip = crate::text::width(symbol).saturating_sub(1);
            out.push_str(symbol);
        }
        let line = out.trim_end_matches(' ').len();
        out.truncate(line);
        out.push('\n');
    }
    out
}
