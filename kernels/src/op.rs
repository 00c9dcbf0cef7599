//! The contract between an operation and the tape.
//!
//! An [`Op`] says what it is called, which outputs it makes of which inputs, what its backward will read again, and how
//! to run forward and backward. Nothing has a default: an operation without a gradient, or one that forgets to say what
//! it keeps, does not compile. The tape owns all memory; an operation receives views ([`Forward`], [`Backward`]).

use crate::arena::{Arena, scratch_of};
use crate::gpu::{self, GpuBackward, GpuError, GpuForward, Info};
use crate::{Cpu, Dtype, Elem, Precision, Slot, SlotMut};
use std::any::Any;
use std::fmt::{self, Debug};

/// Shape (outermost dimension first) and element type of a tensor. Always contiguous.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Meta {
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// Element type.
    pub dtype: Dtype,
}

impl Meta {
    /// A tensor's description.
    pub fn new(shape: impl Into<Vec<usize>>, dtype: Dtype) -> Self {
        Self {
            shape: shape.into(),
            dtype,
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.len() * self.dtype.size()
    }

    /// Size of the last dimension (1 for a scalar).
    pub fn cols(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Product of all dimensions but the last.
    pub fn rows(&self) -> usize {
        self.shape[..self.shape.len().saturating_sub(1)]
            .iter()
            .product()
    }
}

impl Debug for Meta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}{:?}", self.dtype, self.shape)
    }
}

/// Inputs that do not fit an operation: a bug in the model, found while it is recorded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ShapeError(pub String);

impl ShapeError {
    /// An error with a message that names the shapes.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// What the backward of an operation reads again. The planner frees everything else after its last forward use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeps {
    /// Bit i: input i is read.
    pub inputs: u32,
    /// Bit i: output i is read.
    pub outputs: u32,
    /// In training, forward and backward run as one: the tape calls only the backward, which also writes the outputs.
    /// For a loss, whose forward would otherwise be computed twice. Only for operations whose outputs nothing else reads
    /// before the backward.
    pub forward_in_backward: bool,
}

impl Keeps {
    /// Nothing is read again.
    pub const NOTHING: Self = Self {
        inputs: 0,
        outputs: 0,
        forward_in_backward: false,
    };

    /// The inputs whose bits are set are read again.
    pub const fn inputs(mask: u32) -> Self {
        Self {
            inputs: mask,
            ..Self::NOTHING
        }
    }

    /// The outputs whose bits are set are read again.
    pub const fn outputs(mask: u32) -> Self {
        Self {
            outputs: mask,
            ..Self::NOTHING
        }
    }
}

/// Which gradients may share memory. The planner uses it only where no other reader or writer would notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GradSharing {
    /// `(input, output)`: the gradient of the input may be made inside the memory of the gradient of the output; the
    /// backward then finds it there as [`GradMode::InPlace`].
    pub in_place: Option<(usize, usize)>,
    /// `(a, b)`: the gradients of inputs a and b are equal; b's is then left out (`d_input(b)` is `None`) and read from a's.
    pub equal: Option<(usize, usize)>,
}

impl GradSharing {
    /// Every gradient has memory of its own.
    pub const NONE: Self = Self {
        in_place: None,
        equal: None,
    };
}

/// The scalars of a replay, read anew each time, so that nothing is recorded again when they change.
#[derive(Clone, Copy, Debug)]
pub struct Scalars {
    /// The run's seed.
    pub seed: u64,
    /// Optimizer step, from 1.
    pub step: u64,
    /// Index of this micro-batch's first row in the stream of all rows: dropout is keyed by it.
    pub row0: u64,
    /// What the sum of the losses is multiplied by: one over the valid targets of the whole step.
    pub loss_scale: f64,
    /// Tokens already in the key-value cache (decoding).
    pub cache_len: usize,
}

impl Default for Scalars {
    fn default() -> Self {
        Self {
            seed: 0,
            step: 1,
            row0: 0,
            loss_scale: 1.0,
            cache_len: 0,
        }
    }
}

/// What a forward works on.
#[derive(Debug)]
pub struct Forward<'a> {
    /// Threads and instruction set.
    pub cpu: &'a Cpu,
    /// Live scalars.
    pub scalars: &'a Scalars,
    /// Whether a backward will follow (dropout acts, statistics are saved).
    pub training: bool,
    /// Shapes of the inputs.
    pub metas: &'a [Meta],
    /// Readable inputs.
    pub inputs: &'a [Slot<'a>],
    /// Writable outputs; each is taken once.
    pub outputs: Vec<Option<SlotMut<'a>>>,
    /// Writable tensors kept for backward, as [`Op::saved`] lists them; empty when not training.
    pub saved: Vec<Option<SlotMut<'a>>>,
    /// Scratch of the size that [`Op::workspace`] asked for.
    pub workspace: &'a mut [u8],
}

