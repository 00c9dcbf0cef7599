//! What [`super::Native`] asks of a vendor's driver. CUDA's driver API and HIP have the same functions; each implementation is
//! a list of them, without decisions of its own.

use crate::gpu::GpuError;
use crate::gpu::tensor_map::{Encoded, TensorMap};
use crate::gpu::unit::Source;
use std::ffi::{CStr, c_void};
use std::fmt::Debug;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::gpu) struct Failure {
    /// Whether it was for lack of memory.
    pub(in crate::gpu) memory: bool,
    /// The driver's name of the error, and its words.
    pub(in crate::gpu) words: String,
}

/// What a call gives.
pub(in crate::gpu) type Answer<T> = Result<T, Failure>;

/// A stream, an event, a module, a function, a graph: what the vendor's library makes and takes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gpu) struct Handle(pub(in crate::gpu) *mut c_void);

impl Handle {
    /// As the vendor's header types it.
    pub(in crate::gpu) fn cast<T>(self) -> *mut T {
        self.0.cast()
    }
}

#[expect(unsafe_code, reason = "handles travel between threads")]
// SAFETY: a handle is a name that only the vendor's library reads, and it takes them from any thread where the device is
// current, which `Api::bind` sees to.
unsafe impl Send for Handle {}
#[expect(unsafe_code, reason = "as above")]
// SAFETY: as above.
unsafe impl Sync for Handle {}

/// A vendor's driver, for one device.
///
/// # Safety of the calls
/// Handles are those that the same driver gave and that were not given back; addresses lie in memory that it gave, with
/// room for the bytes; host memory of copies is pinned and stays as it is until the copy is over.
#[expect(unsafe_code, reason = "the functions of C libraries")]
pub(in crate::gpu) trait Api: Debug + Send + Sync {
    /// Makes the device the one that this thread's calls mean.
    fn bind(&self) -> Answer<()>;
    /// Bytes free, and in all.
    unsafe fn memory(&self) -> Answer<(u64, u64)>;
    /// Takes device memory, aligned to 256 bytes.
    unsafe fn alloc(&self, bytes: usize) -> Answer<u64>;
    /// Gives it back, after all work that may use it.
    unsafe fn free(&self, address: u64) -> Answer<()>;
    /// Takes host memory that the device can copy from and to by itself, cached for reads.
    unsafe fn pin(&self, bytes: usize) -> Answer<*mut u8>;
    /// Gives it back.
    unsafe fn unpin(&self, memory: *mut u8) -> Answer<()>;

    /// A stream that waits for no other.
    unsafe fn stream(&self) -> Answer<Handle>;
    /// Gives it back.
    unsafe fn end_stream(&self, stream: Handle) -> Answer<()>;
    /// Waits for all that was put on the stream.
    unsafe fn wait_stream(&self, stream: Handle) -> Answer<()>;
    /// An event, with or without a clock.
    unsafe fn event(&self, clock: bool) -> Answer<Handle>;
    /// Gives it back.
    unsafe fn end_event(&self, event: Handle) -> Answer<()>;
    /// Puts the event on the stream.
    unsafe fn record(&self, event: Handle, stream: Handle) -> Answer<()>;
    /// Waits until the event was reached; an event that was never recorded counts as reached.
    unsafe fn wait_event(&self, event: Handle) -> Answer<()>;
    /// Milliseconds between two events that were reached.
    unsafe fn between(&self, start: Handle, end: Handle) -> Answer<f32>;

    /// Copies from pinned host memory.
    unsafe fn to_device(
        &self,
        to: u64,
        from: *const u8,
        bytes: usize,
        stream: Handle,
    ) -> Answer<()>;
    /// Copies to pinned host memory.
    unsafe fn to_host(&self, to: *mut u8, from: u64, bytes: usize, stream: Handle) -> Answer<()>;
    /// Copies within the device.
    unsafe fn within(&self, to: u64, from: u64, bytes: usize, stream: Handle) -> Answer<()>;
    /// Sets bytes.
    unsafe fn set(&self, to: u64, byte: u8, bytes: usize, stream: Handle) -> Answer<()>;

    /// Loads an image, which ends with a zero where it is text.
    unsafe fn load(&self, image: &[u8]) -> Answer<Handle>;
    /// Gives it back.
    unsafe fn unload(&self, module: Handle) -> Answer<()>;
    /// Finds a kernel.
    unsafe fn function(&self, module: Handle, name: &CStr) -> Answer<Handle>;
    /// Lets a kernel's blocks have that many bytes of dynamic shared memory.
    unsafe fn allow_shared(&self, function: Handle, bytes: u32) -> Answer<()>;
    /// A matrix as the device's copy engine reads it, where it has one.
    fn tensor_map(&self, _: &TensorMap) -> Answer<Encoded> {
        Err(Failure {
            memory: false,
            words: "this device has no copy engine for matrices".to_owned(),
        })
    }
    /// Puts a launch on the stream; `params` point at the arguments.
    unsafe fn launch(
        &self,
        function: Handle,
        blocks: u32,
        threads: u32,
        shared: u32,
        params: &mut [*mut c_void],
        stream: Handle,
    ) -> Answer<()>;

    /// Begins to capture what is put on the stream; other calls stay allowed.
    unsafe fn begin_capture(&self, stream: Handle) -> Answer<()>;
    /// Whether what is put on the stream is captured.
    unsafe fn captures(&self, stream: Handle) -> Answer<bool>;
    /// Ends it; the graph is `None` where the capture broke.
    unsafe fn end_capture(&self, stream: Handle) -> Answer<Option<Handle>>;
    /// Makes a captured graph ready to run.
    unsafe fn instantiate(&self, graph: Handle) -> Answer<Handle>;
    /// Gives a captured graph back.
    unsafe fn end_graph(&self, graph: Handle) -> Answer<()>;
    /// Puts a graph that is ready on the stream.
    unsafe fn replay(&self, ready: Handle, stream: Handle) -> Answer<()>;
    /// Gives a graph that is ready back.
    unsafe fn end_ready(&self, ready: Handle) -> Answer<()>;
}

/// A compiler of kernels, set up for one device.
pub(in crate::gpu) trait Compiles: Debug + Send + Sync {
    /// What an image depends on beside the source.
    fn description(&self) -> String;
    /// An image of `source`.
    fn compile(&self, source: &Source) -> Result<Vec<u8>, GpuError>;
}
