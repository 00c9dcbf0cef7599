// C (m x n) from the parts of a sum over K, added in their order; parts are m x n each, one after the other.
// Four columns a thread; each part is read once, 4 bytes an element, mostly from L2, where it was just written.
KERNEL(fold_parts, 256,
       (TC * c, const float* parts, const float* bias, int m, int n, int c_stride, int count, int add, int aligned, int vec)) {
  u32 quads = (n + 3) / 4, all = quads * m;
  for (u32 i = BID * BDIM + TID; i < all; i += GDIM * BDIM) {
    int row = i / quads, col = i % quads * 4;
    const float* p = parts + (u64)row * n + col;
    float4x total = {{0.0f, 0.0f, 0.0f, 0.0f}};
#pragma unroll 8
    for (int part = 0; part < count; part++, p += (u64)m * n) {
      float4x x = {{0.0f, 0.0f, 0.0f, 0.0f}};
      if (vec) {
        x = load4(p);
      } else {
#pragma unroll
        for (int e = 0; e < 4; e++)
          if (col + e < n) x.v[e] = p[e];
      }
#pragma unroll
      for (int e = 0; e < 4; e++) total.v[e] += x.v[e];
    }
    output4(c, c_stride, row, col, m, n, total, bias, add, aligned);
  }
}
