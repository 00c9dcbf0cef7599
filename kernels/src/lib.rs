//! Operations on the CPU and on GPUs, and the memory that they work on.
//!
//! Read [`op`] first: the trait that every operation implements. Each operation is one folder of [`ops`], each optimizer
//! update one folder of [`update`]; nothing else in the program knows their mathematics. [`cpu`] holds what their CPU
//! kernels share: the instruction sets, the vector trait, the thread pool, the matrix product. [`check`] runs any
//! operation on its own and compares it with its definition; tests and `zerollm doctor` both use it.
//!
//! # Types of the tensors
//!
//! | tensor | `f32` | `bf16` | `f64` (gradient checks only) |
//! |---|---|---|---|
//! | parameters, their gradients, optimizer state | f32 | f32 | f64 |
//! | parameters of who only reads (`generate`, chat, `score`) | f32 | bf16; gains and biases f32 | |
//! | keys and values of a cache | f32 | bf16 | |
//! | residual stream and its gradient ("wide") | f32 | f32 | f64 |
//! | outputs of norms, linear maps, attention, activations, and their gradients ("compute") | f32 | bf16 | f64 |
//! | products inside a matrix product | f32 | bf16 in, f32 sums | f64 |
//! | saved statistics (reciprocal deviations, log-sum-exp) | f32 | f32 | f64 |
//! | attention probabilities, logits (never whole in memory) | f32 | f32, rounded to bf16 as factors of a product | f64 |

pub mod arena;
pub mod check;
pub mod cpu;
pub mod dtype;
pub mod file_map;
pub mod gpu;
pub mod op;
pub mod ops;
pub mod philox;
pub mod update;

pub use arena::{Slot, SlotMut};
pub use cpu::{Cpu, Isa};
pub use dtype::{Bf16, Dtype, Elem, Float, Precision};
pub use op::{
    Backward, Forward, Grad, GradMode, GradSharing, Keeps, Meta, Op, Scalars, ShapeError,
};
