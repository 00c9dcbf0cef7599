//! The driver of a real device: what CUDA and ROCm have in common, which is all but the names of the functions ([`api`]).
//!
//! There are two streams of our own. Launches, and uploads that must be in order with them, go through the compute stream: such
//! an upload may overwrite what an earlier launch still reads, so that it would have to wait for all of them anyway. Through
//! the copy stream go uploads to memory that nothing under way reads, in order by events that the caller places, and
//! downloads, behind an event that stands at the end of the compute stream.
//! Copies go through pinned memory ([`staging`]), so that the processor only waits for a download. What is taken at first and
//! given back at last is [`life`]'s.

#![expect(
    unsafe_code,
    reason = "calls a vendor's driver with addresses and handles that it gave"
)]

pub(in crate::gpu) mod api;
#[cfg(test)]
mod fake;
mod life;
mod staging;
#[cfg(test)]
pub(in crate::gpu) mod tests;

use super::blas::Blas;
use super::driver::{Driver, Event, Function, Graph, Info, Module, Stream};
use super::tensor_map::Encoded;
use super::unit::Source;
use super::{Arg, GpuError, Grid, lock};
use api::{Answer, Api, Compiles, Handle};
use staging::Staging;
use std::collections::BTreeMap;
use std::ffi::{CString, c_void};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Dynamic shared memory that every kernel may have without being allowed to.
const SHARED_ALWAYS: u32 = 48 << 10;
/// No kernel has more parameters.
const MOST_ARGS: usize = 48;
/// No kernel has more parameters that are matrices ([`Arg::Map`]).
const MOST_MAPS: usize = 8;

/// A device behind a vendor's driver.
#[derive(Debug)]
pub(super) struct Native<A: Api> {
    api: Arc<A>,
    info: Info,
    compiler: Box<dyn Compiles>,
    blas: Option<Box<dyn Blas>>,
    /// The compute stream.
    stream: Handle,
    beside: Beside,
    staging: Staging,
    events: Mutex<BTreeMap<usize, Handle>>,
    next_event: AtomicUsize,
    modules: Mutex<Vec<Handle>>,
    functions: Mutex<Vec<Loaded>>,
    graphs: Mutex<BTreeMap<usize, Handle>>,
    next_graph: AtomicUsize,
    capturing: AtomicBool,
}

/// The copy stream.
#[derive(Debug)]
struct Beside {
    stream: Handle,
    /// Stands on the compute stream where a download was asked for.
    asked: Handle,
}

/// A kernel.
#[derive(Debug)]
struct Loaded {
    name: String,
    handle: Handle,
    /// Bytes of dynamic shared memory that it may have.
    shared: u32,
}

/// What a failed call means to who asked for it.
pub(super) fn failed<T>(answer: Answer<T>, what: &str) -> Result<T, GpuError> {
    answer.map_err(|failure| GpuError::Device(format!("cannot {what}: {}", failure.words)))
}

impl<A: Api> Native<A> {
    /// The driver, with the device made this thread's.
    fn api(&self) -> Result<&A, GpuError> {
        failed(self.api.bind(), "use the device")?;
        Ok(&self.api)
    }

    /// As [`Self::api`], for what cannot be captured: the events of a captured copy could never be waited for.
    fn uncaptured(&self, what: &str) -> Result<&A, GpuError> {
        if self.capturing.load(Ordering::Relaxed) {
            return Err(GpuError::Device(format!(
                "cannot {what} while launches are captured"
            )));
        }
        self.api()
    }

    /// The stream of that name.
    fn on(&self, stream: Stream) -> Handle {
        match stream {
            Stream::Compute => self.stream,
            Stream::Copy => self.beside.stream,
        }
    }

    /// The event of that number.
    fn mark(&self, event: Event) -> Handle {
        let known = lock(&self.events).get(&event.0).copied();
        known.expect("a mark is used before it is given back")
    }

