//! Rotary positions on the CPU: a table of cosines and sines for the call, then one pass over the rows.

#![expect(unsafe_code, reason = "rows written by different threads")]

use super::{Layout, Rope, Turn};
use crate::arena::Shared;
use crate::cpu::angles::Table;
use crate::cpu::rows::parallel;
use crate::cpu::simd::{Kernel, Simd, blocks, run};
use crate::op::{Backward, Forward, GradMode};
use crate::{Cpu, Elem};

pub(super) fn forward<X: Elem>(op: &Rope, cx: &mut Forward<'_>) {
    let (x, positions) = (cx.input::<X>(0), cx.inputs[1].as_i32());
    let (y, seq, workspace) = (cx.output::<X>(0), cx.metas[1].cols(), cx.take_workspace());
    let source = Some(x);
    rotate(
        op,
        cx.cpu,
        source,
        y,
        positions,
        seq,
        Turn::Forward,
        false,
        workspace,
    );
}

pub(super) fn backward<X: Elem>(op: &Rope, cx: &mut Backward<'_>) {
    let Some((dx, mode)) = cx.d_input::<X>(0) else {
        return;
    };
    let source = if mode == GradMode::InPlace {
        None
    } else {
        Some(cx.d_output::<X>(0).expect("the gradient of the output"))
    };
    let (positions, seq, workspace) = (cx.input_i32(1), cx.metas[1].cols(), cx.take_workspace());
    let add = mode == GradMode::Add;
    rotate(
        op,
        cx.cpu,
        source,
        dx,
        positions,
        seq,
        Turn::Back,
        add,
        workspace,
    );
}

/// Turns `source` (what is in `target`, if `None`) into `target`, or adds the turned values to it.
pub(super) fn rotate<X: Elem>(
    op: &Rope,
    cpu: &Cpu,
    source: Option<&[X]>,
    target: &mut [X],
    positions: &[i32],
    seq: usize,
    turn: Turn,
    add: bool,
    workspace: &mut [u8],
) {
    let cols = op.total_heads * op.head_dim;
    assert_eq!(target.len(), positions.len() * cols, "a row a position");
    let target = Shared::new(target);
    op.angles()
        .each::<X::Acc>(&cpu.pool, positions, seq, workspace, |table, from, to| {
            parallel(&cpu.pool, to - from, cols, |start, end| {
                let (start, end) = (from + start, from + end);
                let rows = Rows {
                    op,
                    table,
                    positions: &positions[start..end],
                    first: start,
                    source: source.map(|x| &x[start * cols..end * cols]),
                    // SAFETY: each task has rows of its own.
                    target: unsafe { target.slice(start * cols, (end - start) * cols) },
                    turn,
                    add,
                };
                run(cpu.isa, rows);
            });
        });
}

struct Rows<'a, X: Elem> {
    op: &'a Rope,
    table: Table<'a, X::Acc>,
    positions: &'a [i32],
    /// Index of the first token in the batch.
    first: usize,
    source: Option<&'a [X]>,
    target: &'a mut [X],
    turn: Turn,
    add: bool,
}

impl<X: Elem> Kernel<X::Acc> for Rows<'_, X> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<A = X::Acc>>(self) {
        let (width, cols) = (self.op.head_dim, self.op.total_heads * self.op.head_dim);
        for (t, &position) in self.positions.iter().enumerate() {
            let angles = self.table.row(self.first + t, position);
            let angles = angles.split_at(angles.len() / 2);
            let row = t * cols..(t + 1) * cols;
            let source = self.source.map(|x| &x[row.clone()]);
            let target = &mut self.target[row];
            let turned = self.op.heads * width;
            for head in (0..turned).step_by(width) {
                let source = source.map(|x| &x[head..head + width]);
                let target = &mut target[head..head + width];
                match self.op.layout {
                    Layout::Half => half::<S, X>(source, target, angles, self.turn, self.add),
                    Layout::Interleaved => {
                        interleaved::<S, X>(source, target, angles, self.turn, self.add);
                    }
                }
            }
            let Some(source) = source else { continue };
            let (source, target) = (&source[turned..], &mut target[turned..]);
            if !self.add {
                target.copy_from_slice(source);
                continue;
            }
            for i in blocks::<S>(source.len()) {
                let sum = S::add(i.load::<S, X>(target), i.load::<S, X>(source));
                i.store::<S, X>(target, sum);
            }
        }
    }
}

/// One head whose pairs are `(i, i + D/2)`.
#[inline(always)]
fn half<S: Simd, X: Elem<Acc = S::A>>(
    source: Option<&[X]>,
    target: &mut [X],
    (cos, sin): (&[S::A], &[S::A]),
    turn: Turn,
    add: bool,
) {
    let pairs = cos.len();
    let source = source.map(|x| x.split_at(pairs));
    let (first, second) = target.split_at_mut(pairs);
    for i in blocks::<S>(pairs) {
        let (a, b) = match source {
            Some((a, b)) => (i.load::<S, X>(a), i.load::<S, X>(b)),
            None => (i.load::<S, X>(first), i.load::<S, X>(second)),
        };
        let (c, mut s) = (i.load::<S, _>(cos), i.load::<S, _>(sin));
        if turn == Turn::Back {
            s = S::neg(s);
        }
        let mut x = S::sub(S::mul(a, c), S::mul(b, s));
        let mut y = S::fma(a, s, S::mul(b, c));
        if add {
            x = S::add(x, i.load::<S, X>(first));
            y = S::add(y, i.load::<S, X>(second));
        }
        i.store::<S, X>(first, x);
        i.store::<S, X>(second, y);
    }
}

/// One head whose pairs are `(2i, 2i + 1)`: `x cos + x' sin`, where x' has the elements of each pair exchanged, cos stands
/// twice and sin has the signs `-, +` ([`crate::cpu::angles::Order::Doubled`]).
#[inline(always)]
fn interleaved<S: Simd, X: Elem<Acc = S::A>>(
    source: Option<&[X]>,
    target: &mut [X],
    (cos, sin): (&[S::A], &[S::A]),
    turn: Turn,
    add: bool,
) {
    if S::LANES == 1 {
        return interleaved_pairs::<X>(source, target, (cos, sin), turn, add);
    }
    for i in blocks::<S>(cos.len()) {
        let from = source.unwrap_or(target);
        let (x, swapped) = (i.load::<S, X>(from), i.load_swapped::<S, X>(from));
        let mut s = i.load::<S, _>(sin);
        if turn == Turn::Back {
            s = S::neg(s);
        }
        let mut y = S::fma(swapped, s, S::mul(x, i.load::<S, _>(cos)));
        if add {
            y = S::add(y, i.load::<S, X>(target));
        }
        i.store::<S, X>(target, y);
    }
}

/// The same without vectors.
#[inline(always)]
fn interleaved_pairs<X: Elem>(
    source: Option<&[X]>,
    target: &mut [X],
    (cos, sin): (&[X::Acc], &[X::Acc]),
    turn: Turn,
    add: bool,
) {
    for i in (0..cos.len()).step_by(2) {
        let from = source.unwrap_or(target);
        let (a, b, c) = (from[i].get(), from[i + 1].get(), cos[i]);
        let s = if turn == Turn::Back {
            sin[i]
        } else {
            sin[i + 1]
        };
        let (mut x, mut y) = (a * c - b * s, a * s + b * c);
        if add {
            x += target[i].get();
            y += target[i + 1].get();
        }
        target[i] = X::put(x);
        target[i + 1] = X::put(y);
    }
}
