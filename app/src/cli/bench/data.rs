//! `zerollm bench data`.

use super::sampling::{Calibrator, Samples, Tally, Wanted, quartiles};
use super::{Machine, Shape};
use crate::cli::Failure;
use crate::out;
use crate::text;
use clap::Args;
use engine::config::{Config, DataSource};
use engine::data::{self, Cache, Datasets, Loader};
use engine::estimate::allowed_threads;
use engine::link::Interrupt;
use engine::setup;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Flags of `zerollm bench data`.
#[derive(Clone, Debug, Args)]
#[command(
    about = "Encoding text into token shards, and loading batches",
    long_about = "Time what stands between files and training steps: opening the data with nothing in the cache (text is encoded \
        into token shards), opening it again (the shards are found), and the loader, which cuts batches from them on a thread of \
        its own. Without a configuration: 4 MiB of generated stories in a file, with a vocabulary of 2048 and batches of \
        16 x 512. Medians; MB are 10^6 bytes of text. Files lie in the system's own cache after the first try.",
    after_help = "Example:\n  zerollm bench data\n  zerollm bench data configs/nano.toml --json\n\n\
        JSON: bytes, documents, tokens (null for .bin files and endless stories), cold_mb_per_second, warm_mb_per_second (null \
        where nothing is encoded), loader_tokens_per_second, each rate also with _quartiles, samples, dropped, disturbed, machine."
)]
pub struct Arguments {
    #[command(flatten)]
    shape: Shape,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Samples of opening.
const OPENING: Wanted = Wanted {
    clean: 5,
    least: Duration::ZERO,
    limit: Duration::from_secs(20),
};
/// Samples of loading.
const LOADING: Wanted = Wanted {
    clean: 20,
    least: Duration::from_millis(500),
    limit: Duration::from_secs(5),
};
/// A sample of loading takes at least so many seconds.
const LONG_ENOUGH: f64 = 2e-3;
/// Steps that the loader has ready from before the clock was started, and more.
const READY: usize = 4;

pub(super) fn run(arguments: &Arguments, limit: Duration) -> Result<u8, Failure> {
    let scratch = tempfile::tempdir().map_err(|error| {
        Failure::new(
            1,
            format!("no temporary folder: {error}; set TMPDIR to one"),
        )
    })?;
    let config = if arguments.shape.config.is_some() {
        arguments.shape.config()?
    } else {
        generated(scratch.path(), &arguments.shape.flags.sets())?
    };
    let cache = Cache::at(scratch.path().join("cache"));
    let tokenizer = setup::tokenizer(
        &config,
        None,
        Some(&cache),
        &Interrupt::default(),
        &mut |_| {},
    )?
    .map(Arc::new);
    let vocab = setup::vocab_size(&config, tokenizer.as_deref())?;
    let open = || data::open(&config, tokenizer.as_ref(), vocab, Some(&cache));
    // Errors are told before anything is timed.
    let mut datasets = open().map_err(setup::SetupError::from)?;
    let report = datasets.report;
    let encoded = config.data.source == DataSource::Files && report.bytes.is_some();
    let mut calibrator = Calibrator::new(allowed_threads(), limit);
    let mut opening = |cold: bool| {
        calibrator.sample(&OPENING, || {
            if cold {
                // A cache that cannot be cleared shows as a cold rate that is as high as the warm one.
                drop(cache.clear());
            }
            let start = Instant::now();
            let opened = open();
            let seconds = start.elapsed().as_secs_f64();
            if let Ok(opened) = opened {
                datasets = opened;
            }
            report.bytes.unwrap_or(0) as f64 / 1e6 / seconds
        })
    };
    let (cold, warm) = if encoded {
        (Some(opening(true)), Some(opening(false)))
    } else {
        (None, None)
    };
    let loaded = load(&config, &datasets, &mut calibrator);
    let machine = Machine::measure(allowed_threads()).raise(calibrator.best());
    let all = [cold.as_ref(), warm.as_ref(), Some(&loaded)];
    let mut tally = Tally::default();
    for samples in all.into_iter().flatten() {
        tally.add(samples);
    }
    let rates = |samples: Samples<f64>| quartiles(samples.kept);
    let (cold, warm, loaded) = (cold.map(rates), warm.map(rates), rates(loaded));
    if arguments.json {
        let median = |rates: Option<[f64; 3]>| json!(rates.map(|rates| rates[1]));
        let spread =
            |rates: Option<[f64; 3]>| -> Value { json!(rates.map(|rates| [rates[0], rates[2]])) };
        let mut object = json!({
            "bytes": report.bytes,
            "documents": report.documents,
            "tokens": (report.tokens > 0).then_some(report.tokens),
            "cold_mb_per_second": median(cold),
            "cold_mb_per_second_quartiles": spread(cold),
            "warm_mb_per_second": median(warm),
            "warm_mb_per_second_quartiles": spread(warm),
            "loader_tokens_per_second": loaded[1],
            "loader_tokens_per_second_quartiles": [loaded[0], loaded[2]],
            "machine": machine.json(),
        });
        tally.put(&mut object);
        out::json(&object)?;
        return Ok(0);
    }
    if let Some(bytes) = report.bytes {
        let documents = report.documents.unwrap_or(0);
        out::line(&format!(
            "text      {} in {} documents and {} tokens",
            text::bytes(bytes),
            text::count(documents),
            text::count(report.tokens)
        ))?;
    }
    for (word, rates) in [("cold", cold), ("warm", warm)] {
        if let Some([low, median, high]) = rates {
            out::line(&format!(
                "{word}      {median:.1} MB/s, quartiles {low:.1} to {high:.1}"
            ))?;
        }
    }
    let [low, median, high] = loaded.map(|rate| rate / 1e6);
    out::line(&format!(
        "loader    {median:.2} million tokens/s, quartiles {low:.2} to {high:.2}"
    ))?;
    if let Some(note) = tally.note() {
        out::line(&format!("samples   {note}"))?;
    }
    out::line(&machine.line())?;
    Ok(0)
}

/// A configuration for stories that are written to a file in `folder`.
fn generated(folder: &Path, flags: &[String]) -> Result<Config, Failure> {
    let texts = data::training_texts(&Config::demo(&[])?)
        .map_err(|error| Failure::new(2, error.to_string()))?;
    let path = folder.join("stories.txt");
    std::fs::write(&path, texts.join("<|endoftext|>"))
        .map_err(|error| Failure::new(1, format!("{}: {error}", path.display())))?;
    let text = format!(
        "[data]\ntrain = [{:?}]\nsequence_length = 512\ndocument_separator = \"<|endoftext|>\"\n\
         [tokenizer]\nalgorithm = \"bpe\"\nvocab_size = 2048\nspecial = [\"<|endoftext|>\"]\n\
         [model]\nlayers = 1\ndim = 64\nheads = 1\n[optimizer]\nlr = 1.0\n\
         [train]\nbatch_size = 16\nmax_steps = 1\n",
        path.display().to_string()
    );
    Ok(Config::parse(None, &text, flags)?)
}

/// Tokens a second from a loader that is always waited for.
fn load(config: &Config, datasets: &Datasets, calibrator: &mut Calibrator) -> Samples<f64> {
    let train = &config.train;
    let tokens = (train.batch_size * config.data.sequence_length) as f64;
    let mut loader = Loader::new(
        Arc::clone(&datasets.train),
        train.batch_size,
        train.micro_batch,
        1,
    );
    calibrator.sample(&LOADING, || {
        for _ in 0..READY {
            loader.next_step();
        }
        let start = Instant::now();
        let mut steps = 0;
        while start.elapsed().as_secs_f64() < LONG_ENOUGH || steps < 2 * READY {
            std::hint::black_box(loader.next_step());
            steps += 1;
        }
        tokens * f64::from(steps as u32) / start.elapsed().as_secs_f64()
    })
}
