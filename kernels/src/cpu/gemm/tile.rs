//! The innermost loop: a tile of C, in registers, from one panel of A and one of B.
//!
//! For each group of K the vectors of B are loaded once, each row of A is broadcast and multiplied into them. The sizes of
//! the tile fill the registers: with 32 of them 12 rows of 2 vectors (AVX-512) or 8 rows of 3 (NEON), with 16 of them 6
//! rows of 2 (AVX2), so that enough independent sums hide the latency of a multiply-add.

use super::prefetch;
use crate::cpu::simd::{self, Kernel, Simd};
use crate::{Bf16, Isa};
use std::marker::PhantomData;

/// Rows and columns of a tile.
pub(super) fn shape(isa: Isa) -> (usize, usize) {
    match isa {
        Isa::Scalar => (4, 8),
        Isa::Avx2 => (6, 16),
        Isa::Neon => (8, 12),
        Isa::Avx512 | Isa::Avx512Bf16 => (12, 32),
    }
}

/// A product of packed panels: some panels of A by some of B over one block of K.
pub(super) struct Block {
    /// Words along K.
    pub groups: usize,
    /// First panel of A.
    pub a: *const u32,
    /// First panel of B.
    pub b: *const u32,
    /// Rows of C.
    pub rows: usize,
    /// Columns of C.
    pub cols: usize,
    /// Whether the outer loop goes over the panels of A: the panels of the inner loop should fit the second-level cache.
    pub a_outer: bool,
    /// Where the `f32` sums of this block's element (0, 0) are: in C itself if that is `f32`.
    pub sums: *mut f32,
    /// Elements between two rows of sums.
    pub sums_stride: usize,
    /// Whether `sums` holds something to add to.
    pub add: bool,
    /// With the last block of K: what remains to be done. `None`: the sums are the result.
    pub finish: Option<Finish>,
}

/// The end of a sum over K.
#[derive(Clone, Copy)]
pub(super) struct Finish {
    /// (columns), or null.
    pub bias: *const f32,
    /// Where the result goes.
    pub out: Out,
}

/// The place of a result.
#[derive(Clone, Copy)]
pub(super) enum Out {
    /// Where the sums are.
    Sums,
    /// Element (0, 0) of this block in a `bf16` C.
    Bf16 {
        data: *mut Bf16,
        stride: usize,
        accumulate: bool,
    },
}

/// Multiplies `block`, whose panels hold pairs of `bf16` if `pairs`.
///
/// # Safety
/// The pointers of the block are valid for its sizes (panels padded to whole tiles), and nobody else uses its part of C.
pub(super) unsafe fn run(isa: Isa, pairs: bool, block: Block) {
    #[cfg(target_arch = "x86_64")]
    if pairs {
        // SAFETY: pairs are only packed with `Isa::Avx512Bf16`; the rest is promised by the caller.
        return unsafe { x86::pairs(&block) };
    }
    debug_assert!(!pairs, "pairs need vdpbf16ps");
    simd::run::<f32, _>(isa, block);
}

impl Kernel<f32> for Block {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<A = f32>>(self) {
        // SAFETY: promised by the caller of `run`.
        unsafe {
            match S::LANES {
                16 => self.multiply::<Fma<S>, 12, 2>(),
                8 => self.multiply::<Fma<S>, 6, 2>(),
                4 => self.multiply::<Fma<S>, 8, 3>(),
                _ => self.multiply::<Fma<S>, 4, 8>(),
            }
        }
    }
}

/// How a word of A meets the words of B.
trait Dot {
    type S: Simd<A = f32>;
    /// `sum + a * b`, in each lane.
    fn dot(
        a: <Self::S as Simd>::V,
        b: <Self::S as Simd>::V,
        sum: <Self::S as Simd>::V,
    ) -> <Self::S as Simd>::V;
}

/// Words of one `f32`.
struct Fma<S>(PhantomData<S>);

impl<S: Simd<A = f32>> Dot for Fma<S> {
    type S = S;
    #[inline(always)]
    fn dot(a: S::V, b: S::V, sum: S::V) -> S::V {
        S::fma(a, b, sum)
    }
}

