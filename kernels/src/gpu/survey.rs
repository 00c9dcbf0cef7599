//! A device that compiles and runs nothing but writes down which kernels it was asked for: the list that the checks with
//! NVRTC and clang go through, made by the same code that launches.

use super::blas::Blas;
use super::driver::{Driver, Event, Function, Graph, Info, Kind, Module, Stream};
use super::unit::Source;
use super::{Arg, GpuError, Grid, lock};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// The sources that were asked for, in order.
pub type Asked = Arc<Mutex<Vec<Source>>>;

/// The device.
#[derive(Debug)]
pub struct Survey {
    info: Info,
    asked: Asked,
    next: AtomicU64,
}

impl Survey {
    /// A device that looks like `arch` with warps of `warp` lanes.
    pub fn new(kind: Kind, arch: &str, warp: u32) -> (Self, Asked) {
        let asked = Asked::default();
        let info = Info {
            kind,
            index: 0,
            name: "survey".to_owned(),
            arch: arch.to_owned(),
            versions: String::new(),
            warp,
            multiprocessors: 132,
            shared_bytes: if kind == Kind::Cuda {
                227 << 10
            } else {
                64 << 10
            },
            memory: 1 << 37,
        };
        let survey = Self {
            info,
            asked: Arc::clone(&asked),
            next: AtomicU64::new(4096),
        };
        (survey, asked)
    }
}

impl Driver for Survey {
    fn info(&self) -> &Info {
        &self.info
    }

    fn free_memory(&self) -> Result<u64, GpuError> {
        Ok(self.info.memory)
    }

    fn alloc(&self, bytes: usize) -> Result<u64, GpuError> {
        let span = (bytes as u64).next_multiple_of(4096);
        Ok(self.next.fetch_add(span, Ordering::Relaxed))
    }

    fn free(&self, _: u64) {}

    fn upload(&self, _: u64, _: &[u8]) -> Result<(), GpuError> {
        Ok(())
    }

    fn upload_beside(&self, _: u64, _: &[u8]) -> Result<(), GpuError> {
        Ok(())
    }

    fn event(&self) -> Result<Event, GpuError> {
        Ok(Event(0))
    }

    fn end_event(&self, _: Event) {}

    fn record(&self, _: Event, _: Stream) -> Result<(), GpuError> {
        Ok(())
    }

    fn wait(&self, _: Stream, _: Event) -> Result<(), GpuError> {
        Ok(())
    }

    fn download(&self, to: &mut [u8], _: u64) -> Result<(), GpuError> {
        to.fill(0);
        Ok(())
    }

    fn copy(&self, _: u64, _: u64, _: usize) -> Result<(), GpuError> {
        Ok(())
    }

    fn fill(&self, _: u64, _: u8, _: usize) -> Result<(), GpuError> {
        Ok(())
    }

    fn compiler(&self) -> String {
        "none".to_owned()
    }

    fn compile(&self, source: &Source) -> Result<Vec<u8>, GpuError> {
        lock(&self.asked).push(source.clone());
        Ok(vec![0])
    }

    fn load(&self, _: &[u8]) -> Result<Module, GpuError> {
        Ok(Module(0))
    }

    fn function(&self, _: Module, _: &str) -> Result<Function, GpuError> {
        Ok(Function(0))
    }

    fn launch(&self, _: Function, _: Grid, _: &[Arg]) -> Result<(), GpuError> {
        Ok(())
    }

    fn synchronize(&self) -> Result<(), GpuError> {
        Ok(())
    }

    fn capture(&self, record: &mut dyn FnMut() -> Result<(), GpuError>) -> Result<Graph, GpuError> {
        record()?;
        Ok(Graph(0))
    }

    fn replay(&self, _: Graph) -> Result<(), GpuError> {
        Ok(())
    }

    fn forget(&self, _: Graph) {}

    fn time(&self, work: &mut dyn FnMut() -> Result<(), GpuError>) -> Result<f64, GpuError> {
        work()?;
        Ok(0.0)
    }

    fn blas(&self) -> Option<&dyn Blas> {
        None
    }
}
