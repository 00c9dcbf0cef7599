//! What elementwise kernels share: the cut of a flat tensor for the threads, and the delivery of a gradient that an
//! operation passes through unchanged.
//!
//! May touch only the slices it is given. The kernels themselves are in [`crate::ops`].

#![expect(
    unsafe_code,
    reason = "parts of one slice written by different threads"
)]

use super::rows::parallel;
use super::simd::{Kernel, Simd, blocks, run};
use super::{Cpu, Pool};
use crate::Elem;
use crate::arena::Shared;

/// Calls `task(start, end)` for ranges that cover `0..len`, in parallel; each range but the last is whole cache lines.
pub fn elements(pool: &Pool, len: usize, task: impl Fn(usize, usize) + Sync) {
    const LINE: usize = 64;
    parallel(pool, len.div_ceil(LINE), LINE, |start, end| {
        task(start * LINE, (end * LINE).min(len));
    });
}

/// Writes the gradient `d` into `to`, or adds it to what is there; rounded where `to` is the narrower type.
pub fn deliver<D: Elem, G: Elem<Acc = D::Acc>>(cpu: &Cpu, d: &[D], to: &mut [G], add: bool) {
    assert_eq!(d.len(), to.len(), "a gradient of another size");
    let shared = Shared::new(to);
    elements(&cpu.pool, d.len(), |start, end| {
        // SAFETY: each task has elements of its own.
        let to = unsafe { shared.slice(start, end - start) };
        let d = &d[start..end];
        run(cpu.isa, Deliver { d, to, add });
    });
}

struct Deliver<'a, D, G> {
    d: &'a [D],
    to: &'a mut [G],
    add: bool,
}

impl<D: Elem, G: Elem<Acc = D::Acc>> Kernel<D::Acc> for Deliver<'_, D, G> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<A = D::Acc>>(self) {
        for i in blocks::<S>(self.d.len()) {
            let mut d = i.load::<S, D>(self.d);
            if self.add {
                d = S::add(d, i.load::<S, G>(self.to));
            }
            i.store::<S, G>(self.to, d);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Bf16;
    use std::sync::atomic::{AtomicU8, Ordering};

    #[test]
    fn ranges_cover_every_element_once() {
        let pool = Pool::new(2);
        for len in [0, 1, 63, 64, 65, 100_003] {
            let hits: Vec<AtomicU8> = (0..len).map(|_| AtomicU8::new(0)).collect();
            elements(&pool, len, |start, end| {
                for hit in &hits[start..end] {
                    hit.fetch_add(1, Ordering::Relaxed);
                }
            });
            assert!(hits.iter().all(|hit| hit.load(Ordering::Relaxed) == 1));
        }
    }

    #[test]
    fn a_gradient_is_written_added_and_rounded() {
        let cpu = Cpu::new(2);
        let d: Vec<f32> = (0..37).map(|i| 1.0 + i as f32 / 1024.0).collect();
        let mut to = vec![1f32; d.len()];
        deliver(&cpu, &d, &mut to, true);
        assert_eq!(to[3], 2.0 + 3.0 / 1024.0);
        let mut narrow = vec![Bf16::default(); d.len()];
        deliver(&cpu, &d, &mut narrow, false);
        assert!(narrow.iter().zip(&d).all(|(n, d)| *n == Bf16::put(*d)));
    }
}
