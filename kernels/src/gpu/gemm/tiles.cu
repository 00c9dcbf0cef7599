// C (m x n) = A B on tensor cores: factors bf16 (a float factor is rounded while it is loaded), products exact, sums float.
//
// A block makes a tile of BM x BN, a group of 32 lanes WM x WN of it by m16n8k16 instructions; K goes by steps of 32. STAGES
// steps are in shared memory at once: while one is multiplied the next are on their way (cp.async), with one barrier a step.
// A is stored m x k, with A_T k x m; B k x n, with B_T n x k. Lines are staged as they are stored, the fragments of a factor
// that lies the wrong way are made by ldmatrix.trans. Each line's 16-byte chunks are permuted by the line's number, so that
// the eight rows which one ldmatrix reads lie in different banks. VEC: lines of both start at 16 bytes and are whole chunks; else
// elements are fetched one by one. What lies beyond the edges is zero.
//
// Why these tiles: one step of k moves 2 (BM + BN) bytes from L2 for BM BN multiply-adds; 128 x 256 asks for about 6 TB/s of
// L2 at 500 TFLOP/s. 64 x 64 of a group of 32 lanes reads 4 KiB of shared memory for 64 Ki multiply-adds: 32 cycles of its
// bandwidth where the tensor cores need about 50. The 128 sums of a thread stay in registers.
#define STEP 32
#define THREADS (BM / WM * (BN / WN) * 32)

// The place of a chunk of 8 elements in shared memory.
template <int CHUNKS> DEV int place(int line, int chunk) {
  return (line * CHUNKS + (chunk ^ (CHUNKS == 4 ? line >> 1 & 3 : line & 7))) * 8;
}
template <class T> DEV void gather8(u16* to, const T* from, int left) {
  u16 h[8];
#pragma unroll
  for (int e = 0; e < 8; e++) h[e] = e < left ? f2bf(load(from + e)) : (u16)0;
  vec4 v = {pack2(h[0], h[1]), pack2(h[2], h[3]), pack2(h[4], h[5]), pack2(h[6], h[7])};
  st16(to, v);
}
template <bool WHOLE> DEV void fetch8(u16* to, const bf16* from, int left) {
  if (WHOLE) copy16_async(to, from, left > 0);
  else gather8(to, from, left);
}
template <bool WHOLE> DEV void fetch8(u16* to, const float* from, int left) {
  if (!WHOLE) return gather8(to, from, left);
  vec4 v = {0, 0, 0, 0};
  if (left > 0) {
    float4x x = load4(from), y = load4(from + 4);
    v.x = pack2(f2bf(x.v[0]), f2bf(x.v[1])), v.y = pack2(f2bf(x.v[2]), f2bf(x.v[3]));
    v.z = pack2(f2bf(y.v[0]), f2bf(y.v[1])), v.w = pack2(f2bf(y.v[2]), f2bf(y.v[3]));
  }
  st16(to, v);
}
// LINES lines of CHUNKS chunks from a stored factor of which `lines` lines and `cols` columns are left.
template <int LINES, int CHUNKS, class T>
DEV void fetch(u16* to, const T* from, int stride, int lines, int cols) {
  int line = TID / CHUNKS, chunk = TID % CHUNKS;
  const T* p = from + (u64)line * stride + chunk * 8;
#pragma unroll
  for (int i = 0; i < LINES; i += THREADS / CHUNKS)
    fetch8<VEC>(to + place<CHUNKS>(line + i, chunk), p + (u64)i * stride, line + i < lines ? cols - chunk * 8 : 0);
}

