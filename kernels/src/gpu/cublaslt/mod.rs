//! cuBLASLt: NVIDIA's matrix products, which take most of a training step.
//!
//! cuBLASLt knows many algorithms for a product. Its heuristic names the likely best eight; the first time that a product of
//! some shape is asked for, they are timed on the very operands, and the fastest is kept: in this process, and as a line
//! in the folder of compiled kernels, because another algorithm sums in another order, and a run that is resumed must
//! come to the same bits. Within a capture nothing can be timed: a shape that is first seen there gets the first of the eight.
//!
//! cuBLASLt counts columns first. A row-major matrix is, read so, its own transpose; so `C = A B` is asked for as
//! `C' = B' A'`, with the operands in the other order.

#![expect(
    unsafe_code,
    reason = "calls cuBLASLt with descriptors that it made and addresses that views checked"
)]

mod plan;

use super::blas::{Blas, Product};
use super::compiled::Cache;
use super::cuda::Cuda;
use super::library::{self, Wanted};
use super::native::api::{Api as _, Handle};
use super::native::{failed, timed};
use super::{GpuError, lock};
use crate::Dtype;
use cudarc::cublaslt::sys::{
    self, cublasLtMatmulDescAttributes_t as DescAttribute,
    cublasLtMatmulHeuristicResult_t as Found, cublasLtMatmulPreferenceAttributes_t as Preference,
    cublasStatus_t as Status,
};
use cudarc::driver::sys as driver;
use plan::{Key, Plan};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::{Arc, Mutex};

const CUBLASLT: Wanted = Wanted {
    what: "cuBLASLt",
    variable: "ZEROLLM_CUBLASLT",
    names: if cfg!(windows) {
        &["cublasLt64_13.dll", "cublasLt64_12.dll"]
    } else {
        &["libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"]
    },
    folders: library::CUDA_FOLDERS,
    get: "matrix products take the program's own kernels; install the CUDA toolkit for the faster ones",
};
/// Scratch memory of the products: what NVIDIA advises for Hopper.
const WORKSPACE: usize = 32 << 20;
/// Algorithms that are asked for.
const CANDIDATES: usize = 8;
/// How much faster than the first another must be to be taken.
const GAIN: f64 = 0.98;
/// File of the choices, beside the compiled kernels.
const CHOICES: &str = "products.txt";

/// cuBLASLt on one stream.
#[derive(Debug)]
pub(super) struct CublasLt {
    api: Arc<Cuda>,
    stream: Handle,
    handle: Handle,
    workspace: u64,
    plans: Mutex<HashMap<Key, Plan>>,
    /// Choices of this and of earlier processes, by [`CublasLt::line`].
    choices: Mutex<HashMap<String, usize>>,
    cache: Option<Cache>,
    device: String,
}

fn check(status: Status, what: &str) -> Result<(), GpuError> {
    if status == Status::CUBLAS_STATUS_SUCCESS {
        return Ok(());
    }
    Err(GpuError::Device(format!(
        "cuBLASLt cannot {what}: {status:?}"
    )))
}

/// Whether the library is there. cudarc panics where it is not: nothing else is called before.
pub(super) fn probe() -> Result<(), GpuError> {
    // Once it is loaded, cudarc, which looks for it by name, finds it wherever it lies.
    CUBLASLT.open()?;
    // SAFETY: loads a library that does nothing when it is loaded.
    if unsafe { sys::is_culib_present() } {
        Ok(())
    } else {
        Err(GpuError::Missing(format!(
            "cuBLASLt is of another version: {}",
            CUBLASLT.get
        )))
    }
}

impl CublasLt {
    /// The library on a stream of a device called `device`; [`probe`] has found it.
    ///
    /// # Errors
    /// If the library or the device refuses.
    pub(super) fn new(
        api: Arc<Cuda>,
        stream: Handle,
        device: &str,
        cache: Option<&Cache>,
    ) -> Result<Self, GpuError> {
        failed(api.bind(), "use the device")?;
        let mut handle = ptr::null_mut();
        // SAFETY: writes one handle; the device is bound.
        check(unsafe { sys::cublasLtCreate(&raw mut handle) }, "begin")?;
        let mut library = Self {
            api,
            stream,
            handle: Handle(handle.cast()),
            workspace: 0,
            plans: Mutex::default(),
            choices: Mutex::default(),
            cache: cache.cloned(),
            device: device.replace(' ', "_"),
        };
        // SAFETY: the device is bound; given back when this is dropped.
        let workspace = unsafe { library.api.alloc(WORKSPACE) };
        library.workspace = failed(workspace, "take the workspace of matrix products")?;
        let lines = library.cache.iter().flat_map(|cache| cache.lines(CHOICES));
        let mut choices = HashMap::new();
        for line in lines {
            if let Some((line, number)) = line.rsplit_once(' ')
                && let Ok(number) = number.parse()
            {
                // The first that was written stands: runs may have followed it.
                choices.entry(line.to_owned()).or_insert(number);
            }
        }
        library.choices = Mutex::new(choices);
        Ok(library)
    }

