//! The two libraries: which file, and the numbers that `cublasLt.h` and `hipblaslt.h` give the same things.
//!
//! hipBLASLt's functions are cuBLASLt's by other names, with the same parameters, so that one set of types serves both. Numbers
//! and sizes are those of CUDA 12 and 13 and of ROCm 6 and 7.

use crate::Dtype;
use crate::gpu::GpuError;
use crate::gpu::library::{self, Wanted, calls};
use crate::gpu::native::api::Handle;
use libloading::Library;
use std::ffi::{c_int, c_void};

/// A pointer that is a handle, or an address on the device.
pub(super) type Ptr = *mut c_void;

calls! {
    pub(super) struct Calls {
        create = "Create": fn(*mut Ptr) -> c_int;
        destroy = "Destroy": fn(Ptr) -> c_int;
        desc_create = "MatmulDescCreate": fn(*mut Ptr, c_int, c_int) -> c_int;
        desc_set = "MatmulDescSetAttribute": fn(Ptr, c_int, *const c_void, usize) -> c_int;
        desc_destroy = "MatmulDescDestroy": fn(Ptr) -> c_int;
        layout_create = "MatrixLayoutCreate": fn(*mut Ptr, c_int, u64, u64, i64) -> c_int;
        layout_destroy = "MatrixLayoutDestroy": fn(Ptr) -> c_int;
        preference_create = "MatmulPreferenceCreate": fn(*mut Ptr) -> c_int;
        preference_set = "MatmulPreferenceSetAttribute": fn(Ptr, c_int, *const c_void, usize) -> c_int;
        preference_destroy = "MatmulPreferenceDestroy": fn(Ptr) -> c_int;
        heuristic = "MatmulAlgoGetHeuristic": fn(
            Ptr, Ptr, Ptr, Ptr, Ptr, Ptr, Ptr, c_int, *mut c_void, *mut c_int
        ) -> c_int;
        matmul = "Matmul": fn(
            Ptr, Ptr, *const c_void, *const c_void, Ptr, *const c_void, Ptr, *const c_void, *const c_void, Ptr, Ptr, Ptr,
            *const c_void, Ptr, usize, Ptr
        ) -> c_int;
    }
}

/// What differs between the libraries.
#[derive(Debug)]
pub(super) struct Vendor {
    /// What people call it.
    pub(super) name: &'static str,
    /// The library.
    pub(super) wanted: Wanted,
    /// How the names of its functions begin.
    prefix: &'static str,
    /// `COMPUTE_32F`.
    pub(super) compute: c_int,
    /// A factor as it is stored, and transposed.
    pub(super) op: [c_int; 2],
    /// Attributes of a product.
    pub(super) trans_a: c_int,
    pub(super) trans_b: c_int,
    pub(super) epilogue: c_int,
    pub(super) bias: c_int,
    pub(super) bias_type: c_int,
    /// Preferences of a search: how sums that are cut over K may be put together, alignments of A, B, C and D.
    pub(super) reduction: Option<c_int>,
    pub(super) alignments: Option<[c_int; 4]>,
    /// Bytes of the opaque algorithm, with which a result of a search begins.
    pub(super) algo: usize,
    /// The status of a product that it does not have.
    pub(super) unsupported: c_int,
}

/// `PREF_MAX_WORKSPACE_BYTES` of both.
pub(super) const MAX_WORKSPACE: c_int = 1;
/// `EPILOGUE_BIAS` of both.
pub(super) const EPILOGUE_BIAS: c_int = 4;
/// `CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE`: parts of a sum are added in `f32`, in a fixed order; never in the type of C.
pub(super) const REDUCE_IN_F32: u32 = 2;

/// NVIDIA's.
pub(super) static CUBLASLT: Vendor = Vendor {
    name: "cuBLASLt",
    wanted: Wanted {
        what: "cuBLASLt",
        variable: "ZEROLLM_CUBLASLT",
        names: if cfg!(windows) {
            &["cublasLt64_13.dll", "cublasLt64_12.dll"]
        } else {
            &["libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"]
        },
        folders: library::CUDA_FOLDERS,
        get: "matrix products take the program's own kernels; install the CUDA toolkit for the faster ones",
    },
    prefix: "cublasLt",
    compute: 68,
    op: [0, 1],
    trans_a: 3,
    trans_b: 4,
    epilogue: 7,
    bias: 8,
    bias_type: 26,
    reduction: Some(3),
    alignments: Some([5, 6, 7, 8]),
    algo: 64,
    unsupported: 15,
};

