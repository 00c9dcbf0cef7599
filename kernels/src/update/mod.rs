//! Optimizer updates: one fused pass over flat buffers each, one folder each. All buffers are `f32`.
//!
//! On a GPU a pass reads its scalars from device memory (`scalars_bytes` of each update, uploaded before the launch), and
//! from [`told`] the clip factor and whether it is made at all, so that launches can be captured once, behind the backward,
//! and replayed at every step.

pub mod adamw;
#[cfg(test)]
#[cfg(unix)]
mod gpu_tests;
pub mod norm;
pub mod rounding;
pub mod sgd;
pub mod told;

use crate::gpu::basic::flat;
use crate::gpu::{Arg, Gpu, GpuError, Kernel, View};
use std::ops::Range;

/// Elements of one task: the flat buffers are cut at multiples of it, whatever the number of threads.
pub(crate) const CHUNK: usize = 1 << 16;

/// Elements that one launch goes through at most: a kernel counts in 31 bits.
const LAUNCH: usize = 1 << 30;

/// The launches of a pass over `n` elements.
fn launches(n: usize) -> impl Iterator<Item = Range<usize>> {
    (0..n).step_by(LAUNCH).map(move |i| i..n.min(i + LAUNCH))
}

/// Some elements of a flat buffer.
fn part(view: View, range: &Range<usize>) -> View {
    View {
        len: range.len(),
        ..view.from(range.start)
    }
}

/// How a pass over buffers of one length is cut: single elements up to where all buffers are aligned to four elements,
/// fours, and single elements again.
struct Fours {
    /// Single elements before.
    head: usize,
    /// Fours.
    count: usize,
}

impl Fours {
    fn of(views: &[View]) -> Self {
        let n = views[0].len;
        assert!(
            views.iter().all(|view| view.len == n),
            "buffers of an update have one length"
        );
        let aligned = |head: usize| {
            let starts = |view: &View, ptr: u64, size: u64| {
                (ptr + head as u64 * size).is_multiple_of(4 * size) && view.len >= head
            };
            views.iter().all(|view| {
                starts(view, view.ptr, view.dtype.size() as u64)
                    && view.rounded.is_none_or(|ptr| starts(view, ptr, 2))
            })
        };
        match (0..4).find(|head| aligned(*head)) {
            Some(head) => Self {
                head,
                count: (n - head) / 4,
            },
            None => Self { head: 0, count: 0 },
        }
    }
}

/// What an update on a device works on and goes by.
#[derive(Clone, Copy, Debug)]
pub struct Pass<'a> {
    /// Weights, gradients, then the optimizer's arrays: `f32`, of one length. Where the weights have a rounded copy beside
    /// ([`View::rounded`]) it is written too.
    pub views: &'a [View],
    /// Number of their first element in the flat buffers.
    pub first: usize,
    /// Address of the update's scalars.
    pub scalars: u64,
    /// Address of what the step comes to ([`told`]).
    pub told: u64,
}

impl Pass<'_> {
    /// Launches `kernel` on all elements. Its parameters: the views, the rounded weights or null, scalars, told, the number of
    /// the first element over four, then elements, single elements before the fours, and fours.
    fn launch(&self, gpu: &Gpu, kernel: &Kernel) -> Result<(), GpuError> {
        let [w, ..] = self.views else {
            panic!("an update has weights")
        };
        assert!(self.first.is_multiple_of(4), "element {}", self.first);
        for range in launches(w.len) {
            let views: Vec<View> = self.views.iter().map(|view| part(*view, &range)).collect();
            let fours = Fours::of(&views);
            let mut args: Vec<Arg> = views.iter().map(|view| (*view).into()).collect();
            args.extend([
                Arg::Ptr(views[0].rounded.unwrap_or(0)),
                Arg::Ptr(self.scalars),
                Arg::Ptr(self.told),
                ((self.first + range.start) / 4).into(),
                range.len().into(),
                fours.head.into(),
                fours.count.into(),
            ]);
            let threads = range.len().div_ceil(4).max(range.len() - 4 * fours.count);
            gpu.launch(kernel, flat(gpu, threads), &args)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dtype;

    #[test]
    fn fours_begin_where_all_buffers_are_aligned() {
        let view = |ptr, len| View::new(ptr, len, Dtype::F32);
        let cut = |views: &[View]| {
            let fours = Fours::of(views);
            (fours.head, fours.count)
        };
        assert_eq!(cut(&[view(64, 10), view(128, 10)]), (0, 2));
        assert_eq!(cut(&[view(68, 10), view(132, 10)]), (3, 1));
        assert_eq!(cut(&[view(68, 10), view(128, 10)]), (0, 0));
        assert_eq!(cut(&[view(68, 2), view(132, 2)]), (0, 0));
        let rounded = |at| View {
            rounded: Some(at),
            ..view(64, 10)
        };
        assert_eq!(cut(&[rounded(256)]), (0, 2));
        assert_eq!(cut(&[rounded(258)]), (0, 0));
    }

    #[test]
    fn launches_cover_everything_once() {
        assert_eq!(launches(0).count(), 0);
        let ranges: Vec<_> = launches(2 * LAUNCH + 5).collect();
        assert_eq!(ranges[0], 0..LAUNCH);
        assert_eq!(ranges[2], 2 * LAUNCH..2 * LAUNCH + 5);
        let view = View::new(4096, LAUNCH + 5, Dtype::F32);
        let last = part(view, &(LAUNCH..LAUNCH + 5));
        assert_eq!((last.ptr, last.len), (4096 + 4 * LAUNCH as u64, 5));
    }
}
