//! What normalisations of rows share: the walk over the rows, forward and backward, with or without the residual addition
//! before the norm.
//!
//! The mathematics of a row is a [`RowNorm`] in the norm's own folder ([`crate::ops::rmsnorm`],
//! [`crate::ops::layernorm`]); [`crate::ops::add_norm`] is the walk with the addition. May touch only the slices it is given.

#![expect(unsafe_code, reason = "rows written by different threads")]

use super::Cpu;
use super::rows::{CHUNKS, chunk, parallel};
use super::simd::{Block, Kernel, Simd, blocks, run};
use crate::arena::Shared;
use crate::op::GradMode;
use crate::{Elem, Float};

/// A normalisation of one row of `cols` elements, with its parameters.
pub trait RowNorm<A: Float>: Copy + Send + Sync {
    /// Elements of a row.
    fn cols(&self) -> usize;

    /// Number of parameter vectors whose gradients [`RowNorm::backward_row`] sums: 1 (gain) or 2 (gain, bias).
    fn params(&self) -> usize;

    /// Writes the normalised row and returns its statistics (as many as the norm saves, then zeros).
    fn forward_row<S: Simd<A = A>, X: Elem<Acc = A>, N: Elem<Acc = A>>(
        &self,
        x: &[X],
        n: &mut [N],
    ) -> [A; 2];

    /// Adds this row's part of the parameters' gradients to `sums` (one vector after the other) and puts the gradient of the
    /// row into `out`.
    fn backward_row<S: Simd<A = A>, X: Elem<Acc = A>, Y: Elem<Acc = A>, N: Elem<Acc = A>>(
        &self,
        x: &[X],
        dn: &[N],
        stats: [A; 2],
        sums: &mut [A],
        out: &mut RowGrad<'_, X, Y>,
    );
}

/// The memory of a gradient and how it is delivered.
pub type Delivery<'a, T> = (&'a mut [T], GradMode);

/// Where the gradient of a row goes.
#[derive(Debug)]
pub struct RowGrad<'a, X, Y> {
    /// A gradient that reaches the row by another way, to be added.
    pub through: Option<&'a [X]>,
    /// Gradient of the row, and how it is delivered. [`GradMode::InPlace`]: `through` lies here.
    pub dx: Option<Delivery<'a, X>>,
    /// Gradient of the addend: the same values, rounded.
    pub dy: Option<Delivery<'a, Y>>,
}

impl<X: Elem, Y: Elem<Acc = X::Acc>> RowGrad<'_, X, Y> {
    /// Whether any gradient is wanted.
    #[inline(always)]
    pub fn is_wanted(&self) -> bool {
        self.dx.is_some() || self.dy.is_some()
    }

    /// Delivers the part `v` of the norm's gradient.
    #[inline(always)]
    pub fn put<S: Simd<A = X::Acc>>(&mut self, i: Block, mut v: S::V) {
        if let Some(through) = self.through {
            v = S::add(v, i.load::<S, X>(through));
        }
        if let Some((dx, mode)) = &mut self.dx {
            let mut out = v;
            if *mode != GradMode::Set {
                out = S::add(out, i.load::<S, X>(dx));
            }
            if *mode == GradMode::InPlace {
                v = out;
            }
            i.store::<S, X>(dx, out);
        }
        if let Some((dy, mode)) = &mut self.dy {
            if *mode == GradMode::Add {
                v = S::add(v, i.load::<S, Y>(dy));
            }
            i.store::<S, Y>(dy, v);
        }
    }
}

/// Tensors of a forward. X is the type of the rows, Y of the addend, N of the normalised rows.
#[derive(Debug)]
pub struct Forward<'a, X: Elem, Y, N> {
    /// Rows.
    pub x: &'a [X],
    /// Addend and where the sum goes, which is then what is normalised.
    pub add: Option<(&'a [Y], &'a mut [X])>,
    /// Normalised rows.
    pub n: &'a mut [N],
    /// Statistics to save, one value a row each.
    pub stats: [Option<&'a mut [X::Acc]>; 2],
}

