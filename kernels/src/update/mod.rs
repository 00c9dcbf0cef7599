//! Optimizer updates: one fused pass over flat buffers each, one folder each. All buffers are `f32`.
//!
//! On a GPU a pass reads its scalars from device memory (`scalars_bytes` of each update, uploaded before the launch), so
//! that launches can be captured once and replayed at every step.

pub mod adamw;
#[cfg(test)]
#[cfg(unix)]
mod gpu_tests;
pub mod norm;
pub mod sgd;

use crate::gpu::View;
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
