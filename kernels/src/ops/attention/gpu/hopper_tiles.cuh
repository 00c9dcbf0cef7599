// What Hopper's attention kernels share: where tiles lie in shared memory, products of a warpgroup, rows to memory.
//
// HEAD_DIM  size of a head: 64, 128 or 256
// COLS      rows of the other side in a tile: 64 or 128
//
// A block has three warpgroups: two compute, each for 64 of the block's 128 rows; the third brings tiles. A tile of n rows
// is HEAD_DIM / 64 pieces of n lines of 128 bytes, as the copy engine leaves them; its boxes have 64 lines.
#define GROUP 128
#define THREADS (3 * GROUP)
#define ROWS 128
#define OWN_BYTES (64 * HEAD_DIM * 2)  // a tile of the rows of one warpgroup
#define TILE_BYTES (COLS * HEAD_DIM * 2)
// The first of the two rows, 8 apart, that this thread has of its warpgroup's 64; the first of its two columns in every eight.
#define MY_ROW ((int)(TID % GROUP / 32 * 16 + TID % 32 / 4))
#define MY_COL ((int)(TID % 4 * 2))
// Of 168 registers that each of the 384 threads begins with: the third warpgroup's, and those that compute.
#define FEW_REGISTERS 40
#define MANY_REGISTERS 232
// How often a tile is given back: by each warp that computes.
#define COMPUTING (2 * GROUP / 32)

// The warpgroup of this thread: by a shuffle, so that the compiler knows that branches on it split no warp.
DEV int my_group() { return shfl_from((int)(TID / GROUP), 0); }
// Has N rows of one head brought to a tile, from `row` of sequence `batch` on; zeros behind the sequence.
template <int N> DEV void bring(u8* tile, const TensorMap& map, u64* bar, int column, int row, int batch) {
  for (int c = 0; c < HEAD_DIM; c += 64)
    for (int i = 0; i < N; i += 64)
      tma_load(tile + c / 64 * N * 128 + i * 128, map, bar, column + c, row + i, batch);
}
// Gives back what this warp has read; every lane comes here behind its own wait for the products that read it.
DEV void give_back(u64* bar) {
  WSYNC();
  if (TID % 32 == 0) mbar_arrive(bar);
}
// Sixteen columns from `k` on of a tile of N rows, as a factor that is summed over its columns.
template <int N> DEV u64 columns(const u8* tile, int k) {
  return rows_desc(tile, 0) + (u64)((k / 64 * N * 128 + k % 64 * 2) >> 4);
}
// s = own tile^T: the warpgroup's 64 rows with all COLS rows of a tile, over all columns. Asked for, not awaited.
DEV void multiply(float (&s)[COLS / 2], const u8* own, const u8* tile) {
  UNROLL for (int k = 0; k < HEAD_DIM; k += 16)
    wgmma<COLS, false, false>(s, columns<64>(own, k), columns<COLS>(tile, k), k > 0);
  wgmma_commit();
}
// sums += p tile: p as `pack` left it, the tile summed over its rows. Asked for, not awaited.
DEV void accumulate(float (&sums)[HEAD_DIM / 2], const u32 (&p)[COLS / 16][4], const u8* tile) {
  u64 rows = cols_desc(tile, COLS * 128);
  UNROLL for (int i = 0; i < COLS / 16; i++) wgmma<HEAD_DIM, true>(sums, p[i], rows + (u64)(i * 16 * 128 >> 4), true);
  wgmma_commit();
}
// The sums of one product, rounded, are laid out as the left factor of the next: they never leave the registers.
DEV void pack(u32 (&p)[COLS / 16][4], const float (&s)[COLS / 2]) {
  UNROLL for (int i = 0; i < COLS / 16; i++)
    UNROLL for (int j = 0; j < 4; j++) p[i][j] = round2(s[8 * i + 2 * j], s[8 * i + 2 * j + 1]);
}
// Scores of queries (rows, from `query` on) with keys that they do not see (columns, from `key` on) become minus infinity.
DEV void hide(float (&s)[COLS / 2], int query, const int (&start)[2], int key) {
  UNROLL for (int h = 0; h < 2; h++) {
    int last = query + MY_ROW + 8 * h - key - MY_COL, first = start[h] - key - MY_COL;
    UNROLL for (int n = 0; n < COLS / 8; n++)
      UNROLL for (int e = 0; e < 2; e++)
        if (8 * n + e > last || 8 * n + e < first) s[4 * n + 2 * h + e] = -1.0f / 0.0f;
  }
}
// Delivers the warpgroup's rows, of which `count` exist, as the fragments hold them: four lanes write 16 bytes side by side.
// That is half of what memory moves at once, but a block does it once for many tiles that it reads.
DEV void deliver_rows(bf16* to, const float (&sums)[HEAD_DIM / 2], const float (&scale)[2], int count, int stride,
                      int mode) {
  UNROLL for (int h = 0; h < 2; h++) {
    int row = MY_ROW + 8 * h;
    if (row >= count) continue;
    u32* at = (u32*)(to + (u64)row * stride + MY_COL);
    UNROLL for (int n = 0; n < HEAD_DIM / 8; n++) {
      float x = sums[4 * n + 2 * h] * scale[h], y = sums[4 * n + 2 * h + 1] * scale[h];
      if (mode == ADD) x += lo2f(at[4 * n]), y += hi2f(at[4 * n]);
      at[4 * n] = round2(x, y);
    }
  }
}