/// Groups before the end at which a tile asks for the places of its sums. They may come from memory; asked for much
/// earlier, panels that pass drive them out of the first-level cache again.
const LATE: usize = 24;

/// The panel that the outer loop takes next. It lies in the third-level cache or with another core, and is brought near in
/// small steps while the inner loop runs; otherwise the first tile of every panel waits for it (2 to 9 % of a product).
struct Ahead {
    next: *const u8,
    /// Bytes for each group.
    step: usize,
}

impl Ahead {
    /// `panel` is `width` words wide, and the inner loop goes over `tiles`.
    fn new(panel: *const u8, width: usize, tiles: usize) -> Self {
        Self {
            next: panel,
            step: (width * size_of::<u32>()).div_ceil(tiles),
        }
    }
}

impl Block {
    #[inline(always)]
    unsafe fn multiply<D: Dot, const MR: usize, const NV: usize>(&self) {
        let nr = NV * D::S::LANES;
        let (a_panels, b_panels) = (self.rows.div_ceil(MR), self.cols.div_ceil(nr));
        // SAFETY: promised by the caller of `run`.
        unsafe {
            if self.a_outer {
                for i in 0..a_panels {
                    let next = self.a.wrapping_add((i + 1) * MR * self.groups).cast();
                    let mut ahead = Ahead::new(next, MR, b_panels);
                    for j in 0..b_panels {
                        self.tile::<D, MR, NV>(i, j, &mut ahead);
                    }
                }
            } else {
                for j in 0..b_panels {
                    let next = self.b.wrapping_add((j + 1) * nr * self.groups).cast();
                    let mut ahead = Ahead::new(next, nr, a_panels);
                    for i in 0..a_panels {
                        self.tile::<D, MR, NV>(i, j, &mut ahead);
                    }
                }
            }
        }
    }

    /// Panel i of A by panel j of B.
    #[inline(always)]
    unsafe fn tile<D: Dot, const MR: usize, const NV: usize>(
        &self,
        i: usize,
        j: usize,
        ahead: &mut Ahead,
    ) {
        let lanes = D::S::LANES;
        let nr = NV * lanes;
        let a = self.a.wrapping_add(i * MR * self.groups).cast::<f32>();
        let b = self.b.wrapping_add(j * nr * self.groups).cast::<f32>();
        let sums = self.sums.wrapping_add(i * MR * self.sums_stride + j * nr);
        let rows = MR.min(self.rows - i * MR);
        let cols = nr.min(self.cols - j * nr);
        let mut tile = [[D::S::zero(); NV]; MR];
        // SAFETY: the panels hold MR and nr words for each group.
        unsafe {
            let late = self.groups.saturating_sub(LATE);
            let (mut next, step) = (ahead.next, ahead.step);
            for k in 0..late {
                prefetch::far(next);
                next = next.wrapping_add(step);
                group::<D, MR, NV>(&mut tile, a.add(k * MR), b.add(k * nr));
            }
            for k in late..self.groups {
                let row = (k - late).min(MR - 1);
                for part in (0..nr).step_by(16) {
                    prefetch::near(sums.wrapping_add(row * self.sums_stride + part));
                }
                group::<D, MR, NV>(&mut tile, a.add(k * MR), b.add(k * nr));
            }
            ahead.next = next;
        }
        // SAFETY: `rows` by `cols` elements of the sums exist.
        unsafe {
            if rows == MR && cols == nr && self.finish.is_none() {
                for row in 0..MR {
                    for part in 0..NV {
                        let p = sums.add(row * self.sums_stride + part * lanes);
                        let mut v = tile[row][part];
                        if self.add {
                            v = D::S::add(D::S::load(p), v);
                        }
                        D::S::store(p, v);
                    }
                }
            } else {
                // Through memory: rows can then be counted without driving the tile out of its registers above.
                let mut copy = [[0f32; 32]; MR];
                for row in 0..MR {
                    for part in 0..NV {
                        D::S::store(copy[row].as_mut_ptr().add(part * lanes), tile[row][part]);
                    }
                }
                for row in 0..rows {
                    let at = (i * MR + row, j * nr);
                    self.deliver::<D::S>(&copy[row], at, cols);
                }
            }
        }
    }

