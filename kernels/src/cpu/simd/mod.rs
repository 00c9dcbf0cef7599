//! One vector trait over plain Rust, AVX2, AVX-512 and NEON, so that a kernel is written once.
//!
//! A kernel is a struct with its arguments and one `#[inline(always)]` method generic over [`Simd`] ([`Kernel`]);
//! [`run`] compiles it for every instruction set and calls the one that the device uses. In `f64` (gradient checks) only
//! [`Scalar64`] exists, so that the finite differences check the very code that training runs.

#![expect(
    unsafe_code,
    reason = "vector loads and stores through pointers, and instruction sets chosen at run time"
)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod math;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;
#[cfg(target_arch = "aarch64")]
pub use neon::Neon;
pub use scalar::{Scalar32, Scalar64};

use crate::{Bf16, Elem, Float, Isa};

/// `LANES` numbers at once. All functions are elementwise unless they say otherwise.
///
/// # Safety
/// The functions may only run on a machine that has the instruction set; [`run`] sees to it.
pub trait Simd: Copy + Send + Sync + 'static {
    /// What a lane holds: `f32` or `f64`.
    type A: Float;
    /// A vector.
    type V: Copy;
    /// Lanes of a vector.
    const LANES: usize;

    /// All lanes `x`.
    fn splat(x: Self::A) -> Self::V;
    /// Reads `LANES` elements.
    ///
    /// # Safety
    /// `p` points to `LANES` readable elements (no alignment needed).
    unsafe fn load<T: Elem<Acc = Self::A>>(p: *const T) -> Self::V;
    /// Writes `LANES` elements, rounded to nearest even where `T` is narrower.
    ///
    /// # Safety
    /// `p` points to `LANES` writable elements (no alignment needed).
    unsafe fn store<T: Elem<Acc = Self::A>>(p: *mut T, v: Self::V);
    /// Reads `2 * LANES` elements, in an order that [`Simd::store_pair`] undoes: for what is done to each element alone.
    ///
    /// # Safety
    /// `p` points to `2 * LANES` readable elements (no alignment needed).
    #[inline(always)]
    unsafe fn load_pair<T: Elem<Acc = Self::A>>(p: *const T) -> [Self::V; 2] {
        // SAFETY: promised by the caller.
        unsafe { [Self::load(p), Self::load(p.add(Self::LANES))] }
    }
    /// Writes `2 * LANES` elements in the order of [`Simd::load_pair`], rounded as by [`Simd::store`].
    ///
    /// # Safety
    /// `p` points to `2 * LANES` writable elements (no alignment needed).
    #[inline(always)]
    unsafe fn store_pair<T: Elem<Acc = Self::A>>(p: *mut T, [a, b]: [Self::V; 2]) {
        // SAFETY: promised by the caller.
        unsafe {
            Self::store(p, a);
            Self::store(p.add(Self::LANES), b);
        }
    }
    /// Writes as [`Simd::store_pair`] does, past the caches where `p` is aligned to what is written: the line is not read
    /// first, and nothing else is pushed out for it. Other threads see it after [`Simd::fence`].
    ///
    /// # Safety
    /// As for [`Simd::store_pair`].
    #[inline(always)]
    unsafe fn stream_pair<T: Elem<Acc = Self::A>>(p: *mut T, pair: [Self::V; 2]) {
        // SAFETY: promised by the caller.
        unsafe { Self::store_pair(p, pair) }
    }
    /// Makes what was streamed visible before anything that this thread writes later.
    #[inline(always)]
    fn fence() {}
    /// `a + b`.
    fn add(a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`.
    fn sub(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`.
    fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`.
    fn div(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once.
    fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The larger.
    fn max(a: Self::V, b: Self::V) -> Self::V;
    /// The smaller.
    fn min(a: Self::V, b: Self::V) -> Self::V;
    /// Square root.
    fn sqrt(a: Self::V) -> Self::V;
    /// Nearest integer, ties to even.
    fn round(a: Self::V) -> Self::V;
    /// `2^n` for an integral `n` in the exponent range of normal numbers.
    fn pow2(n: Self::V) -> Self::V;
    /// Each lane rounded to `bf16`, to nearest, ties to even. Only for `f32` lanes.
    #[inline(always)]
    fn round_bf16(a: Self::V) -> Self::V
    where
        Self: Simd<A = f32>,
    {
        let mut buffer = [Bf16::default(); 16];
        // SAFETY: the buffer has room for the lanes of any set.
        unsafe {
            Self::store(buffer.as_mut_ptr(), a);
            Self::load(buffer.as_ptr())
        }
    }
    /// `a > b ? x : y`.
    fn select_gt(a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V;
    /// Sum of the lanes, in an order that depends only on the instruction set.
    fn sum(a: Self::V) -> Self::A;
    /// Largest lane.
    fn max_lane(a: Self::V) -> Self::A;

    /// Zero in all lanes.
    #[inline(always)]
    fn zero() -> Self::V {
        Self::splat(Self::A::ZERO)
    }
    /// `-a`.
    #[inline(always)]
    fn neg(a: Self::V) -> Self::V {
        Self::sub(Self::zero(), a)
    }
    /// A constant in all lanes.
    #[inline(always)]
    fn c(x: f64) -> Self::V {
        Self::splat(Self::A::from_f64(x))
    }
    /// Reads `n < LANES` elements; the other lanes are zero.
    ///
    /// # Safety
    /// `p` points to `n` readable elements.
    #[inline(always)]
    unsafe fn load_part<T: Elem<Acc = Self::A>>(p: *const T, n: usize) -> Self::V {
        let mut buffer = [T::default(); 16];
        // SAFETY: `n < LANES <= 16`, and the caller vouches for `p`.
        unsafe {
            std::ptr::copy_nonoverlapping(p, buffer.as_mut_ptr(), n);
            Self::load(buffer.as_ptr())
        }
    }
    /// Writes the first `n < LANES` elements.
    ///
    /// # Safety
    /// `p` points to `n` writable elements.
    #[inline(always)]
    unsafe fn store_part<T: Elem<Acc = Self::A>>(p: *mut T, v: Self::V, n: usize) {
        let mut buffer = [T::default(); 16];
        // SAFETY: as in `load_part`.
        unsafe {
            Self::store(buffer.as_mut_ptr(), v);
            std::ptr::copy_nonoverlapping(buffer.as_ptr(), p, n);
        }
    }
    /// `e^a`. Relative error below 2e-7 in `f32`; 0 below the normal range, infinity above it.
    #[inline(always)]
    fn exp(a: Self::V) -> Self::V {
        math::exp::<Self>(a)
    }
    /// `1 + e^-a`, by which the logistic function and silu divide. Relative error below 3e-7 in `f32`; infinite or beyond
    /// 1e37 where `e^-a` is.
    #[inline(always)]
    fn one_and_exp_of_minus(a: Self::V) -> Self::V {
        Self::add(Self::splat(Self::A::ONE), Self::exp(Self::neg(a)))
    }
    /// Logistic function `1 / (1 + e^-a)`.
    #[inline(always)]
    fn sigmoid(a: Self::V) -> Self::V {
        Self::div(Self::splat(Self::A::ONE), Self::one_and_exp_of_minus(a))
    }
    /// Hyperbolic tangent; absolute error below 2e-7 in `f32`.
    #[inline(always)]
    fn tanh(a: Self::V) -> Self::V {
        math::tanh::<Self>(a)
    }
    /// Error function; absolute error below 3e-7 in `f32`.
    #[inline(always)]
    fn erf(a: Self::V) -> Self::V {
        math::erf::<Self>(a)
    }
}

/// A kernel: arguments, and the code for any instruction set.
pub trait Kernel<A: Float> {
    /// What it returns.
    type Out;
    /// The code. Mark it `#[inline(always)]`, and everything it calls too, or it is compiled without the instruction set.
    fn run<S: Simd<A = A>>(self) -> Self::Out;
}

