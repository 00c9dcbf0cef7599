//! Dropout on the CPU: Philox for 64 elements at a time, in loops over 16 counters that the compiler turns into vectors.

#![expect(
    unsafe_code,
    reason = "parts of one tensor written by different threads"
)]

use super::Dropout;
use crate::arena::Shared;
use crate::cpu::Cpu;
use crate::cpu::elementwise::deliver;
use crate::cpu::rows::parallel;
use crate::cpu::simd::{Kernel, Simd, blocks, run};
use crate::op::{Backward, Forward, GradMode, Meta, Scalars};
use crate::philox::philox;
use crate::{Elem, Float as _};

/// Counters worked on together.
const LANES: usize = 16;
/// Elements that share a call: four words a counter.
const GROUP: usize = 4 * LANES;

pub(super) fn forward<X: Elem>(op: &Dropout, cx: &mut Forward<'_>) {
    let (x, y) = (cx.input::<X>(0), cx.output::<X>(0));
    if cx.training {
        apply(op, cx.cpu, cx.scalars, &cx.metas[0], Some(x), y, false);
    } else {
        deliver(cx.cpu, x, y, false);
    }
}

pub(super) fn backward<X: Elem>(op: &Dropout, cx: &mut Backward<'_>) {
    let Some((dx, mode)) = cx.d_input::<X>(0) else {
        return;
    };
    let source = match mode {
        GradMode::InPlace => None,
        _ => Some(cx.d_output::<X>(0).expect("the gradient of the output")),
    };
    let add = mode == GradMode::Add;
    apply(op, cx.cpu, cx.scalars, &cx.metas[0], source, dx, add);
}

/// Masks and scales `source` (what is in `target`, if `None`) into `target`, or adds that to it.
fn apply<X: Elem>(
    op: &Dropout,
    cpu: &Cpu,
    scalars: &Scalars,
    meta: &Meta,
    source: Option<&[X]>,
    target: &mut [X],
    add: bool,
) {
    let (rows, isa) = (meta.shape[0], cpu.isa);
    let row_len = meta.len() / rows.max(1);
    let groups = row_len.div_ceil(GROUP);
    let halves = |x: u64| [x as u32, (x >> 32) as u32];
    let ([step, step_high], [id, id_high]) = (halves(scalars.step), halves(op.id));
    let [k0, k1, ..] = philox(halves(scalars.seed), [step, step_high, id, id_high]);
    let target = Shared::new(target);
    parallel(&cpu.pool, rows * groups, GROUP, |start, end| {
        let element = |group: usize| group / groups * row_len + group % groups * GROUP;
        let all = element(start)..element(end);
        let part = Part {
            key: [k0, k1],
            row0: scalars.row0,
            groups,
            range: (start, end),
            row_len,
            threshold: (op.p * 2f64.powi(32)) as u32,
            scale: X::Acc::from_f64(1.0 / (1.0 - op.p)),
            source: source.map(|x| &x[all.clone()]),
            // SAFETY: each task has groups of its own.
            target: unsafe { target.slice(all.start, all.len()) },
            add,
        };
        run(isa, part);
    });
}

struct Part<'a, X: Elem> {
    key: [u32; 2],
    row0: u64,
    /// Groups of a row.
    groups: usize,
    /// First group, and the one after the last, counted over all rows.
    range: (usize, usize),
    row_len: usize,
    threshold: u32,
    scale: X::Acc,
    source: Option<&'a [X]>,
    target: &'a mut [X],
    add: bool,
}

impl<X: Elem> Kernel<X::Acc> for Part<'_, X> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<A = X::Acc>>(self) {
        let mut at = 0;
        for group in self.range.0..self.range.1 {
            let (row, group) = (group / self.groups, group % self.groups);
            let words = words(self.key, group as u64, self.row0.wrapping_add(row as u64));
            let mut mask = [S::A::ZERO; GROUP];
            for (m, word) in mask.iter_mut().zip(words.as_flattened()) {
                *m = if *word < self.threshold {
                    S::A::ZERO
                } else {
                    self.scale
                };
            }
            let len = GROUP.min(self.row_len - group * GROUP);
            let source = self.source.map(|x| &x[at..at + len]);
            let target = &mut self.target[at..at + len];
            for i in blocks::<S>(len) {
                let v = i.load::<S, X>(source.unwrap_or(target));
                let mut out = S::mul(v, i.load::<S, _>(&mask[..len]));
                if self.add {
                    out = S::add(out, i.load::<S, X>(target));
                }
                i.store::<S, X>(target, out);
            }
            at += len;
        }
    }
}

/// The words of [`philox`] for counters `16 group ..` of a row: `words[w][l]` is word w of counter l.
#[inline(always)]
fn words(key: [u32; 2], group: u64, row: u64) -> [[u32; LANES]; 4] {
    const M: [u64; 2] = [0xD251_1F53, 0xCD9E_8D57];
    const W: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
    let (mut k, first) = (key, group * LANES as u64);
    let mut c = [[0u32; LANES]; 4];
    for l in 0..LANES {
        // The first counter is a multiple of 16: there is no carry.
        c[0][l] = first as u32 | l as u32;
        c[1][l] = (first >> 32) as u32;
        c[2][l] = row as u32;
        c[3][l] = (row >> 32) as u32;
    }
    for _ in 0..10 {
        for l in 0..LANES {
            let (a, b) = (M[0] * u64::from(c[0][l]), M[1] * u64::from(c[2][l]));
            c[0][l] = (b >> 32) as u32 ^ c[1][l] ^ k[0];
            c[1][l] = b as u32;
            c[2][l] = (a >> 32) as u32 ^ c[3][l] ^ k[1];
            c[3][l] = a as u32;
        }
        k = [k[0].wrapping_add(W[0]), k[1].wrapping_add(W[1])];
    }
    c
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_philox() {
        let (key, group, row) = ([7, 9], (5 << 28) + 3, (2 << 32) + 11);
        let words = words(key, group, row);
        for l in 0..LANES {
            let counter = group * 16 + l as u64;
            let want = philox(key, [counter as u32, (counter >> 32) as u32, 11, 2]);
            assert_eq!(words.map(|w| w[l]), want);
        }
    }
}
