// SGD over flat buffers, the arithmetic of cpu.rs. Scalars of a step, written by the host before it:
struct SgdScalars {
  float decay;     // of the weights
  float momentum;  // its decay
  float lr;        // minus the learning rate
  int nesterov;    // whether to look ahead
};
DEV void move(const SgdScalars& s, float scale, float g, float* w, float* b) {
  g = FMA(s.decay, *w, g * scale);
  *b = FMA(s.momentum, *b, g);
  *w = FMA(s.lr, s.nesterov ? FMA(s.momentum, *b, g) : *b, *w);
}
// w, g, b (n); w16 (n) or null: w rounded, for the products of the next step. `head` single elements, then `fours`
// fours by 16-byte accesses, then single elements. Everything is read once and written once: 20 bytes an element, 22
// with w16. Nothing is touched where the step is not to be (told->go).
KERNEL(sgd_update, 256,
       (float* w, const float* g, float* b, bf16* w16, const SgdScalars* scalars, const Told* told, int, int n, int head,
        int fours)) {
  SgdScalars s = *scalars;
  float scale = told->scale;
  u32 thread = BID * BDIM + TID, threads = GDIM * BDIM;
  if (!told->go) return;
  for (u32 q = thread; q < (u32)fours; q += threads) {
    u32 i = head + 4 * q;
    float4x w4 = load4(w + i), g4 = load4(g + i), b4 = load4(b + i);
    for (int k = 0; k < 4; k++) move(s, scale, g4.v[k], &w4.v[k], &b4.v[k]);
    put4(w + i, w4), put4(b + i, b4);
    if (w16) put4(w16 + i, w4);
  }
  for (u32 j = thread; j < (u32)(n - 4 * fours); j += threads) {
    u32 i = j < (u32)head ? j : j + 4 * fours;
    move(s, scale, g[i], &w[i], &b[i]);
    if (w16) put(&w16[i], w[i]);
  }
}
