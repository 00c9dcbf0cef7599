//! Activation and linear map on the CPU: for each chunk of rows one pass over `u` and the products.

#![expect(unsafe_code, reason = "rows written by different threads")]

use super::{ActivationLinear, ROWS};
use crate::arena::{Shared, scratch_of};
use crate::cpu::gemm::{Epilogue, Mat, MatMut, chunk_bytes, gemm, panel_bytes};
use crate::cpu::rows::parallel;
use crate::cpu::simd::{Kernel, Simd, Store, blocks, run, zip};
use crate::op::{Backward, Forward, GradMode};
use crate::ops::act::Gate;
use crate::ops::linear::cpu::column_sums;
use crate::ops::linear::product;
use crate::{Cpu, Elem, Slot, SlotMut};
use std::ops::Range;

/// The chunks that cover `rows`.
fn chunks(rows: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows)
        .step_by(ROWS)
        .map(move |start| start..(start + ROWS).min(rows))
}

/// Rows `rows` of a matrix of `cols` columns.
fn part<'a, T>(x: &'a [T], rows: &Range<usize>, cols: usize) -> &'a [T] {
    &x[rows.start * cols..rows.end * cols]
}

fn part_mut<'a, T>(x: &'a mut [T], rows: &Range<usize>, cols: usize) -> &'a mut [T] {
    &mut x[rows.start * cols..rows.end * cols]
}

pub(super) fn forward<X: Elem>(op: &ActivationLinear, cx: &mut Forward<'_>) {
    let (m, n, f) = (cx.metas[0].rows(), cx.metas[1].shape[0], cx.metas[1].cols());
    // (N, F), f32 or bf16
    let (u, w) = (cx.input::<X>(0), cx.inputs[1]);
    let (y, width) = (cx.output::<X>(0), cx.metas[0].cols());
    let epilogue = Epilogue {
        accumulate: false,
        bias: cx.inputs.get(2).copied(),
    };
    let precision = product(X::DTYPE);
    let (h, scratch) = cx
        .take_workspace()
        .split_at_mut(chunk_bytes(m.min(ROWS) * f * size_of::<X>()));
    let panels = panel_bytes(cx.cpu, precision, (m, ROWS), (n, f));
    let (panels, scratch) = scratch.split_at_mut(panels);
    // (F, N): read by every chunk
    let w = Mat::new(w, n, f).t();
    let w = w.packed(cx.cpu, precision, panels);
    for rows in chunks(m) {
        let h = &mut scratch_of::<X>(h)[..rows.len() * f];
        activate(op, cx.cpu, part(u, &rows, width), h, f);
        gemm(
            cx.cpu,
            precision,
            Mat::new(Slot::new(&*h), rows.len(), f),
            w,
            MatMut::new(SlotMut::new(part_mut(y, &rows, n)), rows.len(), n),
            epilogue,
            scratch,
        );
    }
}

pub(super) fn backward<X: Elem>(op: &ActivationLinear, cx: &mut Backward<'_>) {
    let (m, n, f) = (cx.metas[0].rows(), cx.metas[1].shape[0], cx.metas[1].cols());
    let (u, w) = (cx.input::<X>(0), cx.input::<X::Acc>(1));
    let (cpu, width, precision) = (cx.cpu, cx.metas[0].cols(), product(X::DTYPE));
    let dy = cx.d_output::<X>(0).expect("the gradient of the output");
    let (mut du, mut dw) = (cx.d_input::<X>(0), cx.d_input::<X::Acc>(1));
    let (h, scratch) = cx
        .take_workspace()
        .split_at_mut(chunk_bytes(m.min(ROWS) * f * size_of::<X>()));
    let panels = panel_bytes(cpu, precision, (m, ROWS), (f, n));
    let (panels, scratch) = scratch.split_at_mut(panels);
    // (N, F): read by every chunk
    let mut w = Mat::new(Slot::new(w), n, f);
    if du.is_some() {
        w = w.packed(cpu, precision, panels);
    }
    for rows in chunks(m) {
        let h = &mut scratch_of::<X>(h)[..rows.len() * f];
        let u = part(u, &rows, width);
        let dy = Mat::new(Slot::new(part(dy, &rows, n)), rows.len(), n);
        if let Some((du, mode)) = &mut du {
            let dh = MatMut::new(SlotMut::new(&mut *h), rows.len(), f);
            gemm(cpu, precision, dy, w, dh, Epilogue::default(), scratch);
            let du = part_mut(du, &rows, width);
            differentiate(op, cpu, u, h, du, f, *mode == GradMode::Add);
        } else if dw.is_some() {
            activate(op, cpu, u, h, f);
        }
        if let Some((dw, mode)) = &mut dw {
            let epilogue = Epilogue {
                accumulate: rows.start > 0 || *mode == GradMode::Add,
                bias: None,
            };
            let h = Mat::new(Slot::new(&*h), rows.len(), f);
            let dw = MatMut::new(SlotMut::new(dw), n, f);
            gemm(cpu, precision, dy.t(), h, dw, epilogue, scratch);
        }
    }
    if cx.metas.len() == 3
        && let Some((db, mode)) = cx.d_input::<X::Acc>(2)
    {
        column_sums(cpu, dy, db, mode, scratch);
    }
}

