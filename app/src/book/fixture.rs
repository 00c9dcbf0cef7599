//! Made-up entries for tests.

use super::{Entry, Figures};
use engine::link::ConfigValue;
use engine::run_folder::{Meta, State, Summary};

/// A finished run.
pub fn entry(name: &str) -> Entry {
    let value = |key: &str, value: &str| ConfigValue {
        key: key.to_owned(),
        value: value.to_owned(),
        class: "restart".to_owned(),
        source: "file".to_owned(),
    };
    Entry {
        summary: Summary {
            name: name.to_owned(),
            path: format!("runs/{name}").into(),
            state: State::Finished,
            process: None,
            what: "c.toml".to_owned(),
            created: "2026-03-01T12:00:00.000Z".to_owned(),
            started: "2026-03-01T12:00:00.000Z".to_owned(),
            attempt: 1,
            parameters: Some(1000),
            step: 2000,
            max_steps: Some(2000),
            tokens: 131_072,
            loss: Some(1.5),
            validation_loss: Some(1.75),
            checkpoints: vec![1000, 2000],
            best: Some(1000),
            parent: Some("base@100".to_owned()),
        },
        meta: Meta {
            tags: ["good".to_owned(), "short".to_owned()].into(),
            note: String::new(),
        },
        figures: Figures {
            config: vec![
                value("run.seed", "0"),
                value("optimizer.kind", "\"adamw\""),
                value("optimizer.lr", "0.001"),
                value("data.train", "[\"/data/input.txt\"]"),
                value("data.sequence_length", "256"),
                value("model.layers", "6"),
                value("model.dim", "384"),
            ],
            best: Some((1.625, 1000)),
            bits_per_byte: Some(2.3),
            seconds: 60.5,
            is_paused: false,
        },
        age: Some(3600.0),
    }
}

/// The same with a parent and prompts of its own: a TOML list.
pub fn prompted(name: &str, parent: Option<&str>, prompts: &str) -> Entry {
    let mut run = entry(name);
    run.summary.parent = parent.map(str::to_owned);
    run.figures.config.push(ConfigValue {
        key: "sample.prompts".to_owned(),
        value: prompts.to_owned(),
        class: "live".to_owned(),
        source: "file".to_owned(),
    });
    run
}

/// The same with another value of a key.
pub fn with(mut entry: Entry, key: &str, value: &str) -> Entry {
    for known in &mut entry.figures.config {
        if known.key == key {
            value.clone_into(&mut known.value);
        }
    }
    entry
}
