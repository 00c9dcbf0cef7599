//! A few rows times weights stored `[N, K]`, as in decoding: each weight is read once, in the order of memory, and nothing
//! is packed, so that the memory's bandwidth is the limit. Weights may be `f32` or `bf16` in memory; in precision `bf16` the
//! results are the same bits, as those in `f32` are rounded on the way.

use super::{Operand, Output, prefetch, take};
use crate::cpu::simd::{self, Kernel, Simd};
use crate::{Bf16, Cpu, Dtype, Elem, Precision};
use std::ops::Range;

/// Most rows of A that go this way. With more the packed product is as fast, as it computes where this one still reads.
pub(super) const MOST: usize = 8;

/// Weights of one task: some hundreds of kilobytes, enough to outweigh the start of a task.
const TASK: usize = 1 << 16;

/// Below this many weights one thread does it all: starting the others would take as long.
const SERIAL: usize = 1 << 16;

/// Scratch: A in `f32`.
pub(super) fn workspace_bytes(m: usize, k: usize) -> usize {
    if m > MOST {
        return 0;
    }
    (m * k * size_of::<f32>()).next_multiple_of(crate::arena::ALIGN)
}

/// As [`super::gemm`], for at most [`MOST`] rows and a B that is stored transposed.
pub(super) fn gemm(
    cpu: &Cpu,
    precision: Precision,
    a: Operand,
    b: Operand,
    c: Output,
    (m, n, k): (usize, usize, usize),
    workspace: &mut [u8],
) {
    let rounds = precision == Precision::Bf16;
    let (rows, _) = take(workspace, m * k * size_of::<f32>());
    let rows = &mut rows[..m * k];
    for (i, row) in rows.chunks_exact_mut(k).enumerate() {
        for (at, value) in row.iter_mut().enumerate() {
            // SAFETY: element (i, at) lies in A.
            let x = unsafe {
                if a.bf16 {
                    (*a.at::<Bf16>(i, at)).get()
                } else {
                    *a.at::<f32>(i, at)
                }
            };
            *value = if rounds { Bf16::put(x).get() } else { x };
        }
    }
    let rows = &*rows;
    let step = if n * k <= SERIAL {
        n
    } else {
        (TASK / k).max(4).next_multiple_of(4)
    };
    cpu.pool.run(n.div_ceil(step), |task| {
        let columns = task * step..n.min((task + 1) * step);
        let work = Dots {
            rows,
            b,
            c,
            columns,
            k,
        };
        match (b.bf16, rounds) {
            (true, _) => simd::run(
                cpu.isa,
                Typed::<Bf16, false>(work, std::marker::PhantomData),
            ),
            (false, true) => simd::run(cpu.isa, Typed::<f32, true>(work, std::marker::PhantomData)),
            (false, false) => {
                simd::run(cpu.isa, Typed::<f32, false>(work, std::marker::PhantomData))
            }
        }
    });
}

/// Some columns of C.
struct Dots<'a> {
    /// (M, K)
    rows: &'a [f32],
    b: Operand,
    c: Output,
    columns: Range<usize>,
    k: usize,
}

/// Weights of type `T`, rounded to `bf16` if `ROUND`.
struct Typed<'a, T, const ROUND: bool>(Dots<'a>, std::marker::PhantomData<T>);

impl<T: Elem<Acc = f32>, const ROUND: bool> Kernel<f32> for Typed<'_, T, ROUND> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<A = f32>>(self) {
        let work = self.0;
        // Two sums for each element of a tile, of 32 or of 16 registers.
        // SAFETY: the columns lie in B and C, and no other task has them.
        unsafe {
            match (work.rows.len() / work.k, S::LANES) {
                (1, _) => work.tiles::<S, T, ROUND, 1, 4>(),
                (2, 16) => work.tiles::<S, T, ROUND, 2, 4>(),
                (_, 16) => work.tiles::<S, T, ROUND, 4, 2>(),
                _ => work.tiles::<S, T, ROUND, 2, 2>(),
            }
        }
    }
}