KERNEL(product_tiles, THREADS,
       (TC * c, const TA* a, const TB* b, const float* bias, int m, int n, int k, int a_stride, int b_stride, int c_stride,
        int add, int aligned, int part_k)) {
  DYN_SHARED(vec4, memory);
  u16* shared = (u16*)memory;
  Tile tile = tile_of_block<BM, BN>(m, n);
  int start = tile.part * part_k, end = k - start < part_k ? k : start + part_k, steps = (end - start + STEP - 1) / STEP;
  int l = TID & 31, group = TID / 32, warp_m = group / (BN / WN) * WM, warp_n = group % (BN / WN) * WN;
#if A_T
  const TA* a_from = a + (u64)start * a_stride + tile.row;
#else
  const TA* a_from = a + (u64)tile.row * a_stride + start;
#endif
#if B_T
  const TB* b_from = b + (u64)tile.col * b_stride + start;
#else
  const TB* b_from = b + (u64)start * b_stride + tile.col;
#endif
  auto stage = [&](int step) {
    u16 *a_to = shared + step % STAGES * ((BM + BN) * STEP), *b_to = a_to + BM * STEP;
    int done = step * STEP, left = end - start - done;
#if A_T
    fetch<STEP, BM / 8>(a_to, a_from + (u64)done * a_stride, a_stride, left, m - tile.row);
#else
    fetch<BM, STEP / 8>(a_to, a_from + done, a_stride, m - tile.row, left);
#endif
#if B_T
    fetch<BN, STEP / 8>(b_to, b_from + done, b_stride, n - tile.col, left);
#else
    fetch<STEP, BN / 8>(b_to, b_from + (u64)done * b_stride, b_stride, left, n - tile.col);
#endif
  };
  float sum[WM / 16][WN / 8][4];
#pragma unroll
  for (int i = 0; i < WM / 16; i++)
#pragma unroll
    for (int j = 0; j < WN / 8; j++)
#pragma unroll
      for (int e = 0; e < 4; e++) sum[i][j][e] = 0.0f;
#pragma unroll
  for (int step = 0; step < STAGES - 1; step++) {
    if (step < steps) stage(step);
    copy_commit();
  }
  for (int step = 0; step < steps; step++) {
    copy_wait<STAGES - 2>();
    BARRIER();
    if (step + STAGES - 1 < steps) stage(step + STAGES - 1);
    copy_commit();
    const u16 *as = shared + step % STAGES * ((BM + BN) * STEP), *bs = as + BM * STEP;
#pragma unroll
    for (int kk = 0; kk < STEP / 16; kk++) {
      u32 fa[WM / 16][4], fb[WN / 16][4];
#pragma unroll
      for (int i = 0; i < WM / 16; i++) {
        int row = warp_m + i * 16;
#if A_T
        ldmatrix_x4<true>(fa[i], as + place<BM / 8>(kk * 16 + l % 8 + l / 16 * 8, row / 8 + l / 8 % 2));
#else
        ldmatrix_x4<false>(fa[i], as + place<STEP / 8>(row + l % 16, kk * 2 + l / 16));
#endif
      }
#pragma unroll
      for (int j = 0; j < WN / 16; j++) {
        int col = warp_n + j * 16;
#if B_T
        ldmatrix_x4<false>(fb[j], bs + place<STEP / 8>(col + l % 8 + l / 16 * 8, kk * 2 + l / 8 % 2));
#else
        ldmatrix_x4<true>(fb[j], bs + place<BN / 8>(kk * 16 + l % 16, col / 8 + l / 16));
#endif
      }
#pragma unroll
      for (int i = 0; i < WM / 16; i++)
#pragma unroll
        for (int j = 0; j < WN / 8; j++) mma_m16n8k16(sum[i][j], fa[i], fb[j / 2] + j % 2 * 2);
    }
  }
  // Two neighbouring lanes hold two columns each of two 8-column tiles. They exchange halves, so that each writes four
  // neighbouring columns, and the four lanes of a row 16: whole sectors of 32 bytes.
  c += (u64)tile.part * m * n;
  bool odd = l % 2;
#pragma unroll
  for (int i = 0; i < WM / 16; i++)
#pragma unroll
    for (int j = 0; j < WN / 8; j += 2)
#pragma unroll
      for (int h = 0; h < 2; h++) {
        float *left = sum[i][j] + 2 * h, *right = sum[i][j + 1] + 2 * h;
        float x = shfl_xor(odd ? left[0] : right[0], 1), y = shfl_xor(odd ? left[1] : right[1], 1);
        float4x v = {{odd ? x : left[0], odd ? y : left[1], odd ? right[0] : x, odd ? right[1] : y}};
        int row = tile.row + warp_m + i * 16 + h * 8 + l / 4;
        int col = tile.col + warp_n + j * 8 + (odd ? 8 : 0) + l % 4 / 2 * 4;
        output4(c, c_stride, row, col, m, n, v, bias, add, aligned);
      }
}
