// What the kernels of matrix products share: which tile a block makes, and how its elements reach C.

// C is cut into tiles of HIGH x WIDE. Blocks that run at the same time should read the same lines of A and B, so that these come
// from the L2 cache: tiles go down GROUP rows of tiles, then to the next column of them, as in Triton's tutorial on products.
// With a sum over K in several parts, each part has all its tiles in a row.
#define GROUP 8
struct Tile {
  int part, row, col;  // part of the sum; first row and column of C
};
template <int HIGH, int WIDE> DEV Tile tile_at(int block, int m, int n) {
  int tiles_m = (m + HIGH - 1) / HIGH, tiles_n = (n + WIDE - 1) / WIDE, tiles = tiles_m * tiles_n;
  int part = block / tiles, tile = block - part * tiles, group = tile / (GROUP * tiles_n);
  int first = group * GROUP, high = tiles_m - first < GROUP ? tiles_m - first : GROUP;
  int within = tile - first * tiles_n;
  Tile t = {part, (first + within % high) * HIGH, within / high * WIDE};
  return t;
}
template <int HIGH, int WIDE> DEV Tile tile_of_block(int m, int n) { return tile_at<HIGH, WIDE>(BID, m, n); }

// Four neighbouring elements of C: sum, plus bias, plus what was there. `aligned`: C allows accesses of four elements.
template <class T>
DEV void output4(T* c, int stride, int row, int col, int m, int n, float4x x, const float* bias, int add, int aligned) {
  if (row >= m || col >= n) return;
  T* p = c + (u64)row * stride + col;
  if (aligned && col + 4 <= n) {
    if (bias)
#pragma unroll
      for (int e = 0; e < 4; e++) x.v[e] += bias[col + e];
    if (add) {
      float4x old = load4(p);
#pragma unroll
      for (int e = 0; e < 4; e++) x.v[e] = old.v[e] + x.v[e];
    }
    put4(p, x);
  } else {
#pragma unroll
    for (int e = 0; e < 4; e++)
      if (col + e < n) deliver(p + e, bias ? x.v[e] + bias[col + e] : x.v[e], add);
  }
}
