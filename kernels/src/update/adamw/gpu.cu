// AdamW over flat buffers, the arithmetic of cpu.rs. Scalars of a step, written by the host before it:
struct AdamWScalars {
  float beta1, rest1;  // decay of the first moment, and one less it
  float beta2, rest2;  // of the second
  float keep;          // 1 - lr * weight_decay
  float step;          // lr / (1 - beta1^t)
  float root;          // 1 / (1 - beta2^t)
  float eps;           // added to the root of the second moment
  float scale;         // what gradients are multiplied by
};
DEV void move(const AdamWScalars& s, float g, float* w, float* m, float* v) {
  g = g * s.scale;
  *m = FMA(s.rest1, g, s.beta1 * *m);
  *v = FMA(s.rest2 * g, g, s.beta2 * *v);
  *w = *w * s.keep - s.step * *m / (SQRT(*v * s.root) + s.eps);
}
// w, g, m, v (n); w16 (n) or null: w rounded, for the products of the next step. `head` single elements, then `fours`
// fours by 16-byte accesses, then single elements. Everything is read once and written once: 28 bytes an element, 30
// with w16. The grid fills the device; each thread has four loads of 16 bytes in flight, about 100 KiB a
// multiprocessor.
KERNEL(adamw_update, 256,
       (float* w, const float* g, float* m, float* v, bf16* w16, const AdamWScalars* scalars, int n, int head,
        int fours)) {
  AdamWScalars s = *scalars;
  u32 thread = BID * BDIM + TID, threads = GDIM * BDIM;
  for (u32 q = thread; q < (u32)fours; q += threads) {
    u32 i = head + 4 * q;
    float4x w4 = load4(w + i), g4 = load4(g + i), m4 = load4(m + i), v4 = load4(v + i);
    for (int k = 0; k < 4; k++) move(s, g4.v[k], &w4.v[k], &m4.v[k], &v4.v[k]);
    put4(w + i, w4), put4(m + i, m4), put4(v + i, v4);
    if (w16) put4(w16 + i, w4);
  }
  for (u32 j = thread; j < (u32)(n - 4 * fours); j += threads) {
    u32 i = j < (u32)head ? j : j + 4 * fours;
    move(s, g[i], &w[i], &m[i], &v[i]);
    if (w16) put(&w16[i], w[i]);
  }
}
