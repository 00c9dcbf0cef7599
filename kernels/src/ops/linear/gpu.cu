// Sums of the columns of dy (rows x n), the gradient of a bias, for parts of the rows; Y is the type of dy.
//
// A block takes 64 columns of one part: 16 threads four columns each, 16 rows at a time, 128 bytes a row in bf16. Each element
// is read once; parts (parts x n, float) are so few that what they add does not count. VEC: rows allow accesses of four.
KERNEL(column_sums, 256, (float* parts, const Y* dy, int rows, int n, int part_rows)) {
  SHARED(float, sums, [16][64]);
  int tiles = (n + 63) / 64, part = BID / tiles, quad = TID % 16 * 4, line = TID / 16;
  int col = BID % tiles * 64 + quad, start = part * part_rows, end = rows - start < part_rows ? rows : start + part_rows;
  float4x total = {{0.0f, 0.0f, 0.0f, 0.0f}};
#pragma unroll 4
  for (int row = start + line; row < end; row += 16) {
    const Y* p = dy + (u64)row * n + col;
#if VEC
    if (col < n) {
      float4x x = load4(p);
#pragma unroll
      for (int e = 0; e < 4; e++) total.v[e] += x.v[e];
    }
#else
#pragma unroll
    for (int e = 0; e < 4; e++)
      if (col + e < n) total.v[e] += load(p + e);
#endif
  }
#pragma unroll
  for (int e = 0; e < 4; e++) sums[line][quad + e] = total.v[e];
  BARRIER();
  int mine = BID % tiles * 64 + TID;
  if (TID < 64 && mine < n) {
    float sum = 0.0f;
    for (int i = 0; i < 16; i++) sum += sums[i][TID];
    parts[(u64)part * n + mine] = sum;
  }
}
