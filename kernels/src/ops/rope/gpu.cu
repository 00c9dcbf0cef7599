// Rotary positions: a thread takes W pairs of channels of one head, which are two packs of W elements, so that every
// access is of 16 bytes; angles come from a table that the cache holds. X is the type of the elements, INTERLEAVED 1
// where pairs are (2i, 2i + 1) and 0 where they are (i, i + pairs).

// to = the heads of `from` turned by their positions (back: the other way), or added to it; from may be to. Of the
// `total` heads of a row the first `heads` turn and the others, up to `handled`, are passed on. In bf16 2 bytes read
// and 2 written an element.
KERNEL(rope_turn, 256,
       (X* to, const X* from, const int* positions, const float* table, int tokens, int seq, int heads, int handled,
        int total, int pairs, int ratio_low, int ratio_high, int back, int mode)) {
  double ratio = double_of(ratio_low, ratio_high);
  u32 packs = pairs / W, all = (u32)tokens * handled * packs;
  for (u32 t = BID * BDIM + TID; t < all; t += GDIM * BDIM) {
    u32 i = t % packs * W, rest = t / packs, head = rest % handled, token = rest / handled;
    u64 at = ((u64)token * total + head) * 2 * pairs + (INTERLEAVED ? 2 * i : i);
    u32 apart = INTERLEAVED ? W : pairs;
    Pack<W> p = load_pack<W>(from + at), q = load_pack<W>(from + at + apart);
    if (head < (u32)heads) {
      Pack<W> cos, sin;
      angles_of<W>(&cos, &sin, table, seq, pairs, positions[token], i, ratio);
      float both[2 * W];
#pragma unroll
      for (int j = 0; j < W; j++) both[j] = p.v[j], both[W + j] = q.v[j];
#pragma unroll
      for (int j = 0; j < W; j++) {
        const int first = INTERLEAVED ? 2 * j : j, second = INTERLEAVED ? 2 * j + 1 : W + j;
        float a = both[first], b = both[second], s = back ? -sin.v[j] : sin.v[j];
        both[first] = a * cos.v[j] - b * s;
        both[second] = FMA(a, s, b * cos.v[j]);
      }
#pragma unroll
      for (int j = 0; j < W; j++) p.v[j] = both[j], q.v[j] = both[W + j];
    }
    deliver_pack(to + at, p, mode);
    deliver_pack(to + at + apart, q, mode);
  }
}
