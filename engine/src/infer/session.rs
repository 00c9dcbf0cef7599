//! A session: a model, its caches, and what has been written so far.
//!
//! Prompts go through a program of many tokens without a head ([`PREFILL`] at a time); tokens that are to be continued go
//! through a program of one token with a head. Both write the same caches: a cache is the state of the one program, and
//! is handed to the other when the roles change.

use crate::model::{InferenceVars, Model};
use crate::param::Params;
use crate::tape::plan::{On, Options, Plan};
use crate::tape::run::{DeviceMemory, DeviceReplay, Program, Replay};
use crate::tape::{Tape, fuse};
use kernels::arena::Arena;
use kernels::gpu::{Buffer, Gpu, GpuError, View, live_bytes};
use kernels::{Cpu, Precision, Scalars};

/// Prompt tokens that are read at once.
pub const PREFILL: usize = 64;

/// A recorded step of reading or writing.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) program: Program,
    vars: InferenceVars,
    width: usize,
}

impl Recorded {
    /// A step of `width` tokens behind those in caches of `capacity` tokens, with the logits of each or without.
    pub(super) fn new(
        model: &Model,
        precision: Precision,
        width: usize,
        capacity: usize,
        logits: bool,
        on: On<'_>,
    ) -> Self {
        let mut tape = Tape::new(precision);
        let vars = model.record_inference(&mut tape, width, capacity, logits);
        Self::of(tape, vars, width, on)
    }

    /// A recording of [`Model::record_inference`], in which more may be kept.
    pub(super) fn of<'a>(
        tape: Tape,
        vars: InferenceVars,
        width: usize,
        on: impl Into<On<'a>>,
    ) -> Self {
        Self {
            program: Program::new(fuse::fuse(tape), None, on, Options::default()),
            vars,
            width,
        }
    }

    /// (width, V) logits of the last replay.
    pub(super) fn logits<'a>(&self, arena: &'a Arena) -> &'a [f32] {
        let logits = self.vars.logits.expect("recorded with a head");
        self.program.read(arena, logits).as_slice::<f32>()
    }
}

/// A model that reads and writes.
#[derive(Debug)]
pub struct Session {
    prefill: Recorded,
    decode: Recorded,
    /// Whether the caches are with `prefill` (or with `decode`).
    caches_with_prefill: bool,
    /// The caches on a device, a layer after the other, where the session is there.
    device_caches: Vec<Vec<Buffer>>,
    capacity: usize,
    vocab: usize,
    tokens: Vec<i32>,
    logits: Vec<f32>,
}

/// A session holds no more tokens than this: the model's positions, or the cache that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the text is longer than the {capacity} tokens that the model can read")]
pub struct TooLong {
    /// The limit.
    pub capacity: usize,
}

/// Why a session did not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The text would become too long.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// The device failed.
    #[error(transparent)]
    Gpu(#[from] GpuError),
}

impl Session {
    /// A session of at most `capacity` tokens.
    pub fn new(model: &Model, precision: Precision, capacity: usize, cpu: &Cpu) -> Self {
        Self::on(model, precision, capacity, On::Cpu(cpu))
    }

    /// A session of at most `capacity` tokens on a GPU, with its caches there.
    ///
    /// # Errors
    /// If there is not enough device memory.
    pub fn on_gpu(
        model: &Model,
        precision: Precision,
        capacity: usize,
        gpu: &Gpu,
    ) -> Result<Self, GpuError> {
        let mut session = Self::on(model, precision, capacity, On::Gpu(gpu.info()));
        let bytes = precision.compute().size();
        let layers = session.decode.program.tape().states().iter();
        let layer = |sizes: &Vec<usize>| sizes.iter().map(|n| gpu.alloc(n * bytes)).collect();
        session.device_caches = layers.map(layer).collect::<Result<_, _>>()?;
        Ok(session)
    }

    fn on(model: &Model, precision: Precision, capacity: usize, on: On<'_>) -> Self {
        // A prefill's surplus tokens lie behind the last of the text: the caches have room for them.
        let record = |width: usize, logits: bool| {
            Recorded::new(model, precision, width, capacity + PREFILL, logits, on)
        };
        let mut prefill = record(PREFILL.min(capacity), false);
        let decode = record(1, true);
        // The caches exist once; the other program starts with empty ones.
        prefill.program.take_states();
        Self {
            prefill,
            decode,
            caches_with_prefill: false,
            device_caches: Vec::new(),
            capacity,
            vocab: model.vocab_size(),
            tokens: Vec::new(),
            logits: Vec::new(),
        }
    }

    /// Bytes that a session of at most `capacity` tokens takes: its caches, and the arena of its programs. Nothing of
    /// that size is allocated.
    pub fn need(model: &Model, precision: Precision, capacity: usize, cpu: &Cpu) -> [u64; 2] {
        let mut caches = 0;
        let mut arena = 0;
        for (width, logits) in [(PREFILL.min(capacity), false), (1, true)] {
            let mut tape = Tape::new(precision);
            model.record_inference(&mut tape, width, capacity + PREFILL, logits);
            let values: usize = tape.states().iter().flatten().sum();
            caches = precision.compute().size() * values;
            let plan = Plan::new(&fuse::fuse(tape), None, cpu, Options::default());
            arena = arena.max(plan.bytes());
        }
        [caches as u64, arena as u64]
    }

    /// Bytes of arena that the session's programs need.
    pub fn arena_bytes(&self) -> usize {
        self.prefill
            .program
            .plan()
            .bytes()
            .max(self.decode.program.plan().bytes())
    }

