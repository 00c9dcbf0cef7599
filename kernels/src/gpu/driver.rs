//! The door between the kernels and whatever runs them: CUDA, ROCm, or the emulation on the CPU.
//!
//! A driver owns one device and one stream, the compute stream. Everything is done in the order in which it was asked for: an
//! upload is seen by every launch after it and by none before, a download sees every launch before it.

use super::blas::Blas;
use super::unit::Source;
use super::{Arg, GpuError, Grid};
use std::fmt::Debug;

/// What kind of device runs the kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An NVIDIA GPU, through its driver and NVRTC.
    Cuda,
    /// An AMD GPU, through HIP and hipRTC.
    Rocm,
    /// The CPU, which runs the kernels' source thread by thread and watches every access.
    Emulated,
}

impl Kind {
    /// The name that `--device` takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cuda => "cuda",
            Self::Rocm => "rocm",
            Self::Emulated => "emulated",
        }
    }
}

/// A device as kernels and people need to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// What it is.
    pub kind: Kind,
    /// Its number among its kind.
    pub index: usize,
    /// Its name, as its driver gives it.
    pub name: String,
    /// Its architecture, as the compiler takes it: `sm_90`, `gfx942`.
    pub arch: String,
    /// Version of the driver and of the run-time compiler.
    pub versions: String,
    /// Threads that run in lockstep: 32 or 64.
    pub warp: u32,
    /// Multiprocessors: how many blocks are worked on at least at once.
    pub multiprocessors: u32,
    /// Bytes of shared memory that one block may have.
    pub shared_bytes: u32,
    /// Bytes of memory.
    pub memory: u64,
}

/// The architecture whose tensor cores and copy engine `hopper.cuh` names.
pub const HOPPER_ARCH: &str = "sm_90a";

impl Info {
    /// Whether kernels of `hopper.cuh` run here.
    pub fn is_hopper(&self) -> bool {
        self.arch == HOPPER_ARCH && self.warp == 32
    }
}

/// A compiled unit that is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Module(pub usize);

/// A kernel of a loaded unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Function(pub usize);

/// A sequence of launches that was captured and can be replayed as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Graph(pub usize);

/// One device. Addresses are plain numbers: only this device can read them.
pub trait Driver: Debug + Send + Sync {
    /// The device.
    fn info(&self) -> &Info;

    /// Bytes of device memory that are free now.
    ///
    /// # Errors
    /// If the device does not answer.
    fn free_memory(&self) -> Result<u64, GpuError>;

    /// Takes memory, aligned to 256 bytes; its contents are garbage.
    ///
    /// # Errors
    /// If there is not enough.
    fn alloc(&self, bytes: usize) -> Result<u64, GpuError>;

    /// Gives memory back.
    fn free(&self, address: u64);

    /// Copies to the device. The source may be changed as soon as the call returns.
    ///
    /// # Errors
    /// If the device does not answer.
    fn upload(&self, to: u64, from: &[u8]) -> Result<(), GpuError>;

    /// Copies from the device, after all that was asked of it before; waits for the copy.
    ///
    /// # Errors
    /// If the device does not answer, or an earlier launch failed.
    fn download(&self, to: &mut [u8], from: u64) -> Result<(), GpuError>;

    /// Copies within the device.
    ///
    /// # Errors
    /// If the device does not answer.
    fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<(), GpuError>;

    /// Sets bytes on the device.
    ///
    /// # Errors
    /// If the device does not answer.
    fn fill(&self, to: u64, byte: u8, bytes: usize) -> Result<(), GpuError>;

    /// What the compiled form of a source depends on beside the source: compiler, version, options.
    fn compiler(&self) -> String;

    /// Compiles a source into an image that [`Driver::load`] takes.
    ///
    /// # Errors
    /// If there is no compiler, or with the compiler's own words and the kernel's own line.
    fn compile(&self, source: &Source) -> Result<Vec<u8>, GpuError>;

    /// Loads an image.
    ///
    /// # Errors
    /// If the device does not take it.
    fn load(&self, image: &[u8]) -> Result<Module, GpuError>;

    /// Finds a kernel.
    ///
    /// # Errors
    /// If the module has none of that name.
    fn function(&self, module: Module, name: &str) -> Result<Function, GpuError>;

    /// Puts a launch on the compute stream.
    ///
    /// # Errors
    /// If the device does not take it.
    fn launch(&self, function: Function, grid: Grid, args: &[Arg]) -> Result<(), GpuError>;

    /// Waits until all that was asked is done.
    ///
    /// # Errors
    /// If any of it failed.
    fn synchronize(&self) -> Result<(), GpuError>;

    /// Runs `record`, whose launches are captured and not run. Nothing else may be asked meanwhile but [`Driver::copy`] and
    /// [`Driver::fill`], which are captured too.
    ///
    /// # Errors
    /// If `record` fails or the device refuses.
    fn capture(&self, record: &mut dyn FnMut() -> Result<(), GpuError>) -> Result<Graph, GpuError>;

    /// Puts a captured sequence on the compute stream.
    ///
    /// # Errors
    /// If the device does not take it.
    fn replay(&self, graph: Graph) -> Result<(), GpuError>;

    /// Forgets a captured sequence.
    fn forget(&self, graph: Graph);

    /// Seconds that the device takes for what `work` asks of it, by the device's own clock.
    ///
    /// # Errors
    /// If `work` fails or the device does not answer.
    fn time(&self, work: &mut dyn FnMut() -> Result<(), GpuError>) -> Result<f64, GpuError>;

    /// The vendor's matrix products, where their library is installed.
    fn blas(&self) -> Option<&dyn Blas>;
}
