//! Attention over a cache on the CPU.

#![expect(
    unsafe_code,
    reason = "vector loads and stores, and partial results written by different threads"
)]

use super::AttentionCached;
use crate::arena::{Shared, scratch_of};
use crate::cpu::simd::{Kernel, Simd, blocks, run};
use crate::op::{Forward, State};
use crate::ops::attention::cpu::{
    ForwardPass, Shape, Strides, Tiled, View, ViewMut, forward_workspace, prefetch,
};
use crate::{Cpu, Elem};

/// Keys of a partial softmax: keys and values of a head then fit the second cache, and results do not depend on threads.
const CHUNK: usize = 128;

pub(super) fn workspace<T: Tiled<Acc = f32>>(op: &AttentionCached, new: usize, cpu: &Cpu) -> usize {
    if new == 1 {
        op.heads * op.capacity.div_ceil(CHUNK) * (op.head_dim + 2) * size_of::<f32>()
    } else {
        let shape = shape(op, new, op.capacity - new);
        forward_workspace::<T>(&shape, op.capacity, cpu)
    }
}

fn shape(op: &AttentionCached, new: usize, cache_len: usize) -> Shape {
    Shape {
        batch: 1,
        heads: op.heads,
        kv_heads: op.kv_heads,
        dim: op.head_dim,
        queries: new,
        offset: cache_len,
        scale: op.scale,
    }
}

pub(super) fn forward<T: Tiled<Acc = f32>>(
    op: &AttentionCached,
    cx: &mut Forward<'_>,
    state: &mut [State],
) {
    let new = cx.metas[0].shape[1];
    let len = cx.scalars.cache_len;
    assert!(
        len + new <= op.capacity,
        "a cache of {} tokens cannot take {new} more after {len}",
        op.capacity
    );
    let qkv = cx.input::<T>(0);
    let [keys, values] = state else {
        panic!(
            "attention_cached keeps two tensors of state, not {}",
            state.len()
        );
    };
    let (keys, values) = (keys.values_mut::<T>(), values.values_mut::<T>());
    append(op, qkv, len, keys, values);
    if new == 1 {
        return decode(op, cx, qkv, len + 1, keys, values);
    }
    let d = op.head_dim;
    let cols = cx.metas[0].cols();
    let of_cache = Strides {
        batch: 0,
        head: op.capacity * d,
        row: d,
    };
    let of_rows = |row| Strides {
        batch: 0,
        head: d,
        row,
    };
    let pass = ForwardPass {
        shape: shape(op, new, len),
        q: View::new(qkv, 0, of_rows(cols)),
        k: View::new(keys, 0, of_cache),
        v: View::new(values, 0, of_cache),
        starts: None,
        out: ViewMut::new(cx.output::<T>(0), 0, of_rows(op.heads * d)),
        lse: None,
    };
    pass.run(cx.cpu, cx.take_workspace());
}

/// Copies the new tokens' keys and values behind the `len` that the cache holds.
fn append<T: Elem>(op: &AttentionCached, qkv: &[T], len: usize, keys: &mut [T], values: &mut [T]) {
    let d = op.head_dim;
    let cols = (op.heads + 2 * op.kv_heads) * d;
    for (i, row) in qkv.chunks_exact(cols).enumerate() {
        let (k, v) = row[op.heads * d..].split_at(op.kv_heads * d);
        for (from, to) in [(k, &mut *keys), (v, &mut *values)] {
            for (head, from) in from.chunks_exact(d).enumerate() {
                let at = (head * op.capacity + len + i) * d;
                to[at..at + d].copy_from_slice(from);
            }
        }
    }
}

/// One token's queries against `len` keys: partial softmaxes of (key-value head, chunk), then their merge for each head.
fn decode<T: Elem<Acc = f32>>(
    op: &AttentionCached,
    cx: &mut Forward<'_>,
    qkv: &[T],
    len: usize,
    keys: &[T],
    values: &[T],
) {
    let (d, group) = (op.head_dim, op.heads / op.kv_heads);
    let chunks = len.div_ceil(CHUNK);
    let each = d + 2;
    let partials: &mut [f32] = scratch_of(cx.take_workspace());
    let out = Shared::new(cx.output::<T>(0));
    let (cpu, shared) = (cx.cpu, Shared::new(partials));
    cpu.pool.run(op.kv_heads * chunks, |index| {
        let (kv_head, chunk) = (index / chunks, index % chunks);
        let (from, to) = (chunk * CHUNK, len.min((chunk + 1) * CHUNK));
        let rows = (kv_head * op.capacity + from) * d..(kv_head * op.capacity + to) * d;
        for head in kv_head * group..(kv_head + 1) * group {
            let partial = Partial {
                q: &qkv[head * d..(head + 1) * d],
                scale: op.scale as f32,
                keys: &keys[rows.clone()],
                values: &values[rows.clone()],
                // SAFETY: each task has heads and a chunk of its own.
                to: unsafe { shared.slice((head * chunks + chunk) * each, each) },
            };
            run(cpu.isa, partial);
        }
    });
    cpu.pool.run(op.heads, |head| {
        let merge = Merge {
            // SAFETY: the partials are only read now, and each task writes a head of its own.
            partials: unsafe { shared.slice(head * chunks * each, chunks * each) },
            // SAFETY: as above.
            out: unsafe { out.slice(head * d, d) },
        };
        run(cpu.isa, merge);
    });
}

