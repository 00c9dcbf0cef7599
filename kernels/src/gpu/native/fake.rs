//! A device that is made of the host's memory, for tests: it does what is on its streams only when it is waited for, so that a
//! copy that is not waited for shows; or one of its streams runs ahead as far as it may, so that an order that nobody asked
//! for shows.

use super::api::{Answer, Api, Compiles, Failure, Handle};
use crate::gpu::GpuError;
use crate::gpu::lock;
use crate::gpu::unit::Source;
use std::collections::{BTreeMap, VecDeque};
use std::ffi::{CStr, c_void};
use std::sync::Mutex;

/// What is on a stream.
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
    /// An event, and which of its records this is.
    Reach(usize, usize),
    /// Nothing behind it is done before that record of that event was reached.
    Wait(usize, usize),
    /// Adds `by` to each of `n` bytes.
    Add {
        to: usize,
        n: usize,
        by: u8,
    },
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Bytes of each allocation that was not given back, pinned ones too.
    pub(super) memory: BTreeMap<usize, usize>,
    /// In the order in which they were made.
    streams: BTreeMap<usize, VecDeque<Work>>,
    /// Number of the stream that runs ahead.
    pub(super) ahead: Option<usize>,
    captured: Option<Vec<Work>>,
    graphs: BTreeMap<usize, Vec<Work>>,
    /// Handles that were not given back.
    pub(super) handles: BTreeMap<usize, &'static str>,
    /// How often events were recorded.
    recorded: BTreeMap<usize, usize>,
    /// The last record of each event that was reached, and how much was done before.
    reached: BTreeMap<usize, (usize, usize)>,
    pub(super) done: usize,
    next: usize,
    pub(super) allowed: Vec<u32>,
    pub(super) fail: Option<&'static str>,
}

#[derive(Debug, Default)]
pub(in crate::gpu) struct Fake(Mutex<State>);

