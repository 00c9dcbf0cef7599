//! What the two passes are built from: small matrix products in registers, exponentials, and the packing of their factors.
//!
//! The passes are written once, over [`Tile`]. [`Plain`] multiplies numbers in any vector type and is the definition;
//! [`super::avx512`] adds tiles with AVX-512's own instructions, one of which multiplies pairs of bf16 neighbours.

use crate::cpu::simd::{self, Kernel, Simd};
use crate::{Bf16, Elem, Float, Isa};
use std::marker::PhantomData;

/// Rows of every product: they are made eight at a time.
pub(in crate::ops) const ROWS: usize = 8;

/// How products are made. A *word* holds `PAIR` neighbours along the summed dimension.
///
/// # Safety
/// Functions may only run where the instruction set exists ([`Tiled::run`] sees to it), with pointers to as many words
/// as they say.
pub(in crate::ops) trait Tile: Copy + Send + Sync + 'static {
    /// Vectors of everything but factors.
    type S: Simd;
    /// A factor in memory, as many bytes as a number of `S`.
    type W: Copy;
    /// A vector of factors.
    type F: Copy;
    /// Neighbours in a word.
    const PAIR: usize;
    /// Columns of a product: queries of a panel, two vectors.
    const COLS: usize = 2 * <Self::S as Simd>::LANES;

    /// One word in all lanes.
    unsafe fn splat(p: *const Self::W) -> Self::F;
    /// `LANES` words.
    unsafe fn load(p: *const Self::W) -> Self::F;
    /// `sum` plus the product of `a` and `b`, lane by lane.
    fn multiply_add(a: Self::F, b: Self::F, sum: V<Self>) -> V<Self>;
    /// `2^x`; 0 for `x = -inf`.
    fn exp2(x: V<Self>) -> V<Self>;
    /// Logarithm to base 2 of a positive normal number.
    fn log2(x: V<Self>) -> V<Self>;
    /// Writes `LANES` numbers, rounded to nearest even where `T` is narrower.
    #[inline(always)]
    unsafe fn store<T: Elem<Acc = A<Self>>>(p: *mut T, v: V<Self>) {
        // SAFETY: passed on.
        unsafe { Self::S::store(p, v) }
    }
    /// A row of `d` numbers to `dp / PAIR` words, with zeros from `d` on.
    unsafe fn row<T: Elem<Acc = A<Self>>>(src: *const T, d: usize, dp: usize, dst: *mut Self::W);
    /// `PAIR` rows, `ld` apart, of which `have` exist, to `dp` words: neighbours are rows.
    unsafe fn interleave<T: Elem<Acc = A<Self>>>(
        src: *const T,
        ld: usize,
        have: usize,
        d: usize,
        dp: usize,
        dst: *mut Self::W,
    );
    /// `dst[c][r] = src[r][c]`; `rows` and `cols` are multiples of [`ROWS`] and of the lanes.
    unsafe fn transpose(
        src: *const Self::W,
        ld_src: usize,
        rows: usize,
        cols: usize,
        dst: *mut Self::W,
        ld_dst: usize,
    );
    /// Two rows of numbers as factors whose neighbours are the rows: two rows of words `ld` apart, or one.
    unsafe fn put_rows(first: V<Self>, second: V<Self>, dst: *mut Self::W, ld: usize);
    /// `COLS` numbers of a row as factors whose neighbours are in the row.
    unsafe fn put_cols(low: V<Self>, high: V<Self>, dst: *mut Self::W);
}

/// A vector of a tile.
pub(in crate::ops) type V<P> = <<P as Tile>::S as Simd>::V;
/// A number of a tile.
pub(in crate::ops) type A<P> = <<P as Tile>::S as Simd>::A;

/// A factor matrix: where, and words from one row to the next.
#[derive(Clone, Copy)]
pub(super) struct Factor<W> {
    pub at: *const W,
    pub ld: usize,
}