/// Runs a kernel with the instruction set `isa` (`f64` always runs [`Scalar64`]).
pub fn run<A: Float, K: Kernel<A>>(isa: Isa, kernel: K) -> K::Out {
    A::run_kernel(isa, kernel)
}

pub(crate) fn run_f64<K: Kernel<f64>>(_: Isa, kernel: K) -> K::Out {
    kernel.run::<Scalar64>()
}

pub(crate) fn run_f32<K: Kernel<f32>>(isa: Isa, kernel: K) -> K::Out {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: an `Isa` is only made for a machine that has it.
        Isa::Avx2 => unsafe { avx2::run(kernel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx512 | Isa::Avx512Bf16 => unsafe { avx512::run(kernel) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        Isa::Neon => unsafe { neon::run(kernel) },
        _ => kernel.run::<Scalar32>(),
    }
}

/// A vector's place in a row: `at..at + len`, where `len` is smaller than a full vector only at the row's end.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    at: usize,
    len: usize,
}

/// The vectors that cover a row of `cols` elements.
#[inline(always)]
pub fn blocks<S: Simd>(cols: usize) -> impl Iterator<Item = Block> {
    blocks_from::<S>(0, cols)
}

/// The vectors that cover a row of `cols` elements from element `start` on.
#[inline(always)]
pub fn blocks_from<S: Simd>(start: usize, cols: usize) -> impl Iterator<Item = Block> {
    (start..cols).step_by(S::LANES).map(move |at| Block {
        at,
        len: S::LANES.min(cols - at),
    })
}

/// A function of two numbers, for [`zip`]. Not a closure, which would not always be inlined.
pub trait Binary {
    /// The function. Mark it `#[inline(always)]`.
    fn of<S: Simd>(&self, a: S::V, b: S::V) -> S::V;
}

/// Sets each element of `y` to `f` of those at its place in `a` and `b`, which are as long. Who streams calls
/// [`Simd::fence`] before other threads read it.
#[inline(always)]
pub fn zip<S: Simd, T: Elem<Acc = S::A>>(
    a: &[T],
    b: &[T],
    y: &mut [T],
    to: Store,
    f: &impl Binary,
) {
    let len = y.len();
    assert!(a.len() == len && b.len() == len, "rows of other lengths");
    let pairs = len - len % (2 * S::LANES);
    for at in (0..pairs).step_by(2 * S::LANES) {
        // SAFETY: two vectors fit into each of the rows from `at` on.
        unsafe {
            let [a0, a1] = S::load_pair(a.as_ptr().add(at));
            let [b0, b1] = S::load_pair(b.as_ptr().add(at));
            let both = [f.of::<S>(a0, b0), f.of::<S>(a1, b1)];
            match to {
                Store::Cached => S::store_pair(y.as_mut_ptr().add(at), both),
                Store::Streamed => S::stream_pair(y.as_mut_ptr().add(at), both),
            }
        }
    }
    for i in blocks_from::<S>(pairs, len) {
        i.store::<S, T>(y, f.of::<S>(i.load::<S, T>(a), i.load::<S, T>(b)));
    }
}

/// How a pass writes what it makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// Into the caches, from where the next reader has it.
    Cached,
    /// Past them, by streaming stores: a line that is written whole need not be read first.
    Streamed,
}

