//! Operations on a GPU: memory, launches, and the kernels' compilation at run time.
//!
//! [`Gpu`] is the value that everything else holds. It asks a [`driver::Driver`] (CUDA, ROCm, or the [`emulator`]) for
//! memory and launches, and keeps the kernels that were compiled. A kernel's text is the `gpu.cu` of its operation
//! ([`mod@unit`]); `prelude.cuh` alone knows which compiler reads it, with `hopper.cuh` for `sm_90a`. [`check`] compares
//! operations with their scalar definitions, [`survey`] lists every kernel that the program can ask for, [`gemm`] multiplies matrices.
//!
//! Device memory is named by plain numbers ([`View`]), not by Rust references: no Rust code reads or writes it, and the
//! planner that gives every tensor its place proves that they do not overlap, as on the CPU.

pub mod angles;
pub mod basic;
pub mod blas;
pub mod check;
pub mod compiled;
pub mod context;
mod cublaslt;
mod cuda;
pub mod devices;
pub mod driver;
#[cfg(unix)]
pub mod emulator;
pub mod fetch;
pub mod gemm;
mod library;
mod native;
pub mod norm;
mod rocm;
pub mod rtc;
pub mod survey;
pub mod tensor_map;
pub mod unit;

pub use context::{GpuBackward, GpuForward, GpuGrad, LIVE_BYTES, live_bytes};
pub use driver::{Driver, Graph, Info, Kind};
pub use tensor_map::TensorMap;
pub use unit::{ACT, HOPPER, Kernel, PACK, PHILOX, Piece, REDUCE, Unit};

use crate::Dtype;
use driver::Function;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use unit::Source;

/// Why a device could not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GpuError {
    /// There is no such device, or what is needed to use it is missing.
    #[error("{0}")]
    Missing(String),
    /// Not enough device memory.
    #[error("out of device memory: {wanted} bytes wanted, {free} free")]
    OutOfMemory {
        /// Bytes asked for.
        wanted: u64,
        /// Bytes free when it was asked.
        free: u64,
    },
    /// A kernel does not compile for this device.
    #[error("{title} does not compile for {arch}: {message}")]
    Compile {
        /// Unit and definitions.
        title: String,
        /// Architecture.
        arch: String,
        /// The compiler's words.
        message: String,
    },
    /// A kernel did something that it must not, as the emulation saw it.
    #[error("{kernel}: {message}")]
    Kernel {
        /// Its name.
        kernel: String,
        /// What, where.
        message: String,
    },
    /// The device failed.
    #[error("the device failed: {0}")]
    Device(String),
}

/// How a launch is spread: blocks, threads of a block, bytes of dynamic shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Blocks.
    pub blocks: u32,
    /// Threads of each; a multiple of 64, so that no warp of any device is partial.
    pub threads: u32,
    /// Bytes of dynamic shared memory of each.
    pub shared: u32,
}

impl Grid {
    /// Blocks of threads.
    pub fn new(blocks: usize, threads: u32) -> Self {
        assert!(
            threads.is_multiple_of(64),
            "a block of {threads} threads has a partial warp"
        );
        Self {
            blocks: u32::try_from(blocks).expect("a grid has at most 2^32 - 1 blocks"),
            threads,
            shared: 0,
        }
    }

    /// One thread for each of `n` elements, in blocks of 256.
    pub fn cover(n: usize) -> Self {
        Self::new(n.div_ceil(256), 256)
    }

    /// With dynamic shared memory.
    #[must_use]
    pub fn with_shared(self, bytes: usize) -> Self {
        Self {
            shared: bytes as u32,
            ..self
        }
    }
}

/// An argument of a kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arg {
    /// An address on the device; 0 is none.
    Ptr(u64),
    /// `int`.
    I32(i32),
    /// `float`.
    F32(f32),
    /// `TENSOR_MAP` of `hopper.cuh`: a matrix that the copy engine reads.
    Map(TensorMap),
}

impl From<View> for Arg {
    fn from(view: View) -> Self {
        Self::Ptr(view.ptr)
    }
}

impl From<Option<View>> for Arg {
    fn from(view: Option<View>) -> Self {
        Self::Ptr(view.map_or(0, |view| view.ptr))
    }
}

impl From<usize> for Arg {
    fn from(n: usize) -> Self {
        Self::I32(i32::try_from(n).expect("a kernel counts in 31 bits"))
    }
}

impl From<bool> for Arg {
    fn from(b: bool) -> Self {
        Self::I32(i32::from(b))
    }
}

impl From<f64> for Arg {
    fn from(x: f64) -> Self {
        Self::F32(x as f32)
    }
}

/// A tensor in device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Address of its first element.
    pub ptr: u64,
    /// Elements.
    pub len: usize,
    /// Their type.
    pub dtype: Dtype,
    /// Address of the same values rounded to `bf16`, where they are kept beside (parameters in `bf16` runs).
    pub rounded: Option<u64>,
}

impl View {
    /// A tensor at an address.
    pub fn new(ptr: u64, len: usize, dtype: Dtype) -> Self {
        Self {
            ptr,
            len,
            dtype,
            rounded: None,
        }
    }

    /// Its elements from `start` on.
    #[must_use]
    pub fn from(self, start: usize) -> Self {
        assert!(start <= self.len, "element {start} of {}", self.len);
        Self {
            ptr: self.ptr + (start * self.dtype.size()) as u64,
            len: self.len - start,
            dtype: self.dtype,
            rounded: self.rounded.map(|at| at + 2 * start as u64),
        }
    }