/// `c[8][COLS] (+)= a[8][words] b[words][COLS]`, `c` with `ldc` numbers from row to row.
#[inline(always)]
pub(super) unsafe fn product<P: Tile>(
    words: usize,
    a: Factor<P::W>,
    b: Factor<P::W>,
    c: *mut A<P>,
    ldc: usize,
    add: bool,
) {
    // SAFETY: passed on. Sixteen registers hold 4 x 2 sums and what they are made of, thirty-two 8 x 2.
    unsafe {
        if matches!(<P::S as Simd>::LANES, 4 | 16) {
            product_rows::<P, 8>(words, a, b, c, ldc, add);
        } else {
            product_rows::<P, 4>(words, a, b, c, ldc, add);
            let at = a.at.add(4 * a.ld);
            product_rows::<P, 4>(words, Factor { at, ..a }, b, c.add(4 * ldc), ldc, add);
        }
    }
}

#[inline(always)]
unsafe fn product_rows<P: Tile, const R: usize>(
    words: usize,
    a: Factor<P::W>,
    b: Factor<P::W>,
    c: *mut A<P>,
    ldc: usize,
    add: bool,
) {
    let lanes = <P::S as Simd>::LANES;
    let mut sums = [[P::S::zero(); 2]; R];
    // SAFETY: the caller vouches for the extents of the three matrices.
    unsafe {
        if add {
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = [
                    P::S::load(c.add(i * ldc)),
                    P::S::load(c.add(i * ldc + lanes)),
                ];
            }
        }
        let rows: [*const P::W; R] = std::array::from_fn(|i| a.at.add(i * a.ld));
        let mut col = b.at;
        for word in 0..words {
            let (b0, b1) = (P::load(col), P::load(col.add(lanes)));
            for (row, sum) in rows.iter().zip(&mut sums) {
                let x = P::splat(row.add(word));
                *sum = [
                    P::multiply_add(x, b0, sum[0]),
                    P::multiply_add(x, b1, sum[1]),
                ];
            }
            col = col.add(b.ld);
        }
        for (i, sum) in sums.iter().enumerate() {
            P::S::store(c.add(i * ldc), sum[0]);
            P::S::store(c.add(i * ldc + lanes), sum[1]);
        }
    }
}

/// The definition, over any vectors: a word is a number.
#[derive(Clone, Copy)]
pub(super) struct Plain<S>(PhantomData<S>);

/// Coefficients of `2^x` on [-1/2, 1/2], from x^0 on; relative error below 1e-7 (minimax by the Remez algorithm).
const EXP2: [f64; 6] = [
    1.000_000_07,
    0.693_146_967,
    0.240_221_197,
    0.055_507_132_7,
    0.009_675_541_33,
    0.001_327_647_2,
];

impl<S: Simd> Tile for Plain<S> {
    type S = S;
    type W = S::A;
    type F = S::V;
    const PAIR: usize = 1;

