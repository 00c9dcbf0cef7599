//! The backward pass: probabilities are made anew from the log-sum-exp, block by block (FlashAttention-2,
//! arXiv:2307.08691, section 3.1.2).
//!
//! Keys outside, queries inside. Scores are transposed as in the forward; probabilities and their gradients are stored as
//! rows, the left factor of `dV = P^T dO` and `dK = dS^T Q`, and `dS` also as the right factor of `dQ^T = K^T dS^T`. One
//! task owns a key-value head and its whole group of query heads, in order: no sum is shared between threads. How a head
//! becomes factors, and the queries' gradient rows again, is [`pack`]'s.

mod pack;

use super::tile::{A, Factor, ROWS, Tile, TileKernel, Tiled, V, product};
use super::{AHEAD, Allowed, Carve, PAD, Scratch, Shape, View, ViewMut, deliver, prefetch};
use crate::cpu::simd::Simd;
use crate::{Cpu, Elem, Float as _};

/// Keys of a block, and queries of a block.
const BLOCK: usize = 64;

/// One backward pass over tensors of type `T`.
#[derive(Debug)]
pub(in crate::ops) struct BackwardPass<'a, T: Elem> {
    /// Sizes; the offset is 0.
    pub shape: Shape,
    /// Queries.
    pub q: View<T>,
    /// Keys.
    pub k: View<T>,
    /// Values.
    pub v: View<T>,
    /// For each sequence and query the first key that it sees.
    pub starts: &'a [i32],
    /// Outputs of the forward.
    pub out: View<T>,
    /// Their gradient.
    pub d_out: View<T>,
    /// What the forward left.
    pub lse: View<T::Acc>,
    /// Gradient of the queries.
    pub dq: ViewMut<T>,
    /// Gradient of the keys.
    pub dk: ViewMut<T>,
    /// Gradient of the values.
    pub dv: ViewMut<T>,
    /// Whether gradients are added to what is there.
    pub add: bool,
}

/// Bytes of scratch for a backward.
pub(in crate::ops) fn backward_workspace<T: Tiled>(shape: &Shape, cpu: &Cpu) -> usize {
    T::run(cpu.isa, shape.dim, Size(shape)) * cpu.pool.threads()
}

struct Size<'a>(&'a Shape);

impl<T> TileKernel<T> for Size<'_> {
    type Out = usize;
    #[inline(always)]
    fn run<P: Tile<S: Simd<A = T>>>(self) -> usize {
        Buffers::<P>::new(std::ptr::null_mut(), self.0).1
    }
}

/// Scratch of a task; T is the padded length.
struct Buffers<P: Tile> {
    /// Keys, (T, dim), and their transpose.
    k: *mut P::W,
    kt: *mut P::W,
    /// Values, (T, dim).
    v: *mut P::W,
    /// Queries and output gradients as panels, (T / COLS, dim, COLS).
    q_panels: *mut P::W,
    do_panels: *mut P::W,
    /// The same as rows of neighbouring tokens, (T, dim).
    q: *mut P::W,
    d_o: *mut P::W,
    /// Rows on their way to be transposed.
    stage: *mut P::W,
    /// Transposed gradient of the queries, (dim, T).
    dqt: *mut A<P>,
    /// Gradients of keys and values, (T, dim).
    dk: *mut A<P>,
    dv: *mut A<P>,
    /// Log-sum-exp, and `sum_d dO O`, (T).
    lse: *mut A<P>,
    delta: *mut A<P>,
    /// What the panels may see, (T / COLS).
    allowed: *mut Allowed<P>,
    /// Scores and gradients of the probabilities of ROWS keys, (ROWS, COLS).
    scores: *mut A<P>,
    dp: *mut A<P>,
    /// Probabilities and gradients of the scores as rows of neighbouring queries, (BLOCK, BLOCK).
    p_rows: *mut P::W,
    ds_rows: *mut P::W,
    /// Gradients of the scores, neighbours being keys; where a word is one number, the same memory.
    ds: *mut P::W,
    /// Words from one row of `kt` to the next, and numbers of `dqt`.
    ld_kt: usize,
    ld_dqt: usize,
}

impl<P: Tile> Buffers<P> {
    fn new(start: *mut u8, shape: &Shape) -> (Self, usize) {
        let t = shape.queries.next_multiple_of(PAD);
        let dim = shape.padded_dim::<P>();
        let words = t * dim / P::PAIR;
        // A line more than a power of two, so that the rows of a product do not share cache sets.
        let (ld_kt, ld_dqt) = (t / P::PAIR + 16, t + 16);
        let mut carve = Carve { start, used: 0 };
        let ds_rows = carve.take(BLOCK * BLOCK / P::PAIR);
        let buffers = Self {
            ds: if P::PAIR == 1 {
                ds_rows
            } else {
                carve.take(BLOCK * BLOCK / P::PAIR)
            },
            ds_rows,
            p_rows: carve.take(BLOCK * BLOCK / P::PAIR),
            scores: carve.take(ROWS * P::COLS),
            dp: carve.take(ROWS * P::COLS),
            stage: carve.take(PAD.max(P::COLS) * dim),
            k: carve.take(words),
            v: carve.take(words),
            kt: carve.take(dim * ld_kt),
            q_panels: carve.take(words),
            do_panels: carve.take(words),
            q: carve.take(words),
            d_o: carve.take(words),
            dqt: carve.take(dim * ld_dqt),
            dk: carve.take(t * dim),
            dv: carve.take(t * dim),
            lse: carve.take(t),
            delta: carve.take(t),
            allowed: carve.take(t / P::COLS),
            ld_kt,
            ld_dqt,
        };
        (buffers, carve.used)
    }
}

