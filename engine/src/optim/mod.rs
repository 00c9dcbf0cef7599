//! Optimizers: how gradients become updates.

use crate::config::{Choice, OptimizerConfig};
use crate::param::{Group, Params};
use crate::registry::{Class, Default, Key, Kind, Slot};
use kernels::Cpu;
use kernels::gpu::{Gpu, GpuError, View};
use kernels::update::Pass;
use std::fmt::Debug;
use std::ops::Range;

/// An optimizer with its state.
pub trait Optimizer: Debug + Send {
    /// Takes new values of its live keys.
    fn configure(&mut self, choice: &Choice);

    /// One update of all parameters from their gradients.
    fn step(&mut self, cpu: &Cpu, params: &mut Params, scalars: &Update);

    /// The scalars of one group's update as its pass on a device reads them: at most [`SCALARS_STRIDE`] bytes. What they hold
    /// of the clip factor is not read there.
    fn scalars_gpu(&self, group: Group, scalars: &Update) -> Vec<u8>;

    /// One update of one group from its gradients, on a device.
    ///
    /// # Errors
    /// If the device refuses.
    fn pass_gpu(&self, gpu: &Gpu, group: Group, pass: &Pass<'_>) -> Result<(), GpuError>;

    /// Its arrays, each as long as the parameters' flat buffer, with the names they have in checkpoints.
    fn state(&self) -> Vec<(&'static str, &[f32])>;

    /// The same, to be loaded.
    fn state_mut(&mut self) -> Vec<(&'static str, &mut [f32])>;

    /// Root mean square of the last update of the parameters in `range` of the flat buffer, which all belong to `group`.
    fn update_rms(
        &self,
        params: &Params,
        range: Range<usize>,
        group: Group,
        scalars: &Update,
    ) -> f64;
}

/// Bytes from the scalars of one group's update to those of the next.
pub const SCALARS_STRIDE: usize = 64;

/// What an update works on, on a device; each array as long as the parameters' flat buffer.
#[derive(Clone, Copy, Debug)]
pub struct DeviceArrays<'a> {
    /// The device.
    pub gpu: &'a Gpu,
    /// Weights, and their rounded copies where the run is in `bf16`: both are written.
    pub values: View,
    /// Gradients.
    pub gradients: View,
    /// The optimizer's arrays, in the order of [`Optimizer::state`].
    pub state: &'a [View],
    /// Address of what [`scalars_gpu`] gives.
    pub scalars: u64,
    /// Address of what the step comes to ([`kernels::update::told`]).
    pub told: u64,
}

/// The scalars of the updates of all groups, [`SCALARS_STRIDE`] bytes each.
pub fn scalars_gpu(
    optimizer: &dyn Optimizer,
    groups: &[(Group, Range<usize>)],
    update: &Update,
) -> Vec<u8> {
    let mut all = vec![0; groups.len() * SCALARS_STRIDE];
    for ((group, _), to) in groups.iter().zip(all.chunks_exact_mut(SCALARS_STRIDE)) {
        let bytes = optimizer.scalars_gpu(*group, update);
        to[..bytes.len()].copy_from_slice(&bytes);
    }
    all
}

/// Puts one update of all parameters on a device's stream: a pass a group. Nothing is copied, so that it can be captured.
///
/// # Errors
/// If the device refuses.
pub fn step_gpu(
    optimizer: &dyn Optimizer,
    arrays: &DeviceArrays<'_>,
    groups: &[(Group, Range<usize>)],
) -> Result<(), GpuError> {
    for (number, (group, range)) in groups.iter().enumerate() {
        let all = [arrays.values, arrays.gradients];
        let views: Vec<View> = all
            .iter()
            .chain(arrays.state)
            .map(|view| view.slice(range.start, range.len()))
            .collect();
        let pass = Pass {
            views: &views,
            first: range.start,
            scalars: arrays.scalars + (number * SCALARS_STRIDE) as u64,
            told: arrays.told,
        };
        optimizer.pass_gpu(arrays.gpu, *group, &pass)?;
    }
    Ok(())
}

/// The scalars of one update.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    /// Learning rate.
    pub lr: f64,
    /// Optimizer step, from 1.
    pub step: u64,
    /// What gradients are multiplied by: the clip factor.
    pub grad_scale: f64,
    /// Seed of the run, for what an update draws at random.
    pub seed: u64,
}

/// Makes a variant's state for `len` parameters.
type Build = fn(choice: &Choice, len: usize) -> Box<dyn Optimizer>;

crate::variants!(BUILDS: Build = build; => adamw, sgd);

/// The optimizer that `config` names, for a flat buffer of `len` parameters.
pub fn build(config: &OptimizerConfig, len: usize) -> Box<dyn Optimizer> {
    BUILDS[config.choice.index](&config.choice, len)
}

/// Arrays of `len` values that an optimizer of this kind keeps.
pub fn state_arrays(config: &OptimizerConfig) -> usize {
    build(config, 0).state().len()
}

/// Whether weight decay applies: to matrices and heads, never to tables, gains and biases.
pub(crate) fn is_decayed(group: Group) -> bool {
    matches!(group, Group::Matrix | Group::Head)
}

/// The slot `optimizer`.
pub static SLOT: Slot = Slot {
    path: "optimizer",
    doc: "how gradients become updates",
    default: "adamw",
    class: Class::Restart,
    keys: &[Key {
        name: "lr",
        kind: Kind::NON_NEGATIVE,
        default: Default::Required,
        class: Class::Live,
        doc: "learning rate at the schedule's height; a change rescales the whole schedule",
    }],
    variants: VARIANTS,
};
