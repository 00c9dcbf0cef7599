//! What a product is to the libraries: descriptors of the operation and of its three matrices.

use super::vendor::{Api, EPILOGUE_BIAS, data_type};
use crate::Dtype;
use crate::gpu::blas::{Factor, Product};
use crate::gpu::native::api::Handle;
use crate::gpu::{GpuError, View};
use std::ffi::c_int;
use std::ptr;
use std::sync::Arc;

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

/// An opaque algorithm, with room for the larger of the libraries'.
pub(super) type Algo = [u64; 8];

/// A product that is ready but for its addresses.
#[derive(Debug)]
pub(super) struct Plan {
    api: Arc<Api>,
    pub(super) desc: Handle,
    /// Layouts of B, A and C: the order in which the libraries get them.
    pub(super) layouts: [Handle; 3],
    /// Type in which the bias is read.
    pub(super) bias: Option<Dtype>,
    pub(super) algo: Algo,
}

impl Drop for Plan {
    fn drop(&mut self) {
        let calls = &self.api.calls;
        // SAFETY: made by `Plan::new`, given back once.
        unsafe {
            for layout in self.layouts.iter().filter(|layout| !layout.0.is_null()) {
                (calls.layout_destroy)(layout.0);
            }
            (calls.desc_destroy)(self.desc.0);
        }
    }
}

impl Plan {
    /// Descriptors for `key`; the algorithm is still to be chosen.
    pub(super) fn new(api: &Arc<Api>, key: &Key, bias: Option<Dtype>) -> Result<Self, GpuError> {
        let (calls, vendor) = (&api.calls, api.vendor);
        let float = data_type(Dtype::F32);
        // SAFETY: writes one handle.
        let desc = api.made("describe a product", |to| unsafe {
            (calls.desc_create)(to, vendor.compute, float)
        })?;
        let mut plan = Self {
            api: Arc::clone(api),
            desc,
            layouts: [Handle(ptr::null_mut()); 3],
            bias,
            algo: Algo::default(),
        };
        plan.set(vendor.trans_a, &vendor.op[usize::from(key.b.transposed)])?;
        plan.set(vendor.trans_b, &vendor.op[usize::from(key.a.transposed)])?;
        if let Some(dtype) = bias {
            plan.set(vendor.epilogue, &EPILOGUE_BIAS)?;
            plan.set(vendor.bias_type, &data_type(dtype))?;
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
            let (dtype, stride) = (data_type(side.dtype), side.stride as i64);
            // SAFETY: writes one handle.
            *layout = api.made("describe a matrix", |to| unsafe {
                (calls.layout_create)(to, dtype, rows as u64, cols as u64, stride)
            })?;
        }
        Ok(plan)
    }

    /// Sets an attribute of the product.
    pub(super) fn set<T>(&self, attribute: c_int, value: &T) -> Result<(), GpuError> {
        let value = ptr::from_ref(value);
        // SAFETY: the attribute is of the value's type, by the libraries' documentation.
        let status = unsafe {
            let size = size_of::<T>();
            (self.api.calls.desc_set)(self.desc.0, attribute, value.cast(), size)
        };
        self.api.check(status, "describe a product")
    }
}
