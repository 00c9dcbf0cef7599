//! Matrix products: `C = A B`, with any of the operands transposed, in memory as `f32` or `bf16`.
//!
//! [`gemm`] chooses among three ways. `f64` (gradient checks) is plain loops ([`plain`]). A few rows times weights stored
//! `[N, K]` (decoding) read each weight once and never copy it ([`few_rows`]). Everything else goes through [`blocks`]:
//! both operands are copied, block by block, into panels in the order in which the innermost loop reads them ([`pack`]),
//! and that loop keeps a tile of C in registers ([`tile`]). This is the scheme of Goto and van de Geijn, "Anatomy of
//! high-performance matrix multiplication" (2008), with one change: one operand is packed whole, the other by each task
//! for itself.
//!
//! The sum over K is cut at multiples of a constant of the instruction set and never between threads, so results are the
//! same bits at any number of threads. Nothing is allocated: scratch comes from the caller.

#![expect(
    unsafe_code,
    reason = "tiles of one output are written by several threads, and packed panels are read by vector loads"
)]

mod blocks;
mod few_rows;
mod pack;
#[cfg(target_arch = "x86_64")]
mod pack_avx512;
mod packed;
mod plain;
mod prefetch;
mod tile;

#[cfg(test)]
mod tests;

pub use packed::{Packs, Panels, chunk_bytes, packed_bytes, panel_bytes};

use crate::arena::scratch_of;
use crate::{Bf16, Cpu, Dtype, Elem, Float as _, Precision, Slot, SlotMut};

/// A matrix in memory that is read: `rows x cols`, with element (i, j) at `i * stride + j`, or at `j * stride + i` if it
/// is stored transposed.
#[derive(Clone, Copy, Debug)]
pub struct Mat<'a> {
    /// The elements; the first one is element (0, 0).
    pub data: Slot<'a>,
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// Elements between the starts of two neighbouring stored lines.
    pub stride: usize,
    /// Whether the stored lines are the columns.
    pub transposed: bool,
    /// The same, packed as the right factor of a product ([`Mat::packed`]).
    pub panels: Option<Panels<'a>>,
}

impl<'a> Mat<'a> {
    /// A contiguous row-major matrix.
    pub fn new(data: Slot<'a>, rows: usize, cols: usize) -> Self {
        Self {
            data,
            rows,
            cols,
            stride: cols,
            transposed: false,
            panels: None,
        }
    }

    /// The transpose: the same memory, with rows and columns exchanged.
    pub fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            transposed: !self.transposed,
            panels: None,
            ..self
        }
    }
}

/// A row-major matrix that is written: element (i, j) at `i * stride + j`. What lies between the rows is left alone.
#[derive(Debug)]
pub struct MatMut<'a> {
    /// The elements: `f32`, `bf16`, or `f64` in precision `f64`.
    pub data: SlotMut<'a>,
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// Elements between the starts of two rows.
    pub stride: usize,
}

impl<'a> MatMut<'a> {
    /// A contiguous row-major matrix.
    pub fn new(data: SlotMut<'a>, rows: usize, cols: usize) -> Self {
        Self {
            data,
            rows,
            cols,
            stride: cols,
        }
    }
}

/// What happens to a product on its way to memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// `C += A B` instead of `C = A B`.
    pub accumulate: bool,
    /// (N), in the wide type: added once to each row.
    pub bias: Option<Slot<'a>>,
}

/// What the packed panels hold, in words of 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Word {
    /// One `f32`.
    Single,
    /// One `f32` that was rounded to `bf16`: precision `bf16` without an instruction for it.
    Rounded,
    /// Two `bf16`, neighbours along K, for `vdpbf16ps`.
    Pair,
}

impl Word {
    fn of(cpu: &Cpu, precision: Precision) -> Self {
        match (precision, cpu.isa) {
            (Precision::Bf16, crate::Isa::Avx512Bf16) => Self::Pair,
            (Precision::Bf16, _) => Self::Rounded,
            (Precision::F32 | Precision::F64, _) => Self::Single,
        }
    }

