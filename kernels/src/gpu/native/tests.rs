//! The driver's own work, on a device that is made of the host's memory: it does what is on its stream only when it is waited
//! for, so that a copy that is not waited for shows.

use super::api::{Answer, Api, Compiles, Failure, Handle};
use super::staging::{HALF, PLACE, PLACES};
use super::*;
use crate::Dtype;
use crate::gpu::driver::Kind;
use crate::gpu::{Buffer, Gpu, TensorMap, View};
use std::collections::{BTreeMap, VecDeque};
use std::ffi::CStr;

/// What is on the stream.
#[derive(Debug, Clone, Copy)]
enum Work {
    Copy {
        to: usize,
        from: usize,
        bytes: usize,
    },
    Set {
        to: usize,
        byte: u8,
        bytes: usize,
    },
    Reach(usize),
    /// Adds `by` to each of `n` bytes.
    Add {
        to: usize,
        n: usize,
        by: u8,
    },
}

#[derive(Debug, Default)]
struct State {
    /// Bytes of each allocation that was not given back, pinned ones too.
    memory: BTreeMap<usize, usize>,
    stream: VecDeque<Work>,
    captured: Option<Vec<Work>>,
    graphs: BTreeMap<usize, Vec<Work>>,
    /// Handles that were not given back.
    handles: BTreeMap<usize, &'static str>,
    /// Events that were reached, and how much was done before.
    reached: BTreeMap<usize, usize>,
    done: usize,
    next: usize,
    allowed: Vec<u32>,
    fail: Option<&'static str>,
}

#[derive(Debug, Default)]
pub(in crate::gpu) struct Fake(Mutex<State>);

const LIMIT: usize = 256 << 20;

fn at(address: usize) -> *mut u8 {
    std::ptr::with_exposed_provenance_mut(address)
}

impl State {
    fn handle(&mut self, what: &'static str) -> Handle {
        self.next += 1;
        self.handles.insert(self.next, what);
        Handle(std::ptr::without_provenance_mut(self.next))
    }

    fn end(&mut self, handle: Handle, what: &'static str) {
        assert_eq!(
            self.handles.remove(&handle.0.addr()),
            Some(what),
            "given back"
        );
    }

    fn is(&self, handle: Handle, what: &'static str) -> usize {
        assert_eq!(
            self.handles.get(&handle.0.addr()),
            Some(&what),
            "a handle in use"
        );
        handle.0.addr()
    }

    fn take(&mut self, bytes: usize) -> usize {
        let memory = vec![0xee; bytes + 256]
            .leak()
            .as_mut_ptr()
            .expose_provenance();
        let memory = memory.next_multiple_of(256);
        self.memory.insert(memory, bytes);
        memory
    }

    /// That `bytes` at `address` lie in one allocation.
    fn room(&self, address: usize, bytes: usize) -> usize {
        let (start, len) = self
            .memory
            .range(..=address)
            .next_back()
            .expect("an allocation");
        assert!(
            address + bytes <= start + len,
            "{bytes} bytes at {address:x}"
        );
        address
    }

    fn put(&mut self, work: Work) -> Answer<()> {
        match &mut self.captured {
            Some(captured) => captured.push(work),
            None => self.stream.push_back(work),
        }
        match self.fail {
            Some(words) => fail(words),
            None => Ok(()),
        }
    }

    /// Does what is on the stream until the event is reached, or all.
    fn run(&mut self, until: Option<usize>) {
        while until.is_none_or(|event| !self.reached.contains_key(&event)) {
            let Some(work) = self.stream.pop_front() else {
                break;
            };
            self.done += 1;
            // SAFETY: `room` has checked all addresses.
            unsafe {
                match work {
                    Work::Copy { to, from, bytes } => std::ptr::copy(at(from), at(to), bytes),
                    Work::Set { to, byte, bytes } => at(to).write_bytes(byte, bytes),
                    Work::Reach(event) => drop(self.reached.insert(event, self.done)),
                    Work::Add { to, n, by } => {
                        for i in 0..n {
                            *at(to + i) = (*at(to + i)).wrapping_add(by);
                        }
                    }
                }
            }
        }
    }
}

