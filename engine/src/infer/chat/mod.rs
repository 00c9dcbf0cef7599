//! Talking with a model.
//!
//! A [`Chat`] keeps what was said in the caches of one session, so that each turn reads only what is new. Where the
//! tokenizer has the tokens of ChatML, turns are set in its template (`<|im_start|>role`, newline, content, `<|im_end|>`,
//! newline); a base model continues the text instead. A conversation that outgrows the context is cut from the left, at the
//! beginning of a turn where there is one to cut at.
//!
//! [`Partner`] runs a chat in a thread of its own, from its own copy of the weights: those of a checkpoint, or those that a
//! run's engine left on a [`Desk`]. Next: [`super::session`].

mod desk;
mod partner;
#[cfg(test)]
mod tests;

pub use desk::{Copied, Desk, Order};
pub use partner::{NICENESS, Partner, Ready, Source, Told};

use super::generate::{Finish, Writing};
use super::load::{self, LoadError, Loaded, NoRoom};
use super::session::Session;
use crate::model::Model;
use crate::param::Params;
use crate::train::step::precision;
use kernels::{Cpu, Precision};
use std::path::Path;
use std::sync::Arc;
use tokenizer::{SpecialMode, Tokenizer};

/// Most tokens that a chat holds, unless more are asked for: caches for a long context may be larger than the weights.
pub const CONTEXT: usize = 4096;

/// Bytes that a chat takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// Its copy of the weights.
    pub weights: u64,
    /// Keys and values of the tokens that it holds.
    pub caches: u64,
    /// What lies between operations, and scratch.
    pub arena: u64,
}

impl Need {
    /// For `model` and at most `context` tokens, or the model's positions where they are fewer.
    pub fn of(model: &Model, precision: Precision, context: usize, cpu: &Cpu) -> Self {
        let capacity = context.min(model.config.max_positions);
        let [caches, arena] = Session::need(model, precision, capacity, cpu);
        Self {
            weights: Params::reading_bytes(model.specs(), precision) as u64,
            caches,
            arena,
        }
    }

    /// For the model in `folder`, of which only the configuration is read. `flags` are `key=value` of `[device]`.
    ///
    /// # Errors
    /// If there is no model that the program supports.
    pub fn of_folder(folder: &Path, flags: &[String], context: usize) -> Result<Self, LoadError> {
        let config = load::config(folder, flags)?;
        let model = Model::new(&config.model, config.model.vocab_size.unwrap_or_default());
        Ok(Self::of(&model, precision(&config), context, &Cpu::new(1)))
    }

    /// The sum.
    pub fn total(&self) -> u64 {
        self.weights
            .saturating_add(self.caches)
            .saturating_add(self.arena)
    }

    /// Refuses what does not fit into the memory that is free.
    ///
    /// # Errors
    /// If it does not.
    pub fn check(&self) -> Result<(), NoRoom> {
        NoRoom::check("a chat", self.total())
    }
}

/// Why there is nobody to talk with.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// Text cannot become tokens.
    #[error("{0}: nothing can be said to this model; zerollm generate --tokens takes ids")]
    NoTokenizer(String),
    /// It does not fit.
    #[error(transparent)]
    Memory(#[from] NoRoom),
}

impl ChatError {
    /// The process's exit code for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NoTokenizer(_) => 2,
            Self::Memory(_) => 4,
        }
    }
}

/// What was answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The text.
    pub text: String,
    /// Its tokens.
    pub tokens: usize,
    /// Why it ended.
    pub finish: Finish,
    /// Seed of its draws.
    pub seed: u64,
    /// Tokens of the conversation's beginning that were left out to make room.
    pub cut: usize,
    /// Tokens a second behind the first; none for fewer than two.
    pub tokens_per_second: Option<f64>,
}

/// The ids of ChatML's special tokens.
#[derive(Clone, Copy, Debug)]
struct Template {
    start: u32,
    end: u32,
}

impl Template {
    fn of(tokenizer: &Tokenizer) -> Option<Self> {
        let id = |text: &str| {
            let mut special = tokenizer.special_tokens();
            special.find(|token| token.content == text).map(|t| t.id)
        };
        Some(Self {
            start: id("<|im_start|>")?,
            end: id("<|im_end|>")?,
        })
    }
}

/// A conversation with a model.
#[derive(Debug)]
pub struct Chat {
    loaded: Loaded,
    tokenizer: Arc<Tokenizer>,
    template: Option<Template>,
    session: Session,
    /// The conversation, as far as it counts.
    tokens: Vec<u32>,
    /// Where in it the person's turns begin.
    turns: Vec<usize>,
    /// Whether the last answer ended the text: a base model then begins another.
    ended: bool,
}

impl Chat {
    /// A conversation of at most `context` tokens with a model that has its tokenizer.
    ///
    /// # Errors
    /// If it has none, or the caches do not fit into memory.
    pub fn new(mut loaded: Loaded, context: usize) -> Result<Self, ChatError> {
        let tokenizer = loaded.tokenizer.take().ok_or_else(|| {
            let why = loaded.tokenizer_error.as_ref().map(ToString::to_string);
            ChatError::NoTokenizer(why.unwrap_or_else(|| "it has no tokenizer.json".to_owned()))
        })?;
        Self::with(loaded, Arc::new(tokenizer), context)
    }

