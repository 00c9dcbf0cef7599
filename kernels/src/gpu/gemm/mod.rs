//! Matrix products on a GPU: `C = A B` for factors and results in `f32` or `bf16`, each factor as it is or transposed.
//!
//! [`product`] asks the vendor's library ([`super::blas`]) where it is installed and takes the types, else our own kernels:
//! `tiles.cu` (tensor cores, factors `bf16`), `hopper.cu` (the same for `sm_90a` alone, [`hopper`]), `fma.cu` (`f32`, and AMD's
//! devices), `rows.cu` (a few rows times weights that lie `n x k`: decoding). [`plan`] says how a product is cut, by its sizes
//! alone; a long sum over K with few tiles is made in parts, which `fold.cu` adds in order, so that the bits are the same every
//! time.
//!
//! May touch only the matrices it is given and the caller's scratch. Who calls it: [`crate::ops::linear`] and its kin.

mod hopper;
mod plan;
#[cfg(all(test, unix))]
mod tests;
pub mod twins;

use super::basic::flat;
use super::blas::{Factor, Product};
use super::{Arg, Gpu, GpuError, Grid, Kernel, Kind, Piece, REDUCE, Unit, View};
use crate::{Dtype, Precision};
use hopper::Hopper;
use plan::Plan;

const OUTPUT: Piece = Piece {
    name: "gpu/gemm/output.cuh",
    text: include_str!("output.cuh"),
};
static TILES: Unit = Unit {
    name: "gpu/gemm/tiles.cu",
    text: include_str!("tiles.cu"),
    pieces: &[OUTPUT],
};
static FMA: Unit = Unit {
    name: "gpu/gemm/fma.cu",
    text: include_str!("fma.cu"),
    pieces: &[OUTPUT],
};
static ROWS: Unit = Unit {
    name: "gpu/gemm/rows.cu",
    text: include_str!("rows.cu"),
    pieces: &[REDUCE],
};
static FOLD: Unit = Unit {
    name: "gpu/gemm/fold.cu",
    text: include_str!("fold.cu"),
    pieces: &[OUTPUT],
};

/// The most rows that `rows.cu` takes: beyond, reading A again for each warp costs more than tiles waste.
const FEW: usize = 8;
/// The most steps of K in shared memory at once.
const STAGES: usize = 4;

/// Where the sum of parts goes ([`fold`]); the fields are those of [`Product`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sum {
    /// Rows.
    pub(crate) m: usize,
    /// Columns.
    pub(crate) n: usize,
    /// The matrix, `m x n`.
    pub(crate) c: View,
    /// Elements between the starts of two of its rows.
    pub(crate) c_stride: usize,
    /// Whether the sum is added to what it holds.
    pub(crate) accumulate: bool,
    /// A row that is added to every row, `f32`.
    pub(crate) bias: Option<View>,
}

/// Bytes of scratch that [`product`] needs for an `m x n` result of a sum over `k`, with any layout and types.
pub fn scratch_bytes(precision: Precision, m: usize, n: usize, k: usize) -> usize {
    Plan::new(precision, m, n, k)
        .bytes(m, n)
        .next_multiple_of(crate::arena::ALIGN)
}

