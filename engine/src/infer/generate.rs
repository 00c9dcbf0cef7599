//! Writing: token after token, until the text ends, is long enough, or fills the context.

use super::load::{Loaded, NoRoom};
use super::sample::{Sampler, SamplerConfig};
use super::session::{Session, TooLong};
use std::time::Instant;

/// How to write.
#[derive(Clone, Copy, Debug)]
pub struct Writing {
    /// How tokens are chosen.
    pub sampler: SamplerConfig,
    /// Most tokens to write.
    pub max_tokens: usize,
    /// Whether to go on behind an id that ends a text.
    pub ignore_end: bool,
}

/// Why writing stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model ended the text; the id that does so is not written.
    EndOfText,
    /// As many tokens as were asked for.
    MaxTokens,
    /// The context is full.
    Context,
    /// The caller wanted no more.
    Caller,
}

impl Finish {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::EndOfText => "end_of_text",
            Self::MaxTokens => "max_tokens",
            Self::Context => "context",
            Self::Caller => "caller",
        }
    }
}

/// Why nothing can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The prompt is longer than the context.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// The caches do not fit.
    #[error(transparent)]
    Memory(#[from] NoRoom),
}

impl WriteError {
    /// The process's exit code for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::TooLong(_) => 2,
            Self::Memory(_) => 4,
        }
    }
}

/// What was written, and how fast.
#[derive(Clone, Debug)]
pub struct Written {
    /// The tokens, without the prompt.
    pub tokens: Vec<u32>,
    /// Why it ended.
    pub finish: Finish,
    /// Time to read the prompt, up to the first token.
    pub prompt_seconds: f64,
    /// Time for the tokens after the first.
    pub seconds: f64,
}

impl Written {
    /// Tokens a second behind the first, whose time is the prompt's; `None` for fewer than two.
    pub fn tokens_per_second(&self) -> Option<f64> {
        let more = self.tokens.len().checked_sub(1).filter(|more| *more > 0)?;
        (self.seconds > 0.0).then(|| more as f64 / self.seconds)
    }
}

impl Loaded {
    /// Continues `prompt` (at least one id, each below the vocabulary's size) with ids below `writable` (padding of the
    /// vocabulary stands for no text). Every token goes to `each` as soon as it is there; `false` stops.
    ///
    /// # Errors
    /// If the prompt is longer than the model's context, or the caches do not fit into memory.
    pub fn write(
        &mut self,
        prompt: &[u32],
        writable: usize,
        writing: &Writing,
        each: &mut dyn FnMut(u32) -> bool,
    ) -> Result<Written, WriteError> {
        let context = self.context();
        if prompt.len() > context {
            return Err(TooLong { capacity: context }.into());
        }
        // Caches for what can be written, not for the whole context, which may be long.
        let capacity = context.min(prompt.len().saturating_add(writing.max_tokens));
        self.check_caches(capacity)?;
        let mut session = Session::new(&self.model, self.precision, capacity, &self.cpu);
        self.reserve(session.arena_bytes());
        let next = prompt.iter().map(|id| *id as i32).collect();
        Ok(self.write_on(&mut session, next, writable, writing, each))
    }

    /// Continues a session, for which the arena is large enough: reads `next` (at least one id that it has room for), and
    /// writes as [`Loaded::write`] does.
    pub(super) fn write_on(
        &mut self,
        session: &mut Session,
        mut next: Vec<i32>,
        writable: usize,
        writing: &Writing,
        each: &mut dyn FnMut(u32) -> bool,
    ) -> Written {
        let mut written = Written {
            tokens: Vec::new(),
            finish: Finish::MaxTokens,
            prompt_seconds: 0.0,
            seconds: 0.0,
        };
        if writing.max_tokens == 0 {
            return written;
        }
        let mut sampler = Sampler::new(writing.sampler);
        let start = Instant::now();
        loop {
            let Ok(logits) = session.read(&next, &mut self.arena, &mut self.params, &self.cpu)
            else {
                written.finish = Finish::Context;
                break;
            };
            let id = sampler.next(logits, writable);
            if written.tokens.is_empty() {
                written.prompt_seconds = start.elapsed().as_secs_f64();
            }
            if !writing.ignore_end && self.stops.contains(&id) {
                written.finish = Finish::EndOfText;
                break;
            }
            written.tokens.push(id);
            if !each(id) {
                written.finish = Finish::Caller;
                break;
            }
            if written.tokens.len() == writing.max_tokens {
                break;
            }
            next = vec![id as i32];
        }
        written.seconds = start.elapsed().as_secs_f64() - written.prompt_seconds;
        written
    }
}