    /// Elements along K in one word.
    fn group(self) -> usize {
        if self == Self::Pair { 2 } else { 1 }
    }
}

/// An operand as packing sees it: its lanes (rows of A, columns of B) by K.
#[derive(Clone, Copy)]
struct Operand {
    data: *const u8,
    bf16: bool,
    stride: usize,
    /// Whether neighbours along K, and not neighbouring lanes, are neighbours in memory.
    k_contiguous: bool,
}

// SAFETY: an operand is a view of memory that nobody writes while the product runs.
unsafe impl Send for Operand {}
// SAFETY: as above.
unsafe impl Sync for Operand {}

impl Operand {
    fn new(mat: Mat<'_>, k_contiguous: bool) -> Self {
        let (bf16, data) = match mat.data.dtype() {
            Dtype::F32 => (false, mat.data.as_slice::<f32>().as_ptr().cast()),
            Dtype::Bf16 => (true, mat.data.as_slice::<Bf16>().as_ptr().cast()),
            dtype => panic!("{dtype:?} cannot be an operand of a product in f32 or bf16"),
        };
        Self {
            data,
            bf16,
            stride: mat.stride,
            k_contiguous,
        }
    }

    /// Address of element (lane, k); it may lie outside the matrix as long as it is not read.
    #[inline(always)]
    fn at<T: Elem>(&self, lane: usize, k: usize) -> *const T {
        let index = if self.k_contiguous {
            lane * self.stride + k
        } else {
            k * self.stride + lane
        };
        self.data.cast::<T>().wrapping_add(index)
    }
}

/// The elements of C.
#[derive(Clone, Copy)]
enum OutputData {
    F32(*mut f32),
    Bf16(*mut Bf16),
}

/// C, and what is done on the way to it.
#[derive(Clone, Copy)]
struct Output {
    data: OutputData,
    stride: usize,
    accumulate: bool,
    /// (N), or null.
    bias: *const f32,
}

// SAFETY: the tasks of a product write disjoint tiles of C.
unsafe impl Send for Output {}
// SAFETY: as above.
unsafe impl Sync for Output {}

impl Output {
    /// Delivers element (i, j) of the product.
    ///
    /// # Safety
    /// (i, j) lies in C, and no other task writes it.
    unsafe fn put(&self, i: usize, j: usize, sum: f32) {
        let index = i * self.stride + j;
        // SAFETY: promised by the caller; a bias has one element for each column.
        unsafe {
            let bias = if self.bias.is_null() {
                0.0
            } else {
                *self.bias.add(j)
            };
            match self.data {
                OutputData::F32(data) => put(data.add(index), sum + bias, self.accumulate),
                OutputData::Bf16(data) => put(data.add(index), sum + bias, self.accumulate),
            }
        }
    }
}

/// # Safety
/// `p` may be read and written.
unsafe fn put<T: Elem>(p: *mut T, value: T::Acc, accumulate: bool) {
    // SAFETY: promised by the caller.
    unsafe {
        let old = if accumulate { (*p).get() } else { T::Acc::ZERO };
        *p = T::put(old + value);
    }
}

/// Takes `bytes` bytes, rounded up to whole cache lines, off the front of `workspace`, as 32-bit words; and the rest.
fn take(workspace: &mut [u8], bytes: usize) -> (&mut [f32], &mut [u8]) {
    let (front, rest) = workspace
        .split_at_mut_checked(bytes.next_multiple_of(crate::arena::ALIGN))
        .expect("the workspace has the size that was asked for");
    (scratch_of(front), rest)
}

/// Bytes of scratch that [`gemm`] needs for an (M, K) by (K, N) product in any layout, with any types.
pub fn workspace_bytes(cpu: &Cpu, precision: Precision, m: usize, n: usize, k: usize) -> usize {
    if precision == Precision::F64 || m * n * k == 0 {
        return 0;
    }
    let packed = blocks::Plan::new(cpu, precision, (m, n, k), true).bytes();
    packed.max(few_rows::workspace_bytes(m, k))
}

