//! The product of two large matrices, cut into blocks that fit the caches.
//!
//! One operand, the one with fewer lanes, is packed whole and stays ("resident"); the tasks of the other cut it into blocks
//! that fit the second-level cache, and pack their own. So each element is packed once, and only the resident panels travel
//! between the cores. Where B comes packed ([`super::packed`]) it is read where it lies, as either of the two.
//!
//! ```text
//! for each chunk of the private lanes               one, unless C is bf16 and K has several blocks
//!     for each section of K                         one, unless K is long
//!         pack the resident operand                 tasks
//!         for each block of private lanes           tasks
//!             for each block of K
//!                 pack the private block
//!                 for each resident panel, for each private panel: tile
//! ```

use super::tile::{self, Block, Finish, Out};
use super::{Operand, Output, OutputData, Word, pack, take};
use crate::arena::Shared;
use crate::{Cpu, Isa, Precision};
use std::ops::Range;

/// Most blocks of K in one pass of packing: more would push the resident panels out of the caches.
const SECTION_BLOCKS: usize = 2;

/// Private blocks a thread, at least, so that a thread that is held up is waited for briefly. With more of them the blocks
/// of a few hundred lanes get narrow, and packing reads short pieces of long lines: four cost 6 % of 512 x 512 x 8192.
const BLOCKS_PER_THREAD: usize = 2;

/// Tasks a thread that pack the resident operand, at most: few, for the same reason.
const PACKING_PER_THREAD: usize = 4;

/// Floats of the sums of a `bf16` C whose K has several blocks: 8 MiB, or one task's block a thread.
const SUMS: usize = 2 << 20;

/// Below this many multiply-adds one thread does it all: starting the others would take as long.
const SERIAL: usize = 1 << 20;

/// Elements along K of a panel, and lanes of a private block: together at most 0.75 MiB, for a second-level cache of 1 MiB
/// and more with AVX-512, and 0.3 MiB elsewhere. The first is part of the definition of the result, since sums are cut
/// there. Measured with AVX-512: 256 along K instead of 512 costs 4 % (C is read and written once more), 192 lanes instead
/// of 384 up to 5 % where the resident operand exceeds the second-level cache. With AVX2 256 along K costs 3 %.
fn block_size(isa: Isa) -> (usize, usize) {
    match isa {
        Isa::Avx512 | Isa::Avx512Bf16 => (512, 384),
        Isa::Scalar | Isa::Avx2 | Isa::Neon => (384, 192),
    }
}

/// How a product is cut. Only `threads` depends on the number of threads, and with it the size of tasks, never an order
/// of summation.
pub(super) struct Plan {
    isa: Isa,
    word: Word,
    size: (usize, usize, usize),
    /// Rows and columns of a tile.
    tile: (usize, usize),
    threads: usize,
    k_block: usize,
    /// Most lanes of a private block.
    block_lanes: usize,
    /// Whether A is the resident operand.
    a_resident: bool,
    /// Private panels of one chunk.
    chunk: usize,
    /// Whether sums need memory of their own.
    sums: bool,
}

impl Plan {
    /// The plan of an (M, K) by (K, N) product, into a `bf16` C or not.
    pub fn new(
        cpu: &Cpu,
        precision: Precision,
        (m, n, k): (usize, usize, usize),
        bf16: bool,
    ) -> Self {
        let word = Word::of(cpu, precision);
        let tile = tile::shape(cpu.isa);
        let (k_block, block_lanes) = block_size(cpu.isa);
        let threads = if m * n * k <= SERIAL {
            1
        } else {
            cpu.pool.threads()
        };
        // Of two alike, B is cut: its wide panels share out more evenly (512 lanes are 16 panels of 32, or 43 of 12).
        let a_resident = m <= n;
        let mut plan = Self {
            isa: cpu.isa,
            word,
            size: (m, n, k),
            tile,
            threads,
            k_block,
            block_lanes,
            a_resident,
            chunk: usize::MAX,
            sums: bf16 && k > k_block,
        };
        plan.chunk = if plan.sums {
            let (width, lanes) = (plan.private().0, plan.resident().1);
            let least = block_lanes.max(64 * threads);
            ((SUMS / lanes).max(least) / width).min(plan.private_panels())
        } else {
            plan.private_panels()
        };
        plan
    }

    /// Width of a panel, and lanes, of the resident operand.
    fn resident(&self) -> (usize, usize) {
        let (m, n, _) = self.size;
        if self.a_resident {
            (self.tile.0, m)
        } else {
            (self.tile.1, n)
        }
    }

