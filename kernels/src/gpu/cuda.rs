//! NVIDIA GPUs, through CUDA's driver API, which comes with the driver; kernels are compiled by NVRTC ([`super::rtc`]).
//!
//! cudarc's bindings load the driver when the program runs. They panic where it, or a function of it, is missing: so the
//! library is looked for first, here and nowhere else, and only functions are called that every driver of CUDA 11.4 has.

#![expect(
    unsafe_code,
    reason = "calls CUDA's driver API; each call is asked by `Native`, which owns the handles"
)]

use super::GpuError;
use super::compiled::Cache;
use super::cublaslt::CublasLt;
use super::driver::{Driver, HOPPER_ARCH, Info, Kind};
use super::native::Native;
use super::native::api::{Answer, Api, Compiles, Failure, Handle};
use super::rtc::Rtc;
use super::tensor_map::{Encoded, TensorMap};
use super::unit::Source;
use cudarc::driver::sys::{
    self, CUdevice_attribute as Attribute, CUevent, CUfunction, CUresult, CUstream,
};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::Arc;

/// How to get a driver.
const GET: &str = "install the NVIDIA driver, and see that `nvidia-smi` lists the GPU";
/// Set to 1, no kernels are used that only one architecture runs.
const PORTABLE: &str = "ZEROLLM_PORTABLE_KERNELS";
/// No context, stream or event waits for more than its own.
const NON_BLOCKING: u32 = 1;
const NO_CLOCK: u32 = 2;

/// What is known of a device without opening it.
#[derive(Clone, Debug)]
pub(super) struct Found {
    index: usize,
    device: sys::CUdevice,
    pub(super) name: String,
    /// Compute capability times ten.
    capability: u32,
}

/// `cuEventElapsedTime`, whose second version drivers before CUDA 12.8 do not have.
type Elapsed = unsafe extern "C" fn(*mut f32, CUevent, CUevent) -> CUresult;

/// The context of a device.
#[derive(Debug)]
pub(super) struct Cuda {
    device: sys::CUdevice,
    context: Handle,
    elapsed: Elapsed,
}

#[derive(Debug)]
struct Compiler {
    rtc: Rtc,
    arch: String,
}

