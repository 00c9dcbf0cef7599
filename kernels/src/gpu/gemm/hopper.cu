// C (m x n) = A B on Hopper's tensor cores (sm_90a): factors bf16, sums float, in tiles of 128 x BN.
//
// Three warpgroups: two multiply, 64 rows each, by wgmma from shared memory; one thread of the third asks the copy engine for
// what they need, STAGES steps of 64 of K ahead, and is told stage by stage when it has been read. The grid is as large as the
// device; a block goes on to its next tile, whose first steps are under way while the last sums are written.
// A is stored m x k, with A_T k x m; B k x n, with B_T n x k: a factor lies in shared memory as it is stored, and wgmma is told
// which way. Lines of 128 bytes are swizzled, so that eight of them lie in different banks. What lies beyond the edges is zero.
//
// Bytes: a step of 128 x 256 brings 48 KiB from L2 for 2 Mi multiply-adds, 1024 cycles of the tensor cores; 128 sums a thread stay
// in registers, which the third warpgroup gives up (2 x 232 + 40 of 512). Four stages of 48 KiB fill the memory, or seven of 32.
#define STEP 64
#define TILE_BYTES (64 * 128)  // 64 x 64 elements, or 64 lines of them
#define A_BYTES (2 * TILE_BYTES)
#define STAGE_BYTES (A_BYTES + BN / 64 * TILE_BYTES)
#define CONSUMERS 2

// Where the producer and the consumers are in the ring of stages.
struct Turn {
  u32 stage, parity;
};
DEV void advance(Turn& turn) {
  if (++turn.stage == STAGES) turn.stage = 0, turn.parity ^= 1;
}

KERNEL_ALONE(product_hopper, 384,
             (TC * c, TENSOR_MAP(a), TENSOR_MAP(b), const float* bias, int m, int n, int k, int c_stride, int add, int aligned,
              int part_k, int blocks)) {
  DYN_TILES(u8, memory);
  u64 *full = (u64*)(memory + STAGES * STAGE_BYTES), *empty = full + STAGES;
  if (TID == 0) {
    for (int i = 0; i < STAGES; i++) {
      mbar_init(full + i, 1);
      mbar_init(empty + i, CONSUMERS * 4);  // one arrival a warp
    }
    mbar_ready();
  }
  BARRIER();
  u32 group = shfl_from((u32)(TID / 128), 0);  // the same for a warp, as the compiler then knows
  Turn turn = {0, 0};
  if (group == CONSUMERS) {
    regs_release<40>();
    if (TID % 128 == 0) {
      tma_prefetch(a);
      tma_prefetch(b);
      for (int block = BID; block < blocks; block += GDIM) {
        Tile tile = tile_at<128, BN>(block, m, n);
        int at = tile.part * part_k, end = k - at < part_k ? k : at + part_k;
        for (; at < end; at += STEP, advance(turn)) {
          u8 *a_to = memory + turn.stage * STAGE_BYTES, *b_to = a_to + A_BYTES;
          u64* bar = full + turn.stage;
          mbar_wait(empty + turn.stage, turn.parity ^ 1);
          mbar_expect(bar, STAGE_BYTES);
#if A_T
#pragma unroll
          for (int i = 0; i < 2; i++) tma_load(a_to + i * TILE_BYTES, a, bar, tile.row + i * 64, at);
#else
          tma_load(a_to, a, bar, at, tile.row);
#endif
#if B_T
          tma_load(b_to, b, bar, at, tile.col);
#else
#pragma unroll
          for (int i = 0; i < BN / 64; i++) tma_load(b_to + i * TILE_BYTES, b, bar, tile.col + i * 64, at);
#endif
        }
      }
    }
  } else {
    regs_claim<232>();
    int l = TID % 32, warp_row = TID / 32 * 16;
    for (int block = BID; block < blocks; block += GDIM) {
      Tile tile = tile_at<128, BN>(block, m, n);
      int start = tile.part * part_k, end = k - start < part_k ? k : start + part_k;
      float sums[BN / 2];
      Turn last = turn;
      for (int at = start; at < end; at += STEP, advance(turn)) {
        u8 *as = memory + turn.stage * STAGE_BYTES, *bs = as + A_BYTES;
        mbar_wait(full + turn.stage, turn.parity);
        u64 a_desc = A_T ? cols_desc(as + group * TILE_BYTES, TILE_BYTES) : rows_desc(as, group * 64);
        u64 b_desc = B_T ? rows_desc(bs, 0) : cols_desc(bs, TILE_BYTES);
        wgmma_fence();
#pragma unroll
        for (int kk = 0; kk < STEP / 16; kk++) {
          wgmma<BN, A_T, !B_T>(sums, a_desc, b_desc, at > start || kk > 0);
          a_desc = A_T ? cols_next_k(a_desc) : rows_next_k(a_desc);
          b_desc = B_T ? rows_next_k(b_desc) : cols_next_k(b_desc);
        }
        wgmma_commit();
        if (at > start) {
          wgmma_wait<1>();  // the step before this one
          if (l == 0) mbar_arrive(empty + last.stage);
        }
        last = turn;
      }
      wgmma_wait<0>();
      wgmma_hold(sums);
      if (l == 0) mbar_arrive(empty + last.stage);
      // As in tiles.cu: neighbouring lanes exchange halves, so that each writes four neighbouring columns.
      TC* to = c + (u64)tile.part * m * n;
      bool odd = l % 2, plain = aligned && !bias && !add && tile.row + 128 <= m && tile.col + BN <= n;
#pragma unroll
      for (int j = 0; j < BN / 8; j += 2)
#pragma unroll
        for (int h = 0; h < 2; h++) {
          float *left = sums + 4 * j + 2 * h, *right = left + 4;
          float x = shfl_xor(odd ? left[0] : right[0], 1), y = shfl_xor(odd ? left[1] : right[1], 1);
          float4x v = {{odd ? x : left[0], odd ? y : left[1], odd ? right[0] : x, odd ? right[1] : y}};
          int row = tile.row + warp_row + h * 8 + l / 4;
          int col = tile.col + j * 8 + (odd ? 8 : 0) + l % 4 / 2 * 4;
          if (plain) put4(to + (u64)row * c_stride + col, v);
          else output4(to, c_stride, row, col, m, n, v, bias, add, aligned);
        }
    }
  }
}