    /// Adds one row of a tile, `cols` elements that start at `at` of this block, to the sums, and finishes them.
    #[inline(always)]
    unsafe fn deliver<S: Simd<A = f32>>(&self, line: &[f32; 32], at: (usize, usize), cols: usize) {
        let sums = self.sums.wrapping_add(at.0 * self.sums_stride + at.1);
        for start in (0..cols).step_by(S::LANES) {
            let n = S::LANES.min(cols - start);
            // SAFETY: n elements exist in C, in the sums and in the bias.
            unsafe {
                let mut v = S::load(line.as_ptr().add(start));
                if self.add {
                    v = S::add(load::<S, f32>(sums.add(start), n), v);
                }
                let Some(finish) = self.finish else {
                    store::<S, f32>(sums.add(start), v, n);
                    continue;
                };
                if !finish.bias.is_null() {
                    v = S::add(v, load::<S, f32>(finish.bias.add(at.1 + start), n));
                }
                match finish.out {
                    Out::Sums => store::<S, f32>(sums.add(start), v, n),
                    Out::Bf16 {
                        data,
                        stride,
                        accumulate,
                    } => {
                        let p = data.add(at.0 * stride + at.1 + start);
                        if accumulate {
                            v = S::add(load::<S, Bf16>(p, n), v);
                        }
                        store::<S, Bf16>(p, v, n);
                    }
                }
            }
        }
    }
}

/// One group of K: `b`, NV vectors of words, times each of the MR words at `a`.
#[inline(always)]
unsafe fn group<D: Dot, const MR: usize, const NV: usize>(
    tile: &mut [[<D::S as Simd>::V; NV]; MR],
    a: *const f32,
    b: *const f32,
) {
    let lanes = D::S::LANES;
    let nr = NV * lanes;
    // SAFETY: promised by the caller.
    unsafe {
        let mut line = [D::S::zero(); NV];
        for part in 0..NV {
            line[part] = D::S::load(b.add(part * lanes));
        }
        for row in 0..MR {
            let x = D::S::splat(*a.add(row));
            for part in 0..NV {
                tile[row][part] = D::dot(x, line[part], tile[row][part]);
            }
        }
    }
    // The panels come from the second-level cache; 1 to 2 %.
    prefetch::near(a.wrapping_add(16 * MR));
    for part in (0..nr).step_by(16) {
        prefetch::near(b.wrapping_add(8 * nr + part));
    }
}

#[inline(always)]
unsafe fn load<S: Simd<A = f32>, T: crate::Elem<Acc = f32>>(p: *const T, n: usize) -> S::V {
    // SAFETY: promised by the caller.
    unsafe {
        if n == S::LANES {
            S::load(p)
        } else {
            S::load_part(p, n)
        }
    }
}

#[inline(always)]
unsafe fn store<S: Simd<A = f32>, T: crate::Elem<Acc = f32>>(p: *mut T, v: S::V, n: usize) {
    // SAFETY: promised by the caller.
    unsafe {
        if n == S::LANES {
            S::store(p, v);
        } else {
            S::store_part(p, v, n);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! `vdpbf16ps`: each 32-bit lane multiplies a pair of `bf16` by a pair and adds both products to an `f32`. Denormal
    //! factors and sums count as zero.

    use super::{Block, Dot};
    use crate::cpu::simd::Avx512;
    use std::arch::x86_64::*;

    /// Words of two `bf16`.
    struct Pairs;

    impl Dot for Pairs {
        type S = Avx512;
        #[inline(always)]
        fn dot(a: __m512, b: __m512, sum: __m512) -> __m512 {
            // SAFETY: inlined into `pairs` alone; the types are the same 512 bits.
            unsafe {
                let (a, b) = (
                    std::mem::transmute::<__m512, __m512bh>(a),
                    std::mem::transmute::<__m512, __m512bh>(b),
                );
                _mm512_dpbf16_ps(sum, a, b)
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
    pub(super) unsafe fn pairs(block: &Block) {
        // SAFETY: promised by the caller.
        unsafe { block.multiply::<Pairs, 12, 2>() };
    }
}
