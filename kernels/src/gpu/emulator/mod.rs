//! The kernels' own source, run on the CPU: a device for tests, for teaching, and for machines without a GPU.
//!
//! A kernel is compiled by the host's C++ compiler behind the host face of `prelude.cuh`; `emulator.cpp` is the execution
//! model: blocks one after another, threads as fibers that meet at barriers and in warp collectives. In checked form every
//! load and store is watched: exact bounds, reads of shared memory that nobody wrote, races between threads and between
//! blocks, alignment, barriers in a branch. Each verdict names the kernel's own line.
//!
//! What it cannot see: faults of memory order finer than barriers, of a GPU's compiler, wrong text of inline assembly (only its
//! C++ twin runs), the rounding of tensor cores and of approximate instructions, registers, bank conflicts, speed.

#![expect(
    unsafe_code,
    reason = "calls into code that the C++ compiler made, and copies to and from its memory"
)]

mod build;
#[cfg(test)]
mod hopper_tests;
#[cfg(test)]
mod tests;

use super::blas::Blas;
use super::compiled::Cache;
use super::driver::{Driver, Function, Graph, HOPPER_ARCH, Info, Kind, Module};
use super::tensor_map::Encoded;
use super::unit::Source;
use super::{Arg, GpuError, Grid, lock};
use build::{Compiler, Scratch};
use libloading::os::unix::{Library, Symbol};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

/// How an emulated device behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Lanes of a warp: 32 as NVIDIA's and AMD's newer, 64 as AMD's gfx9.
    pub warp: u32,
    /// Whether every access is watched; several times slower.
    pub checked: bool,
    /// In which order threads run: 0 ascending, 1 descending, 2 any, 3 warps and lanes permuted; and blocks likewise.
    pub order: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            warp: 32,
            checked: false,
            order: 0,
        }
    }
}

type Launch = unsafe extern "C" fn(*mut *mut c_void, u32, u32, u32) -> c_int;

/// The execution model, loaded once in a process. Its state is global, so that one call is made at a time.
#[derive(Debug)]
struct Core {
    _library: Library,
    alloc: Symbol<unsafe extern "C" fn(u32) -> *mut c_void>,
    free: Symbol<unsafe extern "C" fn(*mut c_void)>,
    config: Symbol<unsafe extern "C" fn(u32, u32)>,
    error: Symbol<unsafe extern "C" fn() -> *const c_char>,
    error_at: Symbol<unsafe extern "C" fn(*mut *const c_char) -> u64>,
}

static CORE: OnceLock<Result<Mutex<Core>, GpuError>> = OnceLock::new();

/// An emulated device.
#[derive(Debug)]
pub struct Emulator {
    info: Info,
    options: Options,
    compiler: Compiler,
    scratch: Scratch,
    modules: Mutex<Vec<Library>>,
    functions: Mutex<Vec<(String, Symbol<Launch>)>>,
    graphs: Mutex<Vec<Vec<Recorded>>>,
    recording: Mutex<Option<Vec<Recorded>>>,
    /// Launches after which the device is lost, where [`LOST_AFTER`] says so.
    left: Option<AtomicU64>,
}

/// What a capture holds.
#[derive(Clone, Debug)]
enum Recorded {
    Launch(Function, Grid, Vec<Arg>),
    Copy(u64, u64, usize),
    Fill(u64, u8, usize),
}

impl Emulator {
    /// A device; `cache` keeps the compiled execution model.
    ///
    /// # Errors
    /// If there is no C++ compiler, or it refuses.
    pub fn new(options: Options, cache: Option<&Cache>) -> Result<Self, GpuError> {
        let compiler = Compiler::find()?;
        let scratch = Scratch::new()?;
        let loaded = CORE.get_or_init(|| {
            let image = compiler.core(&scratch, cache)?;
            load_core(&scratch, &image)
        });
        if let Err(error) = loaded {
            return Err(error.clone());
        }
        let info = Info {
            kind: Kind::Emulated,
            index: 0,
            name: format!("emulation on the CPU, warps of {}", options.warp),
            arch: "host".to_owned(),
            versions: compiler.version().to_owned(),
            warp: options.warp,
            multiprocessors: 4,
            shared_bytes: 48 << 10,
            memory: 1 << 30,
        };
        Ok(Self {
            info,
            options,
            compiler,
            scratch,
            modules: Mutex::default(),
            functions: Mutex::default(),
            graphs: Mutex::default(),
            recording: Mutex::default(),
            left: lost_after()?,
        })
    }

    /// The same device with so many bytes of shared memory for a block: kernels choose their tiles by it.
    #[must_use]
    pub fn with_shared(mut self, bytes: u32) -> Self {
        self.info.shared_bytes = bytes;
        self
    }

    /// The same device with a Hopper GPU's architecture and shared memory, so that the kernels for that alone are chosen.
    #[must_use]
    pub fn as_hopper(mut self) -> Self {
        HOPPER_ARCH.clone_into(&mut self.info.arch);
        self.with_shared(227 << 10)
    }

