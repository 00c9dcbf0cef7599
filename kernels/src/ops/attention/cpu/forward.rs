//! The forward pass: softmax over streamed blocks of keys (Milakov and Gimelshein 2018, arXiv:1805.02867; blocked as in
//! FlashAttention-2, arXiv:2307.08691).
//!
//! Everything is kept transposed: keys run down, queries across the lanes. Maxima, sums and rescaling are then vertical,
//! and the probabilities are already the right factor of `O^T = V^T P`.

use super::tile::{A, Factor, ROWS, Tile, TileKernel, Tiled, V, product};
use super::{AHEAD, Allowed, Carve, PAD, Scratch, Shape, View, ViewMut, deliver, prefetch};
use crate::cpu::simd::Simd;
use crate::{Cpu, Elem, Float as _};

/// Keys of a block.
const KEYS: usize = 128;
/// Queries of a task.
const QUERIES: usize = 512;
/// Query heads share the packed keys and values of their group in one task only where tasks are at least so many.
const MANY: usize = 32;
/// Below every score: a finite start of the running maximum, so that no difference of infinities arises.
const LOWEST: f64 = -1e30;

/// One forward pass. `Q` is what queries and outputs are in memory, `K` keys and values.
#[derive(Debug)]
pub(in crate::ops) struct ForwardPass<'a, Q: Elem, K: Elem> {
    /// Sizes.
    pub shape: Shape,
    /// Queries.
    pub q: View<Q>,
    /// Keys.
    pub k: View<K>,
    /// Values.
    pub v: View<K>,
    /// For each sequence and query the first key that it sees; 0 where absent.
    pub starts: Option<&'a [i32]>,
    /// Outputs.
    pub out: ViewMut<Q>,
    /// Base-2 logarithms of the sums of `2^(score log2 e)`, (batch, heads, queries).
    pub lse: Option<ViewMut<Q::Acc>>,
}

/// Bytes of scratch for a forward over at most `keys` keys.
pub(in crate::ops) fn forward_workspace<Q: Tiled>(shape: &Shape, keys: usize, cpu: &Cpu) -> usize {
    Q::run(cpu.isa, shape.dim, Size { shape, keys }) * cpu.pool.threads()
}

struct Size<'a> {
    shape: &'a Shape,
    keys: usize,
}

impl<T> TileKernel<T> for Size<'_> {
    type Out = usize;
    #[inline(always)]
    fn run<P: Tile<S: Simd<A = T>>>(self) -> usize {
        Buffers::<P>::new(std::ptr::null_mut(), self.keys, self.shape).1
    }
}

/// Scratch of a task.
struct Buffers<P: Tile> {
    /// Keys, (keys, dim).
    k: *mut P::W,
    /// Values, (dim, keys).
    vt: *mut P::W,
    /// Words from one row of `vt` to the next.
    ld_vt: usize,
    /// A panel of queries, (dim, COLS).
    q: *mut P::W,
    /// Rows on their way to be transposed.
    stage: *mut P::W,
    /// Scores, (KEYS, COLS).
    scores: *mut A<P>,
    /// Probabilities, (KEYS, COLS); in the memory of the scores where they are as large.
    p: *mut P::W,
    /// Outputs, (dim, COLS).
    out: *mut A<P>,
}

impl<P: Tile> Buffers<P> {
    fn new(start: *mut u8, keys: usize, shape: &Shape) -> (Self, usize) {
        let dp = shape.padded_dim::<P>();
        let keys = keys.next_multiple_of(PAD) + PAD;
        let mut carve = Carve { start, used: 0 };
        // A line more than a power of two, so that the rows of a product do not share cache sets.
        let ld_vt = keys / P::PAIR + 16;
        let scores: *mut A<P> = carve.take(KEYS * P::COLS);
        let buffers = Self {
            k: carve.take(keys * dp / P::PAIR),
            vt: carve.take(dp * ld_vt),
            ld_vt,
            q: carve.take(dp / P::PAIR * P::COLS),
            stage: carve.take(PAD.max(P::COLS) * dp),
            scores,
            p: if P::PAIR == 1 {
                scores.cast()
            } else {
                carve.take(KEYS / P::PAIR * P::COLS)
            },
            out: carve.take(dp * P::COLS),
        };
        (buffers, carve.used)
    }
}