/// Files of both on Windows.
const WINDOWS: &[&str] = &["libhipblaslt.dll", "hipblaslt.dll"];
/// Files of [`HIPBLASLT`] that go with HIP 6.
pub(super) const HIPBLASLT_OF_HIP_6: &[&str] = if cfg!(windows) {
    WINDOWS
} else {
    &["libhipblaslt.so.0", "libhipblaslt.so"]
};

/// AMD's, of HIP 7.
pub(super) static HIPBLASLT: Vendor = Vendor {
    name: "hipBLASLt",
    wanted: Wanted {
        what: "hipBLASLt",
        variable: "ZEROLLM_HIPBLASLT",
        names: if cfg!(windows) {
            WINDOWS
        } else {
            &["libhipblaslt.so.1", "libhipblaslt.so"]
        },
        folders: library::ROCM_FOLDERS,
        get: "matrix products take the program's own kernels; install hipBLASLt of ROCm for the faster ones",
    },
    prefix: "hipblasLt",
    compute: 2,
    op: [111, 112],
    trans_a: 0,
    trans_b: 1,
    epilogue: 2,
    bias: 3,
    bias_type: 4,
    reduction: None,
    alignments: None,
    algo: 24,
    unsupported: 7,
};

/// The number of an element's type: those of both are alike.
pub(super) fn data_type(dtype: Dtype) -> c_int {
    match dtype {
        Dtype::F32 => 0,
        Dtype::Bf16 => 14,
        Dtype::I32 | Dtype::F64 => panic!("products are of f32 and bf16"),
    }
}

/// A vendor's library, loaded.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) vendor: &'static Vendor,
    pub(super) calls: Calls,
    library: &'static Library,
}

impl Api {
    /// Finds the functions in `library`.
    ///
    /// # Errors
    /// [`GpuError::Missing`] if it is too old.
    pub(super) fn of(vendor: &'static Vendor, library: &'static Library) -> Result<Self, GpuError> {
        let calls = Calls::of(library, vendor.prefix)?;
        Ok(Self {
            vendor,
            calls,
            library,
        })
    }

    /// An error unless `status` is success, which is 0 of both.
    pub(super) fn check(&self, status: c_int, what: &str) -> Result<(), GpuError> {
        if status == 0 {
            return Ok(());
        }
        let name = self.vendor.name;
        Err(GpuError::Device(format!(
            "{name} cannot {what}: status {status}"
        )))
    }

    /// Calls a function that writes one handle.
    pub(super) fn made(
        &self,
        what: &str,
        call: impl FnOnce(*mut Ptr) -> c_int,
    ) -> Result<Handle, GpuError> {
        let mut handle = std::ptr::null_mut();
        self.check(call(&raw mut handle), what)?;
        Ok(Handle(handle))
    }

    /// Its version, where it says one: the one function that the libraries have with other parameters.
    pub(super) fn version(&self, handle: Handle) -> Option<String> {
        let name = format!("{}GetVersion", self.vendor.prefix);
        let (major, rest) = if self.vendor.name == CUBLASLT.name {
            // SAFETY: the type of `cublasLt.h`.
            let ask: unsafe extern "C" fn() -> usize =
                unsafe { library::symbol(self.library, &name) }.ok()?;
            // SAFETY: asks for a number.
            let version = unsafe { ask() };
            (version / 10_000, version % 10_000)
        } else {
            // SAFETY: the type of `hipblaslt.h`.
            let ask: unsafe extern "C" fn(Ptr, *mut c_int) -> c_int =
                unsafe { library::symbol(self.library, &name) }.ok()?;
            let mut version = 0;
            // SAFETY: a handle of this library; writes one number.
            let status = unsafe { ask(handle.0, &raw mut version) };
            let version = usize::try_from(version).ok().filter(|_| status == 0)?;
            (version / 100_000, version % 100_000)
        };
        Some(format!("{major}.{}.{}", rest / 100, rest % 100))
    }
}