fn check(status: CUresult) -> Answer<()> {
    if status == CUresult::CUDA_SUCCESS {
        return Ok(());
    }
    let text = |get: unsafe fn(CUresult, *mut *const c_char) -> CUresult| {
        let mut text = ptr::null();
        // SAFETY: writes a pointer to a text that is never freed, or null.
        unsafe {
            get(status, &raw mut text);
            (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
        }
    };
    let name = text(sys::cuGetErrorName).unwrap_or_else(|| format!("error {}", status as u32));
    let words = text(sys::cuGetErrorString).unwrap_or_default();
    Err(Failure {
        memory: status == CUresult::CUDA_ERROR_OUT_OF_MEMORY,
        words: format!("{words} ({name})"),
    })
}

/// Calls a function that writes one handle.
fn made(call: impl FnOnce(*mut *mut c_void) -> CUresult) -> Answer<Handle> {
    let mut handle = ptr::null_mut();
    check(call(&raw mut handle))?;
    Ok(Handle(handle))
}

/// Every device that the driver shows, opened or not.
///
/// # Errors
/// [`GpuError::Missing`] if there is no driver, or it shows none.
pub(super) fn found() -> Result<Vec<Found>, GpuError> {
    // SAFETY: loads the driver's library, which sets itself up and no more.
    if !unsafe { sys::is_culib_present() } {
        return Err(GpuError::Missing(format!(
            "there is no NVIDIA driver: {GET}"
        )));
    }
    let missing = |failure: Failure| {
        GpuError::Missing(format!(
            "the NVIDIA driver shows no GPU: {}; {GET}",
            failure.words
        ))
    };
    let mut count = 0;
    // SAFETY: the library is there; `cuInit` comes first.
    check(unsafe { sys::cuInit(0) }).map_err(missing)?;
    // SAFETY: writes one number.
    check(unsafe { sys::cuDeviceGetCount(&raw mut count) }).map_err(missing)?;
    if count == 0 {
        return Err(GpuError::Missing(format!(
            "the NVIDIA driver shows no GPU; {GET}"
        )));
    }
    let all = (0..count).map(|index| describe(index).map_err(missing));
    all.collect()
}

fn describe(index: c_int) -> Answer<Found> {
    let mut device = 0;
    // SAFETY: writes one handle.
    check(unsafe { sys::cuDeviceGet(&raw mut device, index) })?;
    let mut name = [0 as c_char; 256];
    // SAFETY: writes at most that many characters, the last of them zero.
    check(unsafe { sys::cuDeviceGetName(name.as_mut_ptr(), name.len() as c_int, device) })?;
    // SAFETY: as above.
    let name = unsafe { CStr::from_ptr(name.as_ptr()) };
    let major = attribute(
        device,
        Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
    )?;
    let minor = attribute(
        device,
        Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
    )?;
    Ok(Found {
        index: index as usize,
        device,
        name: name.to_string_lossy().into_owned(),
        capability: major * 10 + minor,
    })
}

fn attribute(device: sys::CUdevice, attribute: Attribute) -> Answer<u32> {
    let mut value = 0;
    // SAFETY: writes one number.
    check(unsafe { sys::cuDeviceGetAttribute(&raw mut value, attribute, device) })?;
    Ok(value.max(0) as u32)
}

impl Found {
    /// What it is, as kernels will be compiled for it.
    ///
    /// # Errors
    /// [`GpuError::Missing`] if no compiler is installed that knows it.
    pub(super) fn info(&self) -> Result<Info, GpuError> {
        self.info_with(&Rtc::nvrtc()?)
    }

    /// What kernels are compiled for. Where [`PORTABLE`] asks for it, and with a driver that cannot describe matrices to the
    /// copy engine (before CUDA 12), Hopper gets no kernels of its own.
    fn arch(&self, rtc: &Rtc) -> Result<String, GpuError> {
        let arch = rtc.arch(self.capability)?;
        if arch != HOPPER_ARCH {
            return Ok(arch);
        }
        let name = b"cuTensorMapEncodeTiled\0";
        // SAFETY: the driver's library is loaded; the function is looked for and not called.
        let known = unsafe { sys::culib().get::<unsafe extern "C" fn()>(name).is_ok() };
        let own = known && std::env::var_os(PORTABLE).is_none_or(|set| set != "1");
        Ok(if own { arch } else { "sm_90".to_owned() })
    }

    fn info_with(&self, rtc: &Rtc) -> Result<Info, GpuError> {
        let arch = self.arch(rtc)?;
        let (mut version, mut memory) = (0, 0);
        // SAFETY: each writes one number.
        let asked = unsafe {
            check(sys::cuDriverGetVersion(&raw mut version))
                .and_then(|()| check(sys::cuDeviceTotalMem_v2(&raw mut memory, self.device)))
        };
        let ask = |what| attribute(self.device, what);
        let answers = asked.and_then(|()| {
            Ok((
                ask(Attribute::CU_DEVICE_ATTRIBUTE_WARP_SIZE)?,
                ask(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
                ask(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
            ))
        });
        let (warp, multiprocessors, shared_bytes) =
            super::native::failed(answers, "ask what the device is")?;
        let own = format!("sm_{}", self.capability);
        let nearest = if arch.starts_with(&own) {
            String::new()
        } else {
            format!(", which does not know {own} and compiles for {arch}")
        };
        Ok(Info {
            kind: Kind::Cuda,
            index: self.index,
            name: self.name.clone(),
            versions: format!(
                "driver for CUDA {}.{}, {}{nearest}",
                version / 1000,
                version % 1000 / 10,
                rtc.name()
            ),
            arch,
            warp,
            multiprocessors,
            shared_bytes,
            memory: memory as u64,
        })
    }

    /// Opens it. `cache` keeps which algorithm of cuBLASLt was the fastest for each product.
    ///
    /// # Errors
    /// If NVRTC is missing, or the device does not answer. cuBLASLt may be missing.
    pub(super) fn open(&self, cache: Option<&Cache>) -> Result<Box<dyn Driver>, GpuError> {
        let rtc = Rtc::nvrtc()?;
        let mut info = self.info_with(&rtc)?;
        // SAFETY: the driver's library is loaded, and is never unloaded; both versions are of this type.
        let elapsed = unsafe {
            let library = sys::culib();
            let newest = library.get::<Elapsed>(b"cuEventElapsedTime_v2\0");
            newest.or_else(|_| library.get::<Elapsed>(b"cuEventElapsedTime\0"))
        };
        let elapsed = elapsed.map(|function| *function).map_err(|error| {
            GpuError::Missing(format!(
                "the NVIDIA driver cannot be used ({error}): update it"
            ))
        })?;
        let mut context = ptr::null_mut();
        // SAFETY: writes one handle; released when `Cuda` is dropped.
        let retained =
            check(unsafe { sys::cuDevicePrimaryCtxRetain(&raw mut context, self.device) });
        super::native::failed(retained, "open the device")?;
        let api = Arc::new(Cuda {
            device: self.device,
            context: Handle(context.cast()),
            elapsed,
        });
        let compiler = Compiler {
            rtc,
            arch: info.arch.clone(),
        };
        let name = info.name.clone();
        let library = super::cublaslt::probe();
        let with = match &library {
            Ok(()) => String::new(),
            Err(missing) => format!("; {missing}"),
        };
        info.versions.push_str(&with);
        let native = Native::new(api, info, Box::new(compiler), |api, stream| {
            library.ok()?;
            let blas = CublasLt::new(Arc::clone(api), stream, &name, cache).ok()?;
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

impl Drop for Cuda {
    fn drop(&mut self) {
        // SAFETY: retained once by `open`; whoever used the context held this.
        drop(check(unsafe {
            sys::cuDevicePrimaryCtxRelease_v2(self.device)
        }));
    }
}

// SAFETY of all: what `Api` asks of its callers; each function writes only the one value that it is given a place for.
impl Api for Cuda {
    fn bind(&self) -> Answer<()> {
        // SAFETY: the context is retained.
        check(unsafe { sys::cuCtxSetCurrent(self.context.0.cast()) })
    }

    unsafe fn memory(&self) -> Answer<(u64, u64)> {
        let (mut free, mut total) = (0, 0);
        // SAFETY: writes two numbers.
        check(unsafe { sys::cuMemGetInfo_v2(&raw mut free, &raw mut total) })?;
        Ok((free as u64, total as u64))
    }

    unsafe fn alloc(&self, bytes: usize) -> Answer<u64> {
        let mut address = 0;
        // SAFETY: writes one address.
        check(unsafe { sys::cuMemAlloc_v2(&raw mut address, bytes) })?;
        Ok(address)
    }

    unsafe fn free(&self, address: u64) -> Answer<()> {
        // SAFETY: as `Api` says; waits for the work that is under way.
        check(unsafe { sys::cuMemFree_v2(address) })
    }

    unsafe fn pin(&self, bytes: usize) -> Answer<*mut u8> {
        // No flags: write-combined memory would be slow to read.
        // SAFETY: writes one pointer.
        let memory = made(|to| unsafe { sys::cuMemHostAlloc(to, bytes, 0) })?;
        Ok(memory.0.cast())
    }

    unsafe fn unpin(&self, memory: *mut u8) -> Answer<()> {
        // SAFETY: as `Api` says.
        check(unsafe { sys::cuMemFreeHost(memory.cast()) })
    }

    unsafe fn stream(&self) -> Answer<Handle> {
        // SAFETY: writes one handle.
        made(|to| unsafe { sys::cuStreamCreate(to.cast(), NON_BLOCKING) })
    }

    unsafe fn end_stream(&self, stream: Handle) -> Answer<()> {
        // SAFETY: as `Api` says.
        check(unsafe { sys::cuStreamDestroy_v2(stream.cast()) })
    }

    unsafe fn wait_stream(&self, stream: Handle) -> Answer<()> {
        // SAFETY: as `Api` says.
        check(unsafe { sys::cuStreamSynchronize(stream.cast()) })
    }

    unsafe fn event(&self, clock: bool) -> Answer<Handle> {
        let flags = if clock { 0 } else { NO_CLOCK };
        // SAFETY: writes one handle.
        made(|to| unsafe { sys::cuEventCreate(to.cast(), flags) })
    }

    unsafe fn end_event(&self, event: Handle) -> Answer<()> {
        // SAFETY: as `Api` says.
        check(unsafe { sys::cuEventDestroy_v2(event.cast()) })
    }

    unsafe fn record(&self, event: Handle, stream: Handle) -> Answer<()> {
        // SAFETY: as `Api` says.
        check(unsafe { sys::cuEventRecord(event.cast(), stream.cast()) })
    }

    unsafe fn wait_event(&self, event: Handle) -> Answer<()> {
        // SAFETY: as `Api` says.
        check(unsafe { sys::cuEventSynchronize(event.cast()) })
    }

    unsafe fn between(&self, start: Handle, end: Handle) -> Answer<f32> {
        let mut milliseconds = 0.0;
        // SAFETY: writes one number.
        check(unsafe { (self.elapsed)(&raw mut milliseconds, start.cast(), end.cast()) })?;
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
        check(unsafe { sys::cuMemcpyHtoDAsync_v2(to, from.cast(), bytes, stream.cast()) })
    }

    unsafe fn to_host(&self, to: *mut u8, from: u64, bytes: usize, stream: Handle) -> Answer<()> {
        // SAFETY: as `Api` says.
        check(unsafe { sys::cuMemcpyDtoHAsync_v2(to.cast(), from, bytes, stream.cast()) })
    }

    unsafe fn within(&self, to: u64, from: u64, bytes: usize, stream: Handle) -> Answer<()> {
        // SAFETY: as `Api` says.
        check(unsafe { sys::cuMemcpyDtoDAsync_v2(to, from, bytes, stream.cast()) })
    }

    unsafe fn set(&self, to: u64, byte: u8, bytes: usize, stream: Handle) -> Answer<()> {
        // SAFETY: as `Api` says.
        check(unsafe { sys::cuMemsetD8Async(to, byte, bytes, stream.cast()) })
    }

    unsafe fn load(&self, image: &[u8]) -> Answer<Handle> {
        // SAFETY: writes one handle; the driver finds the image's end in its header, or at the zero that ends PTX.
        made(|to| unsafe { sys::cuModuleLoadData(to.cast(), image.as_ptr().cast()) })
    }

    unsafe fn unload(&self, module: Handle) -> Answer<()> {
        // SAFETY: as `Api` says.
        check(unsafe { sys::cuModuleUnload(module.cast()) })
    }

    unsafe fn function(&self, module: Handle, name: &CStr) -> Answer<Handle> {
        // SAFETY: writes one handle.
        made(|to| unsafe { sys::cuModuleGetFunction(to.cast(), module.cast(), name.as_ptr()) })
    }

    unsafe fn allow_shared(&self, function: Handle, bytes: u32) -> Answer<()> {
        let most = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        // SAFETY: as `Api` says.
        check(unsafe { sys::cuFuncSetAttribute(function.cast(), most, bytes as c_int) })
    }

    fn tensor_map(&self, map: &TensorMap) -> Answer<Encoded> {
        let mut encoded = sys::CUtensorMap { opaque: [0; 16] };
        let dims = map.dims.map(u64::from);
        // SAFETY: only devices of `sm_90a` are asked for kernels that take one, and `Found::arch` says so only where the
        // driver has this function. It reads as many numbers as there are dimensions, and writes its 128 bytes.
        check(unsafe {
            sys::cuTensorMapEncodeTiled(
                &raw mut encoded,
                sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                map.rank,
                map.address as *mut c_void,
                dims.as_ptr(),
                map.strides.as_ptr(),
                map.sides.as_ptr(),
                [1; 4].as_ptr(),
                sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
                sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
                sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
            )
        })?;
        Ok(Encoded(encoded.opaque))
    }

    unsafe fn launch(
        &self,
        function: Handle,
        blocks: u32,
        threads: u32,
        shared: u32,
        params: &mut [*mut c_void],
        stream: Handle,
    ) -> Answer<()> {
        let (f, stream): (CUfunction, CUstream) = (function.cast(), stream.cast());
        let (params, extra) = (params.as_mut_ptr(), ptr::null_mut());
        // SAFETY: as `Api` says.
        check(unsafe {
            sys::cuLaunchKernel(
                f, blocks, 1, 1, threads, 1, 1, shared, stream, params, extra,
            )
        })
    }

    unsafe fn begin_capture(&self, stream: Handle) -> Answer<()> {
        // Relaxed: a kernel that is asked for the first time in a capture is still loaded.
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        // SAFETY: as `Api` says.
        check(unsafe { sys::cuStreamBeginCapture_v2(stream.cast(), mode) })
    }

    unsafe fn end_capture(&self, stream: Handle) -> Answer<Option<Handle>> {
        // SAFETY: writes one handle, or null.
        let graph = made(|to| unsafe { sys::cuStreamEndCapture(stream.cast(), to.cast()) })?;
        Ok((!graph.0.is_null()).then_some(graph))
    }

    unsafe fn instantiate(&self, graph: Handle) -> Answer<Handle> {
        // SAFETY: writes one handle.
        made(|to| unsafe { sys::cuGraphInstantiateWithFlags(to.cast(), graph.cast(), 0) })
    }

    unsafe fn end_graph(&self, graph: Handle) -> Answer<()> {
        // SAFETY: as `Api` says.
        check(unsafe { sys::cuGraphDestroy(graph.cast()) })
    }

    unsafe fn replay(&self, ready: Handle, stream: Handle) -> Answer<()> {
        // SAFETY: as `Api` says.
        check(unsafe { sys::cuGraphLaunch(ready.cast(), stream.cast()) })
    }

    unsafe fn end_ready(&self, ready: Handle) -> Answer<()> {
        // SAFETY: as `Api` says.
        check(unsafe { sys::cuGraphExecDestroy(ready.cast()) })
    }
}
