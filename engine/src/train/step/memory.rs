//! What a trainer holds, and where: the device, the plans, the arena, parameters and optimizer state, from the first taking of
//! memory to its giving back.
//!
//! Whoever changes how programs are planned forgets those that there are. The largest micro-batch's is made at once, the
//! others when a step needs them. Next: [`super`], which replays them.

use super::{Recorded, Trainer, precision};
use crate::config::Config;
use crate::model::Model;
use crate::optim;
use crate::param::{ParamSpecs, Params};
use crate::tape::observe::Statistics;
use crate::tape::plan::{On, Options};
use crate::tape::run::Program;
use crate::tape::{Tape, fuse};
use crate::train::accelerator::Accelerator;
use kernels::arena::Arena;
use kernels::gpu::{Gpu, GpuError};
use kernels::{Cpu, Precision};
use std::collections::BTreeMap;

impl Trainer {
    /// Memory and plans for training `model` on the CPU as `config` says, with parameters drawn from `run.seed`.
    pub fn new(config: &Config, model: Model, cpu: Cpu) -> Self {
        let mut trainer = Self::without_plans(config, model, cpu);
        let planned = trainer.plan_training(config.train.micro_batch);
        planned.expect("only a device refuses");
        trainer
    }

    /// The same on a GPU, where there is one.
    ///
    /// # Errors
    /// If the device has not enough memory.
    pub fn on(config: &Config, model: Model, cpu: Cpu, gpu: Option<Gpu>) -> Result<Self, GpuError> {
        let mut trainer = Self::without_plans(config, model, cpu);
        trainer.gpu = gpu;
        trainer.take_device()?;
        trainer.plan_training(config.train.micro_batch)?;
        Ok(trainer)
    }

    /// Takes memory on the device, where there is one.
    fn take_device(&mut self) -> Result<(), GpuError> {
        if let Some(gpu) = self.gpu.clone() {
            let (params, optimizer) = (&self.params, &*self.optimizer);
            self.accelerator = Some(Accelerator::new(gpu, params, optimizer, self.precision)?);
        }
        Ok(())
    }

    /// Moves training to another device, or to the CPU; [`Trainer::configure`] must follow.
    ///
    /// # Errors
    /// If the old device does not answer, or the new one has not enough memory.
    pub fn move_to(&mut self, gpu: Option<Gpu>) -> Result<(), GpuError> {
        self.fetch()?;
        self.accelerator = None;
        self.training.clear();
        self.evaluation.clear();
        self.gpu = gpu;
        self.take_device()
    }

    /// The device that trains, where that is not the CPU.
    pub fn gpu(&self) -> Option<&Gpu> {
        self.gpu.as_ref()
    }

    /// The device that trains, as events name it: `cpu`, or its kind, number and name.
    pub fn device_name(&self) -> String {
        match &self.gpu {
            Some(gpu) => {
                let info = gpu.info();
                format!("{}:{} ({})", info.kind.name(), info.index, info.name)
            }
            None => "cpu".to_owned(),
        }
    }

    /// Makes the host's parameters and optimizer state those after the last update. Does nothing where the CPU trains.
    ///
    /// # Errors
    /// If the device does not answer.
    pub fn fetch(&mut self) -> Result<(), GpuError> {
        match &mut self.accelerator {
            Some(accelerator) => accelerator.fetch_model(&mut self.params, &mut *self.optimizer),
            None => Ok(()),
        }
    }

    /// Makes the host's gradients those of the last step, as well. Does nothing where the CPU trains.
    ///
    /// # Errors
    /// If the device does not answer.
    pub fn fetch_gradients(&mut self) -> Result<(), GpuError> {
        match &self.accelerator {
            Some(accelerator) => accelerator.fetch_gradients(&mut self.params),
            None => Ok(()),
        }
    }

