//! How kernels over rows cut their work: blocks of rows for the threads, and a fixed number of chunks for sums over rows.

use super::Pool;

/// Number of chunks that a sum over rows (the gradient of a norm's weight, of a bias) is folded from. A constant, so that
/// the order of additions depends on the number of rows alone.
pub const CHUNKS: usize = 16;

/// Rows `start..end` of chunk `chunk` of [`CHUNKS`].
pub fn chunk(rows: usize, chunk: usize) -> (usize, usize) {
    (rows * chunk / CHUNKS, rows * (chunk + 1) / CHUNKS)
}

/// Calls `task(start, end)` for blocks of rows that cover `0..rows`, in parallel. For work where rows do not depend on each
/// other, so that the size of a block changes no bit. `cost` is the elements that a row touches: small work stays on one
/// thread.
pub fn parallel(pool: &Pool, rows: usize, cost: usize, task: impl Fn(usize, usize) + Sync) {
    const SMALL: usize = 16 * 1024;
    let total = rows * cost;
    let blocks = if total <= SMALL {
        1
    } else {
        (total / SMALL)
            .min(pool.threads() * 8)
            .clamp(1, rows.max(1))
    };
    pool.run(blocks, |block| {
        task(rows * block / blocks, rows * (block + 1) / blocks)
    });
}
