//! AMD GPUs, through HIP; kernels are compiled by hipRTC ([`super::rtc`]).
//!
//! The thirty-odd functions that are needed are bound here, as `hip_runtime_api.h` of ROCm 6 and 7 declares them, and looked for when
//! the program runs. Nobody has run this on a device yet: the kernels' compilation is tested, the calls are CUDA's by
//! other names.

#![expect(
    unsafe_code,
    reason = "calls HIP; each call is asked by `Native`, which owns the handles"
)]

use super::GpuError;
use super::compiled::Cache;
use super::driver::{Driver, Info, Kind};
use super::library::{self, Wanted, calls};
use super::lt::Installed;
use super::native::Native;
use super::native::api::{Answer, Api, Compiles, Failure, Handle};
use super::rtc::Rtc;
use super::unit::Source;
use std::ffi::{CStr, c_char, c_int, c_uint, c_ulonglong, c_void};
use std::ptr;
use std::sync::Arc;

const HIP: Wanted = Wanted {
    what: "HIP, the library of AMD GPUs,",
    variable: "ZEROLLM_HIP",
    names: if cfg!(windows) {
        &["amdhip64_7.dll", "amdhip64_6.dll"]
    } else {
        &["libamdhip64.so.7", "libamdhip64.so.6", "libamdhip64.so"]
    },
    folders: library::ROCM_FOLDERS,
    get: "install ROCm 6 or 7, and see that `rocminfo` lists the GPU",
};

/// A pointer that is a handle, or an address on the device.
type Ptr = *mut c_void;

calls! {
    struct Calls {
        init = "Init": fn(c_uint) -> c_int;
        count = "GetDeviceCount": fn(*mut c_int) -> c_int;
        properties = "GetDevicePropertiesR0600": fn(*mut Properties, c_int) -> c_int;
        version = "RuntimeGetVersion": fn(*mut c_int) -> c_int;
        name_of = "GetErrorName": fn(c_int) -> *const c_char;
        words_of = "GetErrorString": fn(c_int) -> *const c_char;
        set_device = "SetDevice": fn(c_int) -> c_int;
        memory = "MemGetInfo": fn(*mut usize, *mut usize) -> c_int;
        alloc = "Malloc": fn(*mut Ptr, usize) -> c_int;
        free = "Free": fn(Ptr) -> c_int;
        pin = "HostMalloc": fn(*mut Ptr, usize, c_uint) -> c_int;
        unpin = "HostFree": fn(Ptr) -> c_int;
        stream = "StreamCreateWithFlags": fn(*mut Ptr, c_uint) -> c_int;
        end_stream = "StreamDestroy": fn(Ptr) -> c_int;
        wait_stream = "StreamSynchronize": fn(Ptr) -> c_int;
        event = "EventCreateWithFlags": fn(*mut Ptr, c_uint) -> c_int;
        end_event = "EventDestroy": fn(Ptr) -> c_int;
        record = "EventRecord": fn(Ptr, Ptr) -> c_int;
        wait_event = "EventSynchronize": fn(Ptr) -> c_int;
        between = "EventElapsedTime": fn(*mut f32, Ptr, Ptr) -> c_int;
        to_device = "MemcpyHtoDAsync": fn(Ptr, *const c_void, usize, Ptr) -> c_int;
        to_host = "MemcpyDtoHAsync": fn(Ptr, Ptr, usize, Ptr) -> c_int;
        within = "MemcpyDtoDAsync": fn(Ptr, Ptr, usize, Ptr) -> c_int;
        set = "MemsetAsync": fn(Ptr, c_int, usize, Ptr) -> c_int;
        load = "ModuleLoadData": fn(*mut Ptr, *const c_void) -> c_int;
        unload = "ModuleUnload": fn(Ptr) -> c_int;
        function = "ModuleGetFunction": fn(*mut Ptr, Ptr, *const c_char) -> c_int;
        launch = "ModuleLaunchKernel": fn(
            Ptr, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, Ptr, *mut Ptr, *mut Ptr
        ) -> c_int;
        begin_capture = "StreamBeginCapture": fn(Ptr, c_int) -> c_int;
        capturing = "StreamIsCapturing": fn(Ptr, *mut c_int) -> c_int;
        end_capture = "StreamEndCapture": fn(Ptr, *mut Ptr) -> c_int;
        instantiate = "GraphInstantiateWithFlags": fn(*mut Ptr, Ptr, c_ulonglong) -> c_int;
        end_graph = "GraphDestroy": fn(Ptr) -> c_int;
        replay = "GraphLaunch": fn(Ptr, Ptr) -> c_int;
        end_ready = "GraphExecDestroy": fn(Ptr) -> c_int;
    }
}