/// `C = A B` or `C += A B`, plus a bias on each row.
///
/// `precision` says what the products are made in, whatever the types in memory: `Bf16` with factors rounded to `bf16` (to
/// nearest, ties to even), `F32` with factors as they are; sums are `f32`, and an element of a `bf16` C is rounded once. Any
/// size is allowed; with K = 0 the product is zero. `scratch` has [`scratch_bytes`] bytes and is aligned to 16.
///
/// # Errors
/// If a kernel does not compile, or the device refuses.
///
/// # Panics
/// If a matrix is too small for its sizes: a bug in the operation.
pub fn product(
    gpu: &Gpu,
    precision: Precision,
    product: &Product,
    scratch: View,
) -> Result<(), GpuError> {
    let Product {
        m, n, k, a, b, c, ..
    } = *product;
    check_length("A", &a, [m, k]);
    check_length("B", &b, [k, n]);
    let stored = Factor {
        view: c,
        stride: product.c_stride,
        transposed: false,
    };
    check_length("C", &stored, [m, n]);
    if m == 0 || n == 0 {
        return Ok(());
    }
    let types = [a.view.dtype, b.view.dtype];
    let plain = types == [factor_type(precision); 2];
    if let Some(library) = gpu.library()
        && plain
        && k > 0
        && library.takes(types[0], types[1], c.dtype)
    {
        return library.product(product);
    }
    if m <= FEW && b.transposed && !a.transposed {
        return few_rows(gpu, precision, product);
    }
    let mut plan = Plan::new(precision, m, n, k);
    if gpu.info().kind == Kind::Rocm {
        // There `mma_m16n8k16` is made of shuffles, several times slower than multiply-adds.
        plan = plan.without_matrices();
    }
    if let Some(hopper) = Hopper::of(gpu, precision, product, &plan) {
        return hopper.run(gpu, product, scratch);
    }
    in_tiles(gpu, precision, plan, product, scratch)
}

/// The type of a factor that needs no rounding.
fn factor_type(precision: Precision) -> Dtype {
    match precision {
        Precision::F32 => Dtype::F32,
        Precision::Bf16 => Dtype::Bf16,
        Precision::F64 => panic!("gradient checks in f64 are made on the CPU"),
    }
}

/// Whether a factor must be rounded to `bf16` while it is loaded.
fn rounds(precision: Precision, product: &Product) -> bool {
    let factors = [product.a, product.b];
    precision == Precision::Bf16 && factors.iter().any(|f| f.view.dtype == Dtype::F32)
}

fn check_length(name: &str, factor: &Factor, [rows, cols]: [usize; 2]) {
    let (lines, length) = if factor.transposed {
        (cols, rows)
    } else {
        (rows, cols)
    };
    let (len, stride) = (factor.view.len, factor.stride);
    assert!(
        lines == 0 || (stride >= length && len >= (lines - 1) * stride + length),
        "{name} has {len} elements: too few for {lines} lines of {length}, {stride} apart"
    );
}

/// Whether the lines of a factor start at 16 bytes and are whole chunks of `chunk` elements, `length` in all.
fn whole_chunks(factor: &Factor, length: usize, chunk: usize) -> bool {
    let line = factor.stride * factor.view.dtype.size();
    factor.view.ptr.is_multiple_of(16) && line.is_multiple_of(16) && length.is_multiple_of(chunk)
}

/// Whether C allows accesses of four elements wherever a column is a multiple of four.
fn in_fours(c: View, stride: usize) -> bool {
    c.ptr.is_multiple_of(4 * c.dtype.size() as u64) && stride.is_multiple_of(4)
}

/// A kernel's arguments from C to K and the strides: the same for all.
fn arguments(product: &Product, c: View, c_stride: usize, bias: Option<View>) -> Vec<Arg> {
    vec![
        c.into(),
        product.a.view.into(),
        product.b.view.into(),
        bias.into(),
        product.m.into(),
        product.n.into(),
        product.k.into(),
        product.a.stride.into(),
        product.b.stride.into(),
        c_stride.into(),
    ]
}

fn typed(kernel: Kernel, product: &Product, c: Dtype) -> Kernel {
    kernel
        .with_type("TA", product.a.view.dtype)
        .with_type("TB", product.b.view.dtype)
        .with_type("TC", c)
}

fn few_rows(gpu: &Gpu, precision: Precision, product: &Product) -> Result<(), GpuError> {
    let Product {
        m, n, k, a, b, c, ..
    } = *product;
    let vec = whole_chunks(&a, k, 8) && whole_chunks(&b, k, 8);
    let cols = if m == 1 { 1 } else { 2 };
    let kernel = typed(ROWS.kernel("product_rows"), product, c.dtype)
        .with("ROWS", m.next_power_of_two())
        .with("COLS", cols)
        .with("VEC", u8::from(vec))
        .with("ROUND", u8::from(rounds(precision, product)));
    let mut args = arguments(product, c, product.c_stride, product.bias);
    args.push(product.accumulate.into());
    let warps = 128 / gpu.info().warp as usize;
    let grid = Grid::new(n.div_ceil(cols).div_ceil(warps), 128);
    gpu.launch(&kernel, grid, &args)
}

