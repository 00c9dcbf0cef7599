// AdamW over flat buffers, the arithmetic of cpu.rs. ROUNDS says whether new weights are rounded to bf16 at random: another
// kernel, so that this one holds nothing of it. Scalars of a step, written by the host before it:
struct AdamWScalars {
  float beta1, rest1;  // decay of the first moment, and one less it
  float beta2, rest2;  // of the second
  float keep;          // 1 - lr * weight_decay
  float step;          // lr / (1 - beta1^t)
  float root;          // 1 / (1 - beta2^t)
  float eps;           // added to the root of the second moment
  u32 key0, key1;      // of its random numbers
};
DEV void move(const AdamWScalars& s, float scale, float g, float* w, float* m, float* v) {
  g = g * scale;
  *m = FMA(s.rest1, g, s.beta1 * *m);
  *v = FMA(s.rest2 * g, g, s.beta2 * *v);
  *w = *w * s.keep - s.step * *m / (SQRT(*v * s.root) + s.eps);
}
// The random words of elements 4 block to 4 block + 3, as `update/rounding.rs` draws them.
DEV Words words_of(const AdamWScalars& s, u64 block) {
  return philox(s.key0, s.key1, (u32)block, (u32)(block >> 32), 0, 0);
}
// Word k of four, 0 to 3, without an array that is indexed at run time.
DEV u32 pick(const Words& r, u32 k) { return k < 2 ? (k == 0 ? r.w[0] : r.w[1]) : (k == 2 ? r.w[2] : r.w[3]); }
// x up or down by the upper half of `word`; what is not finite stays.
DEV float at_random(float x, u32 word) {
  Bits c;
  c.f = x;
  if ((c.u & 0x7f800000u) != 0x7f800000u) c.u = (c.u + (word >> 16)) & 0xffff0000u;
  return c.f;
}
// w, g, m, v (n); w16 (n) or null: w rounded, for the products of the next step. `head` single elements, then `fours`
// fours by 16-byte accesses, then single elements; the first is number 4 `first` of the flat buffers. Everything is read
// once and written once: 28 bytes an element, 30 with w16. The grid fills the device; each thread has four loads of 16
// bytes in flight, about 100 KiB a multiprocessor. Random numbers cost ten rounds of two products a
// four. Nothing is touched where the step is not to be (told->go).
KERNEL(adamw_update, 256,
       (float* w, const float* g, float* m, float* v, bf16* w16, const AdamWScalars* scalars, const Told* told,
        int first, int n, int head, int fours)) {
  AdamWScalars s = *scalars;
  float scale = told->scale;
  u32 thread = BID * BDIM + TID, threads = GDIM * BDIM;
  if (!told->go) return;
  for (u32 q = thread; q < (u32)fours; q += threads) {
    u32 i = head + 4 * q;
    float4x w4 = load4(w + i), g4 = load4(g + i), m4 = load4(m + i), v4 = load4(v + i);
    for (int k = 0; k < 4; k++) move(s, scale, g4.v[k], &w4.v[k], &m4.v[k], &v4.v[k]);
    if (ROUNDS) {
      // A four of an unaligned buffer lies across two blocks of random words.
      u64 block = (u64)first + i / 4;
      Words a = words_of(s, block);
      if (head == 0) {
        UNROLL for (u32 k = 0; k < 4; k++) w4.v[k] = at_random(w4.v[k], a.w[k]);
      } else {
        Words b = words_of(s, block + 1);
        UNROLL for (u32 k = 0; k < 4; k++) w4.v[k] = at_random(w4.v[k], pick(head + k < 4 ? a : b, (head + k) % 4));
      }
    }
    put4(w + i, w4), put4(m + i, m4), put4(v + i, v4);
    if (w16) put4(w16 + i, w4);
  }
  for (u32 j = thread; j < (u32)(n - 4 * fours); j += threads) {
    u32 i = j < (u32)head ? j : j + 4 * fours;
    move(s, scale, g[i], &w[i], &m[i], &v[i]);
    if (ROUNDS) w[i] = at_random(w[i], pick(words_of(s, (u64)first + i / 4), i % 4));
    if (w16) put(&w16[i], w[i]);
  }
}
