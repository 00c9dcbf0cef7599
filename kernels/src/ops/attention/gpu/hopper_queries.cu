// Attention backward on Hopper's tensor cores: gradients of the queries.
//
// A block owns 128 queries of one head, 64 in each of two warpgroups, and goes over its tiles of COLS keys and values, two
// stages deep, brought by one thread of the third. Probabilities come from the log-sum-exp; dS = P (dO V^T - delta) is the left
// factor of dQ = dS K as it stands in the registers. While one warpgroup makes probabilities, the other one's products run.
// Products: 768 COLS HEAD_DIM operations for 4 COLS HEAD_DIM bytes brought. Scores are made here and in
// `attention_hopper_keys`: seven products instead of five, the price of sums that no two blocks share.
//
// The parameters are those of `attention_hopper_keys`, without ranges.
KERNEL_ALONE(attention_hopper_queries, THREADS,
             (TENSOR_MAP(qkv), TENSOR_MAP(d_out), bf16* d_qkv, const float* lse, const float* delta, const int* starts,
              int batches, int heads, int kv_heads, int queries, int section, float scale2, float scale, int mode)) {
  DYN_TILES(u8, memory);
  SHARED(u64, bars, [5]);
  SHARED(int, red, [2 * THREADS / 32]);
  u64 *own_full = bars, *full = bars + 1, *free = bars + 3;
  u8 *own = memory, *ks = own + 4 * OWN_BYTES, *vs = ks + 2 * TILE_BYTES;
  int parts = (queries + ROWS - 1) / ROWS;
  Place at = place(parts, batches, heads, section);
  int first = (parts - 1 - at.part) * ROWS, group = my_group();
  int count = queries - first < ROWS ? queries - first : ROWS, end = first + count;
  u64 row0 = (u64)at.batch * queries;
  if (TID == 0) {
    tma_prefetch(qkv), tma_prefetch(d_out);
    mbar_init(own_full, 1);
    for (int i = 0; i < 2; i++) mbar_init(full + i, 1), mbar_init(free + i, COMPUTING);
    mbar_ready();
  }
  Range seen = block_range(starts, row0 + first, count, first, red);
  int key = shfl_from(seen.low, 0) / COLS * COLS, high = shfl_from(seen.high, 0), stage = 0, phase = 0;

  if (group == 2) {
    regs_release<FEW_REGISTERS>();
    if (TID == 2 * GROUP) {
      int k_column = (heads + at.head / (heads / kv_heads)) * HEAD_DIM, v_column = k_column + kv_heads * HEAD_DIM;
      mbar_expect(own_full, 4 * OWN_BYTES);
      for (int w = 0; w < 2; w++) {
        bring<64>(own + 2 * w * OWN_BYTES, qkv, own_full, at.head * HEAD_DIM, first + 64 * w, at.batch);
        bring<64>(own + (2 * w + 1) * OWN_BYTES, d_out, own_full, at.head * HEAD_DIM, first + 64 * w, at.batch);
      }
      for (; key < end; key += COLS) {
        mbar_wait(free + stage, phase ^ 1);
        mbar_expect(full + stage, 2 * TILE_BYTES);
        bring<COLS>(ks + stage * TILE_BYTES, qkv, full + stage, k_column, key, at.batch);
        bring<COLS>(vs + stage * TILE_BYTES, qkv, full + stage, v_column, key, at.batch);
        stage ^= 1, phase ^= stage ^ 1;
      }
    }
  } else {
    regs_claim<MANY_REGISTERS>();
    const u8 *qs = own + 2 * group * OWN_BYTES, *os = qs + OWN_BYTES;
    int query = first + 64 * group, start[2];
    u64 of = ((u64)at.batch * heads + at.head) * queries;
    float dq[HEAD_DIM / 2] = {}, minus[2], less[2];
    UNROLL for (int h = 0; h < 2; h++) {
      int i = query + MY_ROW + 8 * h;
      bool have = i < end;
      start[h] = have ? first_key(starts, row0 + i, i) : 0;
      minus[h] = have ? -lse[of + i] : 0.0f, less[h] = have ? delta[of + i] : 0.0f;
    }
    mbar_wait(own_full, 0);
    for (; key < end; key += COLS) {
      const u8 *kt = ks + stage * TILE_BYTES, *vt = vs + stage * TILE_BYTES;
      mbar_wait(full + stage, phase);
      if (key < query + 64) {
        float s[COLS / 2] = {}, ds[COLS / 2] = {};
        u32 p[COLS / 16][4];
        wgmma_fence();
        multiply(s, qs, kt);
        multiply(ds, os, vt);
        wgmma_wait<1>();
        wgmma_hold(s);
        if (key + COLS > query + 1 || key < high) hide(s, query, start, key);
        UNROLL for (int i = 0; i < COLS / 2; i++) s[i] = EX2(FMA(s[i], scale2, minus[i / 2 % 2]));
        wgmma_wait<0>();
        wgmma_hold(ds);
        UNROLL for (int i = 0; i < COLS / 2; i++) s[i] *= ds[i] - less[i / 2 % 2];
        pack(p, s);
        wgmma_fence();
        accumulate(dq, p, kt);
        wgmma_wait<0>();
        wgmma_hold(dq);
      }
      give_back(free + stage);
      stage ^= 1, phase ^= stage ^ 1;
    }
    int row = (heads + 2 * kv_heads) * HEAD_DIM;
    float scales[2] = {scale, scale};
    deliver_rows(d_qkv + (row0 + query) * row + at.head * HEAD_DIM, dq, scales, end - query, row, mode);
  }
}