    fn without_plans(config: &Config, model: Model, cpu: Cpu) -> Self {
        let precision = precision(config);
        let params = model.init(config.run.seed, precision, true);
        let optimizer = optim::build(&config.optimizer, params.len());
        Self {
            cpu,
            gpu: None,
            accelerator: None,
            model,
            params,
            optimizer,
            arena: Arena::new(0),
            statistics: Statistics::default(),
            profile: None,
            precision,
            seq: config.data.sequence_length,
            fuse: config.train.fuse,
            recompute: config.train.recompute,
            seed: config.run.seed,
            training: BTreeMap::new(),
            evaluation: BTreeMap::new(),
            made: None,
        }
    }

    /// Takes over what may change at a boundary: threads and how programs are planned. Plans are made anew.
    ///
    /// # Errors
    /// If the device has not enough memory.
    pub fn configure(&mut self, config: &Config, cpu: Cpu) -> Result<(), GpuError> {
        self.cpu = cpu;
        self.fuse = config.train.fuse;
        self.recompute = config.train.recompute;
        self.training.clear();
        self.evaluation.clear();
        if let Some(accelerator) = &mut self.accelerator {
            accelerator.forget_graphs();
        }
        self.plan_training(config.train.micro_batch)
    }

    /// Gives all memory back: parameters, gradients, optimizer state, plans and arena. Nothing but [`Trainer::rebuild`] may
    /// follow.
    pub fn release(&mut self, config: &Config) {
        self.training.clear();
        self.evaluation.clear();
        self.params = Params::new(ParamSpecs::default(), self.precision, false);
        self.optimizer = optim::build(&config.optimizer, 0);
        self.statistics = Statistics::default();
        self.arena = Arena::new(0);
        self.accelerator = None;
        self.gpu = None;
        self.cpu.packs.keep(None);
        kernels::arena::give_back();
    }

    /// Takes memory anew after [`Trainer::release`], with parameters drawn as at the start and an optimizer that has seen
    /// nothing: a checkpoint's, or those of the first step, are loaded into it.
    ///
    /// # Errors
    /// If the device has not enough memory.
    pub fn rebuild(&mut self, config: &Config, cpu: Cpu, gpu: Option<Gpu>) -> Result<(), GpuError> {
        self.gpu = gpu;
        self.params = self.model.init(config.run.seed, self.precision, true);
        self.optimizer = optim::build(&config.optimizer, self.params.len());
        self.take_device()?;
        self.configure(config, cpu)
    }

    /// The precision of the run.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Tokens of a row.
    pub fn sequence_length(&self) -> usize {
        self.seq
    }

    pub(super) fn record(&self, rows: usize, training: bool) -> Recorded {
        let mut tape = Tape::new(self.precision);
        let vars =
            self.model
                .record_training(&mut tape, rows, self.seq, training && self.recompute);
        if !training {
            tape.keep(vars.loss);
        }
        let tape = if self.fuse { fuse::fuse(tape) } else { tape };
        let loss = training.then_some(vars.loss);
        let on = match &self.gpu {
            Some(gpu) => On::Gpu(gpu.info()),
            None => On::Cpu(&self.cpu),
        };
        Recorded {
            program: Program::new(tape, loss, on, Options::default()),
            vars,
        }
    }

    pub(super) fn plan_training(&mut self, rows: usize) -> Result<(), GpuError> {
        let recorded = self.record(rows, true);
        self.make_room(recorded.program.plan().bytes())?;
        self.training.insert(rows, recorded);
        Ok(())
    }

    /// Makes sure that the arena that plans are replayed on has `bytes` bytes.
    pub(super) fn make_room(&mut self, bytes: usize) -> Result<(), GpuError> {
        if let Some(accelerator) = &mut self.accelerator {
            return accelerator.reserve(bytes);
        }
        self.reserve(bytes);
        Ok(())
    }

    /// Makes sure that the host's arena has `bytes` bytes.
    pub fn reserve(&mut self, bytes: usize) {
        if self.arena.size() < bytes {
            // The old memory is given back before the new is taken: nothing in it is needed any more.
            self.arena = Arena::new(0);
            self.arena = Arena::new(bytes);
        }
    }

    /// The training program for the largest micro-batch: what memory and time are counted from.
    pub fn program(&self) -> &Program {
        &self
            .training
            .values()
            .next_back()
            .expect("planned when the trainer was made")
            .program
    }
}