    /// Gives a captured graph back once it is instantiated, or not.
    fn ready(&self, graph: Handle) -> Result<Handle, GpuError> {
        let api = self.api()?;
        // SAFETY: the graph was captured on our stream and is used here alone.
        unsafe {
            let ready = api.instantiate(graph);
            failed(api.end_graph(graph), "give a captured sequence back")?;
            failed(ready, "make a captured sequence ready")
        }
    }
}

impl<A: Api> Driver for Native<A> {
    fn info(&self) -> &Info {
        &self.info
    }

    fn free_memory(&self) -> Result<u64, GpuError> {
        // SAFETY: the device is bound.
        let memory = unsafe { self.api()?.memory() };
        Ok(failed(memory, "ask for the free memory")?.0)
    }

    fn alloc(&self, bytes: usize) -> Result<u64, GpuError> {
        // SAFETY: the device is bound.
        match unsafe { self.api()?.alloc(bytes) } {
            Ok(address) if address.is_multiple_of(256) => Ok(address),
            Ok(address) => Err(GpuError::Device(format!(
                "memory at {address:x} is not aligned to 256 bytes"
            ))),
            Err(failure) if failure.memory => Err(GpuError::OutOfMemory {
                wanted: bytes as u64,
                free: self.free_memory()?,
            }),
            Err(failure) => failed(Err(failure), &format!("take {bytes} bytes")),
        }
    }

    fn free(&self, address: u64) {
        if let Ok(api) = self.api() {
            // A device that failed has said so before, and will to whoever asks next.
            // SAFETY: `alloc` gave the address to a `Buffer`, which gives it back once.
            drop(unsafe { api.free(address) });
        }
    }

    fn upload(&self, to: u64, from: &[u8]) -> Result<(), GpuError> {
        let what = format!("copy {} bytes to the device", from.len());
        let api = self.uncaptured(&what)?;
        failed(self.staging.upload(api, self.stream, to, from), &what)
    }

    fn upload_beside(&self, to: u64, from: &[u8]) -> Result<(), GpuError> {
        let what = format!("copy {} bytes to the device", from.len());
        let api = self.uncaptured(&what)?;
        let stream = self.beside.stream;
        failed(self.staging.upload(api, stream, to, from), &what)
    }

    fn event(&self) -> Result<Event, GpuError> {
        // SAFETY: the device is bound; given back by `end_event`, or when this is dropped.
        let event = unsafe { self.api()?.event(false) };
        let event = failed(event, "make an event")?;
        let number = self.next_event.fetch_add(1, Ordering::Relaxed);
        lock(&self.events).insert(number, event);
        Ok(Event(number))
    }

    fn end_event(&self, event: Event) {
        let handle = lock(&self.events).remove(&event.0);
        if let (Some(handle), Ok(api)) = (handle, self.api()) {
            // SAFETY: no longer in the map; the driver keeps it until it was reached.
            drop(unsafe { api.end_event(handle) });
        }
    }

    fn record(&self, event: Event, on: Stream) -> Result<(), GpuError> {
        let what = "put a mark on a stream";
        let api = self.uncaptured(what)?;
        // SAFETY: our own event and stream.
        let done = unsafe { api.record(self.mark(event), self.on(on)) };
        failed(done, what)
    }

    fn wait(&self, on: Stream, event: Event) -> Result<(), GpuError> {
        let what = "let one stream wait for the other";
        let api = self.uncaptured(what)?;
        // SAFETY: our own event and stream.
        let done = unsafe { api.wait_on(self.on(on), self.mark(event)) };
        failed(done, what)
    }

    fn download(&self, to: &mut [u8], from: u64) -> Result<(), GpuError> {
        let what = format!("copy {} bytes from the device", to.len());
        let api = self.uncaptured(&what)?;
        let Beside { stream, asked } = self.beside;
        // SAFETY: our own event and streams.
        let behind = unsafe {
            api.record(asked, self.stream)
                .and_then(|()| api.wait_on(stream, asked))
        };
        failed(behind, &what)?;
        failed(self.staging.download(api, stream, to, from), &what)
    }

    fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<(), GpuError> {
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: views check that the bytes lie in allocations.
        let done = unsafe { self.api()?.within(to, from, bytes, self.stream) };
        failed(done, &format!("copy {bytes} bytes within the device"))
    }

    fn fill(&self, to: u64, byte: u8, bytes: usize) -> Result<(), GpuError> {
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: views check that the bytes lie in allocations.
        let done = unsafe { self.api()?.set(to, byte, bytes, self.stream) };
        failed(done, &format!("set {bytes} bytes"))
    }

    fn compiler(&self) -> String {
        self.compiler.description()
    }

    fn compile(&self, source: &Source) -> Result<Vec<u8>, GpuError> {
        self.compiler.compile(source)
    }

    fn load(&self, image: &[u8]) -> Result<Module, GpuError> {
        // SAFETY: the image is what the compiler made for this architecture; the driver checks its form.
        let module = unsafe { self.api()?.load(image) };
        if let Err(failure) = &module
            && failure.memory
        {
            return Err(GpuError::OutOfMemory {
                wanted: image.len() as u64,
                free: self.free_memory()?,
            });
        }
        let versions = &self.info.versions;
        let what = format!("load compiled kernels ({versions}; the driver must not be the older)");
        let module = failed(module, &what)?;
        let mut modules = lock(&self.modules);
        modules.push(module);
        Ok(Module(modules.len() - 1))
    }

    fn function(&self, module: Module, name: &str) -> Result<Function, GpuError> {
        let module = lock(&self.modules)[module.0];
        let text = CString::new(name).expect("a kernel's name has no zero");
        // SAFETY: the module is loaded.
        let handle = unsafe { self.api()?.function(module, &text) };
        let handle = failed(handle, &format!("find the kernel {name}"))?;
        let mut functions = lock(&self.functions);
        functions.push(Loaded {
            name: name.to_owned(),
            handle,
            shared: SHARED_ALWAYS,
        });
        Ok(Function(functions.len() - 1))
    }

    fn launch(&self, function: Function, grid: Grid, args: &[Arg]) -> Result<(), GpuError> {
        let api = self.api()?;
        let mut functions = lock(&self.functions);
        let kernel = &mut functions[function.0];
        if grid.shared > kernel.shared {
            // SAFETY: the function is of a loaded module.
            let allowed = unsafe { api.allow_shared(kernel.handle, grid.shared) };
            let what = format!(
                "give {} {} bytes of shared memory",
                kernel.name, grid.shared
            );
            failed(allowed, &what)?;
            kernel.shared = grid.shared;
        }
        // Little-endian, as the devices: four bytes of an argument are the first of its eight.
        let mut values = [0; MOST_ARGS];
        let mut maps = [Encoded::default(); MOST_MAPS];
        let mut next_map = maps.iter_mut();
        let mut pointers = [std::ptr::null_mut(); MOST_ARGS];
        for ((arg, value), pointer) in args.iter().zip(&mut values).zip(&mut pointers) {
            *value = match *arg {
                Arg::Ptr(p) => p,
                Arg::I32(i) => u64::from(i as u32),
                Arg::F32(x) => u64::from(x.to_bits()),
                Arg::Map(map) => {
                    let place = next_map.next().expect("few parameters are matrices");
                    let what = format!("describe {map:?} to the copy engine");
                    *place = failed(api.tensor_map(&map), &what)?;
                    *pointer = std::ptr::from_mut(place).cast::<c_void>();
                    continue;
                }
            };
            *pointer = std::ptr::from_mut(value).cast::<c_void>();
        }
        // SAFETY: the operation passes the kernel's parameters in their order, and views of allocations; the driver
        // reads the arguments before it returns.
        let launched = unsafe {
            let params = &mut pointers[..args.len()];
            let handle = kernel.handle;
            api.launch(
                handle,
                grid.blocks,
                grid.threads,
                grid.shared,
                params,
                self.stream,
            )
        };
        launched.map_err(|failure| GpuError::Kernel {
            kernel: kernel.name.clone(),
            message: format!("{grid:?} refused: {}", failure.words),
        })
    }

