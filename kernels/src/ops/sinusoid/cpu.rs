//! Sinusoidal positions on the CPU: a table for the call, then one pass of additions.

#![expect(unsafe_code, reason = "rows written by different threads")]

use super::Sinusoid;
use crate::Elem;
use crate::arena::Shared;
use crate::cpu::angles::Table;
use crate::cpu::rows::parallel;
use crate::cpu::simd::{Kernel, Simd, blocks, run};
use crate::op::Forward;

pub(super) fn forward<X: Elem>(cx: &mut Forward<'_>) {
    let (x, positions) = (cx.input::<X>(0), cx.inputs[1].as_i32());
    let (cols, seq) = (cx.metas[0].cols(), cx.metas[1].cols());
    let (pool, isa, workspace) = (&cx.cpu.pool, cx.cpu.isa, cx.take_workspace());
    let y = Shared::new(cx.output::<X>(0));
    Sinusoid::angles(cols).each::<X::Acc>(pool, positions, seq, workspace, |table, from, to| {
        parallel(pool, to - from, cols, |start, end| {
            let (start, end) = (from + start, from + end);
            let rows = Rows {
                table,
                positions: &positions[start..end],
                first: start,
                x: &x[start * cols..end * cols],
                // SAFETY: each task has rows of its own.
                y: unsafe { y.slice(start * cols, (end - start) * cols) },
                cols,
            };
            run(isa, rows);
        });
    });
}

struct Rows<'a, X: Elem> {
    table: Table<'a, X::Acc>,
    positions: &'a [i32],
    /// Index of the first token in the batch.
    first: usize,
    x: &'a [X],
    y: &'a mut [X],
    cols: usize,
}

impl<X: Elem> Kernel<X::Acc> for Rows<'_, X> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<A = X::Acc>>(self) {
        let rows = self
            .x
            .chunks_exact(self.cols)
            .zip(self.y.chunks_exact_mut(self.cols));
        for (t, ((x, y), &position)) in rows.zip(self.positions).enumerate() {
            let encoding = self.table.row(self.first + t, position);
            for i in blocks::<S>(self.cols) {
                let sum = S::add(i.load::<S, X>(x), i.load::<S, _>(encoding));
                i.store::<S, X>(y, sum);
            }
        }
    }
}