impl Store {
    /// What is faster for a pass that makes so many bytes. Up to this size the next reader finds enough of it in the
    /// third-level cache; where nothing of it stays, streaming a whole line saves reading it first (20 % of a pass that makes
    /// 46 MB, nothing of one that makes 23 MB).
    pub fn of(bytes: usize) -> Self {
        if bytes > 32 << 20 {
            Self::Streamed
        } else {
            Self::Cached
        }
    }
}

impl Block {
    /// Reads this part of `row`; lanes beyond the row's end are zero.
    #[inline(always)]
    pub fn load<S: Simd, T: Elem<Acc = S::A>>(self, row: &[T]) -> S::V {
        let part = &row[self.at..self.at + self.len];
        // SAFETY: the slice has `len` elements.
        unsafe {
            if self.len == S::LANES {
                S::load(part.as_ptr())
            } else {
                S::load_part(part.as_ptr(), self.len)
            }
        }
    }

    /// Reads this part of `row` with the two elements of each pair `(2i, 2i + 1)` exchanged. For rows of whole pairs and
    /// vectors of more than one lane.
    #[inline(always)]
    pub fn load_swapped<S: Simd, T: Elem<Acc = S::A>>(self, row: &[T]) -> S::V {
        let mut pairs = [[T::default(); 2]; 8];
        if self.len == S::LANES {
            pairs.as_flattened_mut()[..S::LANES].copy_from_slice(&row[self.at..self.at + S::LANES]);
        } else {
            pairs.as_flattened_mut()[..self.len].copy_from_slice(&row[self.at..self.at + self.len]);
        }
        for pair in &mut pairs {
            pair.swap(0, 1);
        }
        // SAFETY: there are 16 elements, and `LANES <= 16`.
        unsafe { S::load(pairs.as_ptr().cast::<T>()) }
    }

    /// `v` with zero in the lanes beyond the row's end.
    #[inline(always)]
    pub fn within<S: Simd>(self, v: S::V) -> S::V {
        if self.len == S::LANES {
            return v;
        }
        let mut lanes = [S::A::ZERO; 16];
        // SAFETY: `len < LANES <= 16`.
        unsafe {
            S::store_part(lanes.as_mut_ptr(), v, self.len);
            S::load(lanes.as_ptr())
        }
    }

    /// Writes this part of `row`.
    #[inline(always)]
    pub fn store<S: Simd, T: Elem<Acc = S::A>>(self, row: &mut [T], v: S::V) {
        let part = &mut row[self.at..self.at + self.len];
        // SAFETY: the slice has `len` elements.
        unsafe {
            if self.len == S::LANES {
                S::store(part.as_mut_ptr(), v)
            } else {
                S::store_part(part.as_mut_ptr(), v, self.len)
            }
        }
    }
}

#[cfg(test)]
mod tests;
