// Attention forward on Hopper's tensor cores (FlashAttention-3, arXiv:2407.08608): for long sequences and wide heads.
//
// A block owns 128 queries of one head, 64 in each of two warpgroups: scores from shared memory, softmax in registers,
// probabilities from registers times the values. Keys and values come by the copy engine in tiles of COLS, two stages deep
// each, handed over and given back by barriers of their own. Two things keep the tensor cores busy during a softmax: a
// warpgroup asks for its next scores before the sums of its last tile, and while one warpgroup is in its softmax the other
// one's products run, which named barriers 1 and 2 make them take in turns. Reads: queries once, keys and values once for
// each block (from L2, see `place`); writes: outputs and log-sum-exp once. Products: 512 COLS HEAD_DIM operations for
// 4 COLS HEAD_DIM bytes brought.
//
// qkv: the fused tensor as columns, positions, sequences, in boxes of 64 x 64. lse may be null. scale: times log2 e.

// Scores become probabilities that still lack the division by their sum; `rescale` is what earlier sums shrink by.
DEV void soften(float (&s)[COLS / 2], float (&top)[2], float (&sum)[2], float (&rescale)[2], float scale) {
  UNROLL for (int h = 0; h < 2; h++) {
    float largest = s[2 * h];
    UNROLL for (int n = 0; n < COLS / 8; n++)
      UNROLL for (int e = 0; e < 2; e++) largest = FMAX(s[4 * n + 2 * h + e], largest);
    UNROLL for (int x = 1; x <= 2; x <<= 1) largest = FMAX(largest, shfl_xor(largest, x));
    largest = FMAX(largest * scale, top[h]);
    rescale[h] = EX2(top[h] - largest), top[h] = largest;
    float part = 0.0f;
    UNROLL for (int n = 0; n < COLS / 8; n++)
      UNROLL for (int e = 0; e < 2; e++) {
        float p = EX2(FMA(s[4 * n + 2 * h + e], scale, -largest));
        s[4 * n + 2 * h + e] = p, part += p;
      }
    sum[h] = FMA(sum[h], rescale[h], part);
  }
}