    /// What a choice is kept under.
    fn line(&self, key: &Key) -> String {
        format!(
            "{} {} {}",
            self.name().replace(' ', "_"),
            self.device,
            key.line()
        )
    }

    /// The algorithms that cuBLASLt would try for a plan, the likely best first.
    fn candidates(&self, key: &Key, plan: &Plan) -> Result<Vec<Found>, GpuError> {
        let mut preference = ptr::null_mut();
        // SAFETY: writes one handle, given back below.
        let status = unsafe { sys::cublasLtMatmulPreferenceCreate(&raw mut preference) };
        check(status, "begin a search")?;
        let found = self.search(key, plan, preference);
        // SAFETY: made above.
        unsafe { sys::cublasLtMatmulPreferenceDestroy(preference) };
        found
    }

    fn search(
        &self,
        key: &Key,
        plan: &Plan,
        preference: sys::cublasLtMatmulPreference_t,
    ) -> Result<Vec<Found>, GpuError> {
        let set = |attribute: Preference, value: *const c_void, size: usize| {
            // SAFETY: each attribute below is of the type that its value has.
            let status = unsafe {
                sys::cublasLtMatmulPreferenceSetAttribute(preference, attribute, value, size)
            };
            check(status, "set what to search for")
        };
        let bytes = WORKSPACE;
        let workspace = Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
        set(workspace, (&raw const bytes).cast(), size_of::<usize>())?;
        // Sums that are cut over K are put together in `f32`, in a fixed order; never in the type of C.
        let schemes = sys::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE as u32;
        let mask = Preference::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK;
        set(mask, (&raw const schemes).cast(), size_of::<u32>())?;
        for (attribute, align) in [
            (
                Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
                key.b.align,
            ),
            (
                Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                key.a.align,
            ),
            (
                Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
                key.c.align,
            ),
            (
                Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
                key.c.align,
            ),
        ] {
            set(attribute, (&raw const align).cast(), size_of::<u32>())?;
        }
        let mut found = [const { MaybeUninit::<Found>::uninit() }; CANDIDATES];
        let mut count: c_int = 0;
        let [b, a, c] = plan.layouts;
        // SAFETY: the descriptors are alive; writes at most as many results as there is room for, and their number.
        let status = unsafe {
            sys::cublasLtMatmulAlgoGetHeuristic(
                self.handle.cast(),
                plan.desc.cast(),
                b.cast(),
                a.cast(),
                c.cast(),
                c.cast(),
                preference,
                CANDIDATES as c_int,
                found[0].as_mut_ptr(),
                &raw mut count,
            )
        };
        if status == Status::CUBLAS_STATUS_NOT_SUPPORTED {
            return Ok(Vec::new());
        }
        check(status, "search an algorithm")?;
        let found = found[..count.max(0) as usize].iter();
        // SAFETY: that many were written.
        let found = found.map(|one| unsafe { one.assume_init_read() });
        let fits = |one: &Found| {
            one.state == Status::CUBLAS_STATUS_SUCCESS && one.workspaceSize <= WORKSPACE
        };
        Ok(found.filter(fits).collect())
    }

    /// Descriptors and algorithm for a product of a shape that was not seen yet.
    fn plan(&self, key: &Key, p: &Product) -> Result<Plan, GpuError> {
        // The bias is `f32`. Where cuBLASLt adds none of that type to C, its rounded copy is added.
        let types: &[Option<Dtype>] = match key.bias {
            None => &[None],
            Some(false) => &[Some(Dtype::F32)],
            Some(true) => &[Some(Dtype::F32), Some(Dtype::Bf16)],
        };
        for bias in types {
            let mut plan = Plan::new(key, *bias)?;
            let candidates = self.candidates(key, &plan)?;
            if candidates.is_empty() {
                continue;
            }
            let chosen = self.choose(key, p, &mut plan, &candidates)?;
            plan.algo = candidates[chosen].algo;
            return Ok(plan);
        }
        Err(GpuError::Device(format!(
            "cuBLASLt has no algorithm for {}",
            key.line()
        )))
    }

