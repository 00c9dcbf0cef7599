// cos(p f_i) and sin(p f_i) for positions p and frequencies f_i = ratio^i, formed in double as on the CPU
// (`kernels/src/cpu/angles.rs`) and rounded once. Positions below `seq`, the tokens of a row, come from a table that
// `angle_table` made before; later ones, which documents in the midst of decoding have, are computed where they are
// needed. The value depends on the position alone either way.
DEV double double_of(int low, int high) {
  union {
    u64 bits;
    double value;
  } d;
  d.bits = (u64)(u32)high << 32 | (u32)low;
  return d.value;
}
DEV void angle_at(u32 position, u32 i, double ratio, float* cos, float* sin) {
  double f = 1.0, c, s;
  for (; i > 0; i >>= 1, ratio *= ratio)
    if (i & 1) f *= ratio;
  SINCOS((double)position * f, &s, &c);
  *cos = (float)c, *sin = (float)s;
}
// Of `table (seq, 2 pairs)`, a row of which is the cosines and then the sines of a position: numbers i .. i + LEN - 1.
template <int LEN>
DEV void angles_of(Pack<LEN>* cos, Pack<LEN>* sin, const float* table, u32 seq, u32 pairs, u32 position, u32 i,
                   double ratio) {
  if (position < seq) {
    const float* row = table + (u64)position * 2 * pairs + i;
    *cos = load_pack<LEN>(row), *sin = load_pack<LEN>(row + pairs);
  } else {
#pragma unroll 1
    for (int j = 0; j < LEN; j++) {
      float c, s;
      angle_at(position, i + j, ratio, &c, &s);
      // Written by a constant index, so that the packs stay in registers.
#pragma unroll
      for (int k = 0; k < LEN; k++)
        if (k == j) cos->v[k] = c, sin->v[k] = s;
    }
  }
}
