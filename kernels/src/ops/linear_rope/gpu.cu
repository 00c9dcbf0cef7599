// Turns the first `heads` heads of each row by its position's angles, or back: rows of `cols` channels, heads of HEAD_DIM.
// X is the type of the elements, RATIO theta^(-2 / HEAD_DIM), so that frequency i is its i-th power.
//
// A block takes 8 rows. Their angles are made once, in double (a row's serve all its heads), then 32 threads go over each
// row. Every element is read and written once; where `to` is `from`, heads that do not turn are not touched. VEC: four
// channels at a time. Half pairs (i, i + HEAD_DIM / 2), INTERLEAVED pairs (2 i, 2 i + 1).
#define HALF (HEAD_DIM / 2)
DEV double frequency(int i) {
  double power = 1.0, factor = RATIO;
  for (; i > 0; i >>= 1, factor *= factor)
    if (i & 1) power *= factor;
  return power;
}
// (a, b) turned by the angle with this cosine and sine.
DEV void turn_pair(float* a, float* b, float c, float s) {
  float x = *a * c - *b * s, y = FMA(*a, s, *b * c);
  *a = x, *b = y;
}

KERNEL(rotate, 256, (X* to, const X* from, const int* positions, int rows, int heads, int cols, int back)) {
  SHARED(float, cosines, [8][HALF]);
  SHARED(float, sines, [8][HALF]);
  int first = BID * 8;
  for (int i = TID; i < 8 * HALF; i += BDIM) {
    int line = i / HALF, f = i % HALF;
    if (first + line < rows) {
      double s, c;
      SINCOS(positions[first + line] * frequency(f), &s, &c);
      cosines[line][f] = (float)c, sines[line][f] = (float)(back ? -s : s);
    }
  }
  BARRIER();
  int line = TID / 32, row = first + line, turned = heads * HEAD_DIM;
  if (row < rows) {
    X* y = to + (u64)row * cols;
    const X *x = from + (u64)row * cols;
#if VEC && !INTERLEAVED
    for (int i = TID % 32; i < turned / 8; i += 32) {
      int f = i % (HALF / 4) * 4, at = i / (HALF / 4) * HEAD_DIM + f;
      float4x a = load4(x + at), b = load4(x + at + HALF);
#pragma unroll
      for (int e = 0; e < 4; e++) turn_pair(&a.v[e], &b.v[e], cosines[line][f + e], sines[line][f + e]);
      put4(y + at, a), put4(y + at + HALF, b);
    }
#elif VEC
    for (int i = TID % 32; i < turned / 4; i += 32) {
      int f = i % (HALF / 2) * 2;
      float4x a = load4(x + i * 4);
      turn_pair(&a.v[0], &a.v[1], cosines[line][f], sines[line][f]);
      turn_pair(&a.v[2], &a.v[3], cosines[line][f + 1], sines[line][f + 1]);
      put4(y + i * 4, a);
    }
#else
    for (int i = TID % 32; i < turned / 2; i += 32) {
      int f = i % HALF, head = i / HALF * HEAD_DIM, at = head + (INTERLEAVED ? 2 * f : f), other = INTERLEAVED ? 1 : HALF;
      float a = load(x + at), b = load(x + at + other);
      turn_pair(&a, &b, cosines[line][f], sines[line][f]);
      put(y + at, a), put(y + at + other, b);
    }
#endif
    if (to != from) {
#if VEC
      for (int i = turned + TID % 32 * 4; i < cols; i += 128) put4(y + i, load4(x + i));
#else
      for (int i = turned + TID % 32; i < cols; i += 32) y[i] = x[i];
#endif
    }
  }
}
