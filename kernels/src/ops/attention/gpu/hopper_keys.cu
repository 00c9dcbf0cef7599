// Attention backward on Hopper's tensor cores: gradients of keys and values.
//
// A block owns 128 keys of one key-value head, 64 in each of two warpgroups, and goes over the query heads of its group in
// order, and for each over the tiles of COLS queries that see its keys: every gradient is summed by one warpgroup in one order.
// As in `attention_backward_keys` scores are transposed (keys down, queries across), so that probabilities and their gradients
// are left factors of dV = P^T dO and dK = dS^T Q as they stand in the registers. Of the third warpgroup one thread has tiles
// of queries and of output gradients copied, and two warps bring what belongs to single queries, two stages deep. While one
// warpgroup makes probabilities, the other one's products run. Products: 1024 COLS HEAD_DIM operations for 4 COLS HEAD_DIM
// bytes brought.
//
// qkv, d_out: as columns, positions, sequences, in boxes of 64 x 64. d_qkv receives dK and dV; ranges: of tiles of COLS
// queries (`attention_delta`). scale2: scale times log2 e.
#define LOADERS 64  // the last threads: they bring the numbers of single queries

// Where a block is: a query head, and a tile of queries of those from the keys' own on that see keys below `end`.
struct Walk {
  int head, tile;
};
DEV void step(Walk& at, const int* ranges, int first, int last, int end) {
  do at.tile++;
  while (at.tile <= last && ranges[2 * at.tile] >= end);
  if (at.tile > last) at.tile = first, at.head++;
}

