//! `zerollm bench`: how fast this machine and this program are. Every figure says how it was obtained.

mod data;
pub(in crate::cli) mod device;
mod generate;
mod machine;
mod op;
mod sampling;
mod screen;
mod step;
mod tokenizer;

use super::{ConfigFlags, Failure};
use clap::{Args, Subcommand};
use engine::config::Config;
use engine::data::Batch;
use kernels::philox::Stream;
use machine::Machine;
use std::path::PathBuf;
use std::time::Duration;

/// What to measure.
#[derive(Clone, Debug, Args)]
#[command(
    about = "Measure how fast this machine and this program are",
    after_help = "Figures are medians. The peak of multiply-adds is taken for some milliseconds before and after every sample (or \
        50 ms of samples); samples beside less than 85 % of the best peak seen are dropped, since two virtual processors may \
        share one core for a while, and so are those during which threads waited for a processor (5 % of the time; Linux). Others \
        are taken while there is time, and the result says how many were dropped (`samples`, `dropped`), or kept because a \
        measurement was disturbed throughout (`disturbed`).\n\n\
        Example:\n  zerollm bench machine\n  zerollm bench step configs/nano.toml --profile\n  zerollm bench step --json"
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Longest time for one measurement, in seconds: how long disturbed samples are replaced [default: what is useful, 3 to 30]
    #[arg(long, global = true, value_name = "SECONDS", value_parser = clap::value_parser!(u16))]
    limit: Option<u16>,
}

/// The subcommands.
#[derive(Clone, Debug, Subcommand)]
enum Command {
    Machine(machine::Arguments),
    Op(op::Arguments),
    Gpu(device::Arguments),
    Step(step::Arguments),
    Tokenizer(tokenizer::Arguments),
    Data(data::Arguments),
    Generate(generate::Arguments),
    Screen(screen::Arguments),
}

/// Runs it.
///
/// # Errors
/// If a flag or file is refused.
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let limit = arguments.limit.map_or(Duration::MAX, |seconds| {
        Duration::from_secs(u64::from(seconds))
    });
    match &arguments.command {
        Command::Machine(arguments) => machine::run(arguments),
        Command::Op(arguments) => op::run(arguments, limit),
        Command::Gpu(arguments) => device::run(arguments),
        Command::Step(arguments) => step::run(arguments, limit),
        Command::Tokenizer(arguments) => tokenizer::run(arguments, limit),
        Command::Data(arguments) => data::run(arguments, limit),
        Command::Generate(arguments) => generate::run(arguments, limit),
        Command::Screen(arguments) => screen::run(arguments),
    }
}

/// A configuration, without the data and the tokenizer that it names.
#[derive(Clone, Debug, Args)]
struct Shape {
    /// Configuration file (TOML); without one the embedded demo
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: ConfigFlags,
}

impl Shape {
    fn config(&self) -> Result<Config, Failure> {
        let sets = self.flags.sets();
        Ok(match &self.config {
            Some(file) => Config::load(file, &sets)?,
            None => Config::demo(&sets)?,
        })
    }
}

/// Size of the vocabulary, no tokenizer opened.
fn vocab_size(config: &Config) -> Result<usize, Failure> {
    let tokenizer = &config.tokenizer;
    let known = config.model.vocab_size.or(tokenizer.vocab_size);
    let bytes = || {
        let is_bytes = match tokenizer.algorithm.as_deref() {
            Some(algorithm) => algorithm == "bytes",
            None => tokenizer.path.is_none(),
        };
        is_bytes.then_some(256 + tokenizer.special.len())
    };
    known.or_else(bytes).ok_or_else(|| {
        Failure::new(
            2,
            "model.vocab_size is missing: no tokenizer is opened here, so give it with --set model.vocab_size=N",
        )
    })
}

/// One step's micro-batches of random ids.
fn random_batches(config: &Config, vocab_size: usize) -> Vec<Batch> {
    let (rows, height) = (config.train.batch_size, config.train.micro_batch);
    let seq = config.data.sequence_length;
    let mut stream = Stream::new(config.run.seed, 0x0be0_c400);
    (0..rows)
        .step_by(height.max(1))
        .map(|row0| {
            let height = height.min(rows - row0);
            let size = height * seq;
            let mut ids = || {
                (0..size)
                    .map(|_| stream.below(vocab_size as u64) as i32)
                    .collect()
            };
            Batch {
                rows: height,
                height,
                tokens: ids(),
                targets: ids(),
                doc_start: vec![0; size],
                positions: (0..size).map(|i| (i % seq) as i32).collect(),
                row0: row0 as u64,
                valid_targets: size as u64,
                target_bytes: None,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_cover_the_step_and_stay_in_the_vocabulary() {
        let sets = [
            "train.batch_size=5".to_owned(),
            "train.micro_batch=2".to_owned(),
        ];
        let config = Config::demo(&sets).unwrap();
        let batches = random_batches(&config, 7);
        let heights: Vec<usize> = batches.iter().map(|batch| batch.height).collect();
        assert_eq!(heights, [2, 2, 1]);
        for batch in &batches {
            assert!(
                batch
                    .tokens
                    .iter()
                    .chain(&batch.targets)
                    .all(|id| (0..7).contains(id))
            );
            assert_eq!(
                batch.tokens.len(),
                batch.height * config.data.sequence_length
            );
        }
    }

    #[test]
    fn the_vocabulary_needs_no_tokenizer() {
        let size = |sets: &[&str]| {
            let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
            vocab_size(&Config::demo(&sets).unwrap()).map_err(|failure| failure.code)
        };
        let text = "data = { source = \"storybook\", sequence_length = 8 }\noptimizer.lr = 1.0\n\
            train = { batch_size = 1, max_steps = 1 }\nmodel = { layers = 1, dim = 8, heads = 1 }\n\
            tokenizer.special = [\"<|endoftext|>\"]\n";
        let bytes = Config::parse(None, text, &[]).unwrap();
        assert_eq!(vocab_size(&bytes).map_err(|failure| failure.code), Ok(257));
        assert_eq!(size(&["model.vocab_size=3000"]), Ok(3000));
        assert_eq!(
            size(&["tokenizer.algorithm=bpe", "tokenizer.vocab_size=600"]),
            Ok(600)
        );
    }
}
