// Attention backward in bf16 on AMD's matrix cores: gradients of keys and values; parameters and order are those of
// keys.cu.
//
// A warp owns 16 keys of one key-value head, of which a lane has one, and goes over the query heads of its group and
// over the tiles of COLS queries that see its block's keys. Scores are transposed (keys down, queries across), so
// that probabilities and their gradients are left factors of dV = P^T dO and dK = dS^T Q as they stand in the
// registers. A tile of queries and of output gradients is in shared memory with what belongs to single queries, the
// next one on its way to registers.
KERNEL(attention_backward_keys, THREADS,
       (const bf16* qkv, const bf16* d_out, bf16* d_qkv, const float* lse, const float* delta, const int* ranges,
        const int* starts, int batches, int heads, int kv_heads, int queries, int section, float scale2, float scale,
        int mode)) {
  DYN_SHARED(u16, memory);
  SHARED(float, lses, [COLS]);
  SHARED(float, deltas, [COLS]);
  SHARED(int, firsts, [COLS]);
  SHARED(int, red, [2 * WARPS]);
  u16 *ks = memory, *vs = ks + ROWS * LD, *qs = vs + ROWS * LD, *os = qs + COLS * LD;
  int parts = (queries + ROWS - 1) / ROWS, tiles = (queries + COLS - 1) / COLS, group = heads / kv_heads;
  Place at = place(parts, batches, kv_heads, section);
  int key = at.part * ROWS, end = key + ROWS < queries ? key + ROWS : queries;
  int row = (heads + 2 * kv_heads) * HEAD_DIM, out_row = heads * HEAD_DIM;
  u64 row0 = (u64)at.batch * queries, k = row0 * row + (heads + at.head) * HEAD_DIM, v = k + kv_heads * HEAD_DIM;
  int head = at.head * group, tile = key / COLS, until = head + group;
  ranges += 2 * at.batch * tiles, starts += row0;
  Rows<ROWS> own;
  fetch_rows(own, qkv + k, key, end, row), put_rows(ks, own);
  fetch_rows(own, qkv + v, key, end, row), put_rows(vs, own);
  Rows<COLS> next_q, next_o;
  // Of one query each; those behind the last see nothing.
  float next_lse = 0.0f, next_delta = 0.0f;
  int next_first = 0x7fffffff;
  auto fetch = [&](int head, int tile) {
    int i = tile * COLS + TID;
    fetch_rows(next_q, qkv + row0 * row + head * HEAD_DIM, tile * COLS, queries, row);
    fetch_rows(next_o, d_out + row0 * out_row + head * HEAD_DIM, tile * COLS, queries, out_row);
    bool have = TID < COLS && i < queries;
    u64 of = ((u64)at.batch * heads + head) * queries + i;
    next_lse = have ? lse[of] : 0.0f, next_delta = have ? delta[of] : 0.0f;
    next_first = have ? first_key(starts, i, i) : 0x7fffffff;
  };
  fetch(head, tile);
  int last = last_tile(ranges, tile, tiles, end, red), mine = key + LANE_ROW;

  Sums dk[DIM / 16] = {}, dv[DIM / 16] = {};
  while (head < until) {
    BARRIER();
    put_rows(qs, next_q), put_rows(os, next_o);
    if (TID < COLS) lses[TID] = next_lse, deltas[TID] = next_delta, firsts[TID] = next_first;
    BARRIER();
    int high = ranges[2 * tile + 1], query = tile * COLS, next = tile + 1, next_head = head;
    while (next <= last && ranges[2 * next] >= end) next++;
    if (next > last) next = key / COLS, next_head++;
    if (next_head < until) fetch(next_head, next);
    tile = next, head = next_head;
    if (key + MY_ROW >= query + COLS) continue;
    Sums p[COLS / 16] = {}, ds[COLS / 16] = {};
    multiply(p, ks, qs);
    if (key + ROWS > query + 1 || key < high || query + COLS > queries)
      UNROLL for (int n = 0; n < COLS / 16; n++)
        UNROLL for (int i = 0; i < SUMS; i++) {
          int col = 16 * n + sums_col(i);
          if (mine > query + col || mine < firsts[col]) p[n].v[i] = -1.0f / 0.0f;
        }
    UNROLL for (int n = 0; n < COLS / 16; n++)
      UNROLL for (int i = 0; i < SUMS; i++)
        p[n].v[i] = EX2(FMA(p[n].v[i], scale2, -lses[16 * n + sums_col(i)]));
    accumulate(dv, p, os);
    multiply(ds, vs, os);
    UNROLL for (int n = 0; n < COLS / 16; n++)
      UNROLL for (int i = 0; i < SUMS; i++)
        ds[n].v[i] = p[n].v[i] * (ds[n].v[i] - deltas[16 * n + sums_col(i)]);
    accumulate(dk, ds, qs);
  }
  u64 to = (u64)mine * row;
  deliver_row(d_qkv + k + to, mine < end, dk, scale, mode);
  deliver_row(d_qkv + v + to, mine < end, dv, 1.0f, mode);
}
