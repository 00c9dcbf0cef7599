// Sums and maxima over the lanes of a warp and over the threads of a block, in a fixed order.
DEV float warp_sum(float v) {
  for (int m = WARP / 2; m > 0; m >>= 1) v += shfl_xor(v, m);
  return v;
}
DEV float warp_max(float v) {
  for (int m = WARP / 2; m > 0; m >>= 1) {
    float other = shfl_xor(v, m);
    v = other > v ? other : v;
  }
  return v;
}
// Given to every thread. `red` holds one float for each warp. Two barriers, so it may be called in a loop.
DEV float block_sum(float v, float* red) {
  v = warp_sum(v);
  if (TID % WARP == 0) red[TID / WARP] = v;
  BARRIER();
  float s = 0.0f;
  for (u32 i = 0; i < BDIM / WARP; i++) s += red[i];
  BARRIER();
  return s;
}
DEV float block_max(float v, float* red) {
  v = warp_max(v);
  if (TID % WARP == 0) red[TID / WARP] = v;
  BARRIER();
  float s = red[0];
  for (u32 i = 1; i < BDIM / WARP; i++) s = red[i] > s ? red[i] : s;
  BARRIER();
  return s;
}
// Of doubles, in an order that does not depend on the warp's width either. The threads are a power of two, `red` holds one
// double for each. Every thread gets the sum; it may be called in a loop.
DEV double block_sum_f64(double v, double* red) {
  red[TID] = v;
  BARRIER();
  for (u32 half = BDIM / 2; half > 0; half /= 2) {
    if (TID < half) red[TID] += red[TID + half];
    BARRIER();
  }
  double s = red[0];
  BARRIER();
  return s;
}