fn fail<T>(words: &str) -> Answer<T> {
    Err(Failure {
        memory: false,
        words: words.to_owned(),
    })
}

impl Fake {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        lock(&self.0)
    }
}

// SAFETY of all: `State` checks what it is given.
impl Api for Fake {
    fn bind(&self) -> Answer<()> {
        Ok(())
    }
    unsafe fn memory(&self) -> Answer<(u64, u64)> {
        let used: usize = self.state().memory.values().sum();
        Ok(((LIMIT - used) as u64, LIMIT as u64))
    }
    unsafe fn alloc(&self, bytes: usize) -> Answer<u64> {
        let mut state = self.state();
        if state.memory.values().sum::<usize>() + bytes > LIMIT {
            return Err(Failure {
                memory: true,
                words: "out of memory".to_owned(),
            });
        }
        Ok(state.take(bytes) as u64)
    }
    unsafe fn free(&self, address: u64) -> Answer<()> {
        let mut state = self.state();
        state.run(None);
        assert!(
            state.memory.remove(&(address as usize)).is_some(),
            "given back once"
        );
        Ok(())
    }
    unsafe fn pin(&self, bytes: usize) -> Answer<*mut u8> {
        Ok(at(self.state().take(bytes)))
    }
    unsafe fn unpin(&self, memory: *mut u8) -> Answer<()> {
        assert!(
            self.state().memory.remove(&memory.addr()).is_some(),
            "given back once"
        );
        Ok(())
    }
    unsafe fn stream(&self) -> Answer<Handle> {
        Ok(self.state().handle("stream"))
    }
    unsafe fn end_stream(&self, stream: Handle) -> Answer<()> {
        self.state().end(stream, "stream");
        Ok(())
    }
    unsafe fn wait_stream(&self, stream: Handle) -> Answer<()> {
        let mut state = self.state();
        state.is(stream, "stream");
        state.run(None);
        state.fail.map_or(Ok(()), fail)
    }
    unsafe fn event(&self, _: bool) -> Answer<Handle> {
        Ok(self.state().handle("event"))
    }
    unsafe fn end_event(&self, event: Handle) -> Answer<()> {
        self.state().end(event, "event");
        Ok(())
    }
    unsafe fn record(&self, event: Handle, _: Handle) -> Answer<()> {
        let mut state = self.state();
        let event = state.is(event, "event");
        assert!(
            state.captured.is_none(),
            "a captured event cannot be waited for"
        );
        state.reached.remove(&event);
        state.put(Work::Reach(event))
    }
    unsafe fn wait_event(&self, event: Handle) -> Answer<()> {
        let mut state = self.state();
        let event = state.is(event, "event");
        // One that was never recorded is nowhere on the stream.
        let on_stream = |work: &Work| matches!(work, Work::Reach(one) if *one == event);
        if state.stream.iter().any(on_stream) {
            state.run(Some(event));
        }
        state.fail.map_or(Ok(()), fail)
    }
    unsafe fn between(&self, start: Handle, end: Handle) -> Answer<f32> {
        let state = self.state();
        let [start, end] = [start, end].map(|event| state.reached[&event.0.addr()]);
        Ok((end - start) as f32)
    }
    unsafe fn to_device(&self, to: u64, from: *const u8, bytes: usize, _: Handle) -> Answer<()> {
        let mut state = self.state();
        let (to, from) = (
            state.room(to as usize, bytes),
            state.room(from.addr(), bytes),
        );
        state.put(Work::Copy { to, from, bytes })
    }
    unsafe fn to_host(&self, to: *mut u8, from: u64, bytes: usize, _: Handle) -> Answer<()> {
        let mut state = self.state();
        let (to, from) = (
            state.room(to.addr(), bytes),
            state.room(from as usize, bytes),
        );
        state.put(Work::Copy { to, from, bytes })
    }
    unsafe fn within(&self, to: u64, from: u64, bytes: usize, _: Handle) -> Answer<()> {
        let mut state = self.state();
        let (to, from) = (
            state.room(to as usize, bytes),
            state.room(from as usize, bytes),
        );
        state.put(Work::Copy { to, from, bytes })
    }
    unsafe fn set(&self, to: u64, byte: u8, bytes: usize, _: Handle) -> Answer<()> {
        let mut state = self.state();
        let to = state.room(to as usize, bytes);
        state.put(Work::Set { to, byte, bytes })
    }
    unsafe fn load(&self, _: &[u8]) -> Answer<Handle> {
        Ok(self.state().handle("module"))
    }
    unsafe fn unload(&self, module: Handle) -> Answer<()> {
        self.state().end(module, "module");
        Ok(())
    }
    unsafe fn function(&self, module: Handle, name: &CStr) -> Answer<Handle> {
        self.state().is(module, "module");
        if name == c"add" {
            return Ok(Handle(std::ptr::null_mut()));
        }
        fail("named symbol not found")
    }
    unsafe fn allow_shared(&self, _: Handle, bytes: u32) -> Answer<()> {
        self.state().allowed.push(bytes);
        Ok(())
    }
    unsafe fn launch(
        &self,
        _: Handle,
        blocks: u32,
        threads: u32,
        _: u32,
        params: &mut [*mut c_void],
        _: Handle,
    ) -> Answer<()> {
        if threads > 1024 {
            return fail("invalid argument");
        }
        // SAFETY: the arguments of `add` below: an address, an `int`, a `float`.
        let (to, n, by) = unsafe {
            let [to, n, by] = params else {
                panic!("three parameters");
            };
            (*to.cast::<u64>(), *n.cast::<i32>(), *by.cast::<f32>())
        };
        assert_eq!(blocks * threads, 256);
        let mut state = self.state();
        let to = state.room(to as usize, n as usize);
        state.put(Work::Add {
            to,
            n: n as usize,
            by: by as u8,
        })
    }
    unsafe fn begin_capture(&self, _: Handle) -> Answer<()> {
        self.state().captured = Some(Vec::new());
        Ok(())
    }
    unsafe fn captures(&self, _: Handle) -> Answer<bool> {
        Ok(self.state().captured.is_some())
    }
    unsafe fn end_capture(&self, _: Handle) -> Answer<Option<Handle>> {
        let mut state = self.state();
        let captured = state.captured.take().expect("a capture");
        let graph = state.handle("graph");
        state.graphs.insert(graph.0.addr(), captured);
        Ok(Some(graph))
    }
    unsafe fn instantiate(&self, graph: Handle) -> Answer<Handle> {
        let mut state = self.state();
        let captured = state.graphs[&state.is(graph, "graph")].clone();
        let ready = state.handle("ready");
        state.graphs.insert(ready.0.addr(), captured);
        Ok(ready)
    }
    unsafe fn end_graph(&self, graph: Handle) -> Answer<()> {
        self.state().end(graph, "graph");
        Ok(())
    }
    unsafe fn replay(&self, ready: Handle, _: Handle) -> Answer<()> {
        let mut state = self.state();
        let works = state.graphs[&state.is(ready, "ready")].clone();
        works.into_iter().try_for_each(|work| state.put(work))
    }
    unsafe fn end_ready(&self, ready: Handle) -> Answer<()> {
        self.state().end(ready, "ready");
        Ok(())
    }
}