    fn core() -> std::sync::MutexGuard<'static, Core> {
        let core = CORE.get().and_then(|core| core.as_ref().ok());
        lock(core.expect("a device exists only where the execution model was loaded"))
    }

    /// Keeps `work` for the capture that is going on, or says that there is none.
    fn recorded(&self, work: Recorded) -> bool {
        match &mut *lock(&self.recording) {
            Some(recording) => {
                recording.push(work);
                true
            }
            None => false,
        }
    }

    fn run(&self, function: Function, grid: Grid, args: &[Arg]) -> Result<(), GpuError> {
        if let Some(left) = &self.left {
            let next = |left: u64| left.checked_sub(1);
            if left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
                .is_err()
            {
                return Err(GpuError::Device(format!(
                    "it is lost, as {LOST_AFTER} asked"
                )));
            }
        }
        let core = Self::core();
        let (name, launch) = {
            let functions = lock(&self.functions);
            let (name, launch) = &functions[function.0];
            (name.clone(), **launch)
        };
        let one = |word| {
            let mut place = Encoded::default();
            place.0[0] = word;
            place
        };
        let mut values: Vec<Encoded> = args
            .iter()
            .map(|arg| match *arg {
                Arg::Ptr(p) => one(p),
                Arg::I32(i) => one(u64::from(i as u32)),
                Arg::F32(x) => one(u64::from(x.to_bits())),
                Arg::Map(map) => map.plain(),
            })
            .collect();
        let mut pointers: Vec<*mut c_void> = values
            .iter_mut()
            .map(|value| std::ptr::from_mut(value).cast())
            .collect();
        // SAFETY: the launcher reads as many arguments as the kernel has parameters; the kernel's accesses stay in the
        // emulator's memory, whose pages end at guards. The core is locked.
        let failed = unsafe {
            (core.config)(self.options.order, 1);
            launch(
                pointers.as_mut_ptr(),
                grid.blocks,
                grid.threads,
                grid.shared,
            )
        };
        match failed {
            0 => Ok(()),
            -1 => Err(GpuError::Kernel {
                kernel: name,
                message: format!("does not take blocks of {} threads", grid.threads),
            }),
            _ => Err(GpuError::Kernel {
                kernel: name,
                message: Self::verdict(&core),
            }),
        }
    }

    /// The emulator's words, with the kernel's own line where it can be found.
    fn verdict(core: &Core) -> String {
        let mut object: *const c_char = std::ptr::null();
        // SAFETY: both strings live as long as the libraries, which are not unloaded meanwhile.
        let (message, at, object) = unsafe {
            let message = CStr::from_ptr((core.error)())
                .to_string_lossy()
                .into_owned();
            let at = (core.error_at)(&raw mut object);
            let object =
                (!object.is_null()).then(|| CStr::from_ptr(object).to_string_lossy().into_owned());
            (message, at, object)
        };
        match object.and_then(|object| build::line_of(&object, at)) {
            Some(line) => format!("{message} [{line}]"),
            None => message,
        }
    }
}

/// A drill: the device is lost after as many launches as this variable says, as a real one may be.
pub const LOST_AFTER: &str = "ZEROLLM_EMULATED_LOST_AFTER";

fn lost_after() -> Result<Option<AtomicU64>, GpuError> {
    let Ok(text) = std::env::var(LOST_AFTER) else {
        return Ok(None);
    };
    let number = text.parse().map_err(|error| {
        GpuError::Missing(format!(
            "{LOST_AFTER} is a number of launches, not {text:?} ({error})"
        ))
    })?;
    Ok(Some(AtomicU64::new(number)))
}

fn load_core(scratch: &Scratch, image: &[u8]) -> Result<Mutex<Core>, GpuError> {
    let path = scratch.write("core.so", image)?;
    let device = |error: libloading::Error| GpuError::Device(error.to_string());
    // SAFETY: the library is our own `emulator.cpp`, which does nothing when it is loaded, and the types of its functions
    // are those declared there. Its symbols are global, because compiled kernels call them.
    unsafe {
        let flags = libc::RTLD_NOW | libc::RTLD_GLOBAL;
        let library = Library::open(Some(path), flags).map_err(device)?;
        Ok(Mutex::new(Core {
            alloc: library.get(b"emu_alloc\0").map_err(device)?,
            free: library.get(b"emu_free\0").map_err(device)?,
            config: library.get(b"emu_config\0").map_err(device)?,
            error: library.get(b"emu_error\0").map_err(device)?,
            error_at: library.get(b"emu_error_at\0").map_err(device)?,
            _library: library,
        }))
    }
}

impl Driver for Emulator {
    fn info(&self) -> &Info {
        &self.info
    }

    fn free_memory(&self) -> Result<u64, GpuError> {
        Ok(self.info.memory)
    }

    fn alloc(&self, bytes: usize) -> Result<u64, GpuError> {
        let full = || GpuError::OutOfMemory {
            wanted: bytes as u64,
            free: self.info.memory,
        };
        let core = Self::core();
        let size = u32::try_from(bytes)
            .ok()
            .filter(|n| u64::from(*n) < self.info.memory);
        // SAFETY: takes pages of the emulator's own arena. The core is locked.
        let p = unsafe { (core.alloc)(size.ok_or_else(full)?) };
        if p.is_null() {
            return Err(full());
        }
        Ok(p.addr() as u64)
    }

