// W neighbouring elements at once, as floats: W is 8 (16 bytes of bf16, two times 16 of float), 2 or 1. Addresses are
// multiples of W elements; the host says by the definition W which packs they allow (`gpu::basic::pack_width`).
template <int LEN> struct Pack {
  float v[LEN];
};
template <int LEN> DEV Pack<LEN> zeros() {
  Pack<LEN> r;
#pragma unroll
  for (int i = 0; i < LEN; i++) r.v[i] = 0.0f;
  return r;
}
template <int LEN> DEV Pack<LEN> load_pack(const float* p) {
  Pack<LEN> r;
  if constexpr (LEN == 8) {
    float4x a = load4(p), b = load4(p + 4);
#pragma unroll
    for (int i = 0; i < 4; i++) r.v[i] = a.v[i], r.v[4 + i] = b.v[i];
  } else if constexpr (LEN == 2) {
    u64 w = *(const u64*)p;
    Bits lo, hi;
    lo.u = (u32)w, hi.u = (u32)(w >> 32);
    r.v[0] = lo.f, r.v[1] = hi.f;
  } else {
    static_assert(LEN == 1, "packs of 8, 2 or 1");
    r.v[0] = *p;
  }
  return r;
}
template <int LEN> DEV Pack<LEN> load_pack(const bf16* p) {
  Pack<LEN> r;
  if constexpr (LEN == 8) {
    vec4 w = ld16(p);
    r.v[0] = lo2f(w.x), r.v[1] = hi2f(w.x), r.v[2] = lo2f(w.y), r.v[3] = hi2f(w.y);
    r.v[4] = lo2f(w.z), r.v[5] = hi2f(w.z), r.v[6] = lo2f(w.w), r.v[7] = hi2f(w.w);
  } else if constexpr (LEN == 2) {
    u32 w = ld4(p);
    r.v[0] = lo2f(w), r.v[1] = hi2f(w);
  } else {
    static_assert(LEN == 1, "packs of 8, 2 or 1");
    r.v[0] = load(p);
  }
  return r;
}
template <int LEN> DEV void put_pack(float* p, Pack<LEN> x) {
  if constexpr (LEN == 8) {
    float4x a = {{x.v[0], x.v[1], x.v[2], x.v[3]}}, b = {{x.v[4], x.v[5], x.v[6], x.v[7]}};
    put4(p, a);
    put4(p + 4, b);
  } else if constexpr (LEN == 2) {
    Bits lo, hi;
    lo.f = x.v[0], hi.f = x.v[1];
    *(u64*)p = (u64)lo.u | (u64)hi.u << 32;
  } else {
    *p = x.v[0];
  }
}
template <int LEN> DEV void put_pack(bf16* p, Pack<LEN> x) {
  if constexpr (LEN == 8) {
    vec4 w = {round2(x.v[0], x.v[1]), round2(x.v[2], x.v[3]), round2(x.v[4], x.v[5]), round2(x.v[6], x.v[7])};
    st16(p, w);
  } else if constexpr (LEN == 2) {
    *(u32*)p = round2(x.v[0], x.v[1]);
  } else {
    put(p, x.v[0]);
  }
}
// Writes a gradient, or adds it to what is there.
template <int LEN, class T> DEV void deliver_pack(T* p, Pack<LEN> x, int mode) {
  if (mode == ADD) {
    Pack<LEN> there = load_pack<LEN>(p);
#pragma unroll
    for (int i = 0; i < LEN; i++) x.v[i] += there.v[i];
  }
  put_pack(p, x);
}
// Calls body(i, Count<W>()) for packs i, i + 1, .. i + W - 1 of `n` elements, spread over the grid, and body(i,
// Count<1>()) for the elements that fill no pack.
template <int LEN> struct Count {
  static constexpr int n = LEN;
};
template <class Body> DEV void each_pack(u32 n, Body body) {
  u32 first = BID * BDIM + TID, packs = n / W;
  for (u32 p = first; p < packs; p += GDIM * BDIM) body(p * W, Count<W>());
  if (W > 1 && packs * W + first < n) body(packs * W + first, Count<1>());
}
