//! What the CPU kernels share: the instruction set ([`Isa`]), vectors ([`simd`]), threads ([`pool`]), and the matrix
//! product.

pub mod angles;
pub mod elementwise;
pub mod gemm;
pub mod isa;
pub mod norm;
pub mod peak;
pub mod pool;
pub mod rows;
pub mod simd;

pub use isa::Isa;
pub use pool::Pool;

/// The CPU as a device: its instruction set and the threads that kernels run on.
#[derive(Debug)]
pub struct Cpu {
    /// The instruction set that kernels use.
    pub isa: Isa,
    /// The threads that kernels are split over.
    pub pool: Pool,
    /// Weights that matrix products have packed.
    pub packs: gemm::Packs,
}

impl Cpu {
    /// A device with `threads` threads and the best instruction set (or the one that `ZEROLLM_ISA` names).
    pub fn new(threads: usize) -> Self {
        Self {
            isa: Isa::detected(),
            pool: Pool::new(threads),
            packs: gemm::Packs::default(),
        }
    }

    /// A device with a given instruction set, for tests. It must be one that this machine has.
    pub fn with_isa(threads: usize, isa: Isa) -> Self {
        assert!(
            Isa::available().contains(&isa),
            "this machine has no {isa:?}"
        );
        Self {
            isa,
            pool: Pool::new(threads),
            packs: gemm::Packs::default(),
        }
    }
}
