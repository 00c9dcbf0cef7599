//! The vendor's matrix products: cuBLASLt or hipBLASLt behind one door.

use super::{GpuError, View};
use crate::Dtype;
use std::fmt::Debug;

/// `C = A B` or `C += A B`, all row-major, sums in `f32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    /// Rows of A and C.
    pub m: usize,
    /// Columns of B and C.
    pub n: usize,
    /// Columns of A, rows of B.
    pub k: usize,
    /// A: `m x k`, or stored `k x m`.
    pub a: Factor,
    /// B: `k x n`, or stored `n x k`.
    pub b: Factor,
    /// C: `m x n`.
    pub c: View,
    /// Elements between the starts of two rows of C.
    pub c_stride: usize,
    /// Whether the product is added to what C holds.
    pub accumulate: bool,
    /// A row that is added to every row of C, `f32`.
    pub bias: Option<View>,
}

/// A factor of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Factor {
    /// Its elements, `f32` or `bf16`.
    pub view: View,
    /// Elements between the starts of two stored lines.
    pub stride: usize,
    /// Whether it is stored transposed.
    pub transposed: bool,
}

impl Factor {
    /// A contiguous row-major factor of `cols` columns.
    pub fn new(view: View, cols: usize) -> Self {
        Self {
            view,
            stride: cols,
            transposed: false,
        }
    }

    /// The transpose of a matrix that is stored with `cols` columns.
    pub fn t(view: View, cols: usize) -> Self {
        Self {
            view,
            stride: cols,
            transposed: true,
        }
    }
}

/// A library of matrix products.
pub trait Blas: Debug + Send + Sync {
    /// Its name and version.
    fn name(&self) -> String;

    /// Whether it can compute products of these types: factors, then C.
    fn takes(&self, a: Dtype, b: Dtype, c: Dtype) -> bool;

    /// Puts a product on the compute stream, or answers `false` where the library has no algorithm for it.
    ///
    /// # Errors
    /// If the library or the device refuses.
    fn product(&self, product: &Product) -> Result<bool, GpuError>;
}
