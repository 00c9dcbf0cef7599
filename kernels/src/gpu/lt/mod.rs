//! cuBLASLt and hipBLASLt: the vendors' matrix products, which take most of a training step.
//!
//! A library knows many algorithms for a product. Its heuristic names the likely best eight; the first time that a product of
//! some shape is asked for, they are timed on the very operands, and the fastest is kept: in this process, and as a line
//! in the folder of compiled kernels, because another algorithm sums in another order, and a run that is resumed must
//! come to the same bits. Within a capture nothing can be timed: a shape that is first seen there gets the first of the eight.
//! A product for which the library has none is left to our own kernels.
//!
//! The libraries count columns first. A row-major matrix is, read so, its own transpose; so `C = A B` is asked for as
//! `C' = B' A'`, with the operands in the other order. [`vendor`] has what differs between the two; nobody has run hipBLASLt on
//! a device yet, and it cannot be told to put a sum that it cuts over K together in a fixed order.

#![expect(
    unsafe_code,
    reason = "calls the libraries with descriptors that they made and addresses that views checked"
)]

mod plan;
#[cfg(all(test, unix))]
mod tests;
mod vendor;

use super::blas::{Blas, Product};
use super::compiled::Cache;
use super::library::Wanted;
use super::native::api::{Answer, Api, Handle};
use super::native::{failed, timed};
use super::{GpuError, lock};
use crate::Dtype;
use plan::{Algo, Key, Plan};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::{Arc, Mutex};
use vendor::{MAX_WORKSPACE, REDUCE_IN_F32, Vendor};

/// Scratch memory of the products: what NVIDIA advises for Hopper.
const WORKSPACE: usize = 32 << 20;
/// Algorithms that are asked for.
const CANDIDATES: usize = 8;
/// How much faster than the first another must be to be taken.
const GAIN: f64 = 0.98;
/// File of the choices, beside the compiled kernels.
const CHOICES: &str = "products.txt";

/// A vendor's library that is installed.
#[derive(Debug)]
pub(super) struct Installed(Arc<vendor::Api>);

/// A library on one stream.
#[derive(Debug)]
pub(super) struct Lt {
    library: Arc<vendor::Api>,
    device: Arc<dyn Api>,
    stream: Handle,
    handle: Handle,
    workspace: u64,
    /// `None` where the library has no algorithm.
    plans: Mutex<HashMap<Key, Option<Plan>>>,
    /// Choices of this and of earlier processes, by [`Lt::line`].
    choices: Mutex<HashMap<String, usize>>,
    cache: Option<Cache>,
    name: String,
    device_name: String,
}

impl Installed {
    /// NVIDIA's library.
    ///
    /// # Errors
    /// [`GpuError::Missing`] if it is not installed.
    pub(super) fn cublaslt() -> Result<Self, GpuError> {
        Self::of(&vendor::CUBLASLT, vendor::CUBLASLT.wanted)
    }

    /// AMD's library for HIP of the version `hip`: one of another would bring a HIP of its own, to which our streams mean
    /// nothing.
    ///
    /// # Errors
    /// [`GpuError::Missing`] if it is not installed.
    pub(super) fn hipblaslt(hip: u32) -> Result<Self, GpuError> {
        let mut wanted = vendor::HIPBLASLT.wanted;
        if hip < 7 {
            wanted.names = vendor::HIPBLASLT_OF_HIP_6;
        }
        Self::of(&vendor::HIPBLASLT, wanted)
    }

    fn of(vendor: &'static Vendor, wanted: Wanted) -> Result<Self, GpuError> {
        let library = wanted.open()?;
        Ok(Self(Arc::new(vendor::Api::of(vendor, library)?)))
    }

    /// The library on a stream of a device called `name`.
    ///
    /// # Errors
    /// If the library or the device refuses.
    pub(super) fn on(
        &self,
        device: Arc<dyn Api>,
        stream: Handle,
        name: &str,
        cache: Option<&Cache>,
    ) -> Result<Lt, GpuError> {
        failed(device.bind(), "use the device")?;
        let library = Arc::clone(&self.0);
        // SAFETY: writes one handle; the device is bound.
        let handle = library.made("begin", |to| unsafe { (library.calls.create)(to) })?;
        let version = library.version(handle).unwrap_or_else(|| "?".to_owned());
        let mut lt = Lt {
            name: format!("{} {version}", library.vendor.name),
            library,
            device,
            stream,
            handle,
            workspace: 0,
            plans: Mutex::default(),
            choices: Mutex::default(),
            cache: cache.cloned(),
            device_name: name.replace(' ', "_"),
        };
        // SAFETY: the device is bound; given back when this is dropped.
        let workspace = unsafe { lt.device.alloc(WORKSPACE) };
        lt.workspace = failed(workspace, "take the workspace of matrix products")?;
        let lines = lt.cache.iter().flat_map(|cache| cache.lines(CHOICES));
        let mut choices = HashMap::new();
        for line in lines {
            if let Some((line, number)) = line.rsplit_once(' ')
                && let Ok(number) = number.parse()
            {
                // The first that was written stands: runs may have followed it.
                choices.entry(line.to_owned()).or_insert(number);
            }
        }
        lt.choices = Mutex::new(choices);
        Ok(lt)
    }
}

