// y = x + PE: a thread takes W pairs of channels, which are two packs of W elements; the table of cosines and sines
// stays in the cache. X is the type of x and y. In float 4 bytes read and 4 written for an element.
KERNEL(sinusoid_forward, 256,
       (X* y, const X* x, const int* positions, const float* table, int tokens, int seq, int pairs, int ratio_low,
        int ratio_high)) {
  double ratio = double_of(ratio_low, ratio_high);
  u32 packs = pairs / W, all = (u32)tokens * packs;
  for (u32 t = BID * BDIM + TID; t < all; t += GDIM * BDIM) {
    u32 i = t % packs * W, token = t / packs;
    u64 at = ((u64)token * pairs + i) * 2;
    Pack<W> p = load_pack<W>(x + at), q = load_pack<W>(x + at + W), cos, sin;
    angles_of<W>(&cos, &sin, table, seq, pairs, positions[token], i, ratio);
    float encoding[2 * W];
#pragma unroll
    for (int j = 0; j < W; j++) encoding[2 * j] = sin.v[j], encoding[2 * j + 1] = cos.v[j];
#pragma unroll
    for (int j = 0; j < W; j++) p.v[j] += encoding[j], q.v[j] += encoding[W + j];
    put_pack(y + at, p);
    put_pack(y + at + W, q);
  }
}