impl<'a> Forward<'a> {
    /// Elements of input `i`.
    pub fn input<T: Elem>(&self, i: usize) -> &'a [T] {
        self.inputs[i].as_slice()
    }

    /// Elements of output `i`. Each output can be taken once.
    pub fn output<T: Elem>(&mut self, i: usize) -> &'a mut [T] {
        self.outputs[i]
            .take()
            .expect("an output is taken once")
            .into_slice()
    }

    /// Elements of saved tensor `i`, or `None` when not training. Each can be taken once.
    pub fn saved<T: Elem>(&mut self, i: usize) -> Option<&'a mut [T]> {
        self.saved.get_mut(i)?.take().map(SlotMut::into_slice)
    }

    /// The scratch memory. It can be taken once.
    pub fn take_workspace(&mut self) -> &'a mut [u8] {
        std::mem::take(&mut self.workspace)
    }
}

/// How the gradient of an input is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GradMode {
    /// Write it: what is in the memory is garbage.
    Set,
    /// Add it to what is there.
    Add,
    /// The memory holds the gradient of the output that [`GradSharing::in_place`] names: turn it into the gradient of
    /// the input.
    InPlace,
}

/// A gradient to deliver.
#[derive(Debug)]
pub struct Grad<'a> {
    /// Where.
    pub slot: SlotMut<'a>,
    /// How.
    pub mode: GradMode,
}

/// What a backward works on.
#[derive(Debug)]
pub struct Backward<'a> {
    /// Threads and instruction set.
    pub cpu: &'a Cpu,
    /// Live scalars.
    pub scalars: &'a Scalars,
    /// Shapes of the inputs.
    pub metas: &'a [Meta],
    /// Inputs; only those that [`Keeps::inputs`] names may be read, the others are `None`.
    pub inputs: &'a [Option<Slot<'a>>],
    /// Outputs; only those that [`Keeps::outputs`] names may be read.
    pub outputs: &'a [Option<Slot<'a>>],
    /// Outputs to write, only where [`Keeps::forward_in_backward`]; else empty.
    pub late_outputs: Vec<Option<SlotMut<'a>>>,
    /// Gradients of the outputs; `None` where nothing depends on the output (a zero gradient), or where it lies in the
    /// memory of an input's gradient ([`GradMode::InPlace`]).
    pub d_outputs: &'a [Option<Slot<'a>>],
    /// Gradients of the inputs to deliver; `None` where none is wanted. Each is taken once.
    pub d_inputs: Vec<Option<Grad<'a>>>,
    /// Tensors that the forward saved.
    pub saved: &'a [Slot<'a>],
    /// Scratch of the size that [`Op::workspace`] asked for.
    pub workspace: &'a mut [u8],
}

impl<'a> Backward<'a> {
    /// Elements of input `i`, which [`Op::keeps`] must name.
    pub fn input<T: Elem>(&self, i: usize) -> &'a [T] {
        self.inputs[i]
            .expect("an input that is read backward is kept")
            .as_slice()
    }

    /// Elements of index input `i`, which [`Op::keeps`] must name.
    pub fn input_i32(&self, i: usize) -> &'a [i32] {
        self.inputs[i]
            .expect("an input that is read backward is kept")
            .as_i32()
    }

    /// Elements of output `i`, which [`Op::keeps`] must name.
    pub fn output<T: Elem>(&self, i: usize) -> &'a [T] {
        self.outputs[i]
            .expect("an output that is read backward is kept")
            .as_slice()
    }

    /// Gradient of output `i`, if it has one of its own.
    pub fn d_output<T: Elem>(&self, i: usize) -> Option<&'a [T]> {
        self.d_outputs[i].map(|slot| slot.as_slice())
    }

    /// Elements of saved tensor `i`.
    pub fn saved<T: Elem>(&self, i: usize) -> &'a [T] {
        self.saved[i].as_slice()
    }

    /// The gradient of input `i` and how to deliver it, or `None` if it is not wanted.
    pub fn d_input<T: Elem>(&mut self, i: usize) -> Option<(&'a mut [T], GradMode)> {
        self.d_inputs[i]
            .take()
            .map(|grad| (grad.slot.into_slice(), grad.mode))
    }

    /// The scratch memory. It can be taken once.
    pub fn take_workspace(&mut self) -> &'a mut [u8] {
        std::mem::take(&mut self.workspace)
    }
}