impl<T: Tiled> BackwardPass<'_, T> {
    /// Computes the gradients of queries, keys and values.
    pub fn run(&self, cpu: &Cpu, workspace: &mut [u8]) {
        let shape = &self.shape;
        let scratch = Scratch::new(workspace, cpu.pool.threads());
        let tasks = shape.batch * shape.kv_heads;
        cpu.pool.run_with_worker(tasks, |worker, index| {
            let task = Task {
                pass: self,
                scratch: &scratch,
                worker,
                batch: index / shape.kv_heads,
                kv_head: index % shape.kv_heads,
            };
            T::run(cpu.isa, shape.dim, task);
        });
    }
}

/// One key-value head and its group.
struct Task<'a, T: Elem> {
    pass: &'a BackwardPass<'a, T>,
    scratch: &'a Scratch,
    worker: usize,
    batch: usize,
    kv_head: usize,
}

impl<T: Elem> TileKernel<T::Acc> for Task<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run<P: Tile<S: Simd<A = T::Acc>>>(self) {
        let (pass, shape) = (self.pass, &self.pass.shape);
        let (_, needed) = Buffers::<P>::new(std::ptr::null_mut(), shape);
        let start = self.scratch.of(self.worker, needed);
        let (buffers, _) = Buffers::<P>::new(start, shape);
        // SAFETY: the views hold the heads and tokens of the shape; the scratch was just measured.
        unsafe {
            self.pack_keys(&buffers);
            for g in 0..shape.group() {
                let head = self.kv_head * shape.group() + g;
                self.pack_queries(&buffers, head);
                for key in (0..shape.queries).step_by(BLOCK) {
                    for query in (key..shape.queries).step_by(BLOCK) {
                        self.block(&buffers, key, query, g > 0);
                    }
                }
                self.deliver_queries(&buffers, head);
            }
            let dim = shape.padded_dim::<P>();
            let dk = pass.dk.head(self.batch, self.kv_head);
            let dv = pass.dv.head(self.batch, self.kv_head);
            let (scale, one) = (P::S::c(shape.scale), P::S::splat(T::Acc::ONE));
            for i in 0..shape.queries {
                let (to_k, to_v) = (
                    dk.add(i * pass.dk.strides.row),
                    dv.add(i * pass.dv.strides.row),
                );
                prefetch(
                    to_k.wrapping_add(AHEAD * pass.dk.strides.row),
                    shape.dim,
                    true,
                );
                prefetch(
                    to_v.wrapping_add(AHEAD * pass.dv.strides.row),
                    shape.dim,
                    true,
                );
                deliver::<P, T>(buffers.dk.add(i * dim), scale, shape.dim, pass.add, to_k);
                deliver::<P, T>(buffers.dv.add(i * dim), one, shape.dim, pass.add, to_v);
            }
        }
    }
}

