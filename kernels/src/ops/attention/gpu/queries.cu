// Attention backward in bf16: gradients of the queries.
//
// As the forward: a block owns ROWS queries of one head and goes over its tiles of COLS keys and values, two stages
// deep. Probabilities come from the log-sum-exp; dS = P (dO V^T - delta) is the left factor of dQ = dS K as it
// stands in the registers. Products: 6 ROWS COLS DIM operations for 4 COLS DIM bytes copied in. Scores are made here
// and in `attention_backward_keys`: seven products instead of five, the price of sums that no two blocks share.
KERNEL(attention_backward_queries, THREADS,
       (const bf16* qkv, const bf16* d_out, bf16* d_qkv, const float* lse, const float* delta, const int* starts,
        int batches, int heads, int kv_heads, int queries, int section, float scale2, float scale, int mode)) {
  DYN_SHARED(u16, memory);
  SHARED(int, red, [2 * WARPS]);
  u16 *qs = memory, *os = qs + ROWS * LD, *ks = os + ROWS * LD, *vs = ks + 2 * COLS * LD;
  int parts = (queries + ROWS - 1) / ROWS;
  Place at = place(parts, batches, heads, section);
  int first = (parts - 1 - at.part) * ROWS;
  int count = queries - first < ROWS ? queries - first : ROWS, end = first + count;
  int row = (heads + 2 * kv_heads) * HEAD_DIM, out_row = heads * HEAD_DIM;
  u64 row0 = (u64)at.batch * queries, q = row0 * row + at.head * HEAD_DIM;
  const bf16* k = qkv + row0 * row + (heads + at.head / (heads / kv_heads)) * HEAD_DIM;
  const bf16* v = k + kv_heads * HEAD_DIM;
  copy_rows<ROWS>(qs, qkv + q, first, queries, row);
  copy_rows<ROWS>(os, d_out + row0 * out_row + at.head * HEAD_DIM, first, queries, out_row);
  Range seen = block_range(starts, row0 + first, count, first, red);
  int key = seen.low / COLS * COLS;
  copy_rows<COLS>(ks, k, key, end, row);
  copy_rows<COLS>(vs, v, key, end, row);
  copy_commit();

  int g = LANE >> 2, t = LANE & 3;
  u64 of = ((u64)at.batch * heads + at.head) * queries + first;
  float dq[FRAGS][PART / 8][4] = {}, minus[FRAGS][2], less[FRAGS][2];
  UNROLL for (int m = 0; m < FRAGS; m++)
    UNROLL for (int h = 0; h < 2; h++) {
      int i = MY_ROW + 16 * m + 8 * h + g;
      minus[m][h] = i < count ? -lse[of + i] : 0.0f, less[m][h] = i < count ? delta[of + i] : 0.0f;
    }
  for (int stage = 0; key < end; key += COLS, stage ^= 1) {
    copy_wait<0>();
    BARRIER();
    if (key + COLS < end) {
      copy_rows<COLS>(ks + (stage ^ 1) * COLS * LD, k, key + COLS, end, row);
      copy_rows<COLS>(vs + (stage ^ 1) * COLS * LD, v, key + COLS, end, row);
      copy_commit();
    }
    if (key > first + WARP_LAST) continue;
    const u16 *kt = ks + stage * COLS * LD, *vt = vs + stage * COLS * LD;
    float p[FRAGS][COLS / 8][4] = {}, ds[FRAGS][COLS / 8][4] = {};
    multiply(p, qs, kt);
    if (key + COLS > first + 1 || key < seen.high) hide(p, starts, row0, first, first, count, key);
    multiply(ds, os, vt);
    UNROLL for (int m = 0; m < FRAGS; m++)
      UNROLL for (int n = 0; n < COLS / 8; n++)
        UNROLL for (int i = 0; i < 4; i++)
          ds[m][n][i] = EX2(FMA(p[m][n][i], scale2, minus[m][i / 2])) * (ds[m][n][i] - less[m][i / 2]);
    accumulate(dq, ds, kt);
  }
  deliver_rows(d_qkv + q, dq, scale, (float*)memory, first, queries, row, mode);
}