#[derive(Debug)]
struct NoCompiler;

impl Compiles for NoCompiler {
    fn description(&self) -> String {
        "none".to_owned()
    }
    fn compile(&self, _: &Source) -> Result<Vec<u8>, GpuError> {
        Ok(vec![0])
    }
}

fn device() -> (Gpu, Arc<Fake>) {
    device_with(|_, _| None)
}

/// The device, with a library of matrix products.
pub(in crate::gpu) fn device_with(
    blas: impl FnOnce(&Arc<Fake>, Handle) -> Option<Box<dyn Blas>>,
) -> (Gpu, Arc<Fake>) {
    let info = Info {
        kind: Kind::Cuda,
        index: 0,
        name: "fake".to_owned(),
        arch: "none".to_owned(),
        versions: "fake 1.0".to_owned(),
        warp: 32,
        multiprocessors: 1,
        shared_bytes: 1 << 16,
        memory: LIMIT as u64,
    };
    let api = Arc::new(Fake::default());
    let native = Native::new(Arc::clone(&api), info, Box::new(NoCompiler), blas);
    (Gpu::new(Box::new(native.expect("a device")), None), api)
}

fn download(gpu: &Gpu, buffer: &Buffer) -> Vec<u8> {
    let mut bytes = vec![0; buffer.bytes()];
    gpu.driver()
        .download(&mut bytes, buffer.address())
        .expect("copied");
    bytes
}