KERNEL_ALONE(attention_hopper_keys, THREADS,
             (TENSOR_MAP(qkv), TENSOR_MAP(d_out), bf16* d_qkv, const float* lse, const float* delta, const int* ranges,
              const int* starts, int batches, int heads, int kv_heads, int queries, int section, float scale2, float scale,
              int mode)) {
  DYN_TILES(u8, memory);
  SHARED(float, lses, [2][COLS]);
  SHARED(float, deltas, [2][COLS]);
  SHARED(int, firsts, [2][COLS]);
  SHARED(u64, bars, [5]);
  SHARED(int, red, [2 * THREADS / 32]);
  u64 *own_full = bars, *full = bars + 1, *free = bars + 3;
  u8 *own = memory, *qs = own + 4 * OWN_BYTES, *os = qs + 2 * TILE_BYTES;
  int parts = (queries + ROWS - 1) / ROWS, tiles = (queries + COLS - 1) / COLS, members = heads / kv_heads;
  Place at = place(parts, batches, kv_heads, section);
  int key = at.part * ROWS, end = key + ROWS < queries ? key + ROWS : queries, group = my_group();
  u64 row0 = (u64)at.batch * queries;
  ranges += 2 * at.batch * tiles, starts += row0;
  if (TID == 0) {
    tma_prefetch(qkv), tma_prefetch(d_out);
    mbar_init(own_full, 1);
    for (int i = 0; i < 2; i++) mbar_init(full + i, 1 + LOADERS / 32), mbar_init(free + i, COMPUTING);
    mbar_ready();
  }
  int first = key / COLS, last = shfl_from(last_tile(ranges, first, tiles, end, red), 0);
  int stage = 0, phase = 0, until = (at.head + 1) * members, k_column = (heads + at.head) * HEAD_DIM;
  Walk walk = {at.head * members, first};

  if (group == 2) {
    regs_release<FEW_REGISTERS>();
    if (TID == 2 * GROUP) {
      mbar_expect(own_full, 4 * OWN_BYTES);
      for (int w = 0; w < 2; w++) {
        bring<64>(own + 2 * w * OWN_BYTES, qkv, own_full, k_column, key + 64 * w, at.batch);
        bring<64>(own + (2 * w + 1) * OWN_BYTES, qkv, own_full, k_column + kv_heads * HEAD_DIM, key + 64 * w, at.batch);
      }
      while (walk.head < until) {
        mbar_wait(free + stage, phase ^ 1);
        mbar_expect(full + stage, 2 * TILE_BYTES);
        bring<COLS>(qs + stage * TILE_BYTES, qkv, full + stage, walk.head * HEAD_DIM, walk.tile * COLS, at.batch);
        bring<COLS>(os + stage * TILE_BYTES, d_out, full + stage, walk.head * HEAD_DIM, walk.tile * COLS, at.batch);
        step(walk, ranges, first, last, end);
        stage ^= 1, phase ^= stage ^ 1;
      }
    } else if (TID >= THREADS - LOADERS) {
      while (walk.head < until) {
        mbar_wait(free + stage, phase ^ 1);
        UNROLL for (int j = 0; j < COLS; j += LOADERS) {
          int col = j + TID - (THREADS - LOADERS), i = walk.tile * COLS + col;
          bool have = i < queries;
          u64 of = ((u64)at.batch * heads + walk.head) * queries + i;
          lses[stage][col] = have ? lse[of] : 0.0f, deltas[stage][col] = have ? delta[of] : 0.0f;
          firsts[stage][col] = have ? first_key(starts, i, i) : 0x7fffffff;
        }
        give_back(full + stage);
        step(walk, ranges, first, last, end);
        stage ^= 1, phase ^= stage ^ 1;
      }
    }
  } else {
    regs_claim<MANY_REGISTERS>();
    const u8 *ks = own + 2 * group * OWN_BYTES, *vs = ks + OWN_BYTES;
    int mine = key + 64 * group;
    float dk[HEAD_DIM / 2] = {}, dv[HEAD_DIM / 2] = {};
    mbar_wait(own_full, 0);
    while (walk.head < until) {
      int query = walk.tile * COLS, high = shfl_from(ranges[2 * walk.tile + 1], 0);
      const u8 *qt = qs + stage * TILE_BYTES, *ot = os + stage * TILE_BYTES;
      mbar_wait(full + stage, phase);
      if (mine < query + COLS) {
        float s[COLS / 2] = {}, ds[COLS / 2] = {};
        u32 p[COLS / 16][4];
        wgmma_fence();
        multiply(s, ks, qt);
        multiply(ds, vs, ot);
        wgmma_wait<1>();
        wgmma_hold(s);
        if (mine + 64 > query + 1 || mine < high || query + COLS > queries) {
          UNROLL for (int n = 0; n < COLS / 8; n++)
            UNROLL for (int e = 0; e < 2; e++) {
              int col = 8 * n + MY_COL + e, from = firsts[stage][col];
              UNROLL for (int h = 0; h < 2; h++) {
                int j = mine + MY_ROW + 8 * h;
                if (j > query + col || j < from) s[4 * n + 2 * h + e] = -1.0f / 0.0f;
              }
            }
        }
        UNROLL for (int n = 0; n < COLS / 8; n++)
          UNROLL for (int e = 0; e < 2; e++) {
            float minus = -lses[stage][8 * n + MY_COL + e];
            UNROLL for (int h = 0; h < 2; h++)
              s[4 * n + 2 * h + e] = EX2(FMA(s[4 * n + 2 * h + e], scale2, minus));
          }
        pack(p, s);
        wgmma_wait<0>();
        wgmma_hold(ds);
        wgmma_fence();
        accumulate(dv, p, ot);
        UNROLL for (int n = 0; n < COLS / 8; n++)
          UNROLL for (int e = 0; e < 2; e++) {
            float less = deltas[stage][8 * n + MY_COL + e];
            UNROLL for (int h = 0; h < 2; h++)
              s[4 * n + 2 * h + e] = s[4 * n + 2 * h + e] * (ds[4 * n + 2 * h + e] - less);
          }
        u32 q[COLS / 16][4];
        pack(q, s);
        wgmma_fence();
        accumulate(dk, q, qt);
        wgmma_wait<0>();
        wgmma_hold(dv);
        wgmma_hold(dk);
      }
      give_back(free + stage);
      step(walk, ranges, first, last, end);
      stage ^= 1, phase ^= stage ^ 1;
    }
    int row = (heads + 2 * kv_heads) * HEAD_DIM;
    bf16* to = d_qkv + (row0 + mine) * row + k_column;
    float scales[2] = {scale, scale}, ones[2] = {1.0f, 1.0f};
    deliver_rows(to, dk, scales, end - mine, row, mode);
    deliver_rows(to + kv_heads * HEAD_DIM, dv, ones, end - mine, row, mode);
  }
}
