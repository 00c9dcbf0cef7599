//! What enters and leaves the scratch of a backward: heads become factors of products, in the forms that each product reads,
//! and the finished gradient of the queries becomes rows of tokens.

use super::super::tile::{A, Tile};
use super::super::{AHEAD, Allowed, PAD, deliver, prefetch};
use super::{Buffers, Task};
use crate::cpu::simd::Simd;
use crate::{Elem, Float as _};

impl<T: Elem> Task<'_, T> {
    /// Keys and values as rows, keys also transposed, and what each panel of queries may see.
    #[inline(always)]
    pub(super) unsafe fn pack_keys<P: Tile<S: Simd<A = T::Acc>>>(&self, buffers: &Buffers<P>) {
        let (pass, shape) = (self.pass, &self.pass.shape);
        let (t, d, dim) = (shape.queries, shape.dim, shape.padded_dim::<P>());
        let words = dim / P::PAIR;
        let starts = &pass.starts[self.batch * t..(self.batch + 1) * t];
        // SAFETY: `t` tokens are read; the buffers hold the next multiple of PAD.
        unsafe {
            let k = pass.k.head(self.batch, self.kv_head);
            let v = pass.v.head(self.batch, self.kv_head);
            let (ld_k, ld_v) = (pass.k.strides.row, pass.v.strides.row);
            for first in (0..t).step_by(PAD) {
                for i in first..first + PAD {
                    prefetch(k.wrapping_add((i + AHEAD) * ld_k), d, false);
                    prefetch(v.wrapping_add((i + AHEAD) * ld_v), d, false);
                    let d = if i < t { d } else { 0 };
                    P::row(k.wrapping_add(i * ld_k), d, dim, buffers.k.add(i * words));
                    P::row(v.wrapping_add(i * ld_v), d, dim, buffers.v.add(i * words));
                }
                for i in (0..PAD).step_by(P::PAIR) {
                    let row = k.wrapping_add((first + i) * ld_k);
                    let have = t.saturating_sub(first + i);
                    P::interleave(
                        row,
                        ld_k,
                        have,
                        d,
                        dim,
                        buffers.stage.add(i / P::PAIR * dim),
                    );
                }
                let to = buffers.kt.add(first / P::PAIR);
                P::transpose(buffers.stage, dim, PAD / P::PAIR, dim, to, buffers.ld_kt);
            }
            for query in (0..t.next_multiple_of(PAD)).step_by(P::COLS) {
                let first = query.min(t - 1);
                let allowed = Allowed::new(Some(starts), first, (t - first).min(P::COLS), 0);
                buffers.allowed.add(query / P::COLS).write(Allowed {
                    first: query,
                    ..allowed
                });
            }
        }
    }

    /// Queries and output gradients of a head in both forms, log-sum-exp, and `delta = sum_d dO O`.
    #[inline(always)]
    pub(super) unsafe fn pack_queries<P: Tile<S: Simd<A = T::Acc>>>(
        &self,
        buffers: &Buffers<P>,
        head: usize,
    ) {
        let (pass, shape) = (self.pass, &self.pass.shape);
        let (t, d, dim) = (shape.queries, shape.dim, shape.padded_dim::<P>());
        let words = dim / P::PAIR;
        // SAFETY: `t` tokens are read; the buffers hold the next multiple of PAD.
        unsafe {
            for (view, panels, rows) in [
                (&pass.q, buffers.q_panels, buffers.q),
                (&pass.d_out, buffers.do_panels, buffers.d_o),
            ] {
                let (from, ld) = (view.head(self.batch, head), view.strides.row);
                for first in (0..t.next_multiple_of(PAD)).step_by(P::COLS) {
                    for i in 0..P::COLS {
                        let row = from.wrapping_add((first + i) * ld);
                        prefetch(row.wrapping_add(P::COLS * ld), d, false);
                        let d = if first + i < t { d } else { 0 };
                        P::row(row, d, dim, buffers.stage.add(i * words));
                    }
                    let to = panels.add(first * words);
                    P::transpose(buffers.stage, words, P::COLS, words, to, P::COLS);
                    for i in (first..first + P::COLS).step_by(P::PAIR) {
                        let row = from.wrapping_add(i * ld);
                        let have = t.saturating_sub(i);
                        P::interleave(row, ld, have, d, dim, rows.add(i / P::PAIR * dim));
                    }
                }
            }
            let lse = pass.lse.head(self.batch, head);
            let out = pass.out.head(self.batch, head);
            let d_out = pass.d_out.head(self.batch, head);
            for i in 0..t {
                let (out, d_out) = (
                    out.add(i * pass.out.strides.row),
                    d_out.add(i * pass.d_out.strides.row),
                );
                prefetch(out.wrapping_add(AHEAD * pass.out.strides.row), d, false);
                *buffers.lse.add(i) = *lse.add(i);
                *buffers.delta.add(i) = dot::<P, T>(out, d_out, d);
            }
            for i in t..t.next_multiple_of(PAD) {
                *buffers.lse.add(i) = T::Acc::ZERO;
                *buffers.delta.add(i) = T::Acc::ZERO;
            }
        }
    }

    /// The finished gradient of a head's queries.
    #[inline(always)]
    pub(super) unsafe fn deliver_queries<P: Tile<S: Simd<A = T::Acc>>>(
        &self,
        buffers: &Buffers<P>,
        head: usize,
    ) {
        let (pass, shape) = (self.pass, &self.pass.shape);
        let (t, dim) = (shape.queries, shape.padded_dim::<P>());
        let scale = P::S::c(shape.scale);
        // SAFETY: `t` tokens are written; a word is as large as a number, so both can be transposed.
        unsafe {
            let dq = pass.dq.head(self.batch, head);
            for first in (0..t).step_by(P::COLS) {
                let from = buffers.dqt.add(first).cast();
                P::transpose(from, buffers.ld_dqt, dim, P::COLS, buffers.stage, dim);
                for i in 0..P::COLS.min(t - first) {
                    let row = buffers.stage.cast_const().cast::<T::Acc>().add(i * dim);
                    let to = dq.add((first + i) * pass.dq.strides.row);
                    prefetch(
                        to.wrapping_add(AHEAD * pass.dq.strides.row),
                        shape.dim,
                        true,
                    );
                    deliver::<P, T>(row, scale, shape.dim, pass.add, to);
                }
            }
        }
    }
}

/// `sum_i a[i] b[i]` over `d` numbers.
#[inline(always)]
unsafe fn dot<P: Tile, T: Elem<Acc = A<P>>>(a: *const T, b: *const T, d: usize) -> A<P> {
    let lanes = <P::S as Simd>::LANES;
    let mut sum = P::S::zero();
    // SAFETY: the caller vouches for `d` numbers at both.
    unsafe {
        for i in (0..d).step_by(lanes) {
            let rest = d - i;
            let (a, b) = (a.add(i), b.add(i));
            sum = if rest >= lanes {
                P::S::fma(P::S::load(a), P::S::load(b), sum)
            } else {
                P::S::fma(P::S::load_part(a, rest), P::S::load_part(b, rest), sum)
            };
        }
    }
    P::S::sum(sum)
}