    /// Width of a panel, and lanes, of the private operand.
    fn private(&self) -> (usize, usize) {
        let (m, n, _) = self.size;
        if self.a_resident {
            (self.tile.1, n)
        } else {
            (self.tile.0, m)
        }
    }

    fn resident_panels(&self) -> usize {
        let (width, lanes) = self.resident();
        lanes.div_ceil(width)
    }

    fn private_panels(&self) -> usize {
        let (width, lanes) = self.private();
        lanes.div_ceil(width)
    }

    /// Most panels of a private block.
    fn block_panels(&self) -> usize {
        (self.block_lanes / self.private().0).min(self.chunk)
    }

    /// Words along K of `k` elements.
    fn groups(&self, k: usize) -> usize {
        k.div_ceil(self.word.group())
    }

    /// Most elements along K in one pass of packing.
    fn section(&self) -> usize {
        SECTION_BLOCKS * self.k_block
    }

    fn resident_bytes(&self) -> usize {
        let groups = self.groups(self.size.2.min(self.section()));
        let words = self.resident_panels() * self.resident().0 * groups;
        (words * size_of::<u32>()).next_multiple_of(crate::arena::ALIGN)
    }

    fn private_bytes(&self) -> usize {
        let groups = self.groups(self.size.2.min(self.k_block));
        let words = self.block_panels() * self.private().0 * groups;
        (words * size_of::<u32>()).next_multiple_of(crate::arena::ALIGN)
    }

    fn sums_bytes(&self) -> usize {
        if !self.sums {
            return 0;
        }
        let floats = self.chunk * self.private().0 * self.resident().1;
        (floats * size_of::<f32>()).next_multiple_of(crate::arena::ALIGN)
    }

    /// Scratch of the product.
    pub fn bytes(&self) -> usize {
        self.resident_bytes() + self.threads * self.private_bytes() + self.sums_bytes()
    }
}

/// What is multiplied.
#[derive(Clone, Copy)]
pub(super) struct Factors {
    pub a: Operand,
    pub b: Operand,
    /// B packed by [`pack_all`], if it is.
    pub panels: Option<*const f32>,
}

/// Words of a (K, N) matrix that is packed whole.
pub(super) fn packed_words(isa: Isa, word: Word, n: usize, k: usize) -> usize {
    let (width, k_block) = (tile::shape(isa).1, block_size(isa).0);
    let groups: usize = (0..k)
        .step_by(k_block)
        .map(|start| (k - start).min(k_block).div_ceil(word.group()))
        .sum();
    n.div_ceil(width) * width * groups
}

/// Packs B, (K, N), whole: for each block of K all panels. `words` has room for [`packed_words`].
pub(super) fn pack_all(
    cpu: &Cpu,
    word: Word,
    b: Operand,
    (n, k): (usize, usize),
    words: &mut [f32],
) {
    assert!(words.len() >= packed_words(cpu.isa, word, n, k));
    let (width, k_block) = (tile::shape(cpu.isa).1, block_size(cpu.isa).0);
    let panels = n.div_ceil(width);
    let tasks = if n * k <= SERIAL / 4 {
        1
    } else {
        (8 * cpu.pool.threads()).min(panels)
    };
    let words = Shared::new(words);
    run_tasks(cpu, tasks.min(cpu.pool.threads()), tasks, |_, task| {
        let (from, to) = (panels * task / tasks, panels * (task + 1) / tasks);
        let mut before = 0;
        for start in (0..k).step_by(k_block) {
            let ks = start..k.min(start + k_block);
            let groups = ks.len().div_ceil(word.group());
            let lanes = from * width..n.min(to * width);
            // SAFETY: the ranges lie in the operand, the memory has room for all panels of all blocks of K, and this task
            // alone writes panels `from` to `to`.
            unsafe {
                let panels_at = words.at(before + from * width * groups).cast();
                pack::pack(cpu.isa, word, b, width, (lanes, ks), panels_at);
            }
            before += panels * width * groups;
        }
    });
}

/// A product under way.
struct Product {
    plan: Plan,
    resident: Operand,
    private: Operand,
    /// B packed whole, if it is.
    ready: Option<Ready>,
    c: Output,
    /// Resident panels of a section: for each block of K all panels.
    resident_panels: Shared<f32>,
    /// A private block for each thread.
    private_panels: Shared<f32>,
    /// The sums of a chunk, row-major: all its rows and columns.
    sums: Shared<f32>,
}

/// Panels that only need to be read.
#[derive(Clone, Copy)]
struct Ready(*const f32);