impl Lt {
    /// What a choice is kept under.
    fn line(&self, key: &Key) -> String {
        let name = self.name.replace(' ', "_");
        format!("{name} {} {}", self.device_name, key.line())
    }

    /// The algorithms that the library would try for a plan, the likely best first.
    fn candidates(&self, key: &Key, plan: &Plan) -> Result<Vec<Algo>, GpuError> {
        let calls = &self.library.calls;
        // SAFETY: writes one handle, given back below.
        let preference = self.library.made("begin a search", |to| unsafe {
            (calls.preference_create)(to)
        })?;
        let found = self.search(key, plan, preference);
        // SAFETY: made above.
        unsafe { (calls.preference_destroy)(preference.0) };
        found
    }

    fn search(&self, key: &Key, plan: &Plan, preference: Handle) -> Result<Vec<Algo>, GpuError> {
        let (calls, vendor) = (&self.library.calls, self.library.vendor);
        let set = |attribute: c_int, value: *const c_void, size: usize| {
            // SAFETY: each attribute below is of the type that its value has.
            let status = unsafe { (calls.preference_set)(preference.0, attribute, value, size) };
            self.library.check(status, "set what to search for")
        };
        let bytes = WORKSPACE;
        set(MAX_WORKSPACE, (&raw const bytes).cast(), size_of::<usize>())?;
        if let Some(mask) = vendor.reduction {
            let scheme = REDUCE_IN_F32;
            set(mask, (&raw const scheme).cast(), size_of::<u32>())?;
        }
        // The libraries' A, B, C and D are our B, A, C and C.
        let aligned = [key.b.align, key.a.align, key.c.align, key.c.align];
        for (attribute, align) in vendor.alignments.iter().flatten().zip(&aligned) {
            set(*attribute, ptr::from_ref(align).cast(), size_of::<u32>())?;
        }
        // A result is the algorithm, the workspace that it takes, its status and five words.
        let words = vendor.algo / 8;
        let result = words + 4;
        let mut found = vec![0u64; CANDIDATES * result];
        let mut count: c_int = 0;
        let [b, a, c] = plan.layouts;
        // SAFETY: the descriptors are alive; writes at most as many results as there is room for, and their number.
        let status = unsafe {
            (calls.heuristic)(
                self.handle.0,
                plan.desc.0,
                b.0,
                a.0,
                c.0,
                c.0,
                preference.0,
                CANDIDATES as c_int,
                found.as_mut_ptr().cast(),
                &raw mut count,
            )
        };
        if status == vendor.unsupported {
            return Ok(Vec::new());
        }
        self.library.check(status, "search an algorithm")?;
        let found = found.chunks_exact(result).take(count.max(0) as usize);
        let fitting = found.filter(|one| {
            // The status is the lower half of its word: hosts of GPUs are little-endian.
            one[words] <= WORKSPACE as u64 && one[words + 1] as u32 == 0
        });
        let algos = fitting.map(|one| {
            let mut algo = Algo::default();
            algo[..words].copy_from_slice(&one[..words]);
            algo
        });
        Ok(algos.collect())
    }

    /// Descriptors and algorithm for a product of a shape that was not seen yet, where the library has one.
    fn plan(&self, key: &Key, p: &Product) -> Result<Option<Plan>, GpuError> {
        // The bias is `f32`. Where the library adds none of that type to C, its rounded copy is added.
        let types: &[Option<Dtype>] = match key.bias {
            None => &[None],
            Some(false) => &[Some(Dtype::F32)],
            Some(true) => &[Some(Dtype::F32), Some(Dtype::Bf16)],
        };
        for bias in types {
            let mut plan = Plan::new(&self.library, key, *bias)?;
            let candidates = self.candidates(key, &plan)?;
            if candidates.is_empty() {
                continue;
            }
            let chosen = self.choose(key, p, &mut plan, &candidates)?;
            return Ok(chosen.map(|chosen| {
                plan.algo = candidates[chosen];
                plan
            }));
        }
        Ok(None)
    }

