//! Embedding on the CPU: rows are copied forward, and added backward by the task that owns the row of the table.

#![expect(unsafe_code, reason = "rows written by different threads")]

use crate::arena::Shared;
use crate::cpu::rows::parallel;
use crate::cpu::simd::{Kernel, Simd, blocks, run};
use crate::op::{Backward, Forward, GradMode};
use crate::{Elem, Float as _};

/// Number of tasks that own the rows of the table: row v belongs to task `v % OWNERS`.
const OWNERS: usize = 32;

pub(super) fn forward<P: Elem>(cx: &mut Forward<'_>) {
    let (ids, table, cols) = (cx.inputs[0].as_i32(), cx.input::<P>(1), cx.metas[1].cols());
    let x = Shared::new(cx.output::<P::Acc>(0));
    parallel(&cx.cpu.pool, ids.len(), cols, |start, end| {
        // SAFETY: each task has rows of its own.
        let x = unsafe { x.slice(start * cols, (end - start) * cols) };
        for (&id, x) in ids[start..end].iter().zip(x.chunks_exact_mut(cols)) {
            let row = &table[id as usize * cols..][..cols];
            for (x, w) in x.iter_mut().zip(row) {
                *x = w.get();
            }
        }
    });
}

pub(super) fn backward<P: Elem>(cx: &mut Backward<'_>) {
    let Some((gradient, mode)) = cx.d_input::<P>(1) else {
        return;
    };
    let (vocab, cols) = (cx.metas[1].shape[0], cx.metas[1].cols());
    let (ids, dx) = (
        cx.input_i32(0),
        cx.d_output::<P>(0).expect("the gradient of the output"),
    );
    let (isa, shared) = (cx.cpu.isa, Shared::new(gradient));
    if mode == GradMode::Set {
        parallel(&cx.cpu.pool, vocab, cols, |start, end| {
            // SAFETY: each task has rows of its own.
            let rows = unsafe { shared.slice(start * cols, (end - start) * cols) };
            rows.fill(P::put(P::Acc::ZERO));
        });
    }
    cx.cpu.pool.run(OWNERS.min(vocab), |owner| {
        let kernel = OwnedRows {
            owner,
            vocab,
            cols,
            ids,
            dx,
            gradient: shared,
        };
        run(isa, kernel);
    });
}

struct OwnedRows<'a, P> {
    owner: usize,
    vocab: usize,
    cols: usize,
    ids: &'a [i32],
    dx: &'a [P],
    gradient: Shared<P>,
}

impl<P: Elem> Kernel<P::Acc> for OwnedRows<'_, P> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<A = P::Acc>>(self) {
        for (t, &id) in self.ids.iter().enumerate() {
            let id = id as usize;
            if id % OWNERS != self.owner {
                continue;
            }
            assert!(id < self.vocab, "id {id} lies outside the table");
            let dx = &self.dx[t * self.cols..(t + 1) * self.cols];
            // SAFETY: the row lies in the table (checked above) and is this task's own.
            let row = unsafe { self.gradient.slice(id * self.cols, self.cols) };
            for i in blocks::<S>(self.cols) {
                let sum = S::add(i.load::<S, P>(row), i.load::<S, P>(dx));
                i.store::<S, P>(row, sum);
            }
        }
    }
}
