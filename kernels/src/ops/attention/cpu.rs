//! Attention on the CPU: views of the tensors, scratch memory, and the split into tasks. The mathematics is in
//! [`forward`] and [`backward`], what they are built from in [`tile`].

#![expect(
    unsafe_code,
    reason = "tasks write disjoint parts of shared tensors, through vectors of a chosen instruction set"
)]

#[cfg(target_arch = "x86_64")]
mod avx512;
mod backward;
mod forward;
mod tile;

pub(in crate::ops) use backward::{BackwardPass, backward_workspace};
pub(in crate::ops) use forward::{ForwardPass, forward_workspace};
pub(in crate::ops) use tile::Tiled;

use crate::Elem;
use crate::arena::ALIGN;
use crate::cpu::simd::Simd;
use tile::{A, Tile, V};

/// Lengths of sequences are padded to this inside scratch memory: a multiple of every block.
const PAD: usize = 64;

/// The shape of a problem: `batch` sequences of `queries` new tokens, of which the first stands at `offset`.
#[derive(Clone, Copy, Debug)]
pub(in crate::ops) struct Shape {
    /// Sequences.
    pub batch: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Size of a head.
    pub dim: usize,
    /// New tokens of a sequence.
    pub queries: usize,
    /// Tokens of a sequence before them, which have keys and values only.
    pub offset: usize,
    /// What scores are multiplied by.
    pub scale: f64,
}

impl Shape {
    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// Size of a head in scratch memory: whole columns and whole rows of products.
    fn padded_dim<P: Tile>(&self) -> usize {
        self.dim.next_multiple_of(P::COLS.max(tile::ROWS))
    }
}

/// Heads inside a tensor: elements from one sequence, head or token to the next.
#[derive(Clone, Copy, Debug)]
pub(in crate::ops) struct Strides {
    /// Between sequences.
    pub batch: usize,
    /// Between heads.
    pub head: usize,
    /// Between tokens.
    pub row: usize,
}

/// Heads to read.
#[derive(Clone, Copy, Debug)]
pub(in crate::ops) struct View<T> {
    at: *const T,
    strides: Strides,
}

// SAFETY: a view of plain numbers that its borrow (in the pass that holds it) keeps from being written.
unsafe impl<T: Elem> Sync for View<T> {}

impl<T> View<T> {
    /// The heads that start at element `from` of `data`.
    pub fn new(data: &[T], from: usize, strides: Strides) -> Self {
        let at = data[from..].as_ptr();
        Self { at, strides }
    }

    /// Token 0 of a head.
    fn head(&self, batch: usize, head: usize) -> *const T {
        self.at
            .wrapping_add(batch * self.strides.batch + head * self.strides.head)
    }
}

/// Heads to write: tasks write different ones, or different tokens.
#[derive(Clone, Copy, Debug)]
pub(in crate::ops) struct ViewMut<T> {
    at: *mut T,
    strides: Strides,
}

// SAFETY: tasks write disjoint elements through it.
unsafe impl<T: Elem> Sync for ViewMut<T> {}

impl<T> ViewMut<T> {
    /// The heads that start at element `from` of `data`.
    pub fn new(data: &mut [T], from: usize, strides: Strides) -> Self {
        let at = data[from..].as_mut_ptr();
        Self { at, strides }
    }

    /// Token 0 of a head.
    fn head(&self, batch: usize, head: usize) -> *mut T {
        self.at
            .wrapping_add(batch * self.strides.batch + head * self.strides.head)
    }
}

/// Cuts scratch memory into aligned pieces; from a null start it only counts.
struct Carve {
    start: *mut u8,
    used: usize,
}

impl Carve {
    fn take<W>(&mut self, len: usize) -> *mut W {
        let at = self.start.wrapping_add(self.used).cast();
        self.used += (len * size_of::<W>()).next_multiple_of(ALIGN);
        at
    }
}

/// Scratch memory, an equal piece for each worker.
struct Scratch {
    start: *mut u8,
    each: usize,
}

// SAFETY: a worker touches its own piece only.
unsafe impl Sync for Scratch {}

impl Scratch {
    fn new(workspace: &mut [u8], threads: usize) -> Self {
        let each = workspace.len() / threads / ALIGN * ALIGN;
        Self {
            start: workspace.as_mut_ptr(),
            each,
        }
    }

    /// The piece of a worker, of which `needed` bytes will be used.
    fn of(&self, worker: usize, needed: usize) -> *mut u8 {
        assert!(needed <= self.each, "attention got too little scratch");
        self.start.wrapping_add(worker * self.each)
    }
}

