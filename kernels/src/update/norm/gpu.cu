// Sum of squares in a fixed order: chunks of CHUNK elements, whatever the device.

// partial[BID] = sum of the squares of chunk BID of x (n), one block a chunk. Each thread adds CHUNK / 1024 squares in
// each of four f32 lanes, then everything is added in f64. `fours`: x is aligned to 16 bytes; the order is the same
// where it is not. 4 bytes an element are read.
KERNEL(sum_squares, 256, (double* partial, const float* x, int n, int fours)) {
  SHARED(double, red, [256]);
  u32 start = BID * CHUNK, end = start + CHUNK < (u32)n ? start + CHUNK : (u32)n;
  float lanes[4] = {0.0f, 0.0f, 0.0f, 0.0f};
  if (fours && end == start + CHUNK) {
    for (u32 k = 0; k < CHUNK / 1024; k++) {
      float4x v = load4(x + start + 1024 * k + 4 * TID);
      for (int l = 0; l < 4; l++) lanes[l] = FMA(v.v[l], v.v[l], lanes[l]);
    }
  } else {
    for (u32 i = start + 4 * TID; i < end; i += 1024)
      for (u32 l = 0; l < 4; l++) {
        float v = i + l < end ? x[i + l] : 0.0f;
        lanes[l] = FMA(v, v, lanes[l]);
      }
  }
  double sum = ((double)lanes[0] + lanes[1]) + ((double)lanes[2] + lanes[3]);
  sum = block_sum_f64(sum, red);
  if (TID == 0) partial[BID] = sum;
}
// out = sum of partial (n), by one block.
KERNEL(fold_sums, 1024, (double* out, const double* partial, int n)) {
  SHARED(double, red, [1024]);
  double sum = 0.0;
  for (u32 i = TID; i < (u32)n; i += BDIM) sum += partial[i];
  sum = block_sum_f64(sum, red);
  if (TID == 0) *out = sum;
}