/// `h` of some rows, `cols` wide.
fn activate<X: Elem>(op: &ActivationLinear, cpu: &Cpu, u: &[X], h: &mut [X], cols: usize) {
    let (rows, width) = (h.len() / cols, op.width(cols));
    let h = Shared::new(h);
    parallel(&cpu.pool, rows, cols + width, |start, end| {
        let rows = ForwardRows {
            op,
            cols,
            u: part(u, &(start..end), width),
            // SAFETY: each task has rows of its own.
            h: unsafe { h.slice(start * cols, (end - start) * cols) },
        };
        run(cpu.isa, rows);
    });
}

/// Reads `dh` in `h`; leaves `h` there, and writes `du` or adds to it.
fn differentiate<X: Elem>(
    op: &ActivationLinear,
    cpu: &Cpu,
    u: &[X],
    h: &mut [X],
    du: &mut [X],
    cols: usize,
    add: bool,
) {
    let (rows, width) = (h.len() / cols, op.width(cols));
    let (h, du) = (Shared::new(h), Shared::new(du));
    parallel(&cpu.pool, rows, 2 * (cols + width), |start, end| {
        // SAFETY: each task has rows of its own.
        let (h, du) = unsafe {
            (
                h.slice(start * cols, (end - start) * cols),
                du.slice(start * width, (end - start) * width),
            )
        };
        let rows = BackwardRows {
            op,
            cols,
            u: part(u, &(start..end), width),
            h,
            du,
            add,
        };
        run(cpu.isa, rows);
    });
}

impl ActivationLinear {
    /// Columns of `u` where `h` has `cols`.
    fn width(&self, cols: usize) -> usize {
        if self.gated { 2 * cols } else { cols }
    }
}

struct ForwardRows<'a, X> {
    op: &'a ActivationLinear,
    cols: usize,
    u: &'a [X],
    h: &'a mut [X],
}

impl<X: Elem> Kernel<X::Acc> for ForwardRows<'_, X> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<A = X::Acc>>(self) {
        let rows = self.u.chunks_exact(self.op.width(self.cols));
        for (u, h) in rows.zip(self.h.chunks_exact_mut(self.cols)) {
            let (gate, up) = u.split_at(self.cols);
            let act = self.op.act;
            if self.op.gated {
                zip::<S, X>(gate, up, h, Store::Cached, &Gate(act));
            } else {
                for i in blocks::<S>(self.cols) {
                    i.store::<S, X>(h, act.value::<S>(i.load::<S, X>(gate)));
                }
            }
        }
    }
}

struct BackwardRows<'a, X> {
    op: &'a ActivationLinear,
    cols: usize,
    u: &'a [X],
    /// `dh` on the way in, `h` on the way out.
    h: &'a mut [X],
    du: &'a mut [X],
    add: bool,
}

impl<X: Elem> Kernel<X::Acc> for BackwardRows<'_, X> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<A = X::Acc>>(self) {
        let width = self.op.width(self.cols);
        let rows = self.u.chunks_exact(width);
        let rows = rows.zip(self.h.chunks_exact_mut(self.cols));
        for ((u, h), du) in rows.zip(self.du.chunks_exact_mut(width)) {
            let (gate, up) = u.split_at(self.cols);
            let (d_gate, d_up) = du.split_at_mut(self.cols);
            for i in blocks::<S>(self.cols) {
                let mut d = i.load::<S, X>(h);
                let (mut value, slope) =
                    self.op.act.value_and_derivative::<S>(i.load::<S, X>(gate));
                if self.op.gated {
                    let up = i.load::<S, X>(up);
                    let mut second = S::mul(d, value);
                    if self.add {
                        second = S::add(second, i.load::<S, X>(d_up));
                    }
                    i.store::<S, X>(d_up, second);
                    (d, value) = (S::mul(d, up), S::mul(value, up));
                }
                let mut first = S::mul(d, slope);
                if self.add {
                    first = S::add(first, i.load::<S, X>(d_gate));
                }
                i.store::<S, X>(d_gate, first);
                i.store::<S, X>(h, value);
            }
        }
    }
}