/// The softmax of one query head over one chunk: `to` receives the output, the largest score and the sum.
struct Partial<'a, T> {
    q: &'a [T],
    scale: f32,
    keys: &'a [T],
    values: &'a [T],
    to: &'a mut [f32],
}

impl<T: Elem<Acc = f32>> Kernel<f32> for Partial<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<A = f32>>(self) {
        let d = self.q.len();
        let scale = S::splat(self.scale);
        for i in blocks::<S>(d) {
            i.store::<S, f32>(self.to, S::mul(scale, i.load::<S, T>(self.q)));
        }
        let mut scores = [f32::NEG_INFINITY; CHUNK];
        let keys = self.keys.len() / d;
        for first in (0..keys).step_by(4) {
            // SAFETY: `first` is below the number of keys; rows past the last repeat it.
            unsafe { self.score::<S>(first, keys, &mut scores) };
        }
        let largest = scores
            .iter()
            .fold(f32::NEG_INFINITY, |m, score| m.max(*score));
        let rows = self.keys.chunks_exact(d).zip(self.values.chunks_exact(d));
        let mut sum = S::zero();
        for i in (0..CHUNK).step_by(S::LANES) {
            // SAFETY: the lanes divide the chunk; scores past the last key are minus infinity and count nothing.
            unsafe {
                let at = scores.as_mut_ptr().add(i);
                let p = S::exp(S::sub(S::load(at.cast_const()), S::splat(largest)));
                S::store(at, p);
                sum = S::add(sum, p);
            }
        }
        let wide = 4 * S::LANES;
        let whole = d - d % wide;
        for first in (0..whole).step_by(wide) {
            let mut outs = [S::zero(); 4];
            for ((key, value), p) in rows.clone().zip(&scores) {
                // A task has several heads, or the next task is the next chunk of this one.
                prefetch(key.as_ptr().wrapping_add(self.keys.len()), d, false);
                let p = S::splat(*p);
                for (i, out) in outs.iter_mut().enumerate() {
                    // SAFETY: `first + wide` numbers of the row exist.
                    let v = unsafe { S::load(value.as_ptr().add(first + i * S::LANES)) };
                    *out = S::fma(p, v, *out);
                }
            }
            for (i, out) in outs.iter().enumerate() {
                // SAFETY: as above.
                unsafe { S::store(self.to.as_mut_ptr().add(first + i * S::LANES), *out) };
            }
        }
        for i in blocks::<S>(d - whole) {
            let mut out = S::zero();
            for (value, p) in self.values.chunks_exact(d).zip(&scores) {
                out = S::fma(S::splat(*p), i.load::<S, T>(&value[whole..]), out);
            }
            i.store::<S, f32>(&mut self.to[whole..d], out);
        }
        self.to[d] = largest;
        self.to[d + 1] = S::sum(sum);
    }
}

impl<T: Elem<Acc = f32>> Partial<'_, T> {
    /// Scores of up to four keys; `to` holds the scaled query.
    ///
    /// # Safety
    /// `first < keys`, the number of keys.
    #[inline(always)]
    unsafe fn score<S: Simd<A = f32>>(&self, first: usize, keys: usize, scores: &mut [f32; CHUNK]) {
        let d = self.q.len();
        let whole = d - d % S::LANES;
        let mut sums = [S::zero(); 4];
        // SAFETY: the rows exist, and `i + LANES <= d` but in the last, partial load.
        unsafe {
            let rows: [*const T; 4] =
                std::array::from_fn(|j| self.keys.as_ptr().add((first + j).min(keys - 1) * d));
            for j in 0..4 {
                let value = self.values.as_ptr().wrapping_add((first + j) * d);
                prefetch(value, d, false);
            }
            for i in (0..whole).step_by(S::LANES) {
                let q = S::load(self.to.as_ptr().add(i));
                for (row, sum) in rows.iter().zip(&mut sums) {
                    *sum = S::fma(q, S::load(row.add(i)), *sum);
                }
            }
            if whole < d {
                let q = S::load_part(self.to.as_ptr().add(whole), d - whole);
                for (row, sum) in rows.iter().zip(&mut sums) {
                    *sum = S::fma(q, S::load_part(row.add(whole), d - whole), *sum);
                }
            }
        }
        for (score, sum) in scores[first..keys.min(first + 4)].iter_mut().zip(sums) {
            *score = S::sum(sum);
        }
    }
}

/// Merges the chunks of one head.
struct Merge<'a, T> {
    partials: &'a [f32],
    out: &'a mut [T],
}

impl<T: Elem<Acc = f32>> Kernel<f32> for Merge<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<A = f32>>(self) {
        let d = self.out.len();
        let each = d + 2;
        let largest = self
            .partials
            .chunks_exact(each)
            .fold(f32::NEG_INFINITY, |m, partial| m.max(partial[d]));
        let weight = |partial: &[f32]| (partial[d] - largest).exp();
        let sum: f32 = self
            .partials
            .chunks_exact(each)
            .map(|partial| weight(partial) * partial[d + 1])
            .sum();
        for i in blocks::<S>(d) {
            let mut out = S::zero();
            for partial in self.partials.chunks_exact(each) {
                let w = S::splat(weight(partial) / sum);
                out = S::fma(w, i.load::<S, f32>(&partial[..d]), out);
            }
            i.store::<S, T>(self.out, out);
        }
    }
}