/// By `tiles.cu` or `fma.cu`, cut as `plan` says.
fn in_tiles(
    gpu: &Gpu,
    precision: Precision,
    plan: Plan,
    product: &Product,
    mut scratch: View,
) -> Result<(), GpuError> {
    let Product {
        m, n, k, a, b, c, ..
    } = *product;
    let [high, wide] = plan.tile.size;
    let matrix = plan.tile.matrix;
    let (unit, name, chunk) = if matrix {
        (&TILES, "product_tiles", 8)
    } else {
        (&FMA, "product_fma", 4)
    };
    let a_line = if a.transposed { m } else { k };
    let b_line = if b.transposed { k } else { n };
    let vec = whole_chunks(&a, a_line, chunk) && whole_chunks(&b, b_line, chunk);
    let one = plan.parts == 1;
    // (parts, m, n), or C itself where there is one part
    let (to, to_stride) = if one {
        (c, product.c_stride)
    } else {
        (scratch.carve(plan.parts * m * n, Dtype::F32), n)
    };
    let mut kernel = typed(unit.kernel(name), product, to.dtype)
        .with("BM", high)
        .with("BN", wide)
        .with("A_T", u8::from(a.transposed))
        .with("B_T", u8::from(b.transposed))
        .with("VEC", u8::from(vec));
    let bias = if one { product.bias } else { None };
    let mut args = arguments(product, to, to_stride, bias);
    args.push((one && product.accumulate).into());
    args.push(in_fours(to, to_stride).into());
    args.push(plan.part_k.into());
    let [group_high, group_wide] = plan.tile.group;
    let groups = high / group_high * (wide / group_wide);
    let blocks = plan.tiles(m, n) * plan.parts;
    let grid = if matrix {
        let stage = (high + wide) * 32 * 2;
        let stages = stages(gpu, stage);
        kernel = kernel
            .with("WM", group_high)
            .with("WN", group_wide)
            .with("STAGES", stages);
        Grid::new(blocks, groups as u32 * 32).with_shared(stages * stage)
    } else {
        kernel = kernel.with("ROUND", u8::from(rounds(precision, product)));
        Grid::new(blocks, groups as u32)
    };
    gpu.launch(&kernel, grid, &args)?;
    if one {
        return Ok(());
    }
    fold_parts(gpu, to, plan.parts, product)
}

/// C of `product` from the parts of its sum.
fn fold_parts(gpu: &Gpu, to: View, parts: usize, product: &Product) -> Result<(), GpuError> {
    let sum = Sum {
        m: product.m,
        n: product.n,
        c: product.c,
        c_stride: product.c_stride,
        accumulate: product.accumulate,
        bias: product.bias,
    };
    fold(gpu, to, parts, &sum)
}

/// Steps of K in shared memory at once.
fn stages(gpu: &Gpu, bytes: usize) -> usize {
    (gpu.info().shared_bytes as usize / bytes).clamp(2, STAGES)
}

/// C of `product` from `count` parts, contiguous `m x n` matrices of `f32` one after the other, which are added in order.
///
/// # Errors
/// If the device refuses.
pub(crate) fn fold(gpu: &Gpu, parts: View, count: usize, sum: &Sum) -> Result<(), GpuError> {
    let Sum { m, n, c, .. } = *sum;
    let kernel = FOLD.kernel("fold_parts").with_type("TC", c.dtype);
    let args = [
        c.into(),
        parts.into(),
        sum.bias.into(),
        m.into(),
        n.into(),
        sum.c_stride.into(),
        count.into(),
        sum.accumulate.into(),
        in_fours(c, sum.c_stride).into(),
        n.is_multiple_of(4).into(),
    ];
    gpu.launch(&kernel, flat(gpu, m * n.div_ceil(4)), &args)
}