impl<Q: Tiled, K: Elem<Acc = Q::Acc>> ForwardPass<'_, Q, K> {
    /// Computes the outputs.
    pub fn run(&self, cpu: &Cpu, workspace: &mut [u8]) {
        let shape = &self.shape;
        let scratch = Scratch::new(workspace, cpu.pool.threads());
        let chunks = shape.queries.div_ceil(QUERIES);
        let groups = shape.batch * shape.kv_heads;
        let together = if chunks * groups < MANY {
            1
        } else {
            shape.group()
        };
        let tasks = shape.batch * shape.heads / together;
        cpu.pool.run_with_worker(tasks * chunks, |worker, index| {
            // The longest first.
            let first = (chunks - 1 - index / tasks) * QUERIES;
            let head = index % tasks * together;
            let task = Task {
                pass: self,
                scratch: &scratch,
                worker,
                batch: head / shape.heads,
                heads: (head % shape.heads, together),
                queries: (first, (first + QUERIES).min(shape.queries)),
            };
            Q::run(cpu.isa, shape.dim, task);
        });
    }
}

/// Some heads of one group, some queries.
struct Task<'a, Q: Elem, K: Elem> {
    pass: &'a ForwardPass<'a, Q, K>,
    scratch: &'a Scratch,
    worker: usize,
    batch: usize,
    /// The first and how many.
    heads: (usize, usize),
    /// The first and the end.
    queries: (usize, usize),
}

impl<Q: Elem, K: Elem<Acc = Q::Acc>> TileKernel<Q::Acc> for Task<'_, Q, K> {
    type Out = ();
    #[inline(always)]
    fn run<P: Tile<S: Simd<A = Q::Acc>>>(self) {
        let (pass, shape) = (self.pass, &self.pass.shape);
        let starts = pass
            .starts
            .map(|s| &s[self.batch * shape.queries..(self.batch + 1) * shape.queries]);
        let (from, to) = self.queries;
        let lowest = starts.map_or(0, |s| s[from..to].iter().fold(i32::MAX, |a, b| a.min(*b)));
        let first_key = (lowest.max(0) as usize).min(shape.offset + from) / PAD * PAD;
        let keys = shape.offset + to - first_key;
        let (_, needed) = Buffers::<P>::new(std::ptr::null_mut(), keys, shape);
        let start = self.scratch.of(self.worker, needed);
        let (buffers, _) = Buffers::<P>::new(start, keys, shape);
        let kv_head = self.heads.0 / shape.group();
        // SAFETY: the views hold the heads and tokens of the shape; the scratch was just measured.
        unsafe {
            pack_keys(
                &buffers,
                shape,
                pass.k
                    .head(self.batch, kv_head)
                    .add(first_key * pass.k.strides.row),
                pass.v
                    .head(self.batch, kv_head)
                    .add(first_key * pass.v.strides.row),
                (pass.k.strides.row, pass.v.strides.row),
                keys,
            );
            for head in self.heads.0..self.heads.0 + self.heads.1 {
                for query in (from..to).step_by(P::COLS) {
                    let count = (to - query).min(P::COLS);
                    let allowed = Allowed::new(starts, query, count, shape.offset);
                    self.panel::<P>(&buffers, first_key, head, query, count, &allowed);
                }
            }
        }
    }
}

