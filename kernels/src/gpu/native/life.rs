//! The life of a device behind a vendor's driver: what is taken when it is opened, and given back when nobody uses it any
//! more, or when one of the things is not to be had.

use super::api::{Answer, Api, Compiles, Handle};
use super::staging::Staging;
use super::{Beside, Native, failed};
use crate::gpu::blas::Blas;
use crate::gpu::driver::Info;
use crate::gpu::{GpuError, lock};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex};

impl<A: Api> Native<A> {
    /// The device of `api`. `blas` makes its library of matrix products, which works on the given stream.
    ///
    /// # Errors
    /// If the device does not give a stream or pinned memory.
    pub(in crate::gpu) fn new(
        api: Arc<A>,
        info: Info,
        compiler: Box<dyn Compiles>,
        blas: impl FnOnce(&Arc<A>, Handle) -> Option<Box<dyn Blas>>,
    ) -> Result<Self, GpuError> {
        failed(api.bind(), "use the device")?;
        // SAFETY: the device is bound; the stream is given back when this is dropped.
        let stream = failed(unsafe { api.stream() }, "make a stream")?;
        let made = Beside::new(&*api).and_then(|beside| match Staging::new(&*api) {
            Ok(staging) => Ok((beside, staging)),
            Err(failure) => {
                // SAFETY: nothing was put on the stream. What is reported is why there is no pinned memory.
                unsafe { beside.end(&*api) };
                Err(failure)
            }
        });
        let (beside, staging) = match made {
            Ok(made) => made,
            Err(failure) => {
                // SAFETY: as above.
                drop(unsafe { api.end_stream(stream) });
                return failed(Err(failure), "take a stream for copies and pinned memory");
            }
        };
        let blas = blas(&api, stream);
        Ok(Self {
            api,
            info,
            compiler,
            blas,
            stream,
            beside,
            staging,
            events: Mutex::default(),
            next_event: AtomicUsize::new(0),
            modules: Mutex::default(),
            functions: Mutex::default(),
            graphs: Mutex::default(),
            next_graph: AtomicUsize::new(0),
            capturing: AtomicBool::new(false),
        })
    }
}

impl<A: Api> Drop for Native<A> {
    fn drop(&mut self) {
        self.blas = None;
        if self.api.bind().is_err() {
            return;
        }
        let api = &*self.api;
        // A device that fails while it is given back is of no use to anybody: the answers are dropped.
        // SAFETY: all work is over, and nothing that is given back is used afterwards.
        unsafe {
            drop(api.wait_stream(self.stream));
            drop(api.wait_stream(self.beside.stream));
            for event in std::mem::take(&mut *lock(&self.events)).into_values() {
                drop(api.end_event(event));
            }
            for ready in std::mem::take(&mut *lock(&self.graphs)).into_values() {
                drop(api.end_ready(ready));
            }
            for module in lock(&self.modules).drain(..) {
                drop(api.unload(module));
            }
            self.staging.give_back(api);
            self.beside.end(api);
            drop(api.end_stream(self.stream));
        }
    }
}

impl Beside {
    fn new<A: Api>(api: &A) -> Answer<Self> {
        // SAFETY: the device is bound; both are given back by `end`.
        let stream = unsafe { api.stream() }?;
        // SAFETY: as above.
        match unsafe { api.event(false) } {
            Ok(asked) => Ok(Self { stream, asked }),
            Err(failure) => {
                // SAFETY: nothing was put on the stream. What is reported is why there is no event.
                drop(unsafe { api.end_stream(stream) });
                Err(failure)
            }
        }
    }

    /// Gives both back.
    ///
    /// # Safety
    /// All copies are over, and this is not used afterwards.
    unsafe fn end<A: Api>(&self, api: &A) {
        // SAFETY: as the caller says. What is given back needs no answer.
        unsafe {
            drop(api.end_event(self.asked));
            drop(api.end_stream(self.stream));
        }
    }
}