pub(super) const LIMIT: usize = 256 << 20;

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

    fn put(&mut self, stream: Handle, work: Work) -> Answer<()> {
        if let Some(captured) = &mut self.captured {
            captured.push(work);
        } else {
            let stream = self.is(stream, "stream");
            let works = self.streams.get_mut(&stream).expect("a stream");
            works.push_back(work);
            self.run_ahead();
        }
        match self.fail {
            Some(words) => fail(words),
            None => Ok(()),
        }
    }

    fn is_reached(&self, event: usize, record: usize) -> bool {
        record == 0
            || self
                .reached
                .get(&event)
                .is_some_and(|(last, _)| *last >= record)
    }

    /// The stream on which that record of that event stands.
    fn stream_of(&self, event: usize, record: usize) -> Option<usize> {
        let is = |work: &Work| matches!(work, Work::Reach(e, r) if (*e, *r) == (event, record));
        let mut streams = self.streams.iter();
        streams.find_map(|(stream, works)| works.iter().any(is).then_some(*stream))
    }

    /// Does what is on a stream until the record of the event is reached, or all; and of the other stream what that waits for.
    fn run(&mut self, stream: usize, until: Option<(usize, usize)>) {
        while until.is_none_or(|(event, record)| !self.is_reached(event, record)) {
            match self.streams[&stream].front().copied() {
                None => break,
                Some(Work::Wait(event, record)) if !self.is_reached(event, record) => {
                    let other = self.stream_of(event, record);
                    self.run(other.expect("it was recorded"), Some((event, record)));
                }
                Some(work) => {
                    self.take_from(stream);
                    self.work(work);
                    self.run_ahead();
                }
            }
        }
    }

    /// Lets the stream that runs ahead do what it may.
    fn run_ahead(&mut self) {
        let Some(stream) = self.ahead.and_then(|n| self.streams.keys().nth(n).copied()) else {
            return;
        };
        while let Some(work) = self.streams[&stream].front().copied() {
            match work {
                Work::Wait(event, record) if !self.is_reached(event, record) => break,
                _ => {
                    self.take_from(stream);
                    self.work(work);
                }
            }
        }
    }

    fn take_from(&mut self, stream: usize) {
        let works = self.streams.get_mut(&stream).expect("a stream");
        works.pop_front();
    }

    fn run_all(&mut self) {
        let streams: Vec<usize> = self.streams.keys().copied().collect();
        for stream in streams {
            self.run(stream, None);
        }
    }

    fn work(&mut self, work: Work) {
        if !matches!(work, Work::Wait(..)) {
            self.done += 1;
        }
        // SAFETY: `room` has checked all addresses.
        unsafe {
            match work {
                Work::Copy { to, from, bytes } => std::ptr::copy(at(from), at(to), bytes),
                Work::Set { to, byte, bytes } => at(to).write_bytes(byte, bytes),
                Work::Reach(event, record) => {
                    self.reached.insert(event, (record, self.done));
                }
                Work::Wait(..) => {}
                Work::Add { to, n, by } => {
                    for i in 0..n {
                        *at(to + i) = (*at(to + i)).wrapping_add(by);
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
    pub(super) fn state(&self) -> std::sync::MutexGuard<'_, State> {
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
        state.run_all();
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
        let mut state = self.state();
        let stream = state.handle("stream");
        state.streams.insert(stream.0.addr(), VecDeque::new());
        Ok(stream)
    }
    unsafe fn end_stream(&self, stream: Handle) -> Answer<()> {
        let mut state = self.state();
        state.end(stream, "stream");
        state.streams.remove(&stream.0.addr());
        Ok(())
    }
    unsafe fn wait_stream(&self, stream: Handle) -> Answer<()> {
        let mut state = self.state();
        let stream = state.is(stream, "stream");
        state.run(stream, None);
        state.fail.map_or(Ok(()), fail)
    }
    unsafe fn event(&self, _: bool) -> Answer<Handle> {
        Ok(self.state().handle("event"))
    }
    unsafe fn end_event(&self, event: Handle) -> Answer<()> {
        self.state().end(event, "event");
        Ok(())
    }
    unsafe fn record(&self, event: Handle, stream: Handle) -> Answer<()> {
        let mut state = self.state();
        let event = state.is(event, "event");
        assert!(
            state.captured.is_none(),
            "a captured event cannot be waited for"
        );
        let record = state.recorded.entry(event).or_default();
        *record += 1;
        let record = *record;
        state.put(stream, Work::Reach(event, record))
    }
    unsafe fn wait_event(&self, event: Handle) -> Answer<()> {
        let mut state = self.state();
        let event = state.is(event, "event");
        // One that was never recorded is nowhere on a stream.
        let record = state.recorded.get(&event).copied().unwrap_or(0);
        if let Some(stream) = state.stream_of(event, record) {
            state.run(stream, Some((event, record)));
        }
        state.fail.map_or(Ok(()), fail)
    }
    unsafe fn wait_on(&self, stream: Handle, event: Handle) -> Answer<()> {
        let mut state = self.state();
        let event = state.is(event, "event");
        assert!(state.captured.is_none(), "a wait cannot be captured");
        let record = state.recorded.get(&event).copied().unwrap_or(0);
        state.put(stream, Work::Wait(event, record))
    }
    unsafe fn between(&self, start: Handle, end: Handle) -> Answer<f32> {
        let state = self.state();
        let [start, end] = [start, end].map(|event| state.reached[&event.0.addr()].1);
        Ok((end - start) as f32)
    }
    unsafe fn to_device(
        &self,
        to: u64,
        from: *const u8,
        bytes: usize,
        stream: Handle,
    ) -> Answer<()> {
        let mut state = self.state();
        let (to, from) = (
            state.room(to as usize, bytes),
            state.room(from.addr(), bytes),
        );
        state.put(stream, Work::Copy { to, from, bytes })
    }
    unsafe fn to_host(&self, to: *mut u8, from: u64, bytes: usize, stream: Handle) -> Answer<()> {
        let mut state = self.state();
        let (to, from) = (
            state.room(to.addr(), bytes),
            state.room(from as usize, bytes),
        );
        state.put(stream, Work::Copy { to, from, bytes })
    }
    unsafe fn within(&self, to: u64, from: u64, bytes: usize, stream: Handle) -> Answer<()> {
        let mut state = self.state();
        let (to, from) = (
            state.room(to as usize, bytes),
            state.room(from as usize, bytes),
        );
        state.put(stream, Work::Copy { to, from, bytes })
    }
    unsafe fn set(&self, to: u64, byte: u8, bytes: usize, stream: Handle) -> Answer<()> {
        let mut state = self.state();
        let to = state.room(to as usize, bytes);
        state.put(stream, Work::Set { to, byte, bytes })
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
        stream: Handle,
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
        state.put(
            stream,
            Work::Add {
                to,
                n: n as usize,
                by: by as u8,
            },
        )
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
    unsafe fn replay(&self, ready: Handle, stream: Handle) -> Answer<()> {
        let mut state = self.state();
        let works = state.graphs[&state.is(ready, "ready")].clone();
        works
            .into_iter()
            .try_for_each(|work| state.put(stream, work))
    }
    unsafe fn end_ready(&self, ready: Handle) -> Answer<()> {
        self.state().end(ready, "ready");
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct NoCompiler;

impl Compiles for NoCompiler {
    fn description(&self) -> String {
        "none".to_owned()
    }
    fn compile(&self, _: &Source) -> Result<Vec<u8>, GpuError> {
        Ok(vec![0])
    }
}