    /// As [`Chat::new`], with a tokenizer that others use too.
    ///
    /// # Errors
    /// If the caches do not fit into memory.
    pub fn with(
        mut loaded: Loaded,
        tokenizer: Arc<Tokenizer>,
        context: usize,
    ) -> Result<Self, ChatError> {
        let capacity = context.clamp(1, loaded.context());
        let need = Need::of(&loaded.model, loaded.precision, capacity, &loaded.cpu);
        // The weights are there already.
        NoRoom::check("a chat", need.caches.saturating_add(need.arena))?;
        let session = Session::new(&loaded.model, loaded.precision, capacity, &loaded.cpu);
        loaded.reserve(session.arena_bytes());
        let template = Template::of(&tokenizer);
        loaded.stops.extend(template.map(|template| template.end));
        Ok(Self {
            loaded,
            tokenizer,
            template,
            session,
            tokens: Vec::new(),
            turns: Vec::new(),
            ended: false,
        })
    }

    /// Whether the model continues text, as it knows no turns: then saying nothing lets it go on.
    pub fn continues(&self) -> bool {
        self.template.is_none()
    }

    /// Most tokens that the conversation can have.
    pub fn context(&self) -> usize {
        self.session.capacity()
    }

    /// Numbers of the model.
    pub fn parameters(&self) -> u64 {
        self.loaded.model.specs().count()
    }

    /// Tokens of the conversation so far.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Begins anew.
    pub fn forget(&mut self) {
        self.tokens.clear();
        self.turns.clear();
        self.ended = false;
    }

    /// Says `text` and returns the answer, whose pieces go to `each` as soon as they are there; `false` stops. Special tokens
    /// in the text are text. The first answer to a base model is what [`Loaded::write`] gives for the same prompt, seed and
    /// sampling.
    pub fn say(
        &mut self,
        text: &str,
        writing: &Writing,
        each: &mut dyn FnMut(&str) -> bool,
    ) -> Answer {
        if self.ended && self.continues() {
            self.forget();
        }
        self.append(text);
        let cut = self.make_room(writing.max_tokens);
        let read = self.session.tokens();
        let same = |(a, b): &(&u32, &i32)| i64::from(**a) == i64::from(**b);
        let known = self.tokens.iter().zip(read).take_while(same).count();
        // The last token is read again where all are known: its logits are what the answer begins with.
        let known = known.min(self.tokens.len() - 1);
        self.session.truncate(known);
        let next = self.tokens[known..].iter().map(|id| *id as i32).collect();
        let tokenizer = Arc::clone(&self.tokenizer);
        let mut decoder = tokenizer.stream_decoder();
        let mut answer = String::new();
        let written = self.loaded.write_on(
            &mut self.session,
            next,
            tokenizer.vocab_size(),
            writing,
            &mut |id| {
                let piece = decoder.push(id);
                answer.push_str(&piece);
                each(&piece)
            },
        );
        let rest = decoder.finish();
        if !rest.is_empty() {
            answer.push_str(&rest);
            each(&rest);
        }
        self.tokens.extend_from_slice(&written.tokens);
        self.ended = written.finish == Finish::EndOfText;
        Answer {
            text: answer,
            tokens: written.tokens.len(),
            finish: written.finish,
            seed: writing.sampler.seed,
            cut,
            tokens_per_second: written.tokens_per_second(),
        }
    }

    /// Puts the person's turn behind the conversation.
    fn append(&mut self, text: &str) {
        let encode = |text: &str| self.tokenizer.encode(text, SpecialMode::AsText);
        let mut turn = Vec::new();
        let Some(Template { start, end }) = self.template else {
            if self.tokens.is_empty() {
                turn = encode(text);
                if turn.is_empty() {
                    turn = self.beginning();
                }
            } else if !text.is_empty() {
                turn = encode(&format!("\n{text}"));
            }
            self.turns.push(self.tokens.len());
            self.tokens.append(&mut turn);
            return;
        };
        if !self.tokens.is_empty() {
            // The end of the answer before, which is not among its tokens.
            self.tokens.push(end);
            self.tokens.extend(encode("\n"));
        }
        turn.push(start);
        turn.extend(encode(&format!("user\n{text}")));
        turn.push(end);
        turn.extend(encode("\n"));
        turn.push(start);
        turn.extend(encode("assistant\n"));
        self.turns.push(self.tokens.len());
        self.tokens.append(&mut turn);
    }

    /// What stands before the first token of a text.
    fn beginning(&self) -> Vec<u32> {
        let stop = self.loaded.stops.first().copied();
        match stop.or_else(|| self.tokenizer.end_of_text()) {
            Some(id) => vec![id],
            None => self.tokenizer.encode("\n", SpecialMode::AsText),
        }
    }

    /// Leaves out the beginning of the conversation where an answer of `max_tokens` (or of half of the context) would have no
    /// room; returns how many tokens that are.
    fn make_room(&mut self, max_tokens: usize) -> usize {
        let capacity = self.context();
        let room = max_tokens.clamp(1, (capacity / 2).max(1));
        let limit = capacity.saturating_sub(room).max(1);
        let excess = self.tokens.len().saturating_sub(limit);
        if excess == 0 {
            return 0;
        }
        let turn = self.turns.iter().copied().find(|turn| *turn >= excess);
        let cut = turn.filter(|_| !self.continues()).unwrap_or(excess);
        self.tokens.drain(..cut);
        self.turns.retain(|turn| *turn >= cut);
        self.turns.iter_mut().for_each(|turn| *turn -= cut);
        cut
    }
}
