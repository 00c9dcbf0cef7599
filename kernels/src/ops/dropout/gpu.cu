// Dropout: a group of 64 elements of a row takes 16 counters of Philox, and word w of counter l belongs to element 16
// w + l. A thread takes W neighbouring counters (2 where rows allow it), so 4 W elements in 4 packs; 8 threads make a
// group, and the four accesses of a warp fill whole sectors. About 20 instructions an element for the numbers: below
// what memory takes.

// to = from m / (1 - p), or added to it; from may be to. `row_len` elements a row, m = 0 where a word is below
// `threshold`. In bf16 2 bytes read and 2 written for an element.
KERNEL(dropout_apply, 256,
       (X* to, const X* from, const Live* live, int id, int id_high, int threshold, float scale, int rows, int row_len,
        int mode)) {
  Words key = philox_key(live, id, id_high);
  u64 row0 = live->row0;
  u32 counters = ((u32)row_len + 63) / 64 * 16, packs = counters / W, all = (u32)rows * packs;
  for (u32 t = BID * BDIM + TID; t < all; t += GDIM * BDIM) {
    u32 row = t / packs, first = t % packs * W;
    u64 r = row0 + row;
    Words words[W];
#pragma unroll
    for (int j = 0; j < W; j++) words[j] = philox(key.w[0], key.w[1], first + j, 0, (u32)r, (u32)(r >> 32));
    u64 start = (u64)row * row_len;
    u32 e = first / 16 * 64 + first % 16;
    // All is read before anything is written (`to` may be `from`), so that one wait is enough.
    Pack<W> v[4];
#pragma unroll
    for (int w = 0; w < 4; w++)
      if (e + 16 * w < (u32)row_len) v[w] = load_pack<W>(from + start + e + 16 * w);
#pragma unroll
    for (int w = 0; w < 4; w++) {
      if (e + 16 * w >= (u32)row_len) continue;
#pragma unroll
      for (int j = 0; j < W; j++) v[w].v[j] *= words[j].w[w] < (u32)threshold ? 0.0f : scale;
      deliver_pack(to + start + e + 16 * w, v[w], mode);
    }
  }
}
