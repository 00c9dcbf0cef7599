// QK-norm: the rows are the heads of all tokens, each held by a part of a warp (8 lanes for a width of 64, 16 for
// 128). X is the type of all tensors.

// Heads before `heads` are normalised with wq, then `kv_heads` with wk, and as many are passed on. A team takes one
// head. In bf16 2 bytes read and 2 written for an element.
KERNEL(head_norm_forward, 256,
       (X* y, const X* x, const float* __restrict__ wq, const float* __restrict__ wk, int tokens, int heads,
        int kv_heads, int width, float eps)) {
  SHARED(float, red, [16]);
  u32 total = heads + 2 * kv_heads, row = BID * (BDIM / LANES) + TID / LANES, head = row % total;
  bool live = row < (u32)tokens * total;
  u64 at = (u64)row * width;
  Row v = load_row(x + at, width, live);
  Stats stats = statistics(v, width, eps, red);
  if (head < (u32)(heads + kv_heads)) {
    put_normalised(y + at, v, stats, head < (u32)heads ? wq : wk, 0, 0.0f, width, live);
  } else {
    put_row(y + at, v, width, live);
  }
}

// One pass over x and dy: the gradient of the heads, and the parts of dwq and dwk of this block's chunk of tokens,
// written to `partial[BID]`. dx and partial may be absent. GDIM depends on the shapes alone. In bf16 4 bytes read and
// 2 written.
KERNEL(head_norm_backward, 256,
       (X* dx, int dx_mode, float* partial, const X* x, const X* dy, const float* __restrict__ wq,
        const float* __restrict__ wk, int tokens, int heads, int kv_heads, int width, float eps)) {
  SHARED(float, red, [16]);
  SHARED(float, fold, [256 / WARP][FOLD]);
  u32 total = heads + 2 * kv_heads, teams = BDIM / LANES;
  u32 first = (u64)tokens * BID / GDIM * total, last = (u64)tokens * (BID + 1) / GDIM * total;
  Row dq = empty_row(), dk = empty_row();
  for (u32 base = first; base < last; base += teams) {
    u32 row = base + TID / LANES, head = row % total;
    bool live = row < last, query = head < (u32)heads, normed = head < (u32)(heads + kv_heads);
    u64 at = (u64)row * width;
    Row v = load_row(x + at, width, live), d = load_row(dy + at, width, live), dw = empty_row(), none = empty_row();
    Stats stats = statistics(v, width, eps, red);
    row_gradient(v, d, stats, query ? wq : wk, 0.0f, width, dw, none, red);
    if (live && !normed) d = load_row(dy + at, width, live);  // still in the first cache
    if (live && normed) {
#pragma unroll
      for (int p = 0; p < PACKS; p++)
#pragma unroll
        for (int i = 0; i < W; i++) {
          float part = dw.p[p].v[i];
          dq.p[p].v[i] += query ? part : 0.0f;
          dk.p[p].v[i] += query ? 0.0f : part;
        }
    }
    if (dx) deliver_row(dx + at, d, dx_mode, width, live);
  }
  if (!partial) return;  // the same for all threads
  put_sums(partial + (u64)BID * 2 * width, dq, width, fold);
  put_sums(partial + ((u64)BID * 2 + 1) * width, dk, width, fold);
}