/// Keys as rows and values transposed, with zeros up to the next whole block.
#[inline(always)]
unsafe fn pack_keys<P: Tile, K: Elem<Acc = A<P>>>(
    buffers: &Buffers<P>,
    shape: &Shape,
    k: *const K,
    v: *const K,
    (ld_k, ld_v): (usize, usize),
    keys: usize,
) {
    let (d, dp) = (shape.dim, shape.padded_dim::<P>());
    let words = dp / P::PAIR;
    // SAFETY: `keys` tokens are read; the buffers hold the next multiple of PAD.
    unsafe {
        for first in (0..keys).step_by(PAD) {
            for i in 0..PAD {
                let have = first + i < keys;
                let row = k.wrapping_add((first + i) * ld_k);
                prefetch(row.wrapping_add(AHEAD * ld_k), d, false);
                P::row(
                    row,
                    if have { d } else { 0 },
                    dp,
                    buffers.k.add((first + i) * words),
                );
            }
            for i in (0..PAD).step_by(P::PAIR) {
                let row = v.wrapping_add((first + i) * ld_v);
                for j in AHEAD..AHEAD + P::PAIR {
                    prefetch(row.wrapping_add(j * ld_v), d, false);
                }
                let have = keys.saturating_sub(first + i);
                P::interleave(row, ld_v, have, d, dp, buffers.stage.add(i / P::PAIR * dp));
            }
            let to = buffers.vt.add(first / P::PAIR);
            P::transpose(buffers.stage, dp, PAD / P::PAIR, dp, to, buffers.ld_vt);
        }
    }
}

impl<Q: Elem, K: Elem<Acc = Q::Acc>> Task<'_, Q, K> {
    /// `COLS` queries of a head against all their keys.
    #[inline(always)]
    unsafe fn panel<P: Tile<S: Simd<A = Q::Acc>>>(
        &self,
        buffers: &Buffers<P>,
        first_key: usize,
        head: usize,
        query: usize,
        count: usize,
        allowed: &Allowed<P>,
    ) {
        let (pass, shape) = (self.pass, &self.pass.shape);
        let (d, dp) = (shape.dim, shape.padded_dim::<P>());
        let (words, cols) = (dp / P::PAIR, P::COLS);
        let lanes = <P::S as Simd>::LANES;
        let scale = P::S::c(shape.scale * std::f64::consts::LOG2_E);
        // SAFETY: the caller vouches for the views and buffers; keys stay below the multiple of PAD that was packed.
        unsafe {
            let q = pass
                .q
                .head(self.batch, head)
                .wrapping_add(query * pass.q.strides.row);
            let out = pass.out.head(self.batch, head);
            for i in 0..cols {
                let row = q.wrapping_add(i * pass.q.strides.row);
                prefetch(row.wrapping_add(cols * pass.q.strides.row), d, false);
                prefetch(
                    out.wrapping_add((query + i) * pass.out.strides.row),
                    d,
                    true,
                );
                P::row(
                    row,
                    if i < count { d } else { 0 },
                    dp,
                    buffers.stage.add(i * words),
                );
            }
            P::transpose(buffers.stage, words, cols, words, buffers.q, cols);

            // Per half of the panel: the largest scaled score so far, and the sum of 2^(score - largest).
            let mut top = [P::S::c(LOWEST); 2];
            let mut sum = [P::S::zero(); 2];
            let from = allowed.min_start / ROWS * ROWS;
            let end = (allowed.first + count).next_multiple_of(ROWS);
            for block in (from..end).step_by(KEYS) {
                let keys = KEYS.min(end - block);
                for i in (0..keys).step_by(ROWS) {
                    let key = block + i;
                    let k = Factor {
                        at: buffers.k.add((key - first_key) * words).cast_const(),
                        ld: words,
                    };
                    let q = Factor {
                        at: buffers.q.cast_const(),
                        ld: cols,
                    };
                    let to = buffers.scores.add(i * cols);
                    product::<P>(words, k, q, to, cols, false);
                    if allowed.hides(key) {
                        for j in 0..ROWS {
                            for h in 0..2 {
                                let at = to.add(j * cols + h * lanes);
                                P::S::store(at, allowed.mask(key + j, h, P::S::load(at)));
                            }
                        }
                    }
                }
                for h in 0..2 {
                    let rescale = softmax(buffers, keys, h, scale, &mut top[h], &mut sum[h]);
                    if block > from {
                        for i in 0..d {
                            let at = buffers.out.add(i * cols + h * lanes);
                            P::S::store(at, P::S::mul(P::S::load(at), rescale));
                        }
                    }
                }
                for i in (0..d).step_by(ROWS) {
                    let vt = buffers.vt.add(i * buffers.ld_vt);
                    let vt = Factor {
                        at: vt.add((block - first_key) / P::PAIR).cast_const(),
                        ld: buffers.ld_vt,
                    };
                    let p = Factor {
                        at: buffers.p.cast_const(),
                        ld: cols,
                    };
                    let to = buffers.out.add(i * cols);
                    product::<P>(keys / P::PAIR, vt, p, to, cols, block > from);
                }
            }
            self.finish(buffers, head, query, count, top, sum);
        }
    }

    /// Divides by the sums and writes the outputs and their log-sum-exp.
    #[inline(always)]
    unsafe fn finish<P: Tile<S: Simd<A = Q::Acc>>>(
        &self,
        buffers: &Buffers<P>,
        head: usize,
        query: usize,
        count: usize,
        top: [V<P>; 2],
        sum: [V<P>; 2],
    ) {
        let (pass, shape) = (self.pass, &self.pass.shape);
        let (d, dp, cols) = (shape.dim, shape.padded_dim::<P>(), P::COLS);
        let lanes = <P::S as Simd>::LANES;
        let one = P::S::splat(Q::Acc::ONE);
        // SAFETY: `count` queries exist; a word is as large as a number, so both can be transposed.
        unsafe {
            for h in 0..2 {
                let inverse = P::S::div(one, sum[h]);
                for i in 0..d {
                    let at = buffers.out.add(i * cols + h * lanes);
                    P::S::store(at, P::S::mul(P::S::load(at), inverse));
                }
            }
            P::transpose(buffers.out.cast(), cols, dp, cols, buffers.stage, dp);
            let out = pass.out.head(self.batch, head);
            for i in 0..count {
                let to = out.add((query + i) * pass.out.strides.row);
                deliver::<P, Q>(
                    buffers.stage.cast_const().cast::<Q::Acc>().add(i * dp),
                    one,
                    d,
                    false,
                    to,
                );
            }
            if let Some(lse) = &pass.lse {
                let mut values = [Q::Acc::ZERO; 32];
                for h in 0..2 {
                    let value = P::S::add(top[h], P::log2(sum[h]));
                    P::S::store(values.as_mut_ptr().add(h * lanes), value);
                }
                let to = lse.head(self.batch, head).add(query);
                to.copy_from_nonoverlapping(values.as_ptr(), count);
            }
        }
    }
}

