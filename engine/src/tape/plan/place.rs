//! Offsets in the arena.

use super::Buffer;
use kernels::arena::ALIGN;

/// Gives each buffer an offset: largest first, at the lowest place that is free during its life. Returns the arena's size.
pub(super) fn place(buffers: &mut [Buffer], reuse: bool) -> usize {
    let mut order: Vec<usize> = (0..buffers.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(buffers[i].bytes()), i));
    let mut placed: Vec<usize> = Vec::new();
    let mut total = 0;
    for i in order {
        let size = buffers[i].bytes().next_multiple_of(ALIGN);
        let mut offset = 0;
        if reuse {
            // `placed` is kept in the order of offsets.
            for &j in &placed {
                let other = &buffers[j];
                if other.first > buffers[i].last || buffers[i].first > other.last {
                    continue;
                }
                if offset + size <= other.offset {
                    break;
                }
                offset = offset.max(other.offset + other.bytes().next_multiple_of(ALIGN));
            }
        } else {
            offset = total;
        }
        buffers[i].offset = offset;
        total = total.max(offset + size);
        let at = placed.partition_point(|&j| buffers[j].offset <= offset);
        placed.insert(at, i);
    }
    total
}