    /// The number of the candidate to take; none where each fails.
    fn choose(
        &self,
        key: &Key,
        p: &Product,
        plan: &mut Plan,
        candidates: &[Algo],
    ) -> Result<Option<usize>, GpuError> {
        let line = self.line(key);
        let known = lock(&self.choices).get(&line).copied();
        if let Some(known) = known.filter(|known| *known < candidates.len()) {
            return Ok(Some(known));
        }
        if candidates.len() == 1 || failed(self.captures(), "ask the stream")? {
            return Ok(Some(0));
        }
        let bytes = ((key.m - 1) * key.c.stride + key.n) * key.c.dtype.size();
        // The product is timed into memory of its own: C may be added to, and must be so once.
        // SAFETY: the device is bound; given back below.
        let Ok(apart) = (unsafe { self.device.alloc(bytes) }) else {
            return Ok(Some(0));
        };
        let mut best = (0, f64::INFINITY);
        for (number, candidate) in candidates.iter().enumerate() {
            plan.algo = *candidate;
            // One that fails is not taken.
            let Ok(seconds) = self.time(plan, p, apart) else {
                continue;
            };
            let limit = if number > 0 { GAIN * best.1 } else { best.1 };
            if seconds < limit {
                best = (number, seconds);
            }
        }
        // SAFETY: taken above; the driver waits for the products into it.
        failed(unsafe { self.device.free(apart) }, "give memory back")?;
        if best.1.is_infinite() {
            return Ok(None);
        }
        lock(&self.choices).insert(line.clone(), best.0);
        if let Some(cache) = &self.cache {
            cache.keep_line(CHOICES, &format!("{line} {}", best.0));
        }
        Ok(Some(best.0))
    }

    /// The least seconds of a few tries of a plan.
    fn time(&self, plan: &Plan, p: &Product, to: u64) -> Result<f64, GpuError> {
        self.run(plan, p, to)?;
        let mut least = f64::INFINITY;
        for _ in 0..4 {
            let mut once = || self.run(plan, p, to);
            least = least.min(timed(&*self.device, self.stream, &mut once)?);
        }
        Ok(least)
    }

    fn captures(&self) -> Answer<bool> {
        // SAFETY: our stream.
        unsafe { self.device.captures(self.stream) }
    }

    /// Puts a product on the stream, with what C holds added where the product says so, and writes it to `to`.
    fn run(&self, plan: &Plan, p: &Product, to: u64) -> Result<(), GpuError> {
        if let (Some(dtype), Some(bias)) = (plan.bias, p.bias) {
            let rounded = bias.rounded.filter(|_| dtype == Dtype::Bf16);
            let address = rounded.unwrap_or(bias.ptr);
            plan.set(self.library.vendor.bias, &address)?;
        }
        let (alpha, beta) = (1f32, if p.accumulate { 1f32 } else { 0f32 });
        let at = |address: u64| ptr::without_provenance::<c_void>(address as usize);
        let [b, a, c] = plan.layouts;
        // SAFETY: descriptors and algorithm are the plan's, which was made for the shapes of this product; the two factors are
        // read on the host. Views check that the matrices lie in allocations.
        let status = unsafe {
            (self.library.calls.matmul)(
                self.handle.0,
                plan.desc.0,
                (&raw const alpha).cast(),
                at(p.b.view.ptr),
                b.0,
                at(p.a.view.ptr),
                a.0,
                (&raw const beta).cast(),
                at(p.c.ptr),
                c.0,
                at(to).cast_mut(),
                c.0,
                plan.algo.as_ptr().cast(),
                at(self.workspace).cast_mut(),
                WORKSPACE,
                self.stream.0,
            )
        };
        self.library.check(status, "multiply")
    }
}

impl Blas for Lt {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn takes(&self, a: Dtype, b: Dtype, c: Dtype) -> bool {
        use Dtype::{Bf16, F32};
        matches!((a, b, c), (F32, F32, F32) | (Bf16, Bf16, F32 | Bf16))
    }

    fn product(&self, p: &Product) -> Result<bool, GpuError> {
        if p.m == 0 || p.n == 0 {
            return Ok(true);
        }
        failed(self.device.bind(), "use the device")?;
        let key = Key::of(p);
        let mut plans = lock(&self.plans);
        let plan = match plans.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(self.plan(&key, p)?),
        };
        let Some(plan) = plan else { return Ok(false) };
        // The lock is held while the bias is set and read.
        self.run(plan, p, p.c.ptr)?;
        Ok(true)
    }
}

impl Drop for Lt {
    fn drop(&mut self) {
        lock(&self.plans).clear();
        if self.device.bind().is_err() {
            return;
        }
        // SAFETY: `Native` drops this before its stream. What is given back needs no answer.
        unsafe {
            drop(self.device.wait_stream(self.stream));
            if self.workspace != 0 {
                drop(self.device.free(self.workspace));
            }
            (self.library.calls.destroy)(self.handle.0);
        }
    }
}
