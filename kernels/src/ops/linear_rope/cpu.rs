//! Linear map and rotary positions on the CPU: one product and the rotation of its result; backward, for each chunk of
//! rows the rotation of a copy and the two products.

use super::{LinearRope, ROWS};
use crate::arena::scratch_of;
use crate::cpu::elementwise::deliver;
use crate::cpu::gemm::{Epilogue, Mat, MatMut, chunk_bytes, gemm, panel_bytes};
use crate::op::{Backward, Forward, GradMode};
use crate::ops::linear::cpu::column_sums;
use crate::ops::linear::product;
use crate::ops::rope::Turn;
use crate::{Elem, Slot, SlotMut};

pub(super) fn forward<X: Elem>(op: &LinearRope, cx: &mut Forward<'_>) {
    let (m, n, k) = (cx.metas[0].rows(), cx.metas[1].shape[0], cx.metas[1].cols());
    // (N, K), f32 or bf16
    let (x, w) = (cx.input::<X>(0), cx.inputs[1]);
    let (y, scratch) = (cx.output::<X>(0), cx.take_workspace());
    let (positions, bias) = match cx.inputs {
        [_, _, bias, positions] => (positions.as_i32(), Some(*bias)),
        [.., positions] => (positions.as_i32(), None),
        [] => unreachable!("the inputs were counted when the operation was recorded"),
    };
    gemm(
        cx.cpu,
        product(X::DTYPE),
        Mat::new(Slot::new(x), m, k),
        Mat::new(w, n, k).t(),
        MatMut::new(SlotMut::new(&mut *y), m, n),
        Epilogue {
            accumulate: false,
            bias,
        },
        scratch,
    );
    let seq = cx.metas[0].shape[1];
    op.rope
        .rotate_in_place(cx.cpu, y, positions, seq, Turn::Forward, scratch);
}

pub(super) fn backward<X: Elem>(op: &LinearRope, cx: &mut Backward<'_>) {
    let (m, n, k) = (cx.metas[0].rows(), cx.metas[1].shape[0], cx.metas[1].cols());
    let (x, w) = (cx.input::<X>(0), cx.input::<X::Acc>(1));
    let dy = cx.d_output::<X>(0).expect("the gradient of the output");
    let positions = cx.input_i32(cx.metas.len() - 1);
    let (mut dx, mut dw) = (cx.d_input::<X>(0), cx.d_input::<X::Acc>(1));
    let mut db = if cx.metas.len() == 4 {
        cx.d_input::<X::Acc>(2)
    } else {
        None
    };
    let (cpu, precision) = (cx.cpu, product(X::DTYPE));
    let (turned, scratch) = cx
        .take_workspace()
        .split_at_mut(chunk_bytes(m.min(ROWS) * n * size_of::<X>()));
    let panels = panel_bytes(cpu, precision, (m, ROWS), (k, n));
    let (panels, scratch) = scratch.split_at_mut(panels);
    // (N, K): read by every chunk
    let mut w = Mat::new(Slot::new(w), n, k);
    if dx.is_some() {
        w = w.packed(cpu, precision, panels);
    }
    for start in (0..m).step_by(ROWS) {
        let end = (start + ROWS).min(m);
        let rows = end - start;
        // (rows, N D): the gradient before the rotation
        let d = &mut scratch_of::<X>(turned)[..rows * n];
        deliver(cpu, &dy[start * n..end * n], d, false);
        // A chunk is as good as a sequence: the rotation depends on a row's position alone.
        op.rope
            .rotate_in_place(cpu, d, &positions[start..end], rows, Turn::Back, scratch);
        let (d, mat) = (&*d, Mat::new(Slot::new(&*d), rows, n));
        if let Some((dx, mode)) = &mut dx {
            let epilogue = Epilogue {
                accumulate: *mode == GradMode::Add,
                bias: None,
            };
            let dx = MatMut::new(SlotMut::new(&mut dx[start * k..end * k]), rows, k);
            gemm(cpu, precision, mat, w, dx, epilogue, scratch);
        }
        let later = |mode: GradMode| {
            if start > 0 { GradMode::Add } else { mode }
        };
        if let Some((dw, mode)) = &mut dw {
            let epilogue = Epilogue {
                accumulate: later(*mode) == GradMode::Add,
                bias: None,
            };
            let x = Mat::new(Slot::new(&x[start * k..end * k]), rows, k);
            let dw = MatMut::new(SlotMut::new(dw), n, k);
            gemm(cpu, precision, mat.t(), x, dw, epilogue, scratch);
        }
        if let Some((db, mode)) = &mut db {
            column_sums(cpu, d, db, later(*mode), scratch);
        }
    }
}
