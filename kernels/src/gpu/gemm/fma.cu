// C (m x n) = A B in float: factors as they are (ROUND: rounded to bf16), products and sums by fused multiply-adds.
//
// A block makes a tile of BM x BN, a thread 8 x 8 of it as four quarters of 4 x 4, BM/2 and BN/2 apart, so that neighbouring
// threads read neighbouring 16 bytes of shared memory: 64 multiply-adds for 16 values read. K goes by steps of 16, in two
// buffers: while one is multiplied the next step's values are on their way to registers. Both factors stand in shared memory
// line by line of k; one that is stored along k is turned on its way. A_T, B_T, VEC as in tiles.cu, but of 4 elements.
#define STEP 16
#define THREADS (BM / 8 * (BN / 8))

// LINES x COLS elements of a stored factor, of which `lines` and `cols` are left, as quads: number i of this thread.
template <int COLS, class T>
DEV float4x fetch4(const T* from, int stride, int lines, int cols, int i) {
  int quad = TID + i * THREADS, line = quad / (COLS / 4), col = quad % (COLS / 4) * 4;
  const T* p = from + (u64)line * stride + col;
  float4x x = {{0.0f, 0.0f, 0.0f, 0.0f}};
  if (VEC) {
    if (line < lines && col < cols) x = load4(p);
  } else {
#pragma unroll
    for (int e = 0; e < 4; e++)
      if (line < lines && col + e < cols) x.v[e] = load(p + e);
  }
#if ROUND
#pragma unroll
  for (int e = 0; e < 4; e++) x.v[e] = bf2f(f2bf(x.v[e]));
#endif
  return x;
}
template <int COLS, bool TURN, int PITCH> DEV void stage4(float (*to)[PITCH], float4x x, int i) {
  int quad = TID + i * THREADS, line = quad / (COLS / 4), col = quad % (COLS / 4) * 4;
  if (TURN) {
#pragma unroll
    for (int e = 0; e < 4; e++) to[col + e][line] = x.v[e];
  } else {
    put4(&to[line][col], x);
  }
}

KERNEL(product_fma, THREADS,
       (TC * c, const TA* a, const TB* b, const float* bias, int m, int n, int k, int a_stride, int b_stride, int c_stride,
        int add, int aligned, int part_k)) {
  SHARED(float, as, [2][STEP][BM + 4]);
  SHARED(float, bs, [2][STEP][BN + 4]);
  Tile tile = tile_of_block<BM, BN>(m, n);
  int start = tile.part * part_k, end = k - start < part_k ? k : start + part_k, steps = (end - start + STEP - 1) / STEP;
  float4x a_next[BM * STEP / 4 / THREADS], b_next[BN * STEP / 4 / THREADS];
  auto fetch = [&](int step) {
    int done = start + step * STEP, left = end - done;
#pragma unroll
    for (int i = 0; i < BM * STEP / 4 / THREADS; i++)
#if A_T
      a_next[i] = fetch4<BM>(a + (u64)done * a_stride + tile.row, a_stride, left, m - tile.row, i);
#else
      a_next[i] = fetch4<STEP>(a + (u64)tile.row * a_stride + done, a_stride, m - tile.row, left, i);
#endif
#pragma unroll
    for (int i = 0; i < BN * STEP / 4 / THREADS; i++)
#if B_T
      b_next[i] = fetch4<STEP>(b + (u64)tile.col * b_stride + done, b_stride, n - tile.col, left, i);
#else
      b_next[i] = fetch4<BN>(b + (u64)done * b_stride + tile.col, b_stride, left, n - tile.col, i);
#endif
  };
  auto stage = [&](int step) {
#pragma unroll
    for (int i = 0; i < BM * STEP / 4 / THREADS; i++) stage4<A_T ? BM : STEP, !A_T>(as[step % 2], a_next[i], i);
#pragma unroll
    for (int i = 0; i < BN * STEP / 4 / THREADS; i++) stage4<B_T ? STEP : BN, B_T>(bs[step % 2], b_next[i], i);
  };
  float sum[8][8];
#pragma unroll
  for (int i = 0; i < 8; i++)
#pragma unroll
    for (int j = 0; j < 8; j++) sum[i][j] = 0.0f;
  int x = TID % (BN / 8) * 4, y = TID / (BN / 8) * 4;
  if (steps > 0) fetch(0), stage(0);
  BARRIER();
  for (int step = 0; step < steps; step++) {
    if (step + 1 < steps) fetch(step + 1);
    float(*at)[BM + 4] = as[step % 2];
    float(*bt)[BN + 4] = bs[step % 2];
#pragma unroll 4
    for (int kk = 0; kk < STEP; kk++) {
      float4x fa[2] = {load4(&at[kk][y]), load4(&at[kk][BM / 2 + y])};
      float4x fb[2] = {load4(&bt[kk][x]), load4(&bt[kk][BN / 2 + x])};
#pragma unroll
      for (int i = 0; i < 8; i++)
#pragma unroll
        for (int j = 0; j < 8; j++) sum[i][j] = FMA(fa[i / 4].v[i % 4], fb[j / 4].v[j % 4], sum[i][j]);
    }
    if (step + 1 < steps) stage(step + 1);
    BARRIER();
  }
  c += (u64)tile.part * m * n;
#pragma unroll
  for (int i = 0; i < 8; i++)
#pragma unroll
    for (int j = 0; j < 8; j += 4) {
      float4x v = {{sum[i][j], sum[i][j + 1], sum[i][j + 2], sum[i][j + 3]}};
      int row = tile.row + i / 4 * (BM / 2) + y + i % 4, col = tile.col + j / 4 * (BN / 2) + x;
      output4(c, c_stride, row, col, m, n, v, bias, add, aligned);
    }
}
