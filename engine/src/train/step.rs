//! One training step, in reading order.
//!
//! Batches come from the loader; forward and backward leave the gradient in one flat buffer; its norm is taken and checked
//! before any weight is touched; the schedule gives the learning rate; the optimizer updates each group in one pass. On a
//! device the update may follow the backward at once, where it is said beforehand ([`Ahead`]): the check is then made there.
//! What all of this lies in, and how it is planned, is [`memory`]'s.

mod memory;

use super::accelerator::{Accelerator, Then, Turn};
use super::ahead::{Ahead, Planned};
use crate::config::Config;
use crate::data::Batch;
use crate::infer::session::{ReadError, Session};
use crate::model::{Model, TrainingVars};
use crate::optim::{Optimizer, Update};
use crate::param::Params;
use crate::profile::{CLIP_NORM, Limits, OPTIMIZER, Part, Profile, Work};
use crate::tape::observe::Statistics;
use crate::tape::run::{DeviceReplay, Program, Replay, Stop};
use kernels::arena::Arena;
use kernels::gpu::{Gpu, GpuError};
use kernels::update::norm::{clip_factor, sum_of_squares};
use kernels::{Cpu, Precision, Scalars};
use std::collections::BTreeMap;
use std::time::Instant;

/// What forward and backward of a whole step gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gradients {
    /// Mean over the valid targets of the step, before its update; nats per token.
    pub loss: f64,
    /// Global norm, before clipping.
    pub norm: f64,
}

/// A recorded and planned model for a number of rows.
#[derive(Debug)]
struct Recorded {
    program: Program,
    vars: TrainingVars,
}

/// A model in training: parameters, optimizer state, plans, and the arena that they all share.
#[derive(Debug)]
pub struct Trainer {
    /// Threads and instruction set.
    pub cpu: Cpu,
    /// The device that trains, where that is not the CPU.
    gpu: Option<Gpu>,
    /// What training has there.
    accelerator: Option<Accelerator>,
    /// The model.
    pub model: Model,
    /// Its parameters and their gradients. On a device they are as new as the last [`Trainer::fetch`].
    pub params: Params,
    /// The optimizer.
    pub optimizer: Box<dyn Optimizer>,
    /// Memory of every plan; grows to the largest.
    pub arena: Arena,
    /// Statistics of the layers' outputs at the last step that took them.
    pub statistics: Statistics,
    /// Times of the operations, where they are wanted.
    pub profile: Option<Profile>,
    precision: Precision,
    seq: usize,
    fuse: bool,
    recompute: bool,
    seed: u64,
    training: BTreeMap<usize, Recorded>,
    evaluation: BTreeMap<usize, Recorded>,
    /// The update that followed the last step's backward on a device, if it was made.
    made: Option<Planned>,
}

/// The precision that `[device]` asks for.
pub fn precision(config: &Config) -> Precision {
    if config.device.bf16 {
        Precision::Bf16
    } else {
        Precision::F32
    }
}