/// Normalises all rows.
pub fn forward<R: RowNorm<X::Acc>, X: Elem, Y: Elem<Acc = X::Acc>, N: Elem<Acc = X::Acc>>(
    cpu: &Cpu,
    norm: R,
    all: Forward<'_, X, Y, N>,
) {
    let cols = norm.cols();
    let (x, n) = (all.x, Shared::new(all.n));
    let add = all.add.map(|(y, s)| (y, Shared::new(s)));
    let stats = all.stats.map(|stat| stat.map(Shared::new));
    parallel(&cpu.pool, x.len() / cols, cols, |start, end| {
        let (at, len) = (start * cols, (end - start) * cols);
        // SAFETY: each task has rows of its own.
        let rows = unsafe {
            Forward {
                x: &x[at..at + len],
                add: add.map(|(y, s)| (&y[at..at + len], s.slice(at, len))),
                n: n.slice(at, len),
                stats: stats.map(|stat| stat.map(|stat| stat.slice(start, end - start))),
            }
        };
        run(cpu.isa, ForwardRows { norm, rows });
    });
}

struct ForwardRows<'a, R, X: Elem, Y, N> {
    norm: R,
    rows: Forward<'a, X, Y, N>,
}

impl<R, X, Y, N> Kernel<X::Acc> for ForwardRows<'_, R, X, Y, N>
where
    R: RowNorm<X::Acc>,
    X: Elem,
    Y: Elem<Acc = X::Acc>,
    N: Elem<Acc = X::Acc>,
{
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<A = X::Acc>>(self) {
        let (norm, mut rows, cols) = (self.norm, self.rows, self.norm.cols());
        for (row, n) in rows.n.chunks_exact_mut(cols).enumerate() {
            let here = row * cols..(row + 1) * cols;
            let mut x = &rows.x[here.clone()];
            if let Some((y, s)) = &mut rows.add {
                let (y, s) = (&y[here.clone()], &mut s[here]);
                for i in blocks::<S>(cols) {
                    i.store::<S, X>(s, S::add(i.load::<S, X>(x), i.load::<S, Y>(y)));
                }
                x = s;
            }
            let stats = norm.forward_row::<S, X, N>(x, n);
            for (saved, stat) in rows.stats.iter_mut().zip(stats) {
                if let Some(saved) = saved {
                    saved[row] = stat;
                }
            }
        }
    }
}