fn pattern(len: usize, salt: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 977 + salt) as u8).collect()
}

#[test]
fn copies_of_every_size_arrive_whole() {
    let (gpu, _) = device();
    for len in [
        1,
        7,
        PLACE - 1,
        PLACE,
        PLACE + 1,
        HALF,
        HALF + 1,
        2 * HALF,
        18 * PLACE + 5,
    ] {
        let buffer = gpu.alloc(len).expect("memory");
        let mut bytes = pattern(len, len);
        gpu.driver()
            .upload(buffer.address(), &bytes)
            .expect("copied");
        let want = bytes.clone();
        // The source may change at once.
        bytes.fill(0);
        assert!(download(&gpu, &buffer) == want, "{len}");
    }
    let empty = gpu.alloc(0).expect("nothing");
    gpu.driver().upload(empty.address(), &[]).expect("nothing");
    gpu.driver()
        .download(&mut [], empty.address())
        .expect("nothing");
}

#[test]
fn small_uploads_do_not_wait_until_the_ring_is_full() {
    let (gpu, api) = device();
    let buffers: Vec<_> = (0..3 * PLACES)
        .map(|_| gpu.alloc(64).expect("memory"))
        .collect();
    for (i, buffer) in buffers.iter().enumerate() {
        gpu.driver()
            .upload(buffer.address(), &pattern(64, i))
            .expect("copied");
        if i + 1 == PLACES {
            assert_eq!(api.state().done, 0, "nothing was waited for");
        }
    }
    for (i, buffer) in buffers.iter().enumerate() {
        assert_eq!(download(&gpu, buffer), pattern(64, i), "{i}");
    }
}

/// A kernel of the fake device.
fn add(gpu: &Gpu, buffer: &Buffer, by: f64) -> Result<(), GpuError> {
    let driver = gpu.driver();
    let module = driver.load(&[0])?;
    let function = driver.function(module, "add")?;
    let args = [
        Arg::Ptr(buffer.address()),
        Arg::from(buffer.bytes()),
        Arg::from(by),
    ];
    driver.launch(function, Grid::new(1, 256), &args)
}

#[test]
fn all_is_done_in_the_order_in_which_it_was_asked() {
    let (gpu, _) = device();
    let [one, two] = [0; 2].map(|_| gpu.alloc(16).expect("memory"));
    let driver = gpu.driver();
    driver.fill(one.address(), 3, 16).expect("filled");
    add(&gpu, &one, 4.0).expect("launched");
    driver
        .copy(two.address(), one.address(), 16)
        .expect("copied");
    driver.upload(one.address(), &[9; 16]).expect("copied");
    add(&gpu, &one, 1.0).expect("launched");
    assert_eq!(download(&gpu, &two), [7; 16]);
    assert_eq!(download(&gpu, &one), [10; 16]);
    driver
        .copy(two.address(), one.address(), 0)
        .expect("nothing");
    driver.fill(two.address(), 1, 0).expect("nothing");
    assert_eq!(download(&gpu, &two), [7; 16]);
}