    fn synchronize(&self) -> Result<(), GpuError> {
        let what = "finish what was asked";
        let api = self.uncaptured(what)?;
        for stream in [Stream::Compute, Stream::Copy] {
            // SAFETY: our own stream.
            failed(unsafe { api.wait_stream(self.on(stream)) }, what)?;
        }
        Ok(())
    }

    fn capture(&self, record: &mut dyn FnMut() -> Result<(), GpuError>) -> Result<Graph, GpuError> {
        let api = self.api()?;
        // SAFETY: our own stream, which captures nothing yet.
        failed(unsafe { api.begin_capture(self.stream) }, "begin a capture")?;
        self.capturing.store(true, Ordering::Relaxed);
        let recorded = record();
        self.capturing.store(false, Ordering::Relaxed);
        // SAFETY: our own stream, whose capture began above.
        let graph = unsafe { api.end_capture(self.stream) };
        let graph = failed(graph, "end a capture");
        let ready = match graph {
            Ok(Some(graph)) => self.ready(graph),
            Ok(None) => Err(GpuError::Device("a capture broke".to_owned())),
            Err(error) => Err(error),
        };
        if let Err(error) = recorded {
            if let (Ok(ready), Ok(api)) = (ready, self.api()) {
                // SAFETY: made above, never run. The first error is the one to tell.
                drop(unsafe { api.end_ready(ready) });
            }
            return Err(error);
        }
        let number = self.next_graph.fetch_add(1, Ordering::Relaxed);
        lock(&self.graphs).insert(number, ready?);
        Ok(Graph(number))
    }

    fn replay(&self, graph: Graph) -> Result<(), GpuError> {
        let ready = lock(&self.graphs).get(&graph.0).copied();
        let ready = ready.expect("a captured sequence is replayed before it is forgotten");
        // SAFETY: the graph is ready; a second launch of it waits for the first, on one stream.
        let done = unsafe { self.api()?.replay(ready, self.stream) };
        failed(done, "replay a captured sequence")
    }

    fn forget(&self, graph: Graph) {
        let ready = lock(&self.graphs).remove(&graph.0);
        if let (Some(ready), Ok(api)) = (ready, self.api()) {
            // SAFETY: no longer in the map; the driver keeps it until its last launch is over.
            drop(unsafe { api.end_ready(ready) });
        }
    }

    fn time(&self, work: &mut dyn FnMut() -> Result<(), GpuError>) -> Result<f64, GpuError> {
        timed(
            self.uncaptured("read the device's clock")?,
            self.stream,
            work,
        )
    }

    fn blas(&self) -> Option<&dyn Blas> {
        self.blas.as_deref()
    }
}

/// Seconds between the events before and after what `work` puts on the stream.
pub(super) fn timed<A: Api + ?Sized>(
    api: &A,
    stream: Handle,
    work: &mut dyn FnMut() -> Result<(), GpuError>,
) -> Result<f64, GpuError> {
    let what = "read the device's clock";
    // SAFETY: the device is bound.
    let start = failed(unsafe { api.event(true) }, what)?;
    // SAFETY: as above.
    let end = match failed(unsafe { api.event(true) }, what) {
        Ok(end) => end,
        Err(error) => {
            // SAFETY: never recorded.
            drop(unsafe { api.end_event(start) });
            return Err(error);
        }
    };
    // SAFETY: both events are ours, and recorded before they are read.
    let between = || unsafe {
        failed(api.record(start, stream), what)?;
        work()?;
        failed(api.record(end, stream), what)?;
        failed(api.wait_event(end), "finish what is timed")?;
        failed(api.between(start, end), what)
    };
    let mut between = between;
    let milliseconds = between();
    for event in [start, end] {
        // SAFETY: the driver frees an event that is still on a stream when it was reached.
        drop(unsafe { api.end_event(event) });
    }
    Ok(f64::from(milliseconds?) * 1e-3)
}