// SAFETY: a view of memory that nobody writes while the product runs.
unsafe impl Send for Ready {}
// SAFETY: as above.
unsafe impl Sync for Ready {}

/// As [`super::gemm`].
pub(super) fn gemm(
    cpu: &Cpu,
    precision: Precision,
    factors: Factors,
    c: Output,
    size: (usize, usize, usize),
    workspace: &mut [u8],
) {
    let plan = Plan::new(cpu, precision, size, matches!(c.data, OutputData::Bf16(_)));
    let (resident_panels, rest) = take(workspace, plan.resident_bytes());
    let (private_panels, rest) = take(rest, plan.threads * plan.private_bytes());
    let (sums, _) = take(rest, plan.sums_bytes());
    let Factors { a, b, panels } = factors;
    let (resident, private) = if plan.a_resident { (a, b) } else { (b, a) };
    let product = Product {
        plan,
        resident,
        private,
        ready: panels.map(Ready),
        c,
        resident_panels: Shared::new(resident_panels),
        private_panels: Shared::new(private_panels),
        sums: Shared::new(sums),
    };
    product.run(cpu);
}

impl Product {
    fn run(&self, cpu: &Cpu) {
        let plan = &self.plan;
        let k = plan.size.2;
        let mut packed = None;
        for first in (0..plan.private_panels()).step_by(plan.chunk) {
            let chunk = first..plan.private_panels().min(first + plan.chunk);
            let resident_is_ready = self.ready.is_some() && !plan.a_resident;
            let length = if resident_is_ready { k } else { plan.section() };
            for start in (0..k).step_by(length) {
                let section = start..k.min(start + length);
                if packed != Some(start) && !resident_is_ready {
                    packed = Some(start);
                    let tasks = self.packing_tasks();
                    let workers = cpu.pool.threads().min(plan.threads);
                    run_tasks(cpu, workers, tasks, |_, task| {
                        self.pack_resident(&section, task, tasks);
                    });
                }
                let blocks = self.blocks(chunk.len());
                run_tasks(cpu, plan.threads, blocks, |worker, block| {
                    let panels = chunk.start + chunk.len() * block / blocks
                        ..chunk.start + chunk.len() * (block + 1) / blocks;
                    self.block(worker, chunk.start, panels, &section);
                });
            }
        }
    }

    /// Tasks that pack a section.
    fn packing_tasks(&self) -> usize {
        (PACKING_PER_THREAD * self.plan.threads).min(self.plan.resident_panels())
    }

    /// Tasks of a chunk of `panels` private panels.
    fn blocks(&self, panels: usize) -> usize {
        let threads = self.plan.threads;
        panels
            .div_ceil(self.plan.block_panels())
            .max(if threads == 1 {
                1
            } else {
                BLOCKS_PER_THREAD * threads
            })
            .next_multiple_of(threads)
            .min(panels)
    }

    /// Packs a share of the resident lanes, all of the section.
    fn pack_resident(&self, section: &Range<usize>, task: usize, tasks: usize) {
        let plan = &self.plan;
        let (width, lanes) = plan.resident();
        let panels = plan.resident_panels();
        let (from, to) = (panels * task / tasks, panels * (task + 1) / tasks);
        for start in section.clone().step_by(plan.k_block) {
            let ks = start..section.end.min(start + plan.k_block);
            let to_address = self.resident_at(section.start, &ks, from);
            // SAFETY: the ranges lie in the operand; the workspace has room for all panels of a section, and this task alone
            // writes panels `from` to `to`.
            unsafe {
                let lanes = from * width..lanes.min(to * width);
                pack::pack(
                    plan.isa,
                    plan.word,
                    self.resident,
                    width,
                    (lanes, ks),
                    to_address,
                );
            }
        }
    }

    /// Where resident panel `panel` of block `ks` of the section that starts at `section` is.
    fn resident_at(&self, section: usize, ks: &Range<usize>, panel: usize) -> *mut u32 {
        let plan = &self.plan;
        if !plan.a_resident
            && let Some(panels) = self.ready_at(ks, panel)
        {
            return panels.cast_mut();
        }
        let width = plan.resident().0;
        let before = plan.resident_panels() * width * plan.groups(ks.start - section);
        let index = before + panel * width * plan.groups(ks.len());
        // SAFETY: the workspace has room for all panels of a section.
        unsafe { self.resident_panels.at(index) }.cast()
    }

