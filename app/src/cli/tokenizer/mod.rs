//! `zerollm tokenizer`: trains, uses and shows tokenizers.

mod decode;
mod encode;
mod inspect;
mod train;

use super::Failure;
use clap::{Args, Subcommand};
use std::path::PathBuf;
use tokenizer::{LoadOptions, SpecialMode, Tokenizer, TokenizerError};

/// What to do with tokenizers.
#[derive(Clone, Debug, Args)]
#[command(
    about = "Train, use and show tokenizers",
    after_help = "A tokenizer T is a tokenizer.json; a folder with one, or with vocab.json and merges.txt (GPT-2's split and \
        <|endoftext|>); or a .tiktoken file: one named r50k, cl100k or o200k takes that encoding's split and special tokens, \
        another needs --pre-tokenizer.\n\n\
        Example:\n  zerollm tokenizer train --input corpus.txt --vocab-size 6400 --special '<|endoftext|>' --output tokenizer.json\n  \
        zerollm tokenizer encode --tokenizer tokenizer.json --text \"Once upon a time\""
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// The subcommands.
#[derive(Clone, Debug, Subcommand)]
enum Command {
    Train(train::Arguments),
    Encode(encode::Arguments),
    Decode(decode::Arguments),
    Inspect(inspect::Arguments),
}

/// Runs it.
///
/// # Errors
/// If a file or a flag is refused.
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    match &arguments.command {
        Command::Train(arguments) => train::run(arguments),
        Command::Encode(arguments) => encode::run(arguments),
        Command::Decode(arguments) => decode::run(arguments),
        Command::Inspect(arguments) => inspect::run(arguments),
    }
}

/// A tokenizer that exists.
#[derive(Clone, Debug, Args)]
struct Which {
    /// tokenizer.json, a folder with one (or with vocab.json and merges.txt), or a .tiktoken file
    #[arg(long, value_name = "T")]
    tokenizer: PathBuf,
    /// How text is split, for a .tiktoken file that does not say
    #[arg(long, value_name = "NAME")]
    pre_tokenizer: Option<String>,
}

impl Which {
    fn load(&self) -> Result<Tokenizer, Failure> {
        let split = self.pre_tokenizer.clone();
        Ok(Tokenizer::load_with(
            &self.tokenizer,
            &LoadOptions { split },
        )?)
    }
}

impl From<TokenizerError> for Failure {
    fn from(error: TokenizerError) -> Self {
        Self::new(2, error.to_string())
    }
}

/// Whether special tokens in a text become their ids.
fn mode(no_special: bool) -> SpecialMode {
    if no_special {
        SpecialMode::AsText
    } else {
        SpecialMode::Parse
    }
}