/// `hipDeviceProp_tR0600`, of which only what is read has a name. ROCm 6 and 7 lay it out alike; it ends after 1472 bytes,
/// and a later one may be longer.
#[repr(C)]
struct Properties {
    name: [c_char; 256],
    id: [u8; 32],
    memory: usize,
    shared: usize,
    registers: c_int,
    warp: c_int,
    between: [u8; 76],
    multiprocessors: c_int,
    more: [u8; 768],
    arch: [c_char; 256],
    rest: [u8; 4096],
}

const _: () = assert!(
    std::mem::offset_of!(Properties, memory) == 288
        && std::mem::offset_of!(Properties, shared) == 296
        && std::mem::offset_of!(Properties, warp) == 308
        && std::mem::offset_of!(Properties, multiprocessors) == 388
        && std::mem::offset_of!(Properties, arch) == 1160,
    "the places of `hipDeviceProp_tR0600`"
);

/// No stream waits for more than its own; no event has a clock that needs none.
const NON_BLOCKING: c_uint = 1;
const NO_CLOCK: c_uint = 2;
/// `hipErrorOutOfMemory`.
const OUT_OF_MEMORY: c_int = 2;
/// `hipStreamCaptureModeRelaxed`: a kernel that is asked for the first time in a capture is still loaded.
const RELAXED: c_int = 2;

/// A device.
#[derive(Debug)]
struct Rocm {
    hip: Arc<Calls>,
    index: c_int,
}

#[derive(Debug)]
struct Compiler {
    rtc: Rtc,
    arch: String,
}

/// What is known of a device without opening it.
#[derive(Clone, Debug)]
pub(super) struct Found {
    hip: Arc<Calls>,
    /// Version of HIP.
    major: u32,
    info: Info,
}