/// `C (M, N) = A (M, K) B (K, N)`, or `C += A B`, plus a bias on each row.
///
/// `precision` says what the products are made in. `F32`: as they are. `Bf16`: factors rounded to `bf16` (to nearest, ties
/// to even), products exact, sums in `f32`. In both, A, B and C may each be `f32` or `bf16` in memory, and an element of a
/// `bf16` C is rounded once. `F64`: everything is `f64`. Any size is allowed; with K = 0 the product is zero.
///
/// `workspace` is scratch of [`workspace_bytes`] bytes, aligned to [`crate::arena::ALIGN`].
///
/// # Panics
/// If the shapes, types or lengths do not fit each other: a bug in the operation.
pub fn gemm(
    cpu: &Cpu,
    precision: Precision,
    a: Mat<'_>,
    b: Mat<'_>,
    c: MatMut<'_>,
    epilogue: Epilogue<'_>,
    workspace: &mut [u8],
) {
    let (m, n, k) = (c.rows, c.cols, a.cols);
    assert!(
        a.rows == m && b.rows == k && b.cols == n,
        "a product of {} x {} and {} x {} does not give {m} x {n}",
        a.rows,
        a.cols,
        b.rows,
        b.cols
    );
    check_fits("A", a);
    check_fits("B", b);
    check_length("C", c.data.len(), m, n, c.stride);
    if let Some(bias) = epilogue.bias {
        assert_eq!(bias.len(), n, "a bias has one element for each column");
    }
    if m == 0 || n == 0 {
        return;
    }
    if precision == Precision::F64 {
        return plain::gemm(cpu, a, b, c, epilogue);
    }
    let output = Output {
        stride: c.stride,
        accumulate: epilogue.accumulate,
        bias: epilogue
            .bias
            .map_or(std::ptr::null(), |bias| bias.as_slice::<f32>().as_ptr()),
        data: match c.data.dtype() {
            Dtype::Bf16 => OutputData::Bf16(c.data.into_slice().as_mut_ptr()),
            _ => OutputData::F32(c.data.into_slice().as_mut_ptr()),
        },
    };
    if k == 0 {
        for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
            // SAFETY: (i, j) lies in C, of which this is the only view.
            unsafe { output.put(i, j, 0.0) };
        }
        return;
    }
    assert!(
        (workspace.as_ptr() as usize).is_multiple_of(crate::arena::ALIGN),
        "scratch starts on a cache line"
    );
    if m <= few_rows::MOST && b.transposed {
        let (a, b) = (Operand::new(a, !a.transposed), Operand::new(b, true));
        few_rows::gemm(cpu, precision, a, b, output, (m, n, k), workspace);
    } else {
        let word = Word::of(cpu, precision);
        let panels = match b.panels {
            Some(panels) => {
                assert_eq!(panels.word, word, "B is packed for another precision");
                Some(panels.words.as_ptr())
            }
            None => cpu.packs.find(cpu, word, b),
        };
        let a = Operand::new(a, !a.transposed);
        let b = Operand::new(b, b.transposed);
        let factors = blocks::Factors { a, b, panels };
        blocks::gemm(cpu, precision, factors, output, (m, n, k), workspace);
    }
}

fn check_fits(name: &str, mat: Mat<'_>) {
    let (lines, length) = if mat.transposed {
        (mat.cols, mat.rows)
    } else {
        (mat.rows, mat.cols)
    };
    check_length(name, mat.data.len(), lines, length, mat.stride);
}

fn check_length(name: &str, len: usize, lines: usize, length: usize, stride: usize) {
    assert!(
        lines == 0 || (stride >= length && len >= (lines - 1) * stride + length),
        "{name} has {len} elements: too few for {lines} lines of {length}, {stride} apart"
    );
}
