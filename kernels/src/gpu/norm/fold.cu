// Sums of the parts of two parameters' gradients: `partial` holds `chunks` rows of `first_len` + `second_len` values.
// Blocks of 512 threads take 16 columns: 32 threads a column sum every 32nd row (eight loads are under way at once),
// and one sums what these found, so that the order depends on the shapes alone. A gradient that is not wanted is
// absent.
KERNEL(fold_partial, 512,
       (float* first, int first_mode, int first_len, float* second, int second_mode, int second_len,
        const float* partial, int chunks)) {
  SHARED(float, sums, [32][16]);
  u32 width = first_len + second_len, c = BID * 16 + TID % 16, part = TID / 16;
  float v = 0.0f;
  if (c < width) {
#pragma unroll 8
    for (u32 row = part; row < (u32)chunks; row += 32) v += partial[(u64)row * width + c];
  }
  sums[part][TID % 16] = v;
  BARRIER();
  if (part > 0 || c >= width) return;
  v = 0.0f;
  for (u32 i = 0; i < 32; i++) v += sums[i][TID];
  if (c < (u32)first_len) {
    if (first) deliver(&first[c], v, first_mode);
  } else if (second) {
    deliver(&second[c - first_len], v, second_mode);
  }
}
