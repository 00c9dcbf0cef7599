//! What a product is to cuBLASLt: descriptors of the operation and of its three matrices.

use super::check;
use crate::Dtype;
use crate::gpu::blas::{Factor, Product};
use crate::gpu::native::api::Handle;
use crate::gpu::{GpuError, View};
use cudarc::cublaslt::sys::{
    self, cublasLtMatmulDescAttributes_t as DescAttribute, cudaDataType_t as DataType,
};
use std::ptr;

/// What a plan depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) m: usize,
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) a: Side,
    pub(super) b: Side,
    pub(super) c: Side,
    pub(super) accumulate: bool,
    /// Whether a row is added, and whether it is also there as `bf16`.
    pub(super) bias: Option<bool>,
}

/// A matrix but for its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Side {
    pub(super) dtype: Dtype,
    pub(super) stride: usize,
    transposed: bool,
    /// Bytes that its address is a multiple of, at most 256.
    pub(super) align: u32,
}

impl Side {
    fn new(view: View, stride: usize, transposed: bool) -> Self {
        Self {
            dtype: view.dtype,
            stride,
            transposed,
            align: 1 << view.ptr.trailing_zeros().min(8),
        }
    }

    fn of(factor: &Factor) -> Self {
        Self::new(factor.view, factor.stride, factor.transposed)
    }
}

impl Key {
    pub(super) fn of(p: &Product) -> Self {
        Self {
            m: p.m,
            n: p.n,
            k: p.k,
            a: Side::of(&p.a),
            b: Side::of(&p.b),
            c: Side::new(p.c, p.c_stride, false),
            accumulate: p.accumulate,
            bias: p.bias.map(|bias| bias.rounded.is_some()),
        }
    }

    /// In a line without spaces.
    pub(super) fn line(&self) -> String {
        let side = |side: &Side| {
            let t = if side.transposed { "t" } else { "" };
            format!("{:?}{t}/{}/{}", side.dtype, side.stride, side.align)
        };
        let bias = match self.bias {
            None => "",
            Some(false) => "+bias",
            Some(true) => "+bias16",
        };
        let to = if self.accumulate { "+=" } else { "=" };
        let (a, b, c) = (side(&self.a), side(&self.b), side(&self.c));
        format!("{}x{}x{}:{c}{to}{a}*{b}{bias}", self.m, self.n, self.k)
    }
}

/// A product that is ready but for its addresses.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) desc: Handle,
    /// Layouts of B, A and C: the order in which cuBLASLt gets them.
    pub(super) layouts: [Handle; 3],
    /// Type in which the bias is read.
    pub(super) bias: Option<Dtype>,
    pub(super) algo: sys::cublasLtMatmulAlgo_t,
}

impl Drop for Plan {
    fn drop(&mut self) {
        // SAFETY: made by `Plan::new`, given back once; a null pointer is ignored.
        unsafe {
            for layout in self.layouts {
                sys::cublasLtMatrixLayoutDestroy(layout.cast());
            }
            sys::cublasLtMatmulDescDestroy(self.desc.cast());
        }
    }
}

fn data_type(dtype: Dtype) -> DataType {
    match dtype {
        Dtype::Bf16 => DataType::CUDA_R_16BF,
        Dtype::F32 => DataType::CUDA_R_32F,
        Dtype::I32 | Dtype::F64 => panic!("products are of f32 and bf16"),
    }
}

fn null() -> Handle {
    Handle(ptr::null_mut())
}

impl Plan {
    /// Descriptors for `key`; the algorithm is still to be chosen.
    pub(super) fn new(key: &Key, bias: Option<Dtype>) -> Result<Self, GpuError> {
        let mut plan = Self {
            desc: null(),
            layouts: [null(); 3],
            bias,
            algo: sys::cublasLtMatmulAlgo_t { data: [0; 8] },
        };
        let compute = sys::cublasComputeType_t::CUBLAS_COMPUTE_32F;
        let mut desc = ptr::null_mut();
        // SAFETY: writes one handle.
        let status =
            unsafe { sys::cublasLtMatmulDescCreate(&raw mut desc, compute, DataType::CUDA_R_32F) };
        check(status, "describe a product")?;
        plan.desc = Handle(desc.cast());
        // `cublasOperation_t`: 0 as stored, 1 transposed.
        let op = |transposed| i32::from(transposed);
        plan.set(
            DescAttribute::CUBLASLT_MATMUL_DESC_TRANSA,
            &op(key.b.transposed),
        )?;
        plan.set(
            DescAttribute::CUBLASLT_MATMUL_DESC_TRANSB,
            &op(key.a.transposed),
        )?;
        if let Some(dtype) = bias {
            let epilogue = sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS;
            plan.set(DescAttribute::CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue)?;
            let dtype = data_type(dtype);
            plan.set(DescAttribute::CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &dtype)?;
        }
        let stored = |side: &Side, rows: usize, cols: usize| {
            // As stored, columns first: the shorter side of the two that are swapped twice.
            if side.transposed {
                (rows, cols)
            } else {
                (cols, rows)
            }
        };
        let shapes = [
            (&key.b, stored(&key.b, key.k, key.n)),
            (&key.a, stored(&key.a, key.m, key.k)),
            (&key.c, stored(&key.c, key.m, key.n)),
        ];
        for (layout, (side, (rows, cols))) in plan.layouts.iter_mut().zip(shapes) {
            let mut made = ptr::null_mut();
            let dtype = data_type(side.dtype);
            // SAFETY: writes one handle.
            let status = unsafe {
                let (rows, cols) = (rows as u64, cols as u64);
                sys::cublasLtMatrixLayoutCreate(
                    &raw mut made,
                    dtype,
                    rows,
                    cols,
                    side.stride as i64,
                )
            };
            check(status, "describe a matrix")?;
            *layout = Handle(made.cast());
        }
        Ok(plan)
    }

    pub(super) fn set<T>(&self, attribute: DescAttribute, value: &T) -> Result<(), GpuError> {
        let value = ptr::from_ref(value);
        // SAFETY: the attribute is of the value's type, by cuBLASLt's documentation.
        let status = unsafe {
            sys::cublasLtMatmulDescSetAttribute(
                self.desc.cast(),
                attribute,
                value.cast(),
                size_of::<T>(),
            )
        };
        check(status, "describe a product")
    }
}
