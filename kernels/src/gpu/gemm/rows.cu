// C (m x n) = A B with few rows, B stored n x k (decoding): each weight is read once, so memory's speed is the product's.
//
// A warp makes COLS columns of up to ROWS rows. Its lanes walk over k side by side, 16 or 32 bytes each at a time, and their
// sums are added at the end. A is small and comes from the caches. VEC: lines start at 16 bytes and are whole chunks of 8;
// ROUND: factors are rounded to bf16.
#if VEC
#define CHUNK 8
#else
#define CHUNK 1
#endif
struct Chunk {
  float v[CHUNK];
};
#if VEC
DEV Chunk chunk_of(const bf16* p) {
  vec4 w = ld16(p);
  Chunk r = {{lo2f(w.x), hi2f(w.x), lo2f(w.y), hi2f(w.y), lo2f(w.z), hi2f(w.z), lo2f(w.w), hi2f(w.w)}};
  return r;
}
DEV Chunk chunk_of(const float* p) {
  float4x x = load4(p), y = load4(p + 4);
  Chunk r = {{x.v[0], x.v[1], x.v[2], x.v[3], y.v[0], y.v[1], y.v[2], y.v[3]}};
  return r;
}
#else
template <class T> DEV Chunk chunk_of(const T* p) {
  Chunk r = {{load(p)}};
  return r;
}
#endif
template <class T> DEV Chunk chunk_at(const T* p) {
  Chunk r = chunk_of(p);
#if ROUND
#pragma unroll
  for (int e = 0; e < CHUNK; e++) r.v[e] = bf2f(f2bf(r.v[e]));
#endif
  return r;
}

KERNEL(product_rows, 128,
       (TC * c, const TA* a, const TB* b, const float* bias, int m, int n, int k, int a_stride, int b_stride, int c_stride,
        int add)) {
  int lane = lane_w(), first = (BID * BDIM + TID) / WARP * COLS;
  float sum[ROWS][COLS];
#pragma unroll
  for (int r = 0; r < ROWS; r++)
#pragma unroll
    for (int j = 0; j < COLS; j++) sum[r][j] = 0.0f;
  // Beyond the edges the last line is read again, and the result dropped. Four steps of several rows of floats are more than
  // the registers hold.
#pragma unroll ROWS > 2 && sizeof(TB) == 4 ? 2 : 4
  for (int i = lane * CHUNK; i < k; i += WARP * CHUNK) {
    Chunk w[COLS];
#pragma unroll
    for (int j = 0; j < COLS; j++) w[j] = chunk_at(b + (u64)(first + j < n ? first + j : n - 1) * b_stride + i);
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
      Chunk x = chunk_at(a + (u64)(r < m ? r : m - 1) * a_stride + i);
#pragma unroll
      for (int j = 0; j < COLS; j++)
#pragma unroll
        for (int e = 0; e < CHUNK; e++) sum[r][j] = FMA(x.v[e], w[j].v[e], sum[r][j]);
    }
  }
#pragma unroll
  for (int r = 0; r < ROWS; r++)
#pragma unroll
    for (int j = 0; j < COLS; j++) {
      float total = warp_sum(sum[r][j]);
      int col = first + j;
      if (lane == 0 && r < m && col < n)
        deliver(c + (u64)r * c_stride + col, bias ? total + bias[col] : total, add);
    }
}
