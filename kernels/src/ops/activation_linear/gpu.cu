// The activation of some rows, and its derivative: u (rows x cols; GATED rows x 2 cols, the gate first), h (rows x cols).
// X is the type of all, ACT the function, VEC 1 where four neighbouring columns may be taken at once. A thread takes four
// columns of a row at a time; every element is read and written once.
#if VEC
#define WIDTH 4
#else
#define WIDTH 1
#endif
struct Few {
  float v[WIDTH];
};
DEV Few few_at(const X* p) {
  Few r;
#if VEC
  float4x x = load4(p);
#pragma unroll
  for (int e = 0; e < 4; e++) r.v[e] = x.v[e];
#else
  r.v[0] = load(p);
#endif
  return r;
}
DEV void put_few(X* p, Few x) {
#if VEC
  float4x y = {{x.v[0], x.v[1], x.v[2], x.v[3]}};
  put4(p, y);
#else
  put(p, x.v[0]);
#endif
}
// Writes, or adds to what is there.
DEV void deliver_few(X* p, Few x, int mode) {
  if (mode == ADD) {
    Few old = few_at(p);
#pragma unroll
    for (int e = 0; e < WIDTH; e++) x.v[e] += old.v[e];
  }
  put_few(p, x);
}

// h = f(u), GATED f(gate) up. In bf16 2 or 4 bytes read and 2 written for an element of h.
KERNEL(activate, 256, (X* h, const X* u, int rows, int cols)) {
  u32 each = cols / WIDTH, all = each * rows;
  for (u32 i = BID * BDIM + TID; i < all; i += GDIM * BDIM) {
    u32 row = i / each, col = (i - row * each) * WIDTH;
    const X* from = u + (u64)row * cols * (GATED + 1) + col;
    Few x = few_at(from);
#pragma unroll
    for (int e = 0; e < WIDTH; e++) x.v[e] = act_value<ACT>(x.v[e]);
#if GATED
    Few up = few_at(from + cols);
#pragma unroll
    for (int e = 0; e < WIDTH; e++) x.v[e] *= up.v[e];
#endif
    put_few(h + (u64)row * cols + col, x);
  }
}

// Reads dh in h and leaves h there; du = dh f'(u), GATED dgate = dh up f'(gate) and dup = dh f(gate). In bf16 4 or 6 bytes
// read and 4 or 6 written for an element of h, more where du is added to.
KERNEL(differentiate, 256, (X* h, X* du, const X* u, int rows, int cols, int mode)) {
  u32 each = cols / WIDTH, all = each * rows;
  for (u32 i = BID * BDIM + TID; i < all; i += GDIM * BDIM) {
    u32 row = i / each, col = (i - row * each) * WIDTH;
    u64 at = (u64)row * cols * (GATED + 1) + col;
    X* mine = h + (u64)row * cols + col;
    Few x = few_at(u + at), d = few_at(mine), value, first;
#pragma unroll
    for (int e = 0; e < WIDTH; e++) first.v[e] = act_slope<ACT>(x.v[e], &value.v[e]);
#if GATED
    Few up = few_at(u + at + cols), second;
#pragma unroll
    for (int e = 0; e < WIDTH; e++) {
      second.v[e] = d.v[e] * value.v[e];
      d.v[e] *= up.v[e], value.v[e] *= up.v[e];
    }
    deliver_few(du + at + cols, second, mode);
#endif
#pragma unroll
    for (int e = 0; e < WIDTH; e++) first.v[e] *= d.v[e];
    deliver_few(du + at, first, mode);
    put_few(mine, value);
  }
}
