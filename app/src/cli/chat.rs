//! `zerollm chat`: talks with a model, line by line.

use super::Failure;
use super::model::ModelFlags;
use super::sampling::Sampling;
use crate::out;
use clap::Args;
use engine::infer::chat::{CONTEXT, Chat};
use engine::infer::generate::Finish;
use signal_hook::consts::SIGINT;
use signal_hook::iterator::Signals;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Flags of `zerollm chat`.
#[derive(Clone, Debug, Args)]
#[command(
    about = "Talk with a model",
    long_about = "Talk with a model.\n\n\
        A line of stdin is a turn; the answer goes to stdout as it is made, control characters escaped. Where the tokenizer \
        has the tokens <|im_start|> and <|im_end|>, turns are set in the ChatML template; a base model continues the text \
        instead: the next line is put behind it on a line of its own, an empty line lets it go on, and behind the end of a \
        text the next line begins another. A conversation longer than the context is cut from the left. The end of the input \
        ends the chat; Ctrl-C stops an answer, twice it leaves. The first answer is drawn with --seed, each later one with \
        the next number.",
    after_help = "Examples:\n  zerollm chat --run demo\n  zerollm chat --run demo@500 --temperature 0.7 --top-p 0.95\n  \
        printf 'One day\\n' | zerollm chat --model ./Qwen3-0.6B --max-tokens 40"
)]
pub struct Arguments {
    #[command(flatten)]
    pub model: ModelFlags,
    #[command(flatten)]
    pub sampling: Sampling,
    /// Most tokens of the conversation that the model sees, up to its own context
    #[arg(long, value_name = "N", default_value_t = CONTEXT, value_parser = context)]
    pub context: usize,
}

/// How soon a second Ctrl-C leaves where no answer is under way.
const TWICE: Duration = Duration::from_secs(2);

fn context(text: &str) -> Result<usize, String> {
    let value = text.parse().ok();
    value
        .filter(|value| *value > 1)
        .ok_or_else(|| "expected a number of 2 or more".to_owned())
}

/// Runs it.
///
/// # Errors
/// If there is no such model, it has no tokenizer, or it does not fit.
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let loaded = arguments.model.load()?;
    let mut chat = Chat::new(loaded, arguments.context)
        .map_err(|error| Failure::new(error.exit_code(), error.to_string()))?;
    let stop = Stop::install().map_err(|error| Failure::new(1, format!("signals: {error}")))?;
    let person = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if person {
        let kind = if chat.continues() {
            "it continues text; an empty line lets it go on"
        } else {
            "ChatML"
        };
        let context = chat.context();
        note(&format!(
            "{kind}; context {context} tokens; Ctrl-D ends, Ctrl-C stops an answer"
        ));
    }
    let mut writing = arguments.sampling.writing(false);
    let mut lines = std::io::stdin().lock().lines();
    loop {
        if person {
            out::text("> ")?;
        }
        let Some(line) = lines.next() else { break };
        let line = line.map_err(|error| Failure::new(2, format!("stdin: {error}")))?;
        if line.is_empty() && !chat.continues() {
            continue;
        }
        let mut failure = None;
        let mut ends_line = false;
        stop.begin();
        let answer = chat.say(&line, &writing, &mut |piece| {
            if !piece.is_empty() {
                ends_line = piece.ends_with('\n');
                failure = out::text(&out::visible(piece)).err();
            }
            failure.is_none() && !stop.is_asked()
        });
        stop.end();
        if let Some(failure) = failure {
            return Err(failure);
        }
        if !ends_line {
            out::line("")?;
        }
        if answer.cut > 0 {
            note(&format!(
                "the oldest {} tokens were cut to fit the context of {}",
                answer.cut,
                chat.context()
            ));
        }
        if person {
            let why = match answer.finish {
                Finish::Caller => "stopped",
                other => other.word(),
            };
            note(&format!(
                "[{} tokens, {why}, seed {}]",
                answer.tokens, answer.seed
            ));
        }
        writing.sampler.seed = writing.sampler.seed.wrapping_add(1);
    }
    if person {
        out::line("")?;
    }
    Ok(0)
}

/// A line for the person, on stderr; whoever closed it does not want to know.
fn note(line: &str) {
    drop(writeln!(std::io::stderr(), "zerollm: {line}"));
}

/// What Ctrl-C asks for.
struct Stop {
    asked: Arc<AtomicBool>,
    answering: Arc<AtomicBool>,
}

impl Stop {
    /// Turns Ctrl-C into a wish; the second one during an answer, or soon after one without, leaves.
    fn install() -> std::io::Result<Self> {
        let stop = Self {
            asked: Arc::default(),
            answering: Arc::default(),
        };
        let (asked, answering) = (Arc::clone(&stop.asked), Arc::clone(&stop.answering));
        let mut signals = Signals::new([SIGINT])?;
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                let mut last: Option<Instant> = None;
                for _ in signals.forever() {
                    let again = last.is_some_and(|at| at.elapsed() < TWICE);
                    if answering.load(Ordering::SeqCst) {
                        if asked.swap(true, Ordering::SeqCst) {
                            std::process::exit(130);
                        }
                    } else if again {
                        std::process::exit(130);
                    } else {
                        note("Ctrl-C again leaves");
                    }
                    last = Some(Instant::now());
                }
            })?;
        Ok(stop)
    }

    fn begin(&self) {
        self.asked.store(false, Ordering::SeqCst);
        self.answering.store(true, Ordering::SeqCst);
    }

    fn end(&self) {
        self.answering.store(false, Ordering::SeqCst);
    }

    fn is_asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }
}