    #[inline(always)]
    unsafe fn splat(p: *const S::A) -> S::V {
        // SAFETY: the caller vouches for the word.
        S::splat(unsafe { *p })
    }
    #[inline(always)]
    unsafe fn load(p: *const S::A) -> S::V {
        // SAFETY: the caller vouches for the words.
        unsafe { S::load(p) }
    }
    #[inline(always)]
    fn multiply_add(a: S::V, b: S::V, sum: S::V) -> S::V {
        S::fma(a, b, sum)
    }
    #[inline(always)]
    fn exp2(x: S::V) -> S::V {
        if size_of::<S::A>() == 8 {
            return S::exp(S::mul(x, S::c(std::f64::consts::LN_2)));
        }
        let lowest = S::c(-126.0);
        let clamped = S::max(lowest, x);
        let n = S::round(clamped);
        let r = S::sub(clamped, n);
        let mut p = S::c(EXP2[5]);
        for c in EXP2[..5].iter().rev() {
            p = S::fma(p, r, S::c(*c));
        }
        S::select_gt(lowest, x, S::zero(), S::mul(p, S::pow2(n)))
    }
    #[inline(always)]
    fn log2(x: S::V) -> S::V {
        let mut lanes = [S::A::ZERO; 16];
        // SAFETY: no vector has more than 16 lanes.
        unsafe {
            S::store(lanes.as_mut_ptr(), x);
            for lane in &mut lanes[..S::LANES] {
                *lane = lane.ln();
            }
            S::mul(S::load(lanes.as_ptr()), S::c(std::f64::consts::LOG2_E))
        }
    }
    #[inline(always)]
    unsafe fn row<T: Elem<Acc = S::A>>(src: *const T, d: usize, dp: usize, dst: *mut S::A) {
        let whole = d - d % S::LANES;
        // SAFETY: `d` numbers are read and `dp >= d` written.
        unsafe {
            for i in (0..whole).step_by(S::LANES) {
                S::store(dst.add(i), S::load(src.add(i)));
            }
            for i in whole..d {
                *dst.add(i) = (*src.add(i)).get();
            }
            for i in d..dp {
                *dst.add(i) = S::A::ZERO;
            }
        }
    }
    #[inline(always)]
    unsafe fn interleave<T: Elem<Acc = S::A>>(
        src: *const T,
        _: usize,
        have: usize,
        d: usize,
        dp: usize,
        dst: *mut S::A,
    ) {
        // SAFETY: as for `row`; nothing is read of a row that does not exist.
        unsafe { Self::row(src, if have == 0 { 0 } else { d }, dp, dst) }
    }
    #[inline(always)]
    unsafe fn transpose(
        src: *const S::A,
        ld_src: usize,
        rows: usize,
        cols: usize,
        dst: *mut S::A,
        ld_dst: usize,
    ) {
        for c in 0..cols {
            for r in 0..rows {
                // SAFETY: the caller vouches for both matrices.
                unsafe { *dst.add(c * ld_dst + r) = *src.add(r * ld_src + c) };
            }
        }
    }
    #[inline(always)]
    unsafe fn put_rows(first: S::V, second: S::V, dst: *mut S::A, ld: usize) {
        // SAFETY: the caller vouches for two rows.
        unsafe {
            S::store(dst, first);
            S::store(dst.add(ld), second);
        }
    }
    #[inline(always)]
    unsafe fn put_cols(low: S::V, high: S::V, dst: *mut S::A) {
        // SAFETY: the caller vouches for `COLS` words.
        unsafe {
            S::store(dst, low);
            S::store(dst.add(S::LANES), high);
        }
    }
}

/// Code over any tile for numbers `A`.
pub(in crate::ops) trait TileKernel<A> {
    /// What it returns.
    type Out;
    /// The code: `#[inline(always)]`, and all that it calls.
    fn run<P: Tile<S: Simd<A = A>>>(self) -> Self::Out;
}

/// An element type, and which tile works on it.
pub(in crate::ops) trait Tiled: Elem {
    /// Runs `kernel` with the best tile for heads of `head_dim` on `isa`.
    fn run<K: TileKernel<Self::Acc>>(isa: Isa, head_dim: usize, kernel: K) -> K::Out;
}

struct AnyVector<K>(K);

impl<A: Float, K: TileKernel<A>> Kernel<A> for AnyVector<K> {
    type Out = K::Out;
    #[inline(always)]
    fn run<S: Simd<A = A>>(self) -> K::Out {
        assert!(S::LANES < 16, "AVX-512 has tiles of its own");
        self.0.run::<Plain<S>>()
    }
}

impl Tiled for f64 {
    fn run<K: TileKernel<Self>>(isa: Isa, _: usize, kernel: K) -> K::Out {
        simd::run(isa, AnyVector(kernel))
    }
}

impl Tiled for f32 {
    fn run<K: TileKernel<Self>>(isa: Isa, _: usize, kernel: K) -> K::Out {
        match isa {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: an `Isa` is only made for a machine that has it.
            Isa::Avx512 | Isa::Avx512Bf16 => unsafe { super::avx512::run_f32(kernel) },
            _ => simd::run(isa, AnyVector(kernel)),
        }
    }
}

impl Tiled for Bf16 {
    fn run<K: TileKernel<f32>>(isa: Isa, head_dim: usize, kernel: K) -> K::Out {
        match isa {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: an `Isa` is only made for a machine that has it.
            Isa::Avx512Bf16 if head_dim.is_multiple_of(32) => unsafe {
                super::avx512::run_bf16(kernel)
            },
            _ => <f32 as Tiled>::run(isa, head_dim, kernel),
        }
    }
}
