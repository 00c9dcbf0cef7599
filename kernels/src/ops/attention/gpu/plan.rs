//! Sizes of tiles: what of shared memory and of registers a block of the fragment kernels takes.

use crate::Dtype;
use crate::gpu::{Grid, Info, Kernel, Kind};

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

    /// Shared memory of a backward: two tensors of its own rows, and two stages of two others.
    pub fn backward_bytes(&self, head_dim: usize) -> usize {
        (2 * self.rows() + 4 * self.cols) * self.row_bytes(head_dim)
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

/// The first that fits the device, with room for the few hundred bytes that a kernel has beside. AMD's fragments, made by
/// shuffles, leave registers for one at a time.
fn first_of(
    choices: &[Tiles],
    head_dim: usize,
    device: &Info,
    bytes: impl Fn(&Tiles) -> usize,
) -> Option<Tiles> {
    let fits = |tiles: &&Tiles| {
        fragments(head_dim)
            && bytes(tiles) + 2048 <= device.shared_bytes as usize
            && (tiles.frags == 1 || device.kind != Kind::Rocm)
    };
    choices.iter().find(fits).copied()
}

/// Tiles of a forward on a device, or none where fragments do not serve. Two fragments of rows halve what is read from shared
/// memory, as long as their sums fit the registers.
pub(super) fn forward_tiles(head_dim: usize, device: &Info) -> Option<Tiles> {
    let choices: &[Tiles] = match head_dim {
        ..=96 => &[
            tiles(4, 2, 1, 64),
            tiles(4, 2, 1, 32),
            tiles(4, 1, 1, 32),
            tiles(4, 1, 1, 16),
        ],
        97..=128 => &[
            tiles(4, 2, 1, 48),
            tiles(4, 2, 1, 32),
            tiles(4, 1, 1, 32),
            tiles(4, 1, 1, 16),
        ],
        _ => &[tiles(4, 1, 1, 32), tiles(4, 1, 1, 16)],
    };
    first_of(choices, head_dim, device, |t| t.forward_bytes(head_dim))
}

/// Tiles of the gradients of keys and values: twice the sums of a forward.
pub(super) fn keys_tiles(head_dim: usize, device: &Info) -> Option<Tiles> {
    let choices: &[Tiles] = match head_dim {
        ..=64 => &[tiles(4, 2, 1, 32), tiles(4, 1, 1, 32), tiles(2, 1, 1, 16)],
        65..=96 => &[
            tiles(8, 1, 1, 64),
            tiles(4, 1, 1, 32),
            tiles(4, 1, 1, 16),
            tiles(2, 1, 1, 16),
        ],
        97..=128 => &[
            tiles(8, 1, 1, 48),
            tiles(4, 1, 1, 32),
            tiles(4, 1, 1, 16),
            tiles(2, 1, 1, 16),
        ],
        _ => &[tiles(8, 1, 2, 32), tiles(4, 1, 2, 16), tiles(2, 1, 2, 16)],
    };
    first_of(choices, head_dim, device, |t| t.backward_bytes(head_dim))
}

/// Tiles of the gradients of the queries.
pub(super) fn queries_tiles(head_dim: usize, device: &Info) -> Option<Tiles> {
    let choices: &[Tiles] = match head_dim {
        ..=128 => &[
            tiles(4, 2, 1, 32),
            tiles(4, 1, 1, 32),
            tiles(4, 1, 1, 16),
            tiles(2, 1, 1, 16),
        ],
        _ => &[
            tiles(8, 1, 1, 32),
            tiles(4, 1, 1, 32),
            tiles(4, 1, 1, 16),
            tiles(2, 1, 1, 16),
        ],
    };
    first_of(choices, head_dim, device, |t| t.backward_bytes(head_dim))
}

/// Bytes of what is streamed over and over that are worked on at a time: a part of the L2 cache of the devices that train.
const SECTION_BYTES: usize = 16 << 20;

/// Heads in a section of the grid, of which each streams two tensors of `rows` rows and which share them in groups of `group`.
pub(super) fn section(rows: usize, head_dim: usize, dtype: Dtype, group: usize) -> usize {
    let bytes = 2 * rows * head_dim * dtype.size();
    (SECTION_BYTES / bytes).max(1) * group
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::survey::Survey;
    use crate::gpu::{Driver as _, Kind};

    fn device(kind: Kind, shared_bytes: u32) -> Info {
        let (survey, _) = Survey::new(kind, "any", 32);
        Info {
            shared_bytes,
            ..survey.info().clone()
        }
    }

    #[test]
    fn every_size_of_head_has_tiles_that_fit_and_can_be_staged() {
        for (kind, shared) in [
            (Kind::Cuda, 227 << 10),
            (Kind::Cuda, 163 << 10),
            (Kind::Cuda, 99 << 10),
            (Kind::Rocm, 64 << 10),
            (Kind::Emulated, 48 << 10),
        ] {
            let device = device(kind, shared);
            for dim in (8..=256).step_by(8) {
                let forward = forward_tiles(dim, &device);
                let backward = [keys_tiles(dim, &device), queries_tiles(dim, &device)];
                assert!(dim > 128 || (forward.is_some() && !backward.contains(&None)));
                assert!(kind != Kind::Cuda || (forward.is_some() && !backward.contains(&None)));
                let bytes = forward.map(|t| (t, t.forward_bytes(dim)));
                let backward = backward.map(|t| t.map(|t| (t, t.backward_bytes(dim))));
                for (tiles, bytes) in [bytes, backward[0], backward[1]].into_iter().flatten() {
                    assert!(bytes < shared as usize);
                    // `deliver_rows` lays out the rows as floats in the same memory.
                    assert!(
                        2 * tiles.rows() * tiles.row_bytes(dim) <= bytes,
                        "{tiles:?}"
                    );
                    assert!(tiles.cols <= 32 * tiles.warps && tiles.cols % 16 == 0);
                }
            }
            assert_eq!(forward_tiles(20, &device), None, "rows of 40 bytes");
            assert_eq!(forward_tiles(264, &device), None, "too many sums");
        }
    }

    #[test]
    fn a_section_is_whole_groups() {
        assert_eq!(section(1024, 64, Dtype::Bf16, 3), 64 * 3);
        assert_eq!(section(1 << 20, 128, Dtype::Bf16, 4), 4);
    }
}