    /// The number of the candidate to take.
    fn choose(
        &self,
        key: &Key,
        p: &Product,
        plan: &mut Plan,
        candidates: &[Found],
    ) -> Result<usize, GpuError> {
        let line = self.line(key);
        let known = lock(&self.choices).get(&line).copied();
        if let Some(known) = known.filter(|known| *known < candidates.len()) {
            return Ok(known);
        }
        if candidates.len() == 1 || self.captures()? {
            return Ok(0);
        }
        let bytes = ((key.m - 1) * key.c.stride + key.n) * key.c.dtype.size();
        // The product is timed into memory of its own: C may be added to, and must be so once.
        // SAFETY: the device is bound; given back below.
        let Ok(apart) = (unsafe { self.api.alloc(bytes) }) else {
            return Ok(0);
        };
        let mut best = (0, f64::INFINITY);
        for (number, candidate) in candidates.iter().enumerate() {
            plan.algo = candidate.algo;
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
        failed(unsafe { self.api.free(apart) }, "give memory back")?;
        lock(&self.choices).insert(line.clone(), best.0);
        if let Some(cache) = &self.cache {
            cache.keep_line(CHOICES, &format!("{line} {}", best.0));
        }
        Ok(best.0)
    }

    /// The least seconds of a few tries of a plan.
    fn time(&self, plan: &Plan, p: &Product, to: u64) -> Result<f64, GpuError> {
        self.run(plan, p, to)?;
        let mut least = f64::INFINITY;
        for _ in 0..4 {
            let mut once = || self.run(plan, p, to);
            least = least.min(timed(&*self.api, self.stream, &mut once)?);
        }
        Ok(least)
    }

    fn captures(&self) -> Result<bool, GpuError> {
        let mut status = driver::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE;
        // SAFETY: our stream; writes one value.
        let asked = unsafe { driver::cuStreamIsCapturing(self.stream.cast(), &raw mut status) };
        if asked != driver::CUresult::CUDA_SUCCESS {
            return Err(GpuError::Device(format!(
                "cannot ask the stream: {asked:?}"
            )));
        }
        Ok(status != driver::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE)
    }

    /// Puts a product on the stream, with what C holds added where the product says so, and writes it to `to`.
    fn run(&self, plan: &Plan, p: &Product, to: u64) -> Result<(), GpuError> {
        if let (Some(dtype), Some(bias)) = (plan.bias, p.bias) {
            let rounded = bias.rounded.filter(|_| dtype == Dtype::Bf16);
            let address = rounded.unwrap_or(bias.ptr);
            plan.set(DescAttribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &address)?;
        }
        let (alpha, beta) = (1f32, if p.accumulate { 1f32 } else { 0f32 });
        let at = |address: u64| ptr::without_provenance::<c_void>(address as usize);
        let [b, a, c] = plan.layouts;
        // SAFETY: descriptors and algorithm are the plan's, which was made for the shapes of this product; the two factors are
        // read on the host. Views check that the matrices lie in allocations.
        let status = unsafe {
            sys::cublasLtMatmul(
                self.handle.cast(),
                plan.desc.cast(),
                (&raw const alpha).cast(),
                at(p.b.view.ptr),
                b.cast(),
                at(p.a.view.ptr),
                a.cast(),
                (&raw const beta).cast(),
                at(p.c.ptr),
                c.cast(),
                at(to).cast_mut(),
                c.cast(),
                &raw const plan.algo,
                at(self.workspace).cast_mut(),
                WORKSPACE,
                self.stream.cast(),
            )
        };
        check(status, "multiply")
    }
}

impl Blas for CublasLt {
    fn name(&self) -> String {
        // SAFETY: asks for a number.
        let version = unsafe { sys::cublasLtGetVersion() };
        let (major, minor) = (version / 10000, version / 100 % 100);
        format!("cuBLASLt {major}.{minor}.{}", version % 100)
    }

    fn takes(&self, a: Dtype, b: Dtype, c: Dtype) -> bool {
        use Dtype::{Bf16, F32};
        matches!((a, b, c), (F32, F32, F32) | (Bf16, Bf16, F32 | Bf16))
    }

    fn product(&self, p: &Product) -> Result<(), GpuError> {
        if p.m == 0 || p.n == 0 {
            return Ok(());
        }
        failed(self.api.bind(), "use the device")?;
        let key = Key::of(p);
        let mut plans = lock(&self.plans);
        let plan = match plans.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(self.plan(&key, p)?),
        };
        // The lock is held while the bias is set and read.
        self.run(plan, p, p.c.ptr)
    }
}

impl Drop for CublasLt {
    fn drop(&mut self) {
        lock(&self.plans).clear();
        if self.api.bind().is_err() {
            return;
        }
        // SAFETY: `Native` drops this before its stream. What is given back needs no answer.
        unsafe {
            drop(self.api.wait_stream(self.stream));
            if self.workspace != 0 {
                drop(self.api.free(self.workspace));
            }
            sys::cublasLtDestroy(self.handle.cast());
        }
    }
}