/// Which keys the queries of one panel may see: `start <= key <= position`.
#[derive(Clone, Copy)]
struct Allowed<P: Tile> {
    start: [V<P>; 2],
    position: [V<P>; 2],
    /// Keys before it are seen by no query.
    min_start: usize,
    /// Keys from it on, up to `first`, are seen by all.
    max_start: usize,
    /// Position of the first query.
    first: usize,
}

impl<P: Tile> Allowed<P> {
    /// The panel whose queries begin with number `query`, of which `count` exist; the others count as its last.
    #[inline(always)]
    fn new(starts: Option<&[i32]>, query: usize, count: usize, offset: usize) -> Self {
        let lanes = <P::S as Simd>::LANES;
        let mut start = [A::<P>::default(); 32];
        let mut position = start;
        let (mut min_start, mut max_start) = (usize::MAX, 0);
        for i in 0..P::COLS {
            // A start behind the query itself, which no caller should give, counts as the query.
            let last = query + i.min(count - 1);
            let s = starts.map_or(0, |starts| starts[last].max(0) as usize);
            let s = s.min(offset + last);
            min_start = min_start.min(s);
            max_start = max_start.max(s);
            start[i] = number::<P>(s);
            position[i] = number::<P>(offset + query + i);
        }
        // SAFETY: the buffers hold 32 numbers, at least `COLS`.
        let vectors = |from: &[A<P>; 32]| unsafe {
            [
                P::S::load(from.as_ptr()),
                P::S::load(from.as_ptr().add(lanes)),
            ]
        };
        Self {
            start: vectors(&start),
            position: vectors(&position),
            min_start,
            max_start,
            first: offset + query,
        }
    }

    /// Whether some of the keys `key .. key + ROWS` are hidden from some query.
    #[inline(always)]
    fn hides(&self, key: usize) -> bool {
        key + tile::ROWS > self.first + 1 || key < self.max_start
    }

    /// Scores of `key` with half `h` of the panel: minus infinity where it is hidden.
    #[inline(always)]
    fn mask(&self, key: usize, h: usize, scores: V<P>) -> V<P> {
        let at = P::S::splat(number::<P>(key));
        let hidden = P::S::splat(<A<P> as crate::Float>::NEG_INFINITY);
        let scores = P::S::select_gt(at, self.position[h], hidden, scores);
        P::S::select_gt(self.start[h], at, hidden, scores)
    }
}

/// An index as a number: exact, as sequences are shorter than 2^24.
#[inline(always)]
fn number<P: Tile>(index: usize) -> A<P> {
    <A<P> as crate::Float>::from_f64(index as f64)
}

/// Rows from the one in use to the one that is asked for: heads lie too far apart for the machine to foresee.
const AHEAD: usize = 16;

/// Asks for the cache lines of a row of `d` elements, to write them or only to read. Any address will do.
#[inline(always)]
pub(in crate::ops) fn prefetch<T>(row: *const T, d: usize, write: bool) {
    #[cfg(target_arch = "x86_64")]
    for at in (0..d * size_of::<T>()).step_by(64) {
        use std::arch::x86_64::{_MM_HINT_ET0, _MM_HINT_T0, _mm_prefetch};
        let line = row.cast::<i8>().wrapping_add(at);
        // SAFETY: a prefetch reads nothing that the program can see, and faults nowhere.
        unsafe {
            if write {
                _mm_prefetch::<_MM_HINT_ET0>(line);
            } else {
                _mm_prefetch::<_MM_HINT_T0>(line);
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (row, d, write);
}

/// Writes or adds `factor` times a row of `d` numbers.
#[inline(always)]
unsafe fn deliver<P: Tile, T: Elem<Acc = A<P>>>(
    src: *const A<P>,
    factor: V<P>,
    d: usize,
    add: bool,
    dst: *mut T,
) {
    let lanes = <P::S as Simd>::LANES;
    // SAFETY: the caller vouches for `d` numbers at both ends; `load_part` and `store_part` stay within them.
    unsafe {
        for i in (0..d).step_by(lanes) {
            let rest = d - i;
            let (from, to) = (src.add(i), dst.add(i));
            if rest >= lanes {
                let mut x = P::S::mul(factor, P::S::load(from));
                if add {
                    x = P::S::add(x, P::S::load(to.cast_const()));
                }
                P::store(to, x);
            } else {
                let mut x = P::S::mul(factor, P::S::load_part(from, rest));
                if add {
                    x = P::S::add(x, P::S::load_part(to.cast_const(), rest));
                }
                P::S::store_part(to, x, rest);
            }
        }
    }
}
