// Attention in plain f32 arithmetic, for any element type and any size of a head: f32 runs, and what the matrix
// fragments do not take. The same tiles, order and O(T) memory as there, without their speed.
//
// X: queries, outputs and their gradients; K: keys and values. A block of 128 threads has 32 rows (queries, or keys
// in `attention_any_keys`) and goes over the other side in tiles of 32; heads are cut into CHUNKS pieces of 32
// columns that pass through shared memory one at a time, so that it does not grow with the head. Thread (y, x) =
// (TID / 8, TID % 8) owns rows y and y + 16, columns x, x + 8, x + 16, x + 24 of every 32 x 32 product.
#define CHUNKS ((HEAD_DIM + 31) / 32)
#define TILE 32
#define Y ((int)(TID / 8))
#define X8 ((int)(TID % 8))
typedef float Tile[TILE][TILE + 1];
typedef float Part[2][4];

// Rows from `first` on of one chunk; zeros behind `end` and behind the head.
template <class E>
DEV void load_chunk(float (*tile)[TILE + 1], const E* from, int first, int end, int stride, int chunk) {
  for (int i = tid_anew(); i < TILE * TILE; i += 128) {
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
  int thread = tid_anew(), y = thread / 8, x = thread % 8;
  UNROLL for (int c = 0; c < CHUNKS; c++)
    UNROLL for (int i = 0; i < 2; i++)
      UNROLL for (int j = 0; j < 4; j++) {
        int row = first + y + 16 * i, col = c * TILE + x + 8 * j;
        if (row < end && col < HEAD_DIM) deliver(to + (u64)row * stride + col, sums[c][i][j] * scale, mode);
      }
}

// The parameters are those of `attention_forward`.
KERNEL(attention_any_forward, 128,
       (X* out, float* lse, const X* q, const K* k, const K* v, const int* starts, const Live* live, int batches,
        int heads, int kv_heads, int queries, int q_row, int k_row, int k_head, int section, float scale)) {
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
        largest = FMAX(largest, s[i][j]);
      }
      UNROLL for (int x = 1; x < 8; x <<= 1) largest = FMAX(largest, shfl_xor(largest, x));
      largest = FMAX(largest * scale, top[i]);
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

// Gradients of keys and values: rows are keys. The parameters are those of `attention_backward_keys`.
KERNEL_OF(attention_any_keys, 128, 4,
       (const X* qkv, const X* d_out, X* d_qkv, const float* lse, const float* delta, const int* ranges,
        const int* starts, int batches, int heads, int kv_heads, int queries, int section, float scale2, float scale,
        int mode)) {
  SHARED(float, a, [TILE][TILE + 1]);
  SHARED(float, b, [TILE][TILE + 1]);
  SHARED(float, pt, [TILE][TILE + 1]);
  SHARED(float, dt, [TILE][TILE + 1]);
  SHARED(int, red, [8]);
  int parts = (queries + TILE - 1) / TILE, group = heads / kv_heads;
  Place at = place(parts, batches, kv_heads, section);
  int key = at.part * TILE, end = key + TILE < queries ? key + TILE : queries;
  int row = (heads + 2 * kv_heads) * HEAD_DIM, out_row = heads * HEAD_DIM;
  u64 row0 = (u64)at.batch * queries, k = row0 * row + (heads + at.head) * HEAD_DIM, v = k + kv_heads * HEAD_DIM;
  ranges += 2 * at.batch * parts, starts += row0;
  int last = last_tile(ranges, at.part, parts, end, red);
  Part dk[CHUNKS] = {}, dv[CHUNKS] = {};
  for (int head = at.head * group; head < (at.head + 1) * group; head++)
    for (int tile = at.part; tile <= last; tile++) {
      if (ranges[2 * tile] >= end) continue;
      const X *q = qkv + row0 * row + head * HEAD_DIM, *o = d_out + row0 * out_row + head * HEAD_DIM;
      int query = tile * TILE;
      u64 of = ((u64)at.batch * heads + head) * queries;
      Part p = {}, ds = {};
      scores(p, a, qkv + k, key, end, row, b, q, query, queries, row);
      scores(ds, a, qkv + v, key, end, row, b, o, query, queries, out_row);
      UNROLL for (int j = 0; j < 4; j++) {
        int col = query + X8 + 8 * j;
        bool have = col < queries;
        float minus = have ? -lse[of + col] : 0.0f, less = have ? delta[of + col] : 0.0f;
        int first = have ? first_key(starts, col, col) : 0x7fffffff;
        UNROLL for (int i = 0; i < 2; i++) {
          int y = Y + 16 * i;
          bool sees = key + y <= col && key + y >= first;
          float e = sees ? EXP2(FMA(p[i][j], scale2, minus)) : 0.0f;
          pt[y][X8 + 8 * j] = e, dt[y][X8 + 8 * j] = e * (ds[i][j] - less);
        }
      }
      UNROLL for (int c = 0; c < CHUNKS; c++) {
        load_chunk(a, o, query, queries, out_row, c);
        load_chunk(b, q, query, queries, row, c);
        BARRIER();
        accumulate(dv[c], pt, a);
        accumulate(dk[c], dt, b);
        BARRIER();
      }
    }
  deliver_rows(d_qkv + k, dk, scale, key, end, row, mode);
  deliver_rows(d_qkv + v, dv, 1.0f, key, end, row, mode);
}

// Gradients of the queries. The parameters are those of `attention_backward_queries`.
KERNEL_OF(attention_any_queries, 128, 4,
       (const X* qkv, const X* d_out, X* d_qkv, const float* lse, const float* delta, const int* starts,
        int batches, int heads, int kv_heads, int queries, int section, float scale2, float scale, int mode)) {
  SHARED(float, a, [TILE][TILE + 1]);
  SHARED(float, b, [TILE][TILE + 1]);
  SHARED(float, d, [TILE][TILE + 1]);
  SHARED(int, red, [8]);
  int parts = (queries + TILE - 1) / TILE;
  Place at = place(parts, batches, heads, section);
  int first = (parts - 1 - at.part) * TILE;
  int count = queries - first < TILE ? queries - first : TILE, end = first + count;
  int row = (heads + 2 * kv_heads) * HEAD_DIM, out_row = heads * HEAD_DIM;
  u64 row0 = (u64)at.batch * queries, q = row0 * row + at.head * HEAD_DIM;
  const X* k = qkv + row0 * row + (heads + at.head / (heads / kv_heads)) * HEAD_DIM;
  const X *v = k + kv_heads * HEAD_DIM, *o = d_out + row0 * out_row + at.head * HEAD_DIM;
  Range seen = block_range(starts, row0 + first, count, first, red);
  u64 of = ((u64)at.batch * heads + at.head) * queries + first;
  Part dq[CHUNKS] = {};
  for (int key = seen.low / TILE * TILE; key < end; key += TILE) {
    Part p = {}, ds = {};
    scores(p, a, qkv + q, first, queries, row, b, k, key, end, row);
    scores(ds, a, o, first, queries, out_row, b, v, key, end, row);
    UNROLL for (int i = 0; i < 2; i++) {
      int y = Y + 16 * i;
      bool have = y < count;
      float minus = have ? -lse[of + y] : 0.0f, less = have ? delta[of + y] : 0.0f;
      int start = have ? first_key(starts, row0 + first + y, first + y) : 0x7fffffff;
      UNROLL for (int j = 0; j < 4; j++) {
        int col = key + X8 + 8 * j;
        float e = col <= first + y && col >= start ? EXP2(FMA(p[i][j], scale2, minus)) : 0.0f;
        d[y][X8 + 8 * j] = e * (ds[i][j] - less);
      }
    }
    UNROLL for (int c = 0; c < CHUNKS; c++) {
      load_chunk(b, k, key, end, row, c);
      BARRIER();
      accumulate(dq[c], d, b);
      BARRIER();
    }
  }
  deliver_rows(d_qkv + q, dq, scale, first, queries, row, mode);
}
