//! How a product is cut: the tile of a block, and the parts of the sum over K where C alone has too few tiles.
//!
//! A weight's gradient has few tiles and a long sum (K is the tokens), so that most of a device would stand idle. Its sum is
//! then made in parts that a second kernel folds in order. The choice depends on the sizes alone, not on the device, so that
//! the bits do too: times are estimated for a device of [`UNITS`] multiprocessors.

use crate::Precision;

/// A block's tile of C and the share of 32 lanes in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gpu) struct Tile {
    /// Rows and columns.
    pub(super) size: [usize; 2],
    /// Rows and columns of a group of 32 lanes on tensor cores, of a thread elsewhere.
    pub(super) group: [usize; 2],
    /// Whether it is made by tensor cores (`tiles.cu`, `waves.cu`), or by `fma.cu`.
    pub(super) matrix: bool,
    /// Blocks that a multiprocessor works on at once.
    pub(super) at_once: usize,
    /// Multiply-adds a cycle of a multiprocessor that is full of them.
    pub(super) rate: usize,
}

/// For `bf16`, from large to small. Rates are those of `mma.sync` on Hopper less what L2 allows (`tiles.cu`).
pub(super) const MATRIX: [Tile; 3] = [
    Tile {
        size: [128, 256],
        group: [64, 64],
        matrix: true,
        at_once: 1,
        rate: 1100,
    },
    Tile {
        size: [128, 128],
        group: [64, 64],
        matrix: true,
        at_once: 2,
        rate: 850,
    },
    Tile {
        size: [64, 64],
        group: [32, 32],
        matrix: true,
        at_once: 4,
        rate: 500,
    },
];

/// For `f32`.
pub(super) const VECTOR: [Tile; 2] = [
    Tile {
        size: [128, 128],
        group: [8, 8],
        matrix: false,
        at_once: 1,
        rate: 105,
    },
    Tile {
        size: [64, 64],
        group: [8, 8],
        matrix: false,
        at_once: 6,
        rate: 90,
    },
];

/// Multiprocessors of the device that the estimate is made for (H100, H200).
const UNITS: usize = 132;
/// The most parts of a sum, and the least of K in each.
const MOST_PARTS: usize = 32;
const LEAST: usize = 256;
/// A part of K is a multiple of this: whole steps of both kernels.
const STEP: usize = 32;
/// Cycles before a block multiplies and after it, and of a launch.
const EDGE: usize = 2000;
/// Bytes that memory moves in a cycle.
const BYTES: usize = 2000;

impl Tile {
    /// Rows and columns of a warp of `lanes` on AMD's matrix cores: at most 64 sums a lane, beside which fragments of 16
    /// values a lane still fit the registers.
    pub(super) fn wave(&self, lanes: usize) -> [usize; 2] {
        let [high, wide] = self.group;
        [high, wide.min(64 * lanes / high)]
    }
}

/// A product's cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// The tile of a block.
    pub(super) tile: Tile,
    /// Parts of the sum over K.
    pub(super) parts: usize,
    /// K of each part but the last, which may have less.
    pub(super) part_k: usize,
}

impl Plan {
    /// The cut that is estimated to take the least time.
    pub(super) fn new(precision: Precision, m: usize, n: usize, k: usize) -> Self {
        let tiles: &[Tile] = match precision {
            Precision::Bf16 => &MATRIX,
            Precision::F32 => &VECTOR,
            Precision::F64 => panic!("gradient checks in f64 are made on the CPU"),
        };
        let most = (k / LEAST).clamp(1, MOST_PARTS);
        let plans = tiles
            .iter()
            .flat_map(|tile| (1..=most).map(|parts| Self::with(*tile, parts, k)));
        plans
            .min_by_key(|plan| plan.cycles(m, n))
            .expect("there are tiles")
    }

    /// A cut into `parts` parts or a few less.
    pub(super) fn with(tile: Tile, parts: usize, k: usize) -> Self {
        let part_k = k.div_ceil(parts).next_multiple_of(STEP).max(STEP);
        Self {
            tile,
            parts: k.div_ceil(part_k).max(1),
            part_k,
        }
    }

    /// The same parts by multiply-adds, for devices whose matrix instructions are not used.
    #[must_use]
    pub(super) fn without_matrices(self) -> Self {
        let small = self.tile.size[0] < VECTOR[0].size[0];
        Self {
            tile: VECTOR[usize::from(small)],
            ..self
        }
    }

    /// Blocks of one part.
    pub(super) fn tiles(&self, m: usize, n: usize) -> usize {
        m.div_ceil(self.tile.size[0]) * n.div_ceil(self.tile.size[1])
    }

    /// Bytes of the parts before they are folded.
    pub(super) fn bytes(&self, m: usize, n: usize) -> usize {
        if self.parts > 1 {
            self.parts * m * n * size_of::<f32>()
        } else {
            0
        }
    }

    /// The estimate.
    pub(super) fn cycles(&self, m: usize, n: usize) -> usize {
        let Tile {
            size,
            at_once,
            rate,
            ..
        } = self.tile;
        // Blocks that share a multiprocessor hide each other's waiting: one alone is taken to run at half its rate or more.
        let wave = |share: usize| {
            let rate = rate * (at_once + share) / (2 * at_once);
            EDGE + self.part_k * size[0] * size[1] * share / rate
        };
        let (blocks, most) = (self.tiles(m, n) * self.parts, UNITS * at_once);
        let rest = (blocks % most).div_ceil(UNITS);
        let product = blocks / most * wave(at_once) + if rest > 0 { wave(rest) } else { 0 };
        let fold = if self.parts > 1 {
            // Written and read again.
            EDGE + 2 * self.bytes(m, n) / BYTES
        } else {
            0
        };
        product + fold
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_k_in_whole_steps() {
        for k in [0, 1, 31, 32, 33, 1000, 65_536] {
            for parts in 1..40 {
                let plan = Plan::with(MATRIX[0], parts, k);
                assert!(plan.part_k.is_multiple_of(STEP));
                assert!(plan.parts * plan.part_k >= k, "{plan:?}");
                assert!(k == 0 || (plan.parts - 1) * plan.part_k < k, "{plan:?}");
            }
        }
    }

    #[test]
    fn large_products_take_large_tiles_and_long_sums_are_cut() {
        let plan = |m, n, k| Plan::new(Precision::Bf16, m, n, k);
        let forward = plan(65_536, 3072, 768);
        assert_eq!((forward.tile, forward.parts), (MATRIX[0], 1));
        let gradient = plan(768, 768, 65_536);
        let blocks = gradient.tiles(768, 768) * gradient.parts;
        assert!(gradient.parts > 1 && blocks >= 120, "{gradient:?}");
        assert!(gradient.bytes(768, 768) <= 64 << 20, "{gradient:?}");
        assert_eq!(plan(16, 768, 768).tile, MATRIX[2]);
        assert_eq!(plan(512, 512, 512).tile, MATRIX[2]);
        assert_eq!(plan(1, 1, 0).parts, 1);
    }
}