    fn free(&self, address: u64) {
        let core = Self::core();
        // SAFETY: an address that is not an allocation is ignored. The core is locked.
        unsafe { (core.free)(std::ptr::with_exposed_provenance_mut(address as usize)) }
    }

    fn upload(&self, to: u64, from: &[u8]) -> Result<(), GpuError> {
        let _core = Self::core();
        // SAFETY: `to` was given by `alloc` with room for the bytes (views check their bounds); no kernel runs.
        unsafe {
            let to: *mut u8 = std::ptr::with_exposed_provenance_mut(to as usize);
            std::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len());
        }
        Ok(())
    }

    fn download(&self, to: &mut [u8], from: u64) -> Result<(), GpuError> {
        let _core = Self::core();
        // SAFETY: as for `upload`.
        unsafe {
            let from: *const u8 = std::ptr::with_exposed_provenance(from as usize);
            std::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len());
        }
        Ok(())
    }

    fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<(), GpuError> {
        if self.recorded(Recorded::Copy(to, from, bytes)) {
            return Ok(());
        }
        let _core = Self::core();
        // SAFETY: as for `upload`; the two may overlap.
        unsafe {
            let from: *const u8 = std::ptr::with_exposed_provenance(from as usize);
            let to: *mut u8 = std::ptr::with_exposed_provenance_mut(to as usize);
            std::ptr::copy(from, to, bytes);
        }
        Ok(())
    }

    fn fill(&self, to: u64, byte: u8, bytes: usize) -> Result<(), GpuError> {
        if self.recorded(Recorded::Fill(to, byte, bytes)) {
            return Ok(());
        }
        let _core = Self::core();
        // SAFETY: as for `upload`.
        unsafe {
            let to: *mut u8 = std::ptr::with_exposed_provenance_mut(to as usize);
            std::ptr::write_bytes(to, byte, bytes);
        }
        Ok(())
    }

    fn compiler(&self) -> String {
        self.compiler.description(self.options)
    }

    fn compile(&self, source: &Source) -> Result<Vec<u8>, GpuError> {
        self.compiler.kernel(&self.scratch, source, self.options)
    }

    fn load(&self, image: &[u8]) -> Result<Module, GpuError> {
        let mut modules = lock(&self.modules);
        let path = self
            .scratch
            .write(&format!("kernels-{}.so", modules.len()), image)?;
        // SAFETY: the library holds kernels that the C++ compiler made of our own source; loading it runs nothing.
        let library = unsafe { Library::open(Some(path), libc::RTLD_NOW) }
            .map_err(|error| GpuError::Device(error.to_string()))?;
        modules.push(library);
        Ok(Module(modules.len() - 1))
    }

    fn function(&self, module: Module, name: &str) -> Result<Function, GpuError> {
        let modules = lock(&self.modules);
        let symbol = format!("emu_{name}\0");
        // SAFETY: `KERNEL` of the prelude defines launchers of this type under these names.
        let launch = unsafe { modules[module.0].get::<Launch>(symbol.as_bytes()) }
            .map_err(|error| GpuError::Device(format!("no kernel {name}: {error}")))?;
        let mut functions = lock(&self.functions);
        functions.push((name.to_owned(), launch));
        Ok(Function(functions.len() - 1))
    }

    fn launch(&self, function: Function, grid: Grid, args: &[Arg]) -> Result<(), GpuError> {
        if self.recorded(Recorded::Launch(function, grid, args.to_vec())) {
            return Ok(());
        }
        self.run(function, grid, args)
    }

    fn synchronize(&self) -> Result<(), GpuError> {
        Ok(())
    }

    fn capture(&self, record: &mut dyn FnMut() -> Result<(), GpuError>) -> Result<Graph, GpuError> {
        *lock(&self.recording) = Some(Vec::new());
        let recorded = record();
        let launches = lock(&self.recording).take().unwrap_or_default();
        recorded?;
        let mut graphs = lock(&self.graphs);
        graphs.push(launches);
        Ok(Graph(graphs.len() - 1))
    }

    fn replay(&self, graph: Graph) -> Result<(), GpuError> {
        let launches = lock(&self.graphs)[graph.0].clone();
        for work in launches {
            match work {
                Recorded::Launch(function, grid, args) => self.run(function, grid, &args)?,
                Recorded::Copy(to, from, bytes) => self.copy(to, from, bytes)?,
                Recorded::Fill(to, byte, bytes) => self.fill(to, byte, bytes)?,
            }
        }
        Ok(())
    }

    fn forget(&self, graph: Graph) {
        lock(&self.graphs)[graph.0] = Vec::new();
    }

    fn time(&self, work: &mut dyn FnMut() -> Result<(), GpuError>) -> Result<f64, GpuError> {
        let start = std::time::Instant::now();
        work()?;
        Ok(start.elapsed().as_secs_f64())
    }

    fn blas(&self) -> Option<&dyn Blas> {
        None
    }
}
