// Attention in plain f32 arithmetic, for any element type and any size of a head: f32 runs, and what the matrix fragments do
// not take. The same tiles, order and O(T) memory as there, without their speed.
//
// X: queries, outputs and their gradients; K: keys and values. A block of 128 threads has 32 rows (queries, or keys in
// `attention_any_keys`) and goes over the other side in tiles of 32; heads are cut into CHUNKS pieces of 32 columns that pass
// through shared memory one at a time, so that it does not grow with the head. Thread (y, x) = (TID / 8, TID % 8) owns rows y and
// y + 16, columns x, x + 8, x + 16, x + 24 of every 32 x 32 product.
#define CHUNKS ((HEAD_DIM + 31) / 32)
#define TILE 32
#define Y ((int)(TID / 8))
#define X8 ((int)(TID % 8))
typedef float Tile[TILE][TILE + 1];
typedef float Part[2][4];

// Rows from `first` on of one chunk; zeros behind `end` and behind the head.
template <class E> DEV void load_chunk(float (*tile)[TILE + 1], const E* from, int first, int end, int stride, int chunk) {
  for (int i = TID; i < TILE * TILE; i += 128) {
    int row = i / TILE, col = chunk * TILE + i % TILE;
    bool ok = first + row < end && col < HEAD_DIM;
    tile[row][i % TILE] = ok ? load(from + (u64)(first + row) * stride + col) : 0.0f;
  }
}
// s += a b^T
DEV void multiply(Part& s, const float (*a)[TILE + 1], const float (*b)[TILE + 1]) {
  for (int k = 0; k < TILE; k++) {
    float l[2] = {a[Y][k], a[Y + 16][k]}, r[4] = {b[X8][k], b[X8 + 8][k], b[X8 + 16][k], b[X8 + 24][k]};
    UNROLL for (int i = 0; i < 2; i++) UNROLL for (int j = 0; j < 4; j++) s[i][j] = FMA(l[i], r[j], s[i][j]);
  }
}
// sums += p b
DEV void accumulate(Part& sums, const float (*p)[TILE + 1], const float (*b)[TILE + 1]) {
  for (int k = 0; k < TILE; k++) {
    float l[2] = {p[Y][k], p[Y + 16][k]}, r[4] = {b[k][X8], b[k][X8 + 8], b[k][X8 + 16], b[k][X8 + 24]};
    UNROLL for (int i = 0; i < 2; i++) UNROLL for (int j = 0; j < 4; j++) sums[i][j] = FMA(l[i], r[j], sums[i][j]);
  }
}
// The product over all chunks of 32 rows of one tensor with 32 of another.
template <class E, class F>
DEV void scores(Part& s, float (*a)[TILE + 1], const E* from_a, int first_a, int end_a, int row_a, float (*b)[TILE + 1],
                const F* from_b, int first_b, int end_b, int row_b) {
  for (int c = 0; c < CHUNKS; c++) {
    load_chunk(a, from_a, first_a, end_a, row_a, c);
    load_chunk(b, from_b, first_b, end_b, row_b, c);
    BARRIER();
    multiply(s, a, b);
    BARRIER();
  }
}
template <class E>
DEV void deliver_rows(E* to, const Part (&sums)[CHUNKS], float scale, int first, int end, int stride, int mode) {
  UNROLL for (int c = 0; c < CHUNKS; c++)
    UNROLL for (int i = 0; i < 2; i++)
      UNROLL for (int j = 0; j < 4; j++) {
        int row = first + Y + 16 * i, col = c * TILE + X8 + 8 * j;
        if (row < end && col < HEAD_DIM) deliver(to + (u64)row * stride + col, sums[c][i][j] * scale, mode);
      }
}

// The parameters are those of `attention_forward`.
KERNEL(attention_any_forward, 128,
       (X* out, float* lse, const X* q, const K* k, const K* v, const int* starts, const Live* live, int batches, int heads,
        int kv_heads, int queries, int q_row, int k_row, int k_head, int section, float scale)) {
  SHARED(float, a, [TILE][TILE + 1]);
  SHARED(float, b, [TILE][TILE + 1]);
  SHARED(float, p, [TILE][TILE + 1]);
  SHARED(int, red, [8]);
  int parts = (queries + TILE - 1) / TILE, offset = live ? live->cache_len : 0;
  Place at = place(parts, batches, heads, section);
  int first = (parts - 1 - at.part) * TILE, position = offset + first;
  int count = queries - first < TILE ? queries - first : TILE, end = position + count;
  u64 row0 = (u64)at.batch * queries;
  q += row0 * q_row + at.head * HEAD_DIM;
  u64 kv = row0 * k_row + (u64)(at.head / (heads / kv_heads)) * k_head;
  k += kv, v += kv;
  Range seen = block_range(starts, row0 + first, count, position, red);
  int start[2];
  float top[2] = {-1e30f, -1e30f}, sum[2] = {0.0f, 0.0f};
  Part sums[CHUNKS] = {};
  UNROLL for (int i = 0; i < 2; i++)
    start[i] = Y + 16 * i < count ? first_key(starts, row0 + first + Y + 16 * i, position + Y + 16 * i) : 0;
  for (int key = seen.low / TILE * TILE; key < end; key += TILE) {
    Part s = {};
    scores(s, a, q, first, queries, q_row, b, k, key, end, k_row);
    UNROLL for (int i = 0; i < 2; i++) {
      float largest = -1.0f / 0.0f;
      UNROLL for (int j = 0; j < 4; j++) {
        int col = key + X8 + 8 * j;
        if (col > position + Y + 16 * i || col < start[i]) s[i][j] = -1.0f / 0.0f;
        largest = s[i][j] > largest ? s[i][j] : largest;
      }
      UNROLL for (int x = 1; x < 8; x <<= 1) {
        float other = shfl_xor(largest, x);
        largest = other > largest ? other : largest;
      }
      largest *= scale;
      largest = largest > top[i] ? largest : top[i];
      float rescale = EXP2(top[i] - largest);
      top[i] = largest, sum[i] *= rescale;
      UNROLL for (int j = 0; j < 4; j++) {
        float e = EXP2(FMA(s[i][j], scale, -largest));
        sum[i] += e, p[Y + 16 * i][X8 + 8 * j] = e;
      }
      UNROLL for (int c = 0; c < CHUNKS; c++) UNROLL for (int j = 0; j < 4; j++) sums[c][i][j] *= rescale;
    }
    UNROLL for (int c = 0; c < CHUNKS; c++) {
      load_chunk(b, v, key, end, k_row, c);
      BARRIER();
      accumulate(sums[c], p, b);
      BARRIER();
    }
  }
  UNROLL for (int i = 0; i < 2; i++) {
    UNROLL for (int x = 1; x < 8; x <<= 1) sum[i] += shfl_xor(sum[i], x);
    float inverse = 1.0f / sum[i];
    UNROLL for (int c = 0; c < CHUNKS; c++) UNROLL for (int j = 0; j < 4; j++) sums[c][i][j] *= inverse;
    int row = Y + 16 * i;
    if (lse && X8 == 0 && row < count)
      lse[((u64)at.batch * heads + at.head) * queries + first + row] = top[i] + LOG2(sum[i]);
  }
  int out_row = heads * HEAD_DIM;
  deliver_rows(out + row0 * out_row + at.head * HEAD_DIM, sums, 1.0f, first, queries, out_row, SET);
}