/// One differentiable operation. See the folder of [`crate::ops`] that implements it for its mathematics.
pub trait Op: Any + Debug + Send + Sync {
    /// The field's name for it, as profiles, errors and docs show it.
    fn name(&self) -> &'static str;

    /// Shapes and types of the outputs.
    ///
    /// # Errors
    /// If the inputs do not fit; the message names the shapes.
    fn outputs(&self, inputs: &[Meta], precision: Precision) -> Result<Vec<Meta>, ShapeError>;

    /// What the backward reads again.
    fn keeps(&self) -> Keeps;

    /// Tensors that the forward leaves for the backward (statistics such as reciprocal deviations).
    fn saved(&self, inputs: &[Meta], precision: Precision) -> Vec<Meta>;

    /// Scratch for one call, in bytes, aligned to [`crate::arena::ALIGN`].
    fn workspace(&self, inputs: &[Meta], cpu: &Cpu, backward: bool) -> usize;

    /// Which gradients may share memory.
    fn grad_sharing(&self) -> GradSharing;

    /// Computes the outputs.
    fn forward_cpu(&self, cx: &mut Forward<'_>);

    /// Computes the gradients of the inputs from those of the outputs.
    fn backward_cpu(&self, cx: &mut Backward<'_>);

    /// Scratch for one call on a GPU, in bytes.
    fn workspace_gpu(&self, inputs: &[Meta], device: &Info, backward: bool) -> usize;

    /// Computes the outputs on a GPU.
    ///
    /// # Errors
    /// If the device refuses.
    fn forward_gpu(&self, cx: &GpuForward<'_>) -> Result<(), GpuError>;

    /// Computes the gradients of the inputs on a GPU, in a fixed order: the same bits every time.
    ///
    /// # Errors
    /// If the device refuses.
    fn backward_gpu(&self, cx: &GpuBackward<'_>) -> Result<(), GpuError>;

    /// Floating-point operations of one forward (a multiply-add counts two).
    fn flops(&self, inputs: &[Meta]) -> u64;

    /// Floating-point operations of one backward that delivers all gradients, with all that it makes again (and the forward,
    /// where it runs as one with it).
    fn backward_flops(&self, inputs: &[Meta]) -> u64;
}

/// One tensor of state of an [`InferOp`] on the CPU, such as the keys of a layer: memory that outlives a replay, in huge
/// pages where it is large.
#[derive(Debug)]
pub struct State {
    memory: Arena,
    len: usize,
    dtype: Dtype,
}

impl State {
    /// `len` zeros.
    pub fn new(dtype: Dtype, len: usize) -> Self {
        Self {
            memory: Arena::new(len * dtype.size()),
            len,
            dtype,
        }
    }

    /// Bytes of its values.
    pub fn bytes(&self) -> usize {
        self.len * self.dtype.size()
    }

    /// Its values. Panics if they are not of type `T`: that is a bug in the operation.
    pub fn values_mut<T: Elem>(&mut self) -> &mut [T] {
        assert_eq!(self.dtype, T::DTYPE, "state used as the wrong type");
        &mut scratch_of::<T>(self.memory.as_bytes_mut())[..self.len]
    }
}

/// An operation without a gradient (attention over a key-value cache, for decoding). The tape refuses it on a path from a
/// parameter to the loss.
pub trait InferOp: Any + Debug + Send + Sync {
    /// The field's name for it.
    fn name(&self) -> &'static str;

    /// Shapes and types of the outputs.
    ///
    /// # Errors
    /// If the inputs do not fit; the message names the shapes.
    fn outputs(&self, inputs: &[Meta], precision: Precision) -> Result<Vec<Meta>, ShapeError>;

    /// Scratch for one call, in bytes.
    fn workspace(&self, inputs: &[Meta], cpu: &Cpu) -> usize;

    /// Computes the outputs. `state` is memory that outlives the replay (a layer's key-value cache), described by
    /// [`InferOp::state`].
    fn forward_cpu(&self, cx: &mut Forward<'_>, state: &mut [State]);

    /// Scratch for one call on a GPU, in bytes.
    fn workspace_gpu(&self, inputs: &[Meta], device: &Info) -> usize;

    /// Computes the outputs on a GPU. `state` is device memory that outlives the replay, as many elements as
    /// [`InferOp::state`] says, of `f32` or of `bf16`.
    ///
    /// # Errors
    /// If the device refuses.
    fn forward_gpu(&self, cx: &GpuForward<'_>, state: &[gpu::View]) -> Result<(), GpuError>;

    /// Number of values of each tensor of state, which are of the compute type on the CPU.
    fn state(&self) -> Vec<usize>;

    /// Floating-point operations of one forward.
    fn flops(&self, inputs: &[Meta]) -> u64;
}