impl Calls {
    fn check(&self, status: c_int) -> Answer<()> {
        if status == 0 {
            return Ok(());
        }
        let text = |get: unsafe extern "C" fn(c_int) -> *const c_char| {
            // SAFETY: gives a text that is never freed, or null.
            unsafe {
                let text = get(status);
                (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
            }
        };
        let name = text(self.name_of).unwrap_or_else(|| format!("error {status}"));
        let words = text(self.words_of).unwrap_or_default();
        Err(Failure {
            memory: status == OUT_OF_MEMORY,
            words: format!("{words} ({name})"),
        })
    }

    /// Calls a function that writes one handle.
    fn made(&self, call: impl FnOnce(*mut Ptr) -> c_int) -> Answer<Handle> {
        let mut handle = ptr::null_mut();
        self.check(call(&raw mut handle))?;
        Ok(Handle(handle))
    }
}

/// Every device that HIP shows.
///
/// # Errors
/// [`GpuError::Missing`] if HIP is not installed, or shows none.
pub(super) fn found() -> Result<Vec<Found>, GpuError> {
    let hip = Arc::new(Calls::of(HIP.open()?, "hip")?);
    let missing = |failure: Failure| {
        let words = failure.words;
        GpuError::Missing(format!("HIP shows no GPU: {words}; {}", HIP.get))
    };
    let (mut count, mut version) = (0, 0);
    // SAFETY: `hipInit` comes first; the others write one number each.
    let asked = unsafe {
        hip.check((hip.init)(0))
            .and_then(|()| hip.check((hip.count)(&raw mut count)))
            .and_then(|()| hip.check((hip.version)(&raw mut version)))
    };
    asked.map_err(missing)?;
    if count == 0 {
        return Err(GpuError::Missing(format!("HIP shows no GPU; {}", HIP.get)));
    }
    let all = (0..count).map(|index| {
        let info = describe(&hip, index, version).map_err(missing)?;
        let hip = Arc::clone(&hip);
        let major = version.max(0) as u32 / 10_000_000;
        Ok(Found { hip, major, info })
    });
    all.collect()
}

fn describe(hip: &Calls, index: c_int, version: c_int) -> Answer<Info> {
    // SAFETY: numbers and characters, for which zero is a value.
    let mut properties: Box<Properties> = unsafe { Box::new(std::mem::zeroed()) };
    // SAFETY: there is more room than any version of the struct takes.
    hip.check(unsafe { (hip.properties)(&raw mut *properties, index) })?;
    let text = |chars: &[c_char]| {
        let bytes: Vec<u8> = chars
            .iter()
            .map(|c| *c as u8)
            .take_while(|c| *c != 0)
            .collect();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let arch = text(&properties.arch);
    // What stands after the colon are features (`gfx90a:sramecc+:xnack-`), which the compiler leaves open.
    let arch = arch.split(':').next().unwrap_or(&arch).to_owned();
    Ok(Info {
        kind: Kind::Rocm,
        index: index as usize,
        name: text(&properties.name),
        arch,
        versions: format!("HIP {}.{}", version / 10_000_000, version / 100_000 % 100),
        warp: properties.warp.max(0) as u32,
        multiprocessors: properties.multiprocessors.max(0) as u32,
        shared_bytes: properties.shared as u32,
        memory: properties.memory as u64,
    })
}

impl Found {
    pub(super) fn name(&self) -> &str {
        &self.info.name
    }

    /// What it is.
    ///
    /// # Errors
    /// [`GpuError::Missing`] if hipRTC is not installed, or the kernels do not know warps of this width.
    pub(super) fn info(&self) -> Result<Info, GpuError> {
        self.info_with(&Rtc::hiprtc()?)
    }

    fn info_with(&self, rtc: &Rtc) -> Result<Info, GpuError> {
        // `WARP` of the prelude follows the architecture.
        let warp = if self.info.arch.starts_with("gfx9") {
            64
        } else {
            32
        };
        if self.info.warp != warp {
            return Err(GpuError::Missing(format!(
                "{} works in warps of {}, not of {warp}: the kernels do not know it",
                self.info.arch, self.info.warp
            )));
        }
        let mut info = self.info.clone();
        info.versions = format!("{}, {}", info.versions, rtc.name());
        Ok(info)
    }

    /// Opens it. `cache` keeps which algorithm of hipBLASLt was the fastest for each product.
    ///
    /// # Errors
    /// If hipRTC is missing, or the device does not answer. hipBLASLt may be missing.
    pub(super) fn open(&self, cache: Option<&Cache>) -> Result<Box<dyn Driver>, GpuError> {
        let rtc = Rtc::hiprtc()?;
        let mut info = self.info_with(&rtc)?;
        let (arch, name) = (info.arch.clone(), info.name.clone());
        let api = Arc::new(Rocm {
            hip: Arc::clone(&self.hip),
            index: info.index as c_int,
        });
        let compiler = Box::new(Compiler { rtc, arch });
        let library = Installed::hipblaslt(self.major);
        let without = library.as_ref().err().map(|missing| format!("; {missing}"));
        info.versions.push_str(&without.unwrap_or_default());
        let native = Native::new(api, info, compiler, |api, stream| {
            let device = Arc::clone(api);
            let blas = library.ok()?.on(device, stream, &name, cache).ok()?;
            Some(Box::new(blas))
        })?;
        Ok(Box::new(native))
    }
}

impl Compiles for Compiler {
    fn description(&self) -> String {
        let options = self.rtc.options(&self.arch).join(" ");
        format!("{} {options}", self.rtc.name())
    }

    fn compile(&self, source: &Source) -> Result<Vec<u8>, GpuError> {
        Ok(self.rtc.compile(source, &self.arch, &[])?.bytes)
    }
}

/// An address as HIP takes it.
fn at(address: u64) -> Ptr {
    ptr::without_provenance_mut(address as usize)
}

// SAFETY of all: what `Api` asks of its callers; each function writes only the one value that it is given a place for.
impl Api for Rocm {
    fn bind(&self) -> Answer<()> {
        // SAFETY: a device that HIP counted.
        self.hip.check(unsafe { (self.hip.set_device)(self.index) })
    }

    unsafe fn memory(&self) -> Answer<(u64, u64)> {
        let (mut free, mut total) = (0, 0);
        // SAFETY: writes two numbers.
        let status = unsafe { (self.hip.memory)(&raw mut free, &raw mut total) };
        self.hip.check(status)?;
        Ok((free as u64, total as u64))
    }

    unsafe fn alloc(&self, bytes: usize) -> Answer<u64> {
        // SAFETY: writes one address.
        let memory = self.hip.made(|to| unsafe { (self.hip.alloc)(to, bytes) })?;
        Ok(memory.0.addr() as u64)
    }

    unsafe fn free(&self, address: u64) -> Answer<()> {
        // SAFETY: as `Api` says; waits for the work that is under way.
        self.hip.check(unsafe { (self.hip.free)(at(address)) })
    }

    unsafe fn pin(&self, bytes: usize) -> Answer<*mut u8> {
        // SAFETY: writes one pointer.
        let memory = self
            .hip
            .made(|to| unsafe { (self.hip.pin)(to, bytes, 0) })?;
        Ok(memory.cast())
    }

    unsafe fn unpin(&self, memory: *mut u8) -> Answer<()> {
        // SAFETY: as `Api` says.
        self.hip.check(unsafe { (self.hip.unpin)(memory.cast()) })
    }

    unsafe fn stream(&self) -> Answer<Handle> {
        // SAFETY: writes one handle.
        self.hip
            .made(|to| unsafe { (self.hip.stream)(to, NON_BLOCKING) })
    }

    unsafe fn end_stream(&self, stream: Handle) -> Answer<()> {
        // SAFETY: as `Api` says.
        self.hip.check(unsafe { (self.hip.end_stream)(stream.0) })
    }

    unsafe fn wait_stream(&self, stream: Handle) -> Answer<()> {
        // SAFETY: as `Api` says.
        self.hip.check(unsafe { (self.hip.wait_stream)(stream.0) })
    }

    unsafe fn event(&self, clock: bool) -> Answer<Handle> {
        let flags = if clock { 0 } else { NO_CLOCK };
        // SAFETY: writes one handle.
        self.hip.made(|to| unsafe { (self.hip.event)(to, flags) })
    }

    unsafe fn end_event(&self, event: Handle) -> Answer<()> {
        // SAFETY: as `Api` says.
        self.hip.check(unsafe { (self.hip.end_event)(event.0) })
    }

    unsafe fn record(&self, event: Handle, stream: Handle) -> Answer<()> {
        // SAFETY: as `Api` says.
        self.hip
            .check(unsafe { (self.hip.record)(event.0, stream.0) })
    }

    unsafe fn wait_event(&self, event: Handle) -> Answer<()> {
        // SAFETY: as `Api` says.
        self.hip.check(unsafe { (self.hip.wait_event)(event.0) })
    }

    unsafe fn between(&self, start: Handle, end: Handle) -> Answer<f32> {
        let mut milliseconds = 0.0;
        // SAFETY: writes one number.
        let status = unsafe { (self.hip.between)(&raw mut milliseconds, start.0, end.0) };
        self.hip.check(status)?;
        Ok(milliseconds)
    }

    unsafe fn to_device(
        &self,
        to: u64,
        from: *const u8,
        bytes: usize,
        stream: Handle,
    ) -> Answer<()> {
        // SAFETY: as `Api` says.
        self.hip
            .check(unsafe { (self.hip.to_device)(at(to), from.cast(), bytes, stream.0) })
    }

    unsafe fn to_host(&self, to: *mut u8, from: u64, bytes: usize, stream: Handle) -> Answer<()> {
        // SAFETY: as `Api` says.
        self.hip
            .check(unsafe { (self.hip.to_host)(to.cast(), at(from), bytes, stream.0) })
    }

    unsafe fn within(&self, to: u64, from: u64, bytes: usize, stream: Handle) -> Answer<()> {
        // SAFETY: as `Api` says.
        self.hip
            .check(unsafe { (self.hip.within)(at(to), at(from), bytes, stream.0) })
    }

    unsafe fn set(&self, to: u64, byte: u8, bytes: usize, stream: Handle) -> Answer<()> {
        // SAFETY: as `Api` says.
        self.hip
            .check(unsafe { (self.hip.set)(at(to), c_int::from(byte), bytes, stream.0) })
    }

    unsafe fn load(&self, image: &[u8]) -> Answer<Handle> {
        // SAFETY: writes one handle; HIP finds the image's end in its header.
        self.hip
            .made(|to| unsafe { (self.hip.load)(to, image.as_ptr().cast()) })
    }

    unsafe fn unload(&self, module: Handle) -> Answer<()> {
        // SAFETY: as `Api` says.
        self.hip.check(unsafe { (self.hip.unload)(module.0) })
    }

    unsafe fn function(&self, module: Handle, name: &CStr) -> Answer<Handle> {
        // SAFETY: writes one handle.
        self.hip
            .made(|to| unsafe { (self.hip.function)(to, module.0, name.as_ptr()) })
    }

    unsafe fn allow_shared(&self, _: Handle, _: u32) -> Answer<()> {
        // Every kernel may have all that a block may have: HIP has no such limit for kernels of modules.
        Ok(())
    }

    unsafe fn launch(
        &self,
        function: Handle,
        blocks: u32,
        threads: u32,
        shared: u32,
        params: &mut [Ptr],
        stream: Handle,
    ) -> Answer<()> {
        let (f, stream) = (function.0, stream.0);
        let (params, extra) = (params.as_mut_ptr(), ptr::null_mut());
        let launch = self.hip.launch;
        // SAFETY: as `Api` says.
        self.hip.check(unsafe {
            launch(
                f, blocks, 1, 1, threads, 1, 1, shared, stream, params, extra,
            )
        })
    }

    unsafe fn begin_capture(&self, stream: Handle) -> Answer<()> {
        // SAFETY: as `Api` says.
        self.hip
            .check(unsafe { (self.hip.begin_capture)(stream.0, RELAXED) })
    }

    unsafe fn captures(&self, stream: Handle) -> Answer<bool> {
        // `hipStreamCaptureStatusNone` is 0.
        let mut state = 0;
        // SAFETY: as `Api` says; writes one number.
        let asked = unsafe { (self.hip.capturing)(stream.0, &raw mut state) };
        self.hip.check(asked)?;
        Ok(state != 0)
    }

    unsafe fn end_capture(&self, stream: Handle) -> Answer<Option<Handle>> {
        // SAFETY: writes one handle, or null.
        let graph = self
            .hip
            .made(|to| unsafe { (self.hip.end_capture)(stream.0, to) })?;
        Ok((!graph.0.is_null()).then_some(graph))
    }

    unsafe fn instantiate(&self, graph: Handle) -> Answer<Handle> {
        // SAFETY: writes one handle.
        self.hip
            .made(|to| unsafe { (self.hip.instantiate)(to, graph.0, 0) })
    }

    unsafe fn end_graph(&self, graph: Handle) -> Answer<()> {
        // SAFETY: as `Api` says.
        self.hip.check(unsafe { (self.hip.end_graph)(graph.0) })
    }

    unsafe fn replay(&self, ready: Handle, stream: Handle) -> Answer<()> {
        // SAFETY: as `Api` says.
        self.hip
            .check(unsafe { (self.hip.replay)(ready.0, stream.0) })
    }

    unsafe fn end_ready(&self, ready: Handle) -> Answer<()> {
        // SAFETY: as `Api` says.
        self.hip.check(unsafe { (self.hip.end_ready)(ready.0) })
    }
}