/// Turns half `h` of a block of scores into probabilities relative to the new maximum; returns what older sums and outputs
/// are to be multiplied by.
#[inline(always)]
unsafe fn softmax<P: Tile>(
    buffers: &Buffers<P>,
    keys: usize,
    h: usize,
    scale: V<P>,
    top: &mut V<P>,
    sum: &mut V<P>,
) -> V<P> {
    let cols = P::COLS;
    let at = h * <P::S as Simd>::LANES;
    // SAFETY: `keys`, a multiple of ROWS, rows of scores were just written; where probabilities share their memory, a
    // pair of rows is read before it is overwritten.
    unsafe {
        let scores = buffers.scores.add(at);
        let mut largest = [P::S::load(scores); 4];
        for i in (0..keys).step_by(4) {
            for (j, largest) in largest.iter_mut().enumerate() {
                *largest = P::S::max(*largest, P::S::load(scores.add((i + j) * cols)));
            }
        }
        let largest = P::S::max(
            P::S::max(largest[0], largest[1]),
            P::S::max(largest[2], largest[3]),
        );
        let new = P::S::max(*top, P::S::mul(largest, scale));
        let rescale = P::exp2(P::S::sub(*top, new));
        *top = new;
        let minus = P::S::neg(new);
        let mut sums = [P::S::zero(); 2];
        for i in (0..keys).step_by(2) {
            let a = P::exp2(P::S::fma(P::S::load(scores.add(i * cols)), scale, minus));
            let b = P::exp2(P::S::fma(
                P::S::load(scores.add((i + 1) * cols)),
                scale,
                minus,
            ));
            sums = [P::S::add(sums[0], a), P::S::add(sums[1], b)];
            P::put_rows(a, b, buffers.p.add(i / P::PAIR * cols + at), cols);
        }
        *sum = P::S::fma(*sum, rescale, P::S::add(sums[0], sums[1]));
        rescale
    }
}
