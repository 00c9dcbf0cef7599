// What the backward needs of the queries beforehand, in one pass: delta = sum_c dout out for every head, (batch, heads,
// queries), and for each tile of `rows` queries the lowest and the highest first key.
//
// A block has one tile; eight lanes take the columns of one query and head, whose rows of all heads lie side by
// side: outputs and their gradients are read once, in whole lines.
KERNEL(attention_delta, 256,
       (float* delta, int* ranges, const X* out, const X* d_out, const int* starts, int heads, int queries, int rows)) {
  SHARED(int, red, [16]);
  int parts = (queries + rows - 1) / rows, batch = BID / parts, first = BID % parts * rows;
  int count = queries - first < rows ? queries - first : rows;
  u64 row0 = (u64)batch * queries + first;
  Range seen = block_range(starts, row0, count, first, red);
  if (TID == 0) ranges[2 * BID] = seen.low, ranges[2 * BID + 1] = seen.high;
  int items = count * heads;
  for (int all = 0; all < items; all += 32) {
    int i = all + TID / 8;
    bool have = i < items;
    float sum = 0.0f;
    if (have) {
      u64 at = (row0 * heads + i) * HEAD_DIM;
#if HEAD_DIM % 4 == 0
      for (int c = TID % 8 * 4; c < HEAD_DIM; c += 32) {
        float4x a = load4(out + at + c), b = load4(d_out + at + c);
        UNROLL for (int j = 0; j < 4; j++) sum = FMA(a.v[j], b.v[j], sum);
      }
#else
      for (int c = TID % 8; c < HEAD_DIM; c += 8) sum = FMA(load(out + at + c), load(d_out + at + c), sum);
#endif
    }
    for (int x = 4; x > 0; x >>= 1) sum += shfl_xor(sum, x);
    if (have && TID % 8 == 0) delta[((u64)batch * heads + i % heads) * queries + first + i / heads] = sum;
  }
}