impl Dots<'_> {
    /// All rows by all columns, in tiles of at most R by J. The sum of an element does not depend on R and J.
    #[inline(always)]
    unsafe fn tiles<
        S: Simd<A = f32>,
        T: Elem<Acc = f32>,
        const ROUND: bool,
        const R: usize,
        const J: usize,
    >(
        &self,
    ) {
        let m = self.rows.len() / self.k;
        let mut j = self.columns.start;
        // SAFETY: promised by the caller.
        unsafe {
            while j + J <= self.columns.end {
                let mut i = 0;
                while i + R <= m {
                    self.dots::<S, T, ROUND, R, J>(i, j);
                    i += R;
                }
                while i < m {
                    self.dots::<S, T, ROUND, 1, J>(i, j);
                    i += 1;
                }
                j += J;
            }
            while j < self.columns.end {
                for i in 0..m {
                    self.dots::<S, T, ROUND, 1, 1>(i, j);
                }
                j += 1;
            }
        }
    }

    /// Rows i to i + R by columns j to j + J.
    #[inline(always)]
    unsafe fn dots<
        S: Simd<A = f32>,
        T: Elem<Acc = f32>,
        const ROUND: bool,
        const R: usize,
        const J: usize,
    >(
        &self,
        i: usize,
        j: usize,
    ) {
        let ahead = J * self.b.stride * size_of::<T>();
        let ahead = if ahead > FAR { NEAR } else { ahead };
        let rows: [*const f32; R] = std::array::from_fn(|r| self.rows[(i + r) * self.k..].as_ptr());
        let mut sums = [[[S::zero(); 2]; J]; R];
        let mut k = 0;
        // SAFETY: promised by the caller.
        unsafe {
            while k + 2 * S::LANES <= self.k {
                for half in 0..2 {
                    let at = k + half * S::LANES;
                    let mut w = [S::zero(); J];
                    for q in 0..J {
                        let p = self.b.at::<T>(j + q, at);
                        if (half * S::LANES * size_of::<T>()).is_multiple_of(LINE) {
                            prefetch::near(p.cast::<u8>().wrapping_add(ahead));
                        }
                        w[q] = weights::<S, T, ROUND>(p);
                    }
                    for r in 0..R {
                        let x = S::load(rows[r].add(at));
                        for q in 0..J {
                            sums[r][q][half] = S::fma(x, w[q], sums[r][q][half]);
                        }
                    }
                }
                k += 2 * S::LANES;
            }
            while k < self.k {
                let n = S::LANES.min(self.k - k);
                for q in 0..J {
                    let p = self.b.at::<T>(j + q, k);
                    let w = if n == S::LANES {
                        weights::<S, T, ROUND>(p)
                    } else {
                        let mut part = [T::default(); 16];
                        std::ptr::copy_nonoverlapping(p, part.as_mut_ptr(), n);
                        weights::<S, T, ROUND>(part.as_ptr())
                    };
                    for r in 0..R {
                        let x = if n == S::LANES {
                            S::load(rows[r].add(k))
                        } else {
                            S::load_part(rows[r].add(k), n)
                        };
                        sums[r][q][0] = S::fma(x, w, sums[r][q][0]);
                    }
                }
                k += n;
            }
            for r in 0..R {
                for q in 0..J {
                    let [a, b] = sums[r][q];
                    self.c.put(i + r, j + q, S::sum(S::add(a, b)));
                }
            }
        }
    }
}

/// Bytes of a cache line, which is asked for once.
const LINE: usize = 64;

/// How far ahead of their use weights are asked for, in bytes: by as many rows as are read at once, or, where that would
/// fill the first-level cache, within the row.
const FAR: usize = 16 << 10;
const NEAR: usize = 2 << 10;

/// A vector of weights.
#[inline(always)]
unsafe fn weights<S: Simd<A = f32>, T: Elem<Acc = f32>, const ROUND: bool>(p: *const T) -> S::V {
    // SAFETY: promised by the caller.
    unsafe {
        let v = S::load(p);
        if ROUND && T::DTYPE != Dtype::Bf16 {
            S::round_bf16(v)
        } else {
            v
        }
    }
}