/// Tensors of a backward. X is the type of the rows, Y of the addend, N of the normalised rows.
#[derive(Debug)]
pub struct Backward<'a, X: Elem, Y, N> {
    /// What was normalised.
    pub x: &'a [X],
    /// Gradient of the normalised rows.
    pub dn: &'a [N],
    /// Saved statistics; those that the norm does not have are empty.
    pub stats: [&'a [X::Acc]; 2],
    /// Where the gradients of the rows go.
    pub out: RowGrad<'a, X, Y>,
    /// Gradients of the parameters.
    pub d_params: [Option<Delivery<'a, X::Acc>>; 2],
    /// Scratch: [`CHUNKS`] times the parameters.
    pub partial: &'a mut [X::Acc],
}

/// Gradients of all rows and of the parameters, whose sums over the rows are folded from [`CHUNKS`] parts.
pub fn backward<R: RowNorm<X::Acc>, X: Elem, Y: Elem<Acc = X::Acc>, N: Elem<Acc = X::Acc>>(
    cpu: &Cpu,
    norm: R,
    all: Backward<'_, X, Y, N>,
) {
    let (cols, width) = (norm.cols(), norm.params() * norm.cols());
    let (x, dn, through) = (all.x, all.dn, all.out.through);
    let dx = all.out.dx.map(|(dx, mode)| (Shared::new(dx), mode));
    let dy = all.out.dy.map(|(dy, mode)| (Shared::new(dy), mode));
    let stats = all.stats;
    let partial = &mut all.partial[..CHUNKS * width];
    let sums = Shared::new(partial);
    cpu.pool.run(CHUNKS, |index| {
        let (start, end) = chunk(x.len() / cols, index);
        let (at, len) = (start * cols, (end - start) * cols);
        // SAFETY: each task has a chunk of rows and a row of `partial` of its own.
        let (out, sums) = unsafe {
            (
                RowGrad {
                    through: through.map(|t| &t[at..at + len]),
                    dx: dx.map(|(dx, mode)| (dx.slice(at, len), mode)),
                    dy: dy.map(|(dy, mode)| (dy.slice(at, len), mode)),
                },
                sums.slice(index * width, width),
            )
        };
        let rows = BackwardRows {
            norm,
            x: &x[at..at + len],
            dn: &dn[at..at + len],
            stats: stats.map(|s| if s.is_empty() { s } else { &s[start..end] }),
            out,
            sums,
        };
        run(cpu.isa, rows);
    });
    for (param, target) in all.d_params.into_iter().enumerate() {
        if let Some((target, mode)) = target {
            fold(cpu, &partial[param * cols..], width, target, mode);
        }
    }
}

struct BackwardRows<'a, R, X: Elem, Y, N> {
    norm: R,
    x: &'a [X],
    dn: &'a [N],
    stats: [&'a [X::Acc]; 2],
    out: RowGrad<'a, X, Y>,
    sums: &'a mut [X::Acc],
}

impl<R, X, Y, N> Kernel<X::Acc> for BackwardRows<'_, R, X, Y, N>
where
    R: RowNorm<X::Acc>,
    X: Elem,
    Y: Elem<Acc = X::Acc>,
    N: Elem<Acc = X::Acc>,
{
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<A = X::Acc>>(mut self) {
        let cols = self.norm.cols();
        self.sums.fill(S::A::ZERO);
        for (row, (x, dn)) in self
            .x
            .chunks_exact(cols)
            .zip(self.dn.chunks_exact(cols))
            .enumerate()
        {
            let here = row * cols..(row + 1) * cols;
            let mut out = RowGrad {
                through: self.out.through.map(|t| &t[here.clone()]),
                dx: self
                    .out
                    .dx
                    .as_mut()
                    .map(|(dx, mode)| (&mut dx[here.clone()], *mode)),
                dy: self
                    .out
                    .dy
                    .as_mut()
                    .map(|(dy, mode)| (&mut dy[here], *mode)),
            };
            let stats = self
                .stats
                .map(|s| s.get(row).copied().unwrap_or(S::A::ZERO));
            self.norm
                .backward_row::<S, X, Y, N>(x, dn, stats, self.sums, &mut out);
        }
    }
}

/// Sums the parts of a parameter's gradient in their order. Part c of the vector starts at `partial[c * stride]`.
pub fn fold<A: Float>(cpu: &Cpu, partial: &[A], stride: usize, target: &mut [A], mode: GradMode) {
    let kernel = Fold {
        partial,
        stride,
        target,
        mode,
    };
    run(cpu.isa, kernel);
}

struct Fold<'a, A> {
    partial: &'a [A],
    stride: usize,
    target: &'a mut [A],
    mode: GradMode,
}

impl<A: Float> Kernel<A> for Fold<'_, A> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<A = A>>(self) {
        for i in blocks::<S>(self.target.len()) {
            let mut sum = S::zero();
            for c in 0..CHUNKS {
                sum = S::add(sum, i.load::<S, A>(&self.partial[c * self.stride..]));
            }
            if self.mode == GradMode::Add {
                sum = S::add(i.load::<S, A>(self.target), sum);
            }
            i.store::<S, A>(self.target, sum);
        }
    }
}
