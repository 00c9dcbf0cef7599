// Attention forward in bf16: softmax over streamed tiles of keys (FlashAttention-2, arXiv:2307.08691).
//
// A block has ROWS queries of one head; its groups of 32 lanes own 16 * FRAGS of them each, scores, probabilities
// and sums in registers. Tiles of COLS keys and values come two stages deep: while one is worked on the next is
// copied in the background, with one barrier a tile. Reads: queries once, keys and values once for each block of
// queries (from L2, see `place`); writes: outputs and log-sum-exp once. Products: 4 ROWS COLS DIM operations for 4
// COLS DIM bytes of shared memory copied in and, for each 16 FRAGS rows, as many read.
//
// q (batch, queries, heads) with rows `q_row` apart; k, v with rows `k_row` and heads `k_head` apart; the first
// query stands at key `live->cache_len`, or 0 where live is null. lse may be null. scale: times log2 e.
#if DIM <= 64
#define Q_TILES (DIM / 16)  // registers suffice to keep the queries' fragments
#else
#define Q_TILES 0
#endif
KERNEL(attention_forward, THREADS,
       (bf16* out, float* lse, const bf16* q, const bf16* k, const bf16* v, const int* starts, const Live* live,
        int batches, int heads, int kv_heads, int queries, int q_row, int k_row, int k_head, int section,
        float scale)) {
  DYN_SHARED(u16, memory);
  SHARED(int, red, [2 * WARPS]);
  u16 *qs = memory, *ks = qs + ROWS * LD, *vs = ks + 2 * COLS * LD;
  int parts = (queries + ROWS - 1) / ROWS, offset = live ? live->cache_len : 0;
  Place at = place(parts, batches, heads, section);
  int first = (parts - 1 - at.part) * ROWS, position = offset + first;
  int count = queries - first < ROWS ? queries - first : ROWS, end = position + count;
  int row0 = at.batch * queries;
  u64 kv = (u64)(at.head / (heads / kv_heads)) * k_head;
  k += kv, v += kv;
  copy_rows<ROWS>(qs, q + at.head * HEAD_DIM, row0 + first, row0 + queries, q_row);
  Range seen = block_range(starts, row0 + first, count, position, red);
  int key = seen.low / COLS * COLS;
  copy_rows<COLS>(ks, k, row0 + key, row0 + end, k_row);
  copy_rows<COLS>(vs, v, row0 + key, row0 + end, k_row);
  copy_commit();

  float sums[FRAGS][DIM / 8][4] = {}, top[FRAGS][2], sum[FRAGS][2];
  UNROLL for (int m = 0; m < FRAGS; m++)
    UNROLL for (int h = 0; h < 2; h++) top[m][h] = -1e30f, sum[m][h] = 0.0f;
#if Q_TILES > 0
  u32 queried[FRAGS][Q_TILES][4];
#endif
  for (int stage = 0; key < end; key += COLS, stage ^= 1) {
    copy_wait<0>();
    BARRIER();
#if Q_TILES > 0
    if (key < seen.low + 1)
      UNROLL for (int m = 0; m < FRAGS; m++)
        UNROLL for (int i = 0; i < Q_TILES; i++) left(queried[m][i], LANE, qs, MY_ROW + 16 * m, 16 * i);
#endif
    if (key + COLS < end) {
      copy_rows<COLS>(ks + (stage ^ 1) * COLS * LD, k, row0 + key + COLS, row0 + end, k_row);
      copy_rows<COLS>(vs + (stage ^ 1) * COLS * LD, v, row0 + key + COLS, row0 + end, k_row);
      copy_commit();
    }
    if (key > position + WARP_LAST) continue;
    const u16 *kt = ks + stage * COLS * LD, *vt = vs + stage * COLS * LD;
    float s[FRAGS][COLS / 8][4] = {};
#if Q_TILES > 0
    UNROLL for (int i = 0; i < Q_TILES; i++)
      UNROLL for (int n = 0; n < COLS / 16; n++) {
        u32 b[4];
        right_transposed(b, LANE, kt, 16 * n, 16 * i);
        UNROLL for (int m = 0; m < FRAGS; m++) {
          mma_m16n8k16(s[m][2 * n], queried[m][i], b);
          mma_m16n8k16(s[m][2 * n + 1], queried[m][i], b + 2);
        }
      }
#else
    multiply(s, qs, kt);
#endif
    if (key + COLS > position + 1 || key < seen.high) hide(s, starts, row0, first, position, count, key);
    UNROLL for (int m = 0; m < FRAGS; m++)
      UNROLL for (int h = 0; h < 2; h++) {
        float largest = s[m][0][2 * h];
        UNROLL for (int n = 0; n < COLS / 8; n++)
          UNROLL for (int i = 2 * h; i < 2 * h + 2; i++) largest = FMAX(s[m][n][i], largest);
        UNROLL for (int x = 1; x <= 2; x <<= 1) largest = FMAX(largest, shfl_xor(largest, x));
        largest = FMAX(largest * scale, top[m][h]);
        float rescale = EX2(top[m][h] - largest), part = 0.0f;
        top[m][h] = largest;
        UNROLL for (int n = 0; n < COLS / 8; n++)
          UNROLL for (int i = 2 * h; i < 2 * h + 2; i++) {
            s[m][n][i] = EX2(FMA(s[m][n][i], scale, -largest));
            part += s[m][n][i];
          }
        sum[m][h] = FMA(sum[m][h], rescale, part);
        UNROLL for (int n = 0; n < DIM / 8; n++) sums[m][n][2 * h] *= rescale, sums[m][n][2 * h + 1] *= rescale;
      }
    accumulate(sums, s, vt);
  }
  at = place(parts, batches, heads, section);  // once more: the registers were wanted for other things
  first = (parts - 1 - at.part) * ROWS, count = queries - first < ROWS ? queries - first : ROWS;
  int thread = tid_anew(), first_row = (thread >> 5) / SPLIT * 16 * FRAGS + (thread >> 2 & 7);
  UNROLL for (int m = 0; m < FRAGS; m++)
    UNROLL for (int h = 0; h < 2; h++) {
      UNROLL for (int x = 1; x <= 2; x <<= 1) sum[m][h] += shfl_xor(sum[m][h], x);
      float inverse = 1.0f / sum[m][h];
      UNROLL for (int n = 0; n < DIM / 8; n++) sums[m][n][2 * h] *= inverse, sums[m][n][2 * h + 1] *= inverse;
      int row = first_row + 16 * m + 8 * h;
      if (lse && thread % 4 == 0 && row < count)
        lse[((u64)at.batch * heads + at.head) * queries + first + row] = top[m][h] + LOG2(sum[m][h]);
    }
  int out_row = heads * HEAD_DIM;
  row0 = at.batch * queries;
  deliver_rows(out + at.head * HEAD_DIM, sums, 1.0f, (float*)memory, row0 + first, row0 + queries, out_row, SET);
}