    /// Where panel `panel` of block `ks` of B is, if B came packed.
    fn ready_at(&self, ks: &Range<usize>, panel: usize) -> Option<*const u32> {
        let plan = &self.plan;
        let width = plan.tile.1;
        // Blocks of K before the last are whole, and as many words long as they are groups.
        let before = plan.size.1.div_ceil(width) * width * plan.groups(ks.start);
        let index = before + panel * width * plan.groups(ks.len());
        Some(self.ready?.0.wrapping_add(index).cast())
    }

    /// One task: the private panels `panels`, of the chunk that starts with panel `chunk`, by all resident ones, over one
    /// section of K.
    fn block(&self, worker: usize, chunk: usize, panels: Range<usize>, section: &Range<usize>) {
        let plan = &self.plan;
        let (width, lanes) = plan.private();
        let lanes = panels.start * width..lanes.min(panels.end * width);
        let own = worker * plan.private_bytes() / size_of::<u32>();
        // SAFETY: the workspace has a private block for each worker.
        let own: *mut u32 = unsafe { self.private_panels.at(own) }.cast();
        for start in section.clone().step_by(plan.k_block) {
            let ks = start..section.end.min(start + plan.k_block);
            let resident = self.resident_at(section.start, &ks, 0);
            let ready = plan.a_resident.then(|| self.ready_at(&ks, panels.start));
            let private = ready.flatten().unwrap_or_else(|| {
                // SAFETY: the lanes lie in the operand, and fit a private block; this worker alone writes its block.
                unsafe {
                    let area = (lanes.clone(), ks.clone());
                    pack::pack(plan.isa, plan.word, self.private, width, area, own);
                }
                own.cast_const()
            });
            let (rows, cols) = if plan.a_resident {
                (0..plan.size.0, lanes.clone())
            } else {
                (lanes.clone(), 0..plan.size.1)
            };
            let (sums, sums_stride) = self.sums_at(chunk * width, rows.start, cols.start);
            let block = Block {
                groups: plan.groups(ks.len()),
                a: if plan.a_resident { resident } else { private },
                b: if plan.a_resident { private } else { resident },
                rows: rows.len(),
                cols: cols.len(),
                a_outer: plan.a_resident,
                sums,
                sums_stride,
                add: start > 0 || (self.c.accumulate && matches!(self.c.data, OutputData::F32(_))),
                finish: (ks.end == plan.size.2)
                    .then(|| self.finish(rows.start, cols.start))
                    .flatten(),
            };
            // SAFETY: the panels were packed above and by the pass before; C (and the sums) of this block belong to this
            // task alone.
            unsafe { tile::run(plan.isa, plan.word == Word::Pair, block) };
        }
    }

    /// Where the sum of element (row, col) is, and the elements between two rows of sums: in C if that is `f32`, else in
    /// memory for a chunk of the private lanes, which starts with lane `chunk`.
    fn sums_at(&self, chunk: usize, row: usize, col: usize) -> (*mut f32, usize) {
        let plan = &self.plan;
        let (index, stride) = match self.c.data {
            OutputData::F32(data) => {
                let stride = self.c.stride;
                return (data.wrapping_add(row * stride + col), stride);
            }
            // One block of K: the tiles go straight to C.
            OutputData::Bf16(_) if !plan.sums => (0, 0),
            OutputData::Bf16(_) if plan.a_resident => (col - chunk, plan.chunk * plan.tile.1),
            OutputData::Bf16(_) => ((row - chunk) * plan.size.1, plan.size.1),
        };
        // SAFETY: the workspace has room for the sums of a chunk.
        (unsafe { self.sums.at(index) }, stride)
    }

    /// What remains to be done with the sums of a block that starts at (row, col).
    fn finish(&self, row: usize, col: usize) -> Option<Finish> {
        let bias = if self.c.bias.is_null() {
            self.c.bias
        } else {
            self.c.bias.wrapping_add(col)
        };
        let out = match self.c.data {
            OutputData::F32(_) if bias.is_null() => return None,
            OutputData::F32(_) => Out::Sums,
            OutputData::Bf16(data) => Out::Bf16 {
                data: data.wrapping_add(row * self.c.stride + col),
                stride: self.c.stride,
                accumulate: self.c.accumulate,
            },
        };
        Some(Finish { bias, out })
    }
}

/// Runs tasks on the pool, or here if one thread is enough.
fn run_tasks(cpu: &Cpu, threads: usize, count: usize, task: impl Fn(usize, usize) + Sync) {
    if threads == 1 {
        (0..count).for_each(|index| task(0, index));
    } else {
        cpu.pool.run_with_worker(count, task);
    }
}