    /// What was read and written so far.
    pub fn tokens(&self) -> &[i32] {
        &self.tokens
    }

    /// Longest text.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Forgets everything after the first `len` tokens.
    pub fn truncate(&mut self, len: usize) {
        self.tokens.truncate(len);
    }

    /// Reads `tokens`, and returns the logits (V) for the one that follows. At least one token.
    ///
    /// # Errors
    /// If the text becomes too long; nothing was read then.
    pub fn read(
        &mut self,
        tokens: &[i32],
        arena: &mut Arena,
        params: &mut Params,
        cpu: &Cpu,
    ) -> Result<&[f32], TooLong> {
        self.check_room(tokens.len())?;
        let (last, before) = tokens.split_last().expect("at least one token to read");
        for chunk in before.chunks(self.prefill.width) {
            self.hand_caches(true);
            run(
                &mut self.prefill,
                chunk,
                self.tokens.len(),
                arena,
                params,
                cpu,
            );
            self.tokens.extend_from_slice(chunk);
        }
        self.hand_caches(false);
        run(
            &mut self.decode,
            &[*last],
            self.tokens.len(),
            arena,
            params,
            cpu,
        );
        self.tokens.push(*last);
        let logits = self.decode.logits(arena);
        self.logits.clear();
        self.logits.extend_from_slice(&logits[..self.vocab]);
        Ok(&self.logits)
    }

    /// As [`Session::read`], of a session that is on a device.
    ///
    /// # Errors
    /// If the text becomes too long, or the device fails.
    pub fn read_gpu(
        &mut self,
        tokens: &[i32],
        memory: &DeviceMemory<'_>,
        params: &Params,
    ) -> Result<&[f32], ReadError> {
        self.check_room(tokens.len())?;
        let (last, before) = tokens.split_last().expect("at least one token to read");
        let bytes = self.prefill.program.tape().precision().compute();
        let view = |cache: &Buffer| cache.view(0, cache.bytes() / bytes.size(), bytes);
        let layers = self.device_caches.iter();
        let states: Vec<Vec<View>> = layers
            .map(|layer| layer.iter().map(view).collect())
            .collect();
        let start = self.tokens.len();
        for (number, chunk) in before.chunks(self.prefill.width).enumerate() {
            let at = start + number * self.prefill.width;
            run_gpu(&self.prefill, chunk, at, memory, params, &states)?;
        }
        let at = start + before.len();
        run_gpu(&self.decode, &[*last], at, memory, params, &states)?;
        self.tokens.extend_from_slice(tokens);
        let logits = self.decode.vars.logits.expect("recorded with a head");
        let fetched = self.decode.program.read_gpu(memory, logits)?;
        self.logits.clear();
        self.logits
            .extend_from_slice(&fetched.slot().as_slice::<f32>()[..self.vocab]);
        Ok(&self.logits)
    }

    fn check_room(&self, more: usize) -> Result<(), TooLong> {
        if self.tokens.len() + more > self.capacity {
            return Err(TooLong {
                capacity: self.capacity,
            });
        }
        Ok(())
    }

    fn hand_caches(&mut self, to_prefill: bool) {
        if self.caches_with_prefill != to_prefill {
            let (from, to) = if to_prefill {
                (&mut self.decode, &mut self.prefill)
            } else {
                (&mut self.prefill, &mut self.decode)
            };
            to.program.set_states(from.program.take_states());
            self.caches_with_prefill = to_prefill;
        }
    }
}

/// Runs a program on `tokens`, of which there may be fewer than its width: the surplus is read and forgotten, as the next
/// call writes over its place in the caches.
pub(super) fn run(
    recorded: &mut Recorded,
    tokens: &[i32],
    start: usize,
    arena: &mut Arena,
    params: &mut Params,
    cpu: &Cpu,
) {
    let (ids, positions) = inputs(tokens, start, recorded.width);
    let Recorded { program, vars, .. } = recorded;
    program.write(arena, vars.tokens, &ids);
    program.write(arena, vars.positions, &positions);
    let scalars = behind(start);
    program.replay(
        arena,
        params,
        cpu,
        &mut Replay {
            scalars,
            ..Replay::default()
        },
    );
}

/// As [`run`], on a device.
fn run_gpu(
    recorded: &Recorded,
    tokens: &[i32],
    start: usize,
    memory: &DeviceMemory<'_>,
    params: &Params,
    states: &[Vec<View>],
) -> Result<(), GpuError> {
    let (ids, positions) = inputs(tokens, start, recorded.width);
    let Recorded { program, vars, .. } = recorded;
    memory
        .gpu
        .driver()
        .upload(memory.live, &live_bytes(&behind(start)))?;
    program.write_gpu(memory, vars.tokens, &ids)?;
    program.write_gpu(memory, vars.positions, &positions)?;
    let mut replay = DeviceReplay {
        states,
        ..DeviceReplay::default()
    };
    program.replay_gpu(memory, params, &mut replay)
}

/// Ids and positions of `tokens` behind `start` others, filled up to `width`.
fn inputs(tokens: &[i32], start: usize, width: usize) -> (Vec<i32>, Vec<i32>) {
    let ids = (0..width).map(|i| tokens.get(i).copied().unwrap_or(0));
    // A surplus token's position must only be one that exists.
    let last = start + tokens.len() - 1;
    let positions = (start..start + width).map(|i| i.min(last) as i32);
    (ids.collect(), positions.collect())
}

/// The scalars of a replay behind `start` tokens.
fn behind(start: usize) -> Scalars {
    Scalars {
        cache_len: start,
        ..Scalars::default()
    }
}

#[cfg(test)]
mod tests;
