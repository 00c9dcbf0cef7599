//! The linear map on the CPU: one product forward, two backward, and the column sums of the bias.

#![expect(
    unsafe_code,
    reason = "each thread writes the sums of its own chunk of rows"
)]

use super::product;
use crate::arena::{Shared, scratch_of};
use crate::cpu::gemm::{Epilogue, Mat, MatMut, gemm};
use crate::cpu::rows::{CHUNKS, chunk};
use crate::cpu::simd::{Kernel, Simd, blocks, run};
use crate::op::{Backward, Forward, GradMode};
use crate::{Cpu, Elem, Float as _, Slot, SlotMut};

pub(super) fn forward<X: Elem, Y: Elem<Acc = X::Acc>>(cx: &mut Forward<'_>) {
    let (m, n, k) = (cx.metas[0].rows(), cx.metas[1].shape[0], cx.metas[1].cols());
    let x = Mat::new(Slot::new(cx.input::<X>(0)), m, k);
    // As it lies in memory: a session that only reads may keep it in bf16.
    let w = Mat::new(cx.inputs[1], n, k);
    let bias = (cx.inputs.len() == 3).then(|| cx.inputs[2]);
    let y = MatMut::new(SlotMut::new(cx.output::<Y>(0)), m, n);
    let epilogue = Epilogue {
        accumulate: false,
        bias,
    };
    gemm(
        cx.cpu,
        product(Y::DTYPE),
        x,
        w.t(),
        y,
        epilogue,
        cx.take_workspace(),
    );
}

pub(super) fn backward<X: Elem, Y: Elem<Acc = X::Acc>>(cx: &mut Backward<'_>) {
    let (m, n, k) = (cx.metas[0].rows(), cx.metas[1].shape[0], cx.metas[1].cols());
    let dy = cx.d_output::<Y>(0).expect("the gradient of the output");
    let dy_mat = Mat::new(Slot::new(dy), m, n);
    let precision = product(Y::DTYPE);
    let scratch = cx.take_workspace();
    if let Some((dx, mode)) = cx.d_input::<X>(0) {
        let w = Mat::new(Slot::new(cx.input::<X::Acc>(1)), n, k);
        let epilogue = Epilogue {
            accumulate: mode == GradMode::Add,
            bias: None,
        };
        gemm(
            cx.cpu,
            precision,
            dy_mat,
            w,
            MatMut::new(SlotMut::new(dx), m, k),
            epilogue,
            scratch,
        );
    }
    if let Some((dw, mode)) = cx.d_input::<X::Acc>(1) {
        let x = Mat::new(Slot::new(cx.input::<X>(0)), m, k);
        let epilogue = Epilogue {
            accumulate: mode == GradMode::Add,
            bias: None,
        };
        gemm(
            cx.cpu,
            precision,
            dy_mat.t(),
            x,
            MatMut::new(SlotMut::new(dw), n, k),
            epilogue,
            scratch,
        );
    }
    if cx.metas.len() == 3
        && let Some((db, mode)) = cx.d_input::<X::Acc>(2)
    {
        column_sums(cx.cpu, dy, db, mode, scratch);
    }
}

/// `sums (N)` set to, or increased by, the sums of the columns of `dy (rows, N)`. Rows are folded in [`CHUNKS`] chunks, whose
/// sums are added in order. `scratch` holds `CHUNKS * N` sums.
pub(crate) fn column_sums<Y: Elem>(
    cpu: &Cpu,
    dy: &[Y],
    sums: &mut [Y::Acc],
    mode: GradMode,
    scratch: &mut [u8],
) {
    let n = sums.len();
    let rows = dy.len() / n;
    let partial = &mut scratch_of::<Y::Acc>(scratch)[..CHUNKS * n];
    let shared = Shared::new(partial);
    cpu.pool.run(CHUNKS, |index| {
        let (start, end) = chunk(rows, index);
        // SAFETY: each task has a row of `partial` of its own.
        let sums = unsafe { shared.slice(index * n, n) };
        run(
            cpu.isa,
            Sums {
                dy: &dy[start * n..end * n],
                sums,
            },
        );
    });
    for (i, sum) in sums.iter_mut().enumerate() {
        let total = (0..CHUNKS).fold(Y::Acc::ZERO, |total, chunk| total + partial[chunk * n + i]);
        *sum = if mode == GradMode::Add {
            *sum + total
        } else {
            total
        };
    }
}

struct Sums<'a, Y: Elem> {
    dy: &'a [Y],
    sums: &'a mut [Y::Acc],
}

impl<Y: Elem> Kernel<Y::Acc> for Sums<'_, Y> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<A = Y::Acc>>(self) {
        self.sums.fill(S::A::ZERO);
        for row in self.dy.chunks_exact(self.sums.len()) {
            for i in blocks::<S>(row.len()) {
                let sum = S::add(i.load::<S, _>(self.sums), i.load::<S, Y>(row));
                i.store::<S, _>(self.sums, sum);
            }
        }
    }
}