impl Trainer {
    /// Forward and backward over the micro-batches of one step. Their valid targets are counted first, so that unequal
    /// micro-batches weigh right; `stop` is asked before each micro-batch and ends the step early (`None`).
    ///
    /// # Errors
    /// If the device fails; nothing has changed then but the gradients.
    pub fn gradients(
        &mut self,
        batches: &[Batch],
        step: u64,
        statistics: bool,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<Gradients>, GpuError> {
        self.gradients_ahead(batches, step, statistics, &Ahead::default(), stop)
    }

    /// As [`Trainer::gradients`], with what is known beforehand. Where a device trains and `ahead` names the update, that
    /// follows the backward at once; no weight is touched where loss or norm are not finite or the loss is above
    /// [`Planned::most_loss`], and [`Trainer::update`] makes it, or not, as always.
    ///
    /// # Errors
    /// As [`Trainer::gradients`].
    pub fn gradients_ahead(
        &mut self,
        batches: &[Batch],
        step: u64,
        statistics: bool,
        ahead: &Ahead<'_>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<Gradients>, GpuError> {
        self.made = None;
        // The parts of a profiled step are timed one by one.
        let planned = ahead.update.filter(|_| self.profile.is_none());
        let planned = planned.filter(|_| self.accelerator.is_some());
        let update = planned.map(|planned| self.scalars_of(&planned, 1.0));
        let valid: u64 = batches.iter().map(|batch| batch.valid_targets).sum();
        let loss_scale = 1.0 / valid.max(1) as f64;
        let mut loss = 0.0;
        let rows = batches.first().map_or(0, |batch| batch.height);
        let keep_packed = keep_packed(rows * self.seq, batches.len());
        if let Some(accelerator) = &mut self.accelerator {
            accelerator.begin_step(batches.len())?;
        }
        for (number, batch) in batches.iter().enumerate() {
            if stop() {
                return Ok(None);
            }
            if !self.training.contains_key(&batch.height) {
                self.plan_training(batch.height)?;
            }
            let recorded = self.training.get_mut(&batch.height).expect("just planned");
            let scalars = Scalars {
                seed: self.seed,
                step,
                row0: batch.row0,
                loss_scale,
                cache_len: 0,
            };
            let accumulate = number > 0;
            let statistics = (statistics && number == 0).then_some(&mut self.statistics);
            let profile = self.profile.as_mut();
            if let Some(accelerator) = &mut self.accelerator {
                let mut replay = DeviceReplay {
                    accumulate,
                    statistics,
                    profile,
                    stop: Some(Stop(stop)),
                    ..DeviceReplay::default()
                };
                let last = number + 1 == batches.len();
                let then = planned.zip(update.as_ref()).filter(|_| last);
                let turn = Turn {
                    number,
                    count: batches.len(),
                    then: then.map(|(planned, update)| Then {
                        update,
                        clip_norm: planned.clip_norm,
                        most_loss: planned.most_loss,
                    }),
                };
                let done = accelerator.replay(
                    (&recorded.program, &recorded.vars),
                    (&self.params, &*self.optimizer),
                    (batch, &scalars),
                    Some(turn),
                    &mut replay,
                );
                match done {
                    Err(GpuError::Stopped) => return Ok(None),
                    done => done?,
                }
            } else {
                write(recorded, &mut self.arena, batch);
                let mut replay = Replay {
                    scalars,
                    accumulate,
                    keep_packed,
                    statistics,
                    profile,
                    poison: false,
                };
                recorded
                    .program
                    .replay(&mut self.arena, &mut self.params, &self.cpu, &mut replay);
                loss += recorded.program.loss(&self.arena);
            }
        }
        let start = Instant::now();
        let squares = if let Some(accelerator) = &mut self.accelerator {
            if let Some(next) = ahead.next {
                accelerator.prefetch(next)?;
            }
            let (sum, squares) = accelerator.end_step(batches.len(), planned.is_some())?;
            loss = sum;
            self.made = planned.filter(|_| accelerator.made());
            squares
        } else {
            sum_of_squares(&self.cpu, self.params.gradients())
        };
        let elements = self.params.len() as u64;
        self.record_update(CLIP_NORM, start, 2 * elements, 4 * elements);
        let norm = squares.sqrt();
        Ok(Some(Gradients { loss, norm }))
    }

    /// Clips the gradient and updates the parameters. Returns what was applied and whether the gradient was clipped.
    ///
    /// # Errors
    /// If the device fails.
    pub fn update(
        &mut self,
        gradients: &Gradients,
        lr: f64,
        step: u64,
        clip_norm: f64,
    ) -> Result<(Update, bool), GpuError> {
        let grad_scale = clip_factor(gradients.norm, clip_norm);
        let most_loss = f64::INFINITY;
        let planned = Planned {
            lr,
            step,
            clip_norm,
            most_loss,
        };
        let update = self.scalars_of(&planned, grad_scale);
        if let Some(made) = self.made.take() {
            assert_eq!(
                Planned { most_loss, ..made },
                planned,
                "an update other than the one that was made"
            );
            return Ok((update, grad_scale < 1.0));
        }
        let start = Instant::now();
        match &mut self.accelerator {
            Some(accelerator) => {
                accelerator.update(&self.params, &*self.optimizer, &update)?;
                if self.profile.is_some() {
                    accelerator.gpu().driver().synchronize()?;
                }
            }
            None => self.optimizer.step(&self.cpu, &mut self.params, &update),
        }
        // Weights and state are read and written, gradients read.
        let arrays = 3 + 2 * self.optimizer.state().len() as u64;
        self.record_update(OPTIMIZER, start, 0, 4 * arrays * self.params.len() as u64);
        Ok((update, grad_scale < 1.0))
    }

    fn scalars_of(&self, planned: &Planned, grad_scale: f64) -> Update {
        Update {
            lr: planned.lr,
            step: planned.step,
            grad_scale,
            seed: self.seed,
        }
    }

    /// What the device that trains reaches at best, for the profile; none where nothing can be measured.
    ///
    /// # Errors
    /// If the device does not answer.
    pub fn device_limits(&self) -> Result<Option<Limits>, GpuError> {
        let accelerator = self.accelerator.as_ref();
        accelerator.map_or(Ok(None), |accelerator| accelerator.limits(self.precision))
    }

    /// Adds a pass over the flat buffers that began at `start` to the profile, if one is wanted.
    fn record_update(&mut self, name: &'static str, start: Instant, flops: u64, bytes: u64) {
        let seconds = start.elapsed().as_secs_f64();
        if let Some(profile) = &mut self.profile {
            let work = Work {
                seconds,
                calls: 1,
                flops,
                bytes,
            };
            profile.add(name, Part::Update, &work);
        }
    }

    /// A session of at most `capacity` tokens with the model as it is, where training runs.
    ///
    /// # Errors
    /// If the device has not enough memory.
    pub fn session(&mut self, capacity: usize) -> Result<Session, GpuError> {
        let session = match &self.gpu {
            Some(gpu) => Session::on_gpu(&self.model, self.precision, capacity, gpu)?,
            None => Session::new(&self.model, self.precision, capacity, &self.cpu),
        };
        self.make_room(session.arena_bytes())?;
        Ok(session)
    }

    /// Lets a session of [`Trainer::session`] read `tokens`; the logits (V) for the one that follows.
    ///
    /// # Errors
    /// If the text becomes too long, or the device fails.
    pub fn read<'a>(
        &mut self,
        session: &'a mut Session,
        tokens: &[i32],
    ) -> Result<&'a [f32], ReadError> {
        match &mut self.accelerator {
            Some(accelerator) => accelerator.read(session, tokens, &self.params, &*self.optimizer),
            None => Ok(session.read(tokens, &mut self.arena, &mut self.params, &self.cpu)?),
        }
    }

    /// Sum of the losses of a batch's valid targets, in nats, without training on it.
    ///
    /// # Errors
    /// If the device fails.
    pub fn evaluate(&mut self, batch: &Batch) -> Result<f64, GpuError> {
        if !self.evaluation.contains_key(&batch.height) {
            let recorded = self.record(batch.height, false);
            self.make_room(recorded.program.plan().bytes())?;
            self.evaluation.insert(batch.height, recorded);
        }
        let recorded = self
            .evaluation
            .get_mut(&batch.height)
            .expect("just planned");
        if let Some(accelerator) = &mut self.accelerator {
            let Recorded { program, vars } = recorded;
            accelerator.replay(
                (program, vars),
                (&self.params, &*self.optimizer),
                (batch, &Scalars::default()),
                None,
                &mut DeviceReplay::default(),
            )?;
            return accelerator.number(program, vars);
        }
        write(recorded, &mut self.arena, batch);
        recorded.program.replay(
            &mut self.arena,
            &mut self.params,
            &self.cpu,
            &mut Replay::default(),
        );
        let loss = recorded.program.read(&self.arena, recorded.vars.loss);
        Ok(loss.to_f64()[0])
    }
}

/// Whether a step keeps its packed weights from one micro-batch of `tokens` tokens to the next. It takes as much memory as
/// the weights twice and saves the time of about fifty tokens a micro-batch: worth it for small ones.
pub fn keep_packed(tokens: usize, micro_batches: usize) -> bool {
    micro_batches > 1 && tokens <= 2048
}

fn write(recorded: &Recorded, arena: &mut Arena, batch: &Batch) {
    let Recorded { program, vars } = recorded;
    program.write(arena, vars.tokens, &batch.tokens);
    program.write(arena, vars.targets, &batch.targets);
    program.write(arena, vars.positions, &batch.positions);
    program.write(arena, vars.doc_start, &batch.doc_start);
}
