// Attention backward in bf16: gradients of keys and values (FlashAttention-2, arXiv:2307.08691, section 3.1.2).
//
// A block owns ROWS keys of one key-value head and goes over the query heads of its group in order, and for each
// over the tiles of COLS queries that see its keys: every gradient is summed by one group of lanes in one order.
// Scores are transposed (keys down, queries across), so that probabilities and their gradients are left factors of
// dV = P^T dO and dK = dS^T Q as they stand in the registers. Tiles of queries and of output gradients come two
// stages deep with one barrier a tile; what belongs to single queries (log-sum-exp, delta, first key) passes through
// registers meanwhile. Products: 8 ROWS COLS DIM operations (SPLIT 2: 12) for 4 COLS DIM bytes copied in.
//
// d_qkv receives dK and dV; ranges: of tiles of COLS queries (`attention_delta`). scale2: scale times log2 e.
KERNEL(attention_backward_keys, THREADS,
       (const bf16* qkv, const bf16* d_out, bf16* d_qkv, const float* lse, const float* delta, const int* ranges,
        const int* starts, int batches, int heads, int kv_heads, int queries, int section, float scale2, float scale,
        int mode)) {
  DYN_SHARED(u16, memory);
  SHARED(float, lses, [2][COLS]);
  SHARED(float, deltas, [2][COLS]);
  SHARED(int, firsts, [2][COLS]);
  SHARED(int, red, [2 * WARPS]);
  u16 *ks = memory, *vs = ks + ROWS * LD, *qs = vs + ROWS * LD, *os = qs + 2 * COLS * LD;
  int parts = (queries + ROWS - 1) / ROWS, tiles = (queries + COLS - 1) / COLS, group = heads / kv_heads;
  Place at = place(parts, batches, kv_heads, section);
  int key = at.part * ROWS, end = key + ROWS < queries ? key + ROWS : queries;
  int row = (heads + 2 * kv_heads) * HEAD_DIM, out_row = heads * HEAD_DIM;
  int row0 = at.batch * queries, k = (heads + at.head) * HEAD_DIM;
  int head = at.head * group, tile = key / COLS;
  int first_tile = at.batch * tiles;  // of the sequence, among all `ranges`
  copy_rows<ROWS>(ks, qkv + k, row0 + key, row0 + end, row);
  copy_rows<ROWS>(vs, qkv + k + kv_heads * HEAD_DIM, row0 + key, row0 + end, row);
  copy_rows<COLS>(qs, qkv + head * HEAD_DIM, row0 + tile * COLS, row0 + queries, row);
  copy_rows<COLS>(os, d_out + head * HEAD_DIM, row0 + tile * COLS, row0 + queries, out_row);
  copy_commit();
  // Of one query each; those behind the last see nothing.
  float next_lse = 0.0f, next_delta = 0.0f;
  int next_first = 0x7fffffff;
#define FETCH(head, tile)                                                                          \
  if (TID < COLS) {                                                                                \
    int i = (tile) * COLS + TID;                                                                   \
    bool have = i < queries;                                                                       \
    u64 of = ((u64)at.batch * heads + (head)) * queries + i;                                       \
    next_lse = have ? lse[of] : 0.0f, next_delta = have ? delta[of] : 0.0f;                        \
    next_first = have ? first_key(starts, row0 + i, i) : 0x7fffffff;                                      \
  }
#define KEEP(stage) \
  if (TID < COLS) lses[stage][TID] = next_lse, deltas[stage][TID] = next_delta, firsts[stage][TID] = next_first;
  FETCH(head, tile)
  KEEP(0)
  int last = last_tile(ranges + 2 * first_tile, tile, tiles, end, red);

  int g = LANE >> 2, t = LANE & 3, until = head + group;
  float dk[FRAGS][PART / 8][4] = {}, dv[FRAGS][PART / 8][4] = {};
  for (int stage = 0; head < until; stage ^= 1) {
    copy_wait<0>();
    BARRIER();
    int high = ranges[2 * (first_tile + tile) + 1], next = tile + 1, next_head = head;
    while (next <= last && ranges[2 * (first_tile + next)] >= end) next++;
    if (next > last) next = key / COLS, next_head++;
    if (next_head < until) {
      int from = row0 + next * COLS;
      copy_rows<COLS>(qs + (stage ^ 1) * COLS * LD, qkv + next_head * HEAD_DIM, from, row0 + queries, row);
      copy_rows<COLS>(os + (stage ^ 1) * COLS * LD, d_out + next_head * HEAD_DIM, from, row0 + queries, out_row);
      copy_commit();
      FETCH(next_head, next)
    }
    int query = tile * COLS;
    if (key + WARP_FIRST < query + COLS) {
      const u16 *qt = qs + stage * COLS * LD, *ot = os + stage * COLS * LD;
      float p[FRAGS][COLS / 8][4] = {};
      multiply(p, ks, qt);
      if (key + ROWS > query + 1 || key < high || query + COLS > queries) {
        UNROLL for (int n = 0; n < COLS / 8; n++)
          UNROLL for (int i = 0; i < 4; i++) {
            int col = 8 * n + 2 * t + i % 2, first = firsts[stage][col];
            UNROLL for (int m = 0; m < FRAGS; m++) {
              int j = key + MY_ROW + 16 * m + i / 2 * 8 + g;
              if (j > query + col || j < first) p[m][n][i] = -1.0f / 0.0f;
            }
          }
      }
      UNROLL for (int n = 0; n < COLS / 8; n++)
        UNROLL for (int i = 0; i < 2; i++) {
          float minus = -lses[stage][8 * n + 2 * t + i];
          UNROLL for (int m = 0; m < FRAGS; m++) {
            p[m][n][i] = EX2(FMA(p[m][n][i], scale2, minus));
            p[m][n][i + 2] = EX2(FMA(p[m][n][i + 2], scale2, minus));
          }
        }
      accumulate(dv, p, ot);
      float ds[FRAGS][COLS / 8][4] = {};
      multiply(ds, vs, ot);
      UNROLL for (int n = 0; n < COLS / 8; n++)
        UNROLL for (int i = 0; i < 2; i++) {
          float less = deltas[stage][8 * n + 2 * t + i];
          UNROLL for (int m = 0; m < FRAGS; m++) {
            ds[m][n][i] = p[m][n][i] * (ds[m][n][i] - less);
            ds[m][n][i + 2] = p[m][n][i + 2] * (ds[m][n][i + 2] - less);
          }
        }
      accumulate(dk, ds, qt);
    }
    KEEP(stage ^ 1)
    tile = next, head = next_head;
  }
  at = place(parts, batches, kv_heads, section);  // once more: the registers were wanted for other things
  row0 = at.batch * queries, key = at.part * ROWS, end = key + ROWS < queries ? key + ROWS : queries;
  k = (heads + at.head) * HEAD_DIM;
  deliver_rows(d_qkv + k, dk, scale, (float*)memory, row0 + key, row0 + end, row, mode);
  deliver_rows(d_qkv + k + kv_heads * HEAD_DIM, dv, 1.0f, (float*)memory, row0 + key, row0 + end, row, mode);
}
