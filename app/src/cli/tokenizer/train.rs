//! `zerollm tokenizer train`.

use crate::cli::Failure;
use crate::out;
use clap::{Args, ValueEnum};
use serde_json::json;
use std::cell::RefCell;
use std::fs::File;
use std::io::{BufRead as _, BufReader, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::time::Instant;
use tokenizer::{Ties, TrainOptions, TrainProgress};

/// The algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Algorithm {
    /// Byte-pair encoding on bytes
    Bpe,
}

/// Which pair of equal counts is merged first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum TieRule {
    /// As Hugging Face's trainer: the pair of the smallest ids
    #[default]
    Hf,
    /// The lexicographically greatest pair
    Greatest,
}

/// Flags of `zerollm tokenizer train`.
#[derive(Clone, Debug, Args)]
#[command(
    about = "Train a tokenizer on text files",
    long_about = "Train a tokenizer on text files (UTF-8) and write it as a tokenizer.json that Hugging Face's library reads.\n\n\
        No token reaches over the end of a line. Ids are those of Hugging Face's trainer: special tokens in the order given, \
        the 256 bytes, the merges.",
    after_help = "Example:\n  zerollm tokenizer train --input a.txt b.txt --vocab-size 6400 --special '<|endoftext|>' --output tokenizer.json\n\n\
        JSON: vocab_size, merges, bytes (of text read), seconds, output."
)]
pub struct Arguments {
    /// Text files
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    input: Vec<PathBuf>,
    /// How tokens are learned
    #[arg(long, value_enum, default_value_t = Algorithm::Bpe)]
    algorithm: Algorithm,
    /// Tokens in all: the 256 bytes and the special tokens count
    #[arg(long, value_name = "N")]
    vocab_size: usize,
    /// Special tokens, in the order of their ids from 0
    #[arg(long, value_name = "TOKEN", num_args = 1..)]
    special: Vec<String>,
    /// How text is split before pairs are counted: gpt2, gpt4, ...
    #[arg(long, value_name = "NAME", default_value = "gpt2")]
    pre_tokenizer: String,
    /// Which pair of equal counts is merged first
    #[arg(long, value_enum, default_value_t)]
    ties: TieRule,
    /// Where to write the tokenizer.json
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let start = Instant::now();
    let Algorithm::Bpe = arguments.algorithm;
    let folder = arguments.output.parent().unwrap_or(Path::new(""));
    if !folder.as_os_str().is_empty() && !folder.is_dir() {
        return Err(Failure::new(
            2,
            format!("{}: there is no such folder to write to", folder.display()),
        ));
    }
    if arguments.output.is_dir() {
        return Err(Failure::new(
            2,
            format!(
                "{}: this is a folder; name the file to write",
                arguments.output.display()
            ),
        ));
    }
    for file in &arguments.input {
        let metadata = std::fs::metadata(file)
            .map_err(|error| Failure::new(2, format!("{}: {error}", file.display())))?;
        if metadata.is_dir() {
            return Err(Failure::new(
                2,
                format!("{}: this is a folder; name files", file.display()),
            ));
        }
        if metadata.is_file() && metadata.len() == 0 {
            return Err(Failure::new(
                2,
                format!("{}: the file is empty", file.display()),
            ));
        }
    }
    let lines = Lines::new(&arguments.input);
    let watched = std::io::stderr().is_terminal() && !arguments.json;
    let mut progress = |at: TrainProgress| {
        if watched {
            match at {
                TrainProgress::Counting { bytes } => {
                    eprint!("\r\x1b[2Kcounting: {}", crate::text::bytes(bytes));
                }
                TrainProgress::Merging { tokens, vocab_size } => {
                    eprint!("\r\x1b[2Kmerging: {tokens} of {vocab_size} tokens");
                }
            }
        }
    };
    let options = TrainOptions {
        vocab_size: arguments.vocab_size,
        specials: arguments.special.clone(),
        split: arguments.pre_tokenizer.clone(),
        ties: match arguments.ties {
            TieRule::Hf => Ties::Hf,
            TieRule::Greatest => Ties::Greatest,
        },
        progress: Some(&mut progress),
        ..TrainOptions::default()
    };
    let trained = tokenizer::train(&lines, options);
    if watched {
        eprint!("\r\x1b[2K");
    }
    let bytes = lines.bytes()?;
    let trained = trained?;
    trained.save(&arguments.output)?;
    let size = trained.vocab_size();
    let merges = size - 256 - arguments.special.len();
    if size < arguments.vocab_size {
        eprintln!(
            "zerollm: the text has pairs for {size} tokens only, {} were asked for",
            arguments.vocab_size
        );
    }
    let seconds = start.elapsed().as_secs_f64();
    let output = arguments.output.display().to_string();
    if arguments.json {
        out::json(&json!({
            "vocab_size": size,
            "merges": merges,
            "bytes": bytes,
            "seconds": seconds,
            "output": output,
        }))?;
    } else {
        out::line(&format!(
            "{}: {size} tokens ({merges} merges) from {} of text in {}",
            crate::text::escape(&output),
            crate::text::bytes(bytes),
            crate::text::duration(seconds)
        ))?;
    }
    Ok(0)
}

/// The lines of some files, endings included. What goes wrong while they are read ends them, and is told afterwards.
struct Lines<'a> {
    files: &'a [PathBuf],
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    bytes: u64,
    failure: Option<Failure>,
}

impl<'a> Lines<'a> {
    fn new(files: &'a [PathBuf]) -> Self {
        Self {
            files,
            state: RefCell::default(),
        }
    }

    /// Bytes read; or why they could not be.
    fn bytes(&self) -> Result<u64, Failure> {
        let state = self.state.borrow();
        match &state.failure {
            Some(failure) => Err(failure.clone()),
            None => Ok(state.bytes),
        }
    }

    fn fail(&self, file: &Path, message: &str) {
        let failure = Failure::new(2, format!("{}: {message}", file.display()));
        self.state.borrow_mut().failure.get_or_insert(failure);
    }
}

impl<'a> IntoIterator for &'a Lines<'a> {
    type Item = String;
    type IntoIter = LinesIter<'a>;

    fn into_iter(self) -> LinesIter<'a> {
        LinesIter {
            lines: self,
            next_file: 0,
            line: 0,
            reader: None,
        }
    }
}

struct LinesIter<'a> {
    lines: &'a Lines<'a>,
    next_file: usize,
    line: u64,
    reader: Option<BufReader<File>>,
}

impl Iterator for LinesIter<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        loop {
            let Some(reader) = &mut self.reader else {
                let file = self.lines.files.get(self.next_file)?;
                self.next_file += 1;
                self.line = 0;
                match File::open(file) {
                    Ok(opened) => self.reader = Some(BufReader::with_capacity(1 << 20, opened)),
                    Err(error) => {
                        self.lines.fail(file, &error.to_string());
                        return None;
                    }
                }
                continue;
            };
            let file = &self.lines.files[self.next_file - 1];
            let mut line = Vec::new();
            self.line += 1;
            match reader.read_until(b'\n', &mut line) {
                Ok(0) => self.reader = None,
                Ok(read) => {
                    self.lines.state.borrow_mut().bytes += read as u64;
                    let Ok(text) = String::from_utf8(line) else {
                        let message = format!("not a text in UTF-8 (line {})", self.line);
                        self.lines.fail(file, &message);
                        return None;
                    };
                    return Some(text);
                }
                Err(error) => {
                    self.lines.fail(file, &error.to_string());
                    return None;
                }
            }
        }
    }
}