    /// `len` of its elements from `start` on.
    #[must_use]
    pub fn slice(self, start: usize, len: usize) -> Self {
        let rest = self.from(start);
        assert!(len <= rest.len, "{len} elements of {}", rest.len);
        Self { len, ..rest }
    }

    /// As the factor of a matrix product: rounded, where that is kept.
    #[must_use]
    pub fn factor(self) -> Self {
        match self.rounded {
            Some(ptr) => Self::new(ptr, self.len, Dtype::Bf16),
            None => self,
        }
    }

    /// Takes `len` elements of another type from the front of scratch memory, and leaves the rest, aligned.
    pub fn carve(&mut self, len: usize, dtype: Dtype) -> Self {
        let bytes = (len * dtype.size()).next_multiple_of(crate::arena::ALIGN);
        let size = self.dtype.size();
        let taken = Self::new(self.ptr, len, dtype);
        assert!(
            bytes <= self.len * size,
            "{bytes} bytes of scratch wanted, {} left",
            self.len * size
        );
        *self = Self::new(self.ptr + bytes as u64, self.len - bytes / size, self.dtype);
        taken
    }
}

/// Device memory that is given back when it is dropped.
#[derive(Debug)]
pub struct Buffer {
    gpu: Gpu,
    address: u64,
    bytes: usize,
}

impl Buffer {
    /// Its address.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Its size in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// `len` elements at byte `offset`.
    pub fn view(&self, offset: usize, len: usize, dtype: Dtype) -> View {
        assert!(
            offset + len * dtype.size() <= self.bytes,
            "{len} elements at {offset} of {} bytes",
            self.bytes
        );
        View::new(self.address + offset as u64, len, dtype)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.gpu.driver().free(self.address);
        }
    }
}

/// A device and the kernels compiled for it. Cheap to clone: clones are the same device.
#[derive(Clone, Debug)]
pub struct Gpu {
    shared: Arc<SharedParts>,
}

#[derive(Debug)]
struct SharedParts {
    driver: Box<dyn Driver>,
    functions: Mutex<HashMap<(Source, &'static str), Function>>,
    modules: Mutex<HashMap<Source, driver::Module>>,
    cache: Option<compiled::Cache>,
    own_products: AtomicBool,
}

impl Gpu {
    /// A device behind its driver. Compiled kernels are kept in `cache`, where there is one.
    pub fn new(driver: Box<dyn Driver>, cache: Option<compiled::Cache>) -> Self {
        Self {
            shared: Arc::new(SharedParts {
                driver,
                functions: Mutex::default(),
                modules: Mutex::default(),
                cache,
                own_products: AtomicBool::new(false),
            }),
        }
    }

    /// The driver.
    pub fn driver(&self) -> &dyn Driver {
        &*self.shared.driver
    }

    /// What device this is.
    pub fn info(&self) -> &Info {
        self.driver().info()
    }

    /// Whether matrix products are made by our own kernels even where the vendor's library is installed: for comparisons.
    pub fn use_own_products(&self, own: bool) {
        self.shared.own_products.store(own, Ordering::Relaxed);
    }

    /// The vendor's matrix products, where they are installed and not set aside by [`Gpu::use_own_products`].
    pub fn library(&self) -> Option<&dyn blas::Blas> {
        let own = self.shared.own_products.load(Ordering::Relaxed);
        self.driver().blas().filter(|_| !own)
    }

    /// Takes device memory.
    ///
    /// # Errors
    /// If there is not enough.
    pub fn alloc(&self, bytes: usize) -> Result<Buffer, GpuError> {
        let address = if bytes == 0 {
            0
        } else {
            self.driver().alloc(bytes)?
        };
        Ok(Buffer {
            gpu: self.clone(),
            address,
            bytes,
        })
    }

    /// Puts a kernel on the stream, compiled first where it was not yet.
    ///
    /// # Errors
    /// If it does not compile, or the device refuses.
    pub fn launch(&self, kernel: &Kernel, grid: Grid, args: &[Arg]) -> Result<(), GpuError> {
        if grid.blocks == 0 {
            return Ok(());
        }
        let function = self.function(kernel)?;
        self.driver().launch(function, grid, args)
    }

    fn function(&self, kernel: &Kernel) -> Result<Function, GpuError> {
        let key = (kernel.source(), kernel.name);
        let known = lock(&self.shared.functions).get(&key).copied();
        if let Some(function) = known {
            return Ok(function);
        }
        let module = self.module(&key.0)?;
        let function = self.driver().function(module, kernel.name)?;
        lock(&self.shared.functions).insert(key, function);
        Ok(function)
    }

    fn module(&self, source: &Source) -> Result<driver::Module, GpuError> {
        if let Some(module) = lock(&self.shared.modules).get(source) {
            return Ok(*module);
        }
        let compile = || self.driver().compile(source);
        let image = match &self.shared.cache {
            Some(cache) => cache.get(&self.driver().compiler(), source, compile)?,
            None => compile()?,
        };
        let module = self.driver().load(&image)?;
        lock(&self.shared.modules).insert(source.clone(), module);
        Ok(module)
    }
}

/// A poisoned lock guards a map that is whole all the same: every change of it is one insertion.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
