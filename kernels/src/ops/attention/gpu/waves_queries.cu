// Attention backward in bf16 on AMD's matrix cores: gradients of the queries; parameters and order are those of
// queries.cu.
//
// As the forward: a warp owns 16 queries of one head, of which a lane has one. Probabilities come from the
// log-sum-exp; dS = P (dO V^T - delta) is the left factor of dQ = dS K as it stands in the registers.
KERNEL(attention_backward_queries, THREADS,
       (const bf16* qkv, const bf16* d_out, bf16* d_qkv, const float* lse, const float* delta, const int* starts,
        int batches, int heads, int kv_heads, int queries, int section, float scale2, float scale, int mode)) {
  DYN_SHARED(u16, memory);
  SHARED(int, red, [2 * WARPS]);
  u16 *qs = memory, *os = qs + ROWS * LD, *ks = os + ROWS * LD, *vs = ks + COLS * LD;
  int parts = (queries + ROWS - 1) / ROWS;
  Place at = place(parts, batches, heads, section);
  int first = (parts - 1 - at.part) * ROWS;
  int count = queries - first < ROWS ? queries - first : ROWS, end = first + count;
  int stride = (heads + 2 * kv_heads) * HEAD_DIM, out_stride = heads * HEAD_DIM;
  u64 row0 = (u64)at.batch * queries, q = row0 * stride + at.head * HEAD_DIM;
  const bf16* k = qkv + row0 * stride + (heads + at.head / (heads / kv_heads)) * HEAD_DIM;
  const bf16* v = k + kv_heads * HEAD_DIM;
  Rows<ROWS> own;
  fetch_rows(own, qkv + q, first, queries, stride), put_rows(qs, own);
  fetch_rows(own, d_out + row0 * out_stride + at.head * HEAD_DIM, first, queries, out_stride), put_rows(os, own);
  Range seen = block_range(starts, row0 + first, count, first, red);
  int key = seen.low / COLS * COLS, row = LANE_ROW, last = first + row;
  bool have = row < count;
  int start = have ? first_key(starts, row0 + last, last) : 0;
  u64 of = ((u64)at.batch * heads + at.head) * queries + last;
  float minus = have ? -lse[of] : 0.0f, less = have ? delta[of] : 0.0f;
  Rows<COLS> next_k, next_v;
  fetch_rows(next_k, k, key, end, stride), fetch_rows(next_v, v, key, end, stride);

  Sums dq[DIM / 16] = {};
  for (; key < end; key += COLS) {
    BARRIER();
    put_rows(ks, next_k), put_rows(vs, next_v);
    BARRIER();
    if (key + COLS < end) {
      fetch_rows(next_k, k, key + COLS, end, stride);
      fetch_rows(next_v, v, key + COLS, end, stride);
    }
    if (key > first + MY_ROW + 15) continue;
    Sums p[COLS / 16] = {}, ds[COLS / 16] = {};
    multiply(p, qs, ks);
    if (key + COLS > first + 1 || key < seen.high) hide(p, start, last, key);
    multiply(ds, os, vs);
    UNROLL for (int n = 0; n < COLS / 16; n++)
      UNROLL for (int i = 0; i < SUMS; i++)
        ds[n].v[i] = EX2(FMA(p[n].v[i], scale2, minus)) * (ds[n].v[i] - less);
    accumulate(dq, ds, ks);
  }
  deliver_row(d_qkv + q + (u64)last * stride, have, dq, scale, mode);
}
