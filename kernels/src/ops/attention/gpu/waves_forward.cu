// Attention forward in bf16 on AMD's matrix cores; parameters, order and rounding are those of forward.cu.
//
// A warp owns 16 queries of one head, of which a lane has one: scores, probabilities and sums in registers, its share
// of four or eight columns of sixteen. A tile of COLS keys and values is in shared memory, the next one on its way to
// registers. Reads: queries once, keys and values once for each block of queries (from L2); writes: outputs and
// log-sum-exp once.
KERNEL(attention_forward, THREADS,
       (bf16* out, float* lse, const bf16* q, const bf16* k, const bf16* v, const int* starts, const Live* live,
        int batches, int heads, int kv_heads, int queries, int q_row, int k_row, int k_head, int section,
        float scale)) {
  DYN_SHARED(u16, memory);
  SHARED(int, red, [2 * WARPS]);
  u16 *qs = memory, *ks = qs + ROWS * LD, *vs = ks + COLS * LD;
  int parts = (queries + ROWS - 1) / ROWS, offset = live ? live->cache_len : 0;
  Place at = place(parts, batches, heads, section);
  int first = (parts - 1 - at.part) * ROWS, position = offset + first;
  int count = queries - first < ROWS ? queries - first : ROWS, end = position + count;
  u64 row0 = (u64)at.batch * queries;
  q += row0 * q_row + at.head * HEAD_DIM;
  u64 kv = row0 * k_row + (u64)(at.head / (heads / kv_heads)) * k_head;
  k += kv, v += kv;
  Rows<ROWS> asked;
  fetch_rows(asked, q, first, queries, q_row), put_rows(qs, asked);
  Range seen = block_range(starts, row0 + first, count, position, red);
  int key = seen.low / COLS * COLS, row = LANE_ROW, last = position + row;
  int start = row < count ? first_key(starts, row0 + first + row, last) : 0;
  Rows<COLS> next_k, next_v;
  fetch_rows(next_k, k, key, end, k_row), fetch_rows(next_v, v, key, end, k_row);

  Sums sums[DIM / 16] = {};
  float top = -1e30f, sum = 0.0f;
  for (; key < end; key += COLS) {
    BARRIER();
    put_rows(ks, next_k), put_rows(vs, next_v);
    BARRIER();
    if (key + COLS < end) fetch_rows(next_k, k, key + COLS, end, k_row), fetch_rows(next_v, v, key + COLS, end, k_row);
    if (key > position + MY_ROW + 15) continue;
    Sums s[COLS / 16] = {};
    multiply(s, qs, ks);
    if (key + COLS > position + 1 || key < seen.high) hide(s, start, last, key);
    float largest = s[0].v[0];
    UNROLL for (int n = 0; n < COLS / 16; n++)
      UNROLL for (int i = 0; i < SUMS; i++) largest = FMAX(s[n].v[i], largest);
    largest = FMAX(row_max(largest) * scale, top);
    float rescale = EX2(top - largest), part = 0.0f;
    top = largest;
    UNROLL for (int n = 0; n < COLS / 16; n++)
      UNROLL for (int i = 0; i < SUMS; i++) {
        s[n].v[i] = EX2(FMA(s[n].v[i], scale, -largest));
        part += s[n].v[i];
      }
    sum = FMA(sum, rescale, part);
    UNROLL for (int c = 0; c < DIM / 16; c++)
      UNROLL for (int i = 0; i < SUMS; i++) sums[c].v[i] *= rescale;
    accumulate(sums, s, vs);
  }
  sum = row_sum(sum);
  if (lse && lane_w() < 16 && row < count)
    lse[((u64)at.batch * heads + at.head) * queries + first + row] = top + LOG2(sum);
  u64 to = (row0 + first + row) * heads + at.head;
  deliver_row(out + to * HEAD_DIM, row < count, sums, 1.0f / sum, SET);
}
