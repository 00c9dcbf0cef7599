//! Products on Hopper's own tensor-core instruction (`hopper.cu`): which ones, how they are cut, their launch.
//!
//! The portable kernel is the twin that it is compared with: the same sizes, the same scratch, the same rounding of C. Products
//! whose factors the copy engine cannot read (lines that do not start at 16 bytes, or `f32`) are left to it, and those that the
//! estimate gives it. Rates here are estimates from what others published; nothing of this file has been timed.

use super::plan::{Plan, Tile};
use super::{OUTPUT, fold_parts, in_fours};
use crate::gpu::blas::{Factor, Product};
use crate::gpu::{Arg, Gpu, GpuError, Grid, HOPPER, TensorMap, Unit, View};
use crate::{Dtype, Precision};

static UNIT: Unit = Unit {
    name: "gpu/gemm/hopper.cu",
    text: include_str!("hopper.cu"),
    pieces: &[HOPPER, OUTPUT],
};

/// Elements of K in a stage, and of a line of a tile in shared memory.
const STEP: usize = 64;
/// Two warpgroups that multiply, one that asks for copies.
const THREADS: u32 = 384;
/// Bytes behind the stages, for the barriers; tiles stay at multiples of it.
const BARRIERS: usize = 1024;

/// The tiles of a block, 128 rows each. Rates: multiply-adds a cycle, as L2 lets stages come.
pub(super) const TILES: [Tile; 2] = [tile(256, 1400), tile(128, 1000)];

const fn tile(wide: usize, rate: usize) -> Tile {
    Tile {
        size: [128, wide],
        group: [64, wide],
        matrix: true,
        at_once: 1,
        rate,
    }
}

/// A product that this device makes by `hopper.cu`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hopper {
    plan: Plan,
    a: TensorMap,
    b: TensorMap,
}

/// A cut into `parts` parts or a few less, of whole stages.
pub(super) fn cut(tile: Tile, parts: usize, k: usize) -> Plan {
    let part_k = k.div_ceil(parts).next_multiple_of(STEP).max(STEP);
    Plan {
        tile,
        parts: k.div_ceil(part_k).max(1),
        part_k,
    }
}

/// The cut that is estimated to take the least time, among those whose parts fit the scratch of `portable`; none where that
/// is estimated to be faster.
fn best(portable: &Plan, m: usize, n: usize, k: usize) -> Option<Plan> {
    let room = portable.bytes(m, n);
    let cuts = TILES
        .iter()
        .flat_map(|tile| (1..=portable.parts).map(|parts| cut(*tile, parts, k)));
    let best = cuts
        .filter(|plan| plan.bytes(m, n) <= room)
        .min_by_key(|plan| plan.cycles(m, n))?;
    (best.cycles(m, n) < portable.cycles(m, n)).then_some(best)
}

/// A factor in boxes of 64 of K and `rows` rows or columns of the product where K lies along its lines, else of 64 of both.
fn boxes(factor: &Factor, k_along: bool, size: [usize; 2], rows: usize) -> Option<TensorMap> {
    let lines = if k_along { rows } else { STEP };
    TensorMap::new(factor.view, &size, &[factor.stride], &[lines])
}

impl Hopper {
    /// How this device makes `product` by `hopper.cu`, if it does.
    pub(super) fn of(
        gpu: &Gpu,
        precision: Precision,
        product: &Product,
        portable: &Plan,
    ) -> Option<Self> {
        if !gpu.info().is_hopper() || precision != Precision::Bf16 {
            return None;
        }
        let plan = best(portable, product.m, product.n, product.k)?;
        Self::with(plan, product)
    }

    /// The same with a cut of [`TILES`]; none where the copy engine cannot read a factor.
    pub(super) fn with(plan: Plan, product: &Product) -> Option<Self> {
        let Product { m, n, k, a, b, .. } = *product;
        let [high, wide] = plan.tile.size;
        let a_size = if a.transposed { [m, k] } else { [k, m] };
        let b_size = if b.transposed { [k, n] } else { [n, k] };
        Some(Self {
            plan,
            a: boxes(&a, !a.transposed, a_size, high)?,
            b: boxes(&b, b.transposed, b_size, wide)?,
        })
    }

    /// Puts it on the stream.
    ///
    /// # Errors
    /// If the kernel does not compile, or the device refuses.
    pub(super) fn run(
        &self,
        gpu: &Gpu,
        product: &Product,
        mut scratch: View,
    ) -> Result<(), GpuError> {
        let Product { m, n, k, .. } = *product;
        let plan = &self.plan;
        let [high, wide] = plan.tile.size;
        let one = plan.parts == 1;
        let (to, to_stride) = if one {
            (product.c, product.c_stride)
        } else {
            (scratch.carve(plan.parts * m * n, Dtype::F32), n)
        };
        let stage = (high + wide) * STEP * 2;
        let stages = (gpu.info().shared_bytes as usize - BARRIERS) / stage;
        let kernel = UNIT
            .kernel("product_hopper")
            .with_type("TC", to.dtype)
            .with("BN", wide)
            .with("A_T", u8::from(product.a.transposed))
            .with("B_T", u8::from(product.b.transposed))
            .with("STAGES", stages);
        let blocks = plan.tiles(m, n) * plan.parts;
        let bias = if one { product.bias } else { None };
        let args = [
            to.into(),
            Arg::Map(self.a),
            Arg::Map(self.b),
            bias.into(),
            m.into(),
            n.into(),
            k.into(),
            to_stride.into(),
            (one && product.accumulate).into(),
            in_fours(to, to_stride).into(),
            plan.part_k.into(),
            blocks.into(),
        ];
        let grid = blocks.min(gpu.info().multiprocessors as usize);
        let grid = Grid::new(grid, THREADS).with_shared(stages * stage + BARRIERS);
        gpu.launch(&kernel, grid, &args)?;
        if one {
            return Ok(());
        }
        fold_parts(gpu, to, plan.parts, product)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_whole_stages_and_fit_the_scratch() {
        for (m, n, k) in [
            (768, 768, 65_536),
            (70, 75, 1100),
            (4096, 4096, 4096),
            (9, 9, 64),
        ] {
            let portable = Plan::new(Precision::Bf16, m, n, k);
            for parts in 1..=portable.parts {
                let plan = cut(TILES[0], parts, k);
                assert!(plan.part_k.is_multiple_of(STEP) && plan.parts * plan.part_k >= k);
                assert!((plan.parts - 1) * plan.part_k < k, "{plan:?}");
            }
            if let Some(plan) = best(&portable, m, n, k) {
                assert!(plan.bytes(m, n) <= portable.bytes(m, n), "{plan:?}");
            }
        }
    }

    #[test]
    fn large_products_are_taken_and_small_ones_left() {
        let plan = |m, n, k| best(&Plan::new(Precision::Bf16, m, n, k), m, n, k);
        assert_eq!(plan(65_536, 3072, 768).unwrap().tile, TILES[0]);
        let gradient = plan(768, 768, 65_536).unwrap();
        assert!(gradient.parts > 1, "{gradient:?}");
        assert_eq!(plan(16, 768, 768), None);
    }
}