KERNEL_ALONE(attention_hopper_forward, THREADS,
             (TENSOR_MAP(qkv), bf16* out, float* lse, const int* starts, int batches, int heads, int kv_heads, int queries,
              int section, float scale)) {
  DYN_TILES(u8, memory);
  SHARED(u64, bars, [9]);
  SHARED(int, red, [2 * THREADS / 32]);
  u64 *q_full = bars, *k_full = bars + 1, *v_full = bars + 3, *k_free = bars + 5, *v_free = bars + 7;
  u8 *qs = memory, *ks = qs + 2 * OWN_BYTES, *vs = ks + 2 * TILE_BYTES;
  int parts = (queries + ROWS - 1) / ROWS;
  Place at = place(parts, batches, heads, section);
  int first = (parts - 1 - at.part) * ROWS;
  int count = queries - first < ROWS ? queries - first : ROWS, end = first + count;
  u64 row0 = (u64)at.batch * queries;
  if (TID == 0) {
    tma_prefetch(qkv);
    mbar_init(q_full, 1);
    for (int i = 0; i < 2; i++) {
      mbar_init(k_full + i, 1), mbar_init(v_full + i, 1);
      mbar_init(k_free + i, COMPUTING), mbar_init(v_free + i, COMPUTING);
    }
    mbar_ready();
  }
  Range seen = block_range(starts, row0 + first, count, first, red);
  int low = shfl_from(seen.low, 0) / COLS * COLS, high = shfl_from(seen.high, 0), group = my_group();

  if (group == 2) {
    regs_release<FEW_REGISTERS>();
    if (TID == 2 * GROUP) {
      int k_column = (heads + at.head / (heads / kv_heads)) * HEAD_DIM, v_column = k_column + kv_heads * HEAD_DIM;
      mbar_expect(q_full, 2 * OWN_BYTES);
      for (int w = 0; w < 2; w++)
        bring<64>(qs + w * OWN_BYTES, qkv, q_full, at.head * HEAD_DIM, first + 64 * w, at.batch);
      int stage = 0, phase = 0;
      for (int key = low; key < end; key += COLS) {
        mbar_wait(k_free + stage, phase ^ 1);
        mbar_expect(k_full + stage, TILE_BYTES);
        bring<COLS>(ks + stage * TILE_BYTES, qkv, k_full + stage, k_column, key, at.batch);
        mbar_wait(v_free + stage, phase ^ 1);
        mbar_expect(v_full + stage, TILE_BYTES);
        bring<COLS>(vs + stage * TILE_BYTES, qkv, v_full + stage, v_column, key, at.batch);
        stage ^= 1, phase ^= stage ^ 1;
      }
    }
  } else {
    regs_claim<MANY_REGISTERS>();
    const u8* q = qs + group * OWN_BYTES;
    int query = first + 64 * group, start[2];
    UNROLL for (int h = 0; h < 2; h++) {
      int i = query + MY_ROW + 8 * h;
      start[h] = i < end ? first_key(starts, row0 + i, i) : 0;
    }
    float sums[HEAD_DIM / 2] = {}, s[COLS / 2] = {}, top[2] = {-1e30f, -1e30f}, sum[2] = {}, rescale[2];
    u32 p[COLS / 16][4];
    int key = low, stage = 0, phase = 0;
    if (group == 1 && key + COLS < end) named_arrive(1, 2 * GROUP);
    mbar_wait(q_full, 0);
    mbar_wait(k_full, 0);
    wgmma_fence();
    multiply(s, q, ks);
    wgmma_wait<0>();
    wgmma_hold(s);
    give_back(k_free);
    if (key + COLS > query + 1 || key < high) hide(s, query, start, key);
    soften(s, top, sum, rescale, scale);
    pack(p, s);
    for (key += COLS; key < end; key += COLS) {
      int next = stage ^ 1, next_phase = phase ^ stage;
      mbar_wait(k_full + next, next_phase);
      named_sync(1 + group, 2 * GROUP);
      wgmma_fence();
      multiply(s, q, ks + next * TILE_BYTES);
      mbar_wait(v_full + stage, phase);
      wgmma_fence();
      accumulate(sums, p, vs + stage * TILE_BYTES);
      if (group == 0 || key + COLS < end) named_arrive(2 - group, 2 * GROUP);
      wgmma_wait<1>();
      wgmma_hold(s);
      give_back(k_free + next);
      if (key + COLS > query + 1 || key < high) hide(s, query, start, key);
      soften(s, top, sum, rescale, scale);
      wgmma_wait<0>();
      wgmma_hold(sums);
      give_back(v_free + stage);
      UNROLL for (int n = 0; n < HEAD_DIM / 8; n++)
        UNROLL for (int i = 0; i < 4; i++) sums[4 * n + i] *= rescale[i / 2];
      pack(p, s);
      stage = next, phase = next_phase;
    }
    mbar_wait(v_full + stage, phase);
    wgmma_fence();
    accumulate(sums, p, vs + stage * TILE_BYTES);
    wgmma_wait<0>();
    wgmma_hold(sums);
    UNROLL for (int h = 0; h < 2; h++) {
      UNROLL for (int x = 1; x <= 2; x <<= 1) sum[h] += shfl_xor(sum[h], x);
      int i = query + MY_ROW + 8 * h;
      if (lse && TID % 4 == 0 && i < end)
        lse[((u64)at.batch * heads + at.head) * queries + i] = top[h] + LOG2(sum[h]);
      rescale[h] = 1.0f / sum[h];
    }
    int out_row = heads * HEAD_DIM;
    deliver_rows(out + (row0 + query) * out_row + at.head * HEAD_DIM, sums, rescale, end - query, out_row, SET);
  }
}