#[test]
fn a_captured_sequence_is_run_when_it_is_replayed() {
    let (gpu, api) = device();
    let buffer = gpu.alloc(8).expect("memory");
    let driver = gpu.driver();
    driver.fill(buffer.address(), 0, 8).expect("filled");
    let graph = driver
        .capture(&mut || {
            add(&gpu, &buffer, 2.0)?;
            add(&gpu, &buffer, 3.0)
        })
        .expect("captured");
    assert_eq!(download(&gpu, &buffer), [0; 8]);
    for _ in 0..3 {
        driver.replay(graph).expect("replayed");
    }
    assert_eq!(download(&gpu, &buffer), [15; 8]);
    driver.forget(graph);
    driver.forget(graph);
    // What cannot be captured is refused, and spoils nothing.
    let error = driver.capture(&mut || driver.upload(buffer.address(), &[1; 8]));
    let error = error.expect_err("refused").to_string();
    assert!(error.contains("while launches are captured"), "{error}");
    driver.upload(buffer.address(), &[1; 8]).expect("copied");
    assert_eq!(download(&gpu, &buffer), [1; 8]);
    let left = |what| {
        api.state()
            .handles
            .values()
            .filter(|one| **one == what)
            .count()
    };
    assert_eq!((left("graph"), left("ready")), (0, 0));
}

#[test]
fn shared_memory_is_asked_for_once_and_only_above_what_is_always_there() {
    let (gpu, api) = device();
    let buffer = gpu.alloc(8).expect("memory");
    let driver = gpu.driver();
    let module = driver.load(&[0]).expect("loaded");
    let function = driver.function(module, "add").expect("a kernel");
    let args = [Arg::Ptr(buffer.address()), Arg::I32(8), Arg::F32(1.0)];
    for shared in [0, 48 << 10, 60 << 10, 50 << 10, 64 << 10, 64 << 10] {
        let grid = Grid::new(1, 256).with_shared(shared);
        driver.launch(function, grid, &args).expect("launched");
    }
    assert_eq!(api.state().allowed, [60 << 10, 64 << 10]);
}

#[test]
fn failures_say_what_could_not_be_done() {
    let (gpu, api) = device();
    let driver = gpu.driver();
    let free = driver.free_memory().expect("known");
    let error = gpu.alloc(LIMIT).expect_err("too much");
    let wanted = LIMIT as u64;
    assert_eq!(error, GpuError::OutOfMemory { wanted, free });
    let module = driver.load(&[0]).expect("loaded");
    let error = driver
        .function(module, "none")
        .expect_err("none")
        .to_string();
    assert!(error.contains("find the kernel none"), "{error}");
    let function = driver.function(module, "add").expect("a kernel");
    let refused = driver.launch(function, Grid::new(1, 2048), &[]);
    let error = refused.expect_err("too many threads").to_string();
    assert!(error.contains("add") && error.contains("2048"), "{error}");
    let map = TensorMap::new(View::new(0, 64, Dtype::Bf16), &[64, 1], &[64], &[1]);
    let map = Arg::Map(map.expect("a matrix"));
    let error = driver.launch(function, Grid::new(1, 64), &[map]);
    let error = error.expect_err("a matrix").to_string();
    assert!(error.contains("no copy engine"), "{error}");
    let buffer = gpu.alloc(4).expect("memory");
    api.state().fail = Some("an illegal memory access was encountered");
    for failed in [
        driver.synchronize(),
        driver.download(&mut [0; 4], buffer.address()),
        driver.upload(buffer.address(), &[0; 4]),
        driver.time(&mut || Ok(())).map(drop),
    ] {
        match failed {
            Err(GpuError::Device(words)) => assert!(words.contains("illegal"), "{words}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn time_is_what_the_device_took_and_all_is_given_back() {
    let (gpu, api) = device();
    let buffer = gpu.alloc(1024).expect("memory");
    let seconds = gpu.driver().time(&mut || {
        add(&gpu, &buffer, 1.0)?;
        add(&gpu, &buffer, 1.0)
    });
    // The fake's clock counts what was done: two launches and the event.
    assert_eq!(seconds, Ok(f64::from(3f32) * 1e-3));
    let failing = gpu
        .driver()
        .time(&mut || Err(GpuError::Device("no".to_owned())));
    assert_eq!(failing, Err(GpuError::Device("no".to_owned())));
    let graph = gpu.driver().capture(&mut || add(&gpu, &buffer, 1.0));
    graph.expect("captured");
    let view = buffer.view(0, 4, Dtype::F32);
    assert_eq!(view.len, 4);
    drop(buffer);
    drop(gpu);
    let state = api.state();
    assert!(state.handles.is_empty(), "{:?}", state.handles);
    assert!(state.memory.is_empty(), "{:?}", state.memory);
}
