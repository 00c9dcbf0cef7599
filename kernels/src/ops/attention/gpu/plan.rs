//! Sizes of tiles: what of shared memory and of registers a block of the fragment kernels takes.

use super::Attention;
use crate::Dtype;
use crate::gpu::{Grid, Kernel};

/// A block of a fragment kernel; the names are those of `tiles.cuh`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tiles {
    /// Groups of 32 lanes.
    pub warps: usize,
    /// Sixteens of rows that each owns.
    pub frags: usize,
    /// Groups that share the same rows.
    pub split: usize,
    /// Rows of the other side in a tile.
    pub cols: usize,
}

const fn tiles(warps: usize, frags: usize, split: usize, cols: usize) -> Tiles {
    Tiles {
        warps,
        frags,
        split,
        cols,
    }
}

impl Tiles {
    /// Rows that a block owns.
    pub fn rows(&self) -> usize {
        16 * self.frags * self.warps / self.split
    }

    /// Bytes from one row of a tile to the next.
    fn row_bytes(&self, head_dim: usize) -> usize {
        2 * (head_dim.next_multiple_of(16 * self.split) + 8)
    }

    /// Shared memory of a forward: its queries, and two stages of keys and values.
    pub fn forward_bytes(&self, head_dim: usize) -> usize {
        (self.rows() + 4 * self.cols) * self.row_bytes(head_dim)
    }

    /// Definitions of a kernel.
    pub fn define(&self, kernel: Kernel, head_dim: usize) -> Kernel {
        kernel
            .with("HEAD_DIM", head_dim)
            .with("WARPS", self.warps)
            .with("FRAGS", self.frags)
            .with("SPLIT", self.split)
            .with("COLS", self.cols)
    }

    /// Blocks of these threads.
    pub fn grid(&self, blocks: usize, shared: usize) -> Grid {
        Grid::new(blocks, 32 * self.warps as u32).with_shared(shared)
    }
}

/// Whether fragments take heads of this size: rows in pieces of 16 bytes, and sums that fit the registers.
fn fragments(head_dim: usize) -> bool {
    head_dim.is_multiple_of(8) && head_dim <= 256
}

/// The first that fits, with a few hundred bytes left for what a kernel has beside.
fn first_of(
    choices: &[Tiles],
    head_dim: usize,
    shared: usize,
    bytes: impl Fn(&Tiles) -> usize,
) -> Option<Tiles> {
    let fits = |tiles: &&Tiles| bytes(tiles) + 512 <= shared;
    let choice = choices.iter().filter(|_| fragments(head_dim)).find(fits);
    choice.copied()
}

/// Tiles of a forward on a device with so much shared memory, or none where fragments do not serve. Two fragments of rows
/// halve what is read from shared memory, as long as their sums fit the registers.
pub(super) fn forward_tiles(head_dim: usize, shared: usize) -> Option<Tiles> {
    let choices: &[Tiles] = match head_dim {
        ..=128 => &[tiles(4, 2, 1, 64), tiles(4, 2, 1, 32), tiles(4, 1, 1, 16)],
        _ => &[tiles(4, 1, 1, 32), tiles(4, 1, 1, 16)],
    };
    first_of(choices, head_dim, shared, |tiles| {
        tiles.forward_bytes(head_dim)
    })
}

/// Bytes of keys and values that are worked on at a time: a part of the L2 cache of the devices that train.
const SECTION_BYTES: usize = 16 << 20;

/// Query heads in a section of the grid: whole groups, whose keys and values stay in the L2 cache while all blocks of queries
/// go over them.
pub(super) fn section(op: &Attention, keys: usize, dtype: Dtype) -> usize {
    let bytes = 2 * keys * op.head_dim * dtype.size();
    (SECTION_BYTES / bytes).max(1) * (op.heads / op.kv_heads)
}