impl<T: Elem> Task<'_, T> {
    /// Adds what BLOCK keys and BLOCK queries have to do with each other.
    #[inline(always)]
    unsafe fn block<P: Tile<S: Simd<A = T::Acc>>>(
        &self,
        buffers: &Buffers<P>,
        key: usize,
        query: usize,
        add: bool,
    ) {
        let shape = &self.pass.shape;
        let (d, dim, cols) = (shape.dim, shape.padded_dim::<P>(), P::COLS);
        // SAFETY: `key` and `query` are multiples of BLOCK below the padded length.
        unsafe {
            let panels = buffers.allowed.add(query / cols);
            let min_start = (0..BLOCK / cols)
                .map(|p| (*panels.add(p)).min_start)
                .min()
                .unwrap_or(0);
            if key + BLOCK <= min_start {
                return;
            }
            for p in 0..BLOCK / cols {
                self.scores(buffers, key, query, p);
            }
            let diagonal = key == query;
            let row = BLOCK / P::PAIR;
            for i in (0..BLOCK).step_by(ROWS) {
                // On the diagonal, key i meets no query before i.
                let skip = if diagonal { i / P::PAIR } else { 0 };
                for col in (0..dim).step_by(cols) {
                    let right = |rows: *mut P::W| Factor {
                        at: rows.add((query / P::PAIR + skip) * dim + col).cast_const(),
                        ld: dim,
                    };
                    let left = |rows: *mut P::W| Factor {
                        at: rows.add(i * row + skip).cast_const(),
                        ld: row,
                    };
                    let at = (key + i) * dim + col;
                    let add = add || !diagonal;
                    let words = row - skip;
                    let (dv, dk) = (buffers.dv.add(at), buffers.dk.add(at));
                    product::<P>(
                        words,
                        left(buffers.p_rows),
                        right(buffers.d_o),
                        dv,
                        dim,
                        add,
                    );
                    product::<P>(words, left(buffers.ds_rows), right(buffers.q), dk, dim, add);
                }
            }
            // The first block of keys that these queries see sets their gradient.
            let add = key > min_start / BLOCK * BLOCK;
            for i in (0..d).step_by(ROWS) {
                let kt = Factor {
                    at: buffers
                        .kt
                        .add(i * buffers.ld_kt + key / P::PAIR)
                        .cast_const(),
                    ld: buffers.ld_kt,
                };
                for p in 0..BLOCK / cols {
                    // On the diagonal, panel p meets no key after its own queries.
                    let keys = if diagonal {
                        ((p + 1) * cols).next_multiple_of(P::PAIR)
                    } else {
                        BLOCK
                    };
                    let ds = Factor {
                        at: buffers.ds.add(p * cols).cast_const(),
                        ld: BLOCK,
                    };
                    let to = buffers.dqt.add(i * buffers.ld_dqt + query + p * cols);
                    product::<P>(keys / P::PAIR, kt, ds, to, buffers.ld_dqt, add);
                }
            }
        }
    }

    /// Probabilities and gradients of the scores of BLOCK keys and panel `p` of the block of queries.
    #[inline(always)]
    unsafe fn scores<P: Tile<S: Simd<A = T::Acc>>>(
        &self,
        buffers: &Buffers<P>,
        key: usize,
        query: usize,
        p: usize,
    ) {
        let shape = &self.pass.shape;
        let words = shape.padded_dim::<P>() / P::PAIR;
        let (cols, lanes) = (P::COLS, <P::S as Simd>::LANES);
        let scale = P::S::c(shape.scale * std::f64::consts::LOG2_E);
        let first = query + p * cols;
        // SAFETY: as for `block`.
        unsafe {
            let allowed = &*buffers.allowed.add(first / cols);
            let halves = |from: *mut A<P>| {
                [
                    P::S::load(from.add(first).cast_const()),
                    P::S::load(from.add(first + lanes).cast_const()),
                ]
            };
            let minus_lse = halves(buffers.lse).map(P::S::neg);
            let delta = halves(buffers.delta);
            for i in (0..BLOCK).step_by(ROWS) {
                let at = key + i;
                let unseen = at >= first + cols || at + ROWS <= allowed.min_start;
                if unseen || first >= shape.queries {
                    for j in (0..ROWS).step_by(2) {
                        let zero = [[P::S::zero(); 2]; 2];
                        put(buffers, i + j, p, zero, zero);
                    }
                    continue;
                }
                let left = |rows: *mut P::W| Factor {
                    at: rows.add(at * words).cast_const(),
                    ld: words,
                };
                let right = |panels: *mut P::W| Factor {
                    at: panels.add(first * words).cast_const(),
                    ld: cols,
                };
                let (k, q) = (left(buffers.k), right(buffers.q_panels));
                product::<P>(words, k, q, buffers.scores, cols, false);
                let (v, d_o) = (left(buffers.v), right(buffers.do_panels));
                product::<P>(words, v, d_o, buffers.dp, cols, false);
                let hides = allowed.hides(at);
                for j in (0..ROWS).step_by(2) {
                    let mut probability = [[P::S::zero(); 2]; 2];
                    let mut ds = probability;
                    for r in 0..2 {
                        for h in 0..2 {
                            let from = (j + r) * cols + h * lanes;
                            let mut s = P::S::load(buffers.scores.add(from));
                            if hides {
                                s = allowed.mask(at + j + r, h, s);
                            }
                            let e = P::exp2(P::S::fma(s, scale, minus_lse[h]));
                            let dp = P::S::load(buffers.dp.add(from));
                            probability[r][h] = e;
                            ds[r][h] = P::S::mul(e, P::S::sub(dp, delta[h]));
                        }
                    }
                    put(buffers, i + j, p, probability, ds);
                }
            }
        }
    }
}

/// Stores two keys (from `key` of the block on) of panel `p`, (key, half), as factors.
#[inline(always)]
unsafe fn put<P: Tile>(
    buffers: &Buffers<P>,
    key: usize,
    p: usize,
    probability: [[V<P>; 2]; 2],
    ds: [[V<P>; 2]; 2],
) {
    let (cols, lanes) = (P::COLS, <P::S as Simd>::LANES);
    // SAFETY: the caller vouches for the block.
    unsafe {
        for r in 0..2 {
            let at = ((key + r) * BLOCK + p * cols) / P::PAIR;
            P::put_cols(probability[r][0], probability[r][1], buffers.p_rows.add(at));
            P::put_cols(ds[r][0], ds[r][1], buffers.ds_rows.add(at));
        }
        if P::PAIR == 2 {
            for h in 0..2 {
                let at = key / 2 * BLOCK + p * cols + h * lanes;
                P::put_rows(ds[0][h], ds[1][h], buffers.ds.add(at), BLOCK);
            }
        }
    }
}
