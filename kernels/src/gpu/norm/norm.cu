// RMSNorm and LayerNorm, alone or after the residual addition. X is the type of the rows, Y of the addend, OUT of the
// normalised rows. Short rows take a part of a warp or a warp each, 256 threads a block; long rows a block each.

// s = x + y where there is a y, then n = norm(s) (or of x). A team takes one row. Bytes an element, with x float, y
// and n bf16: 4 + 2 for the norm, 4 + 2 + 4 + 2 with the addition.
KERNEL(norm_forward, 256,
       (X* s, OUT* n, float* mean, float* reciprocal, const X* x, const Y* y, const float* __restrict__ w,
        const float* __restrict__ b, int rows, int cols, float eps, float shift)) {
  SHARED(float, red, [16]);
  u32 row = BID * (BDIM / LANES) + TID / LANES;
  bool live = row < (u32)rows;
  u64 at = (u64)row * cols;
  Row v = load_row(x + at, cols, live);
  if (y) {
    add_row(v, load_row(y + at, cols, live));
#pragma unroll
    for (int p = 0; p < PACKS; p++)
#pragma unroll
      for (int i = 0; i < W; i++) v.p[p].v[i] = rounded(x, v.p[p].v[i]);
    put_row(s + at, v, cols, live);
  }
  Stats stats = statistics(v, cols, eps, red);
  put_normalised(n + at, v, stats, w, b, shift, cols, live);
  if (live && TID % LANES == 0) {
    if (mean) mean[row] = stats.mean;
    if (reciprocal) reciprocal[row] = stats.reciprocal;
  }
}

// One pass over x and dn: the gradient of the rows, and the parts of dw and db of this block's chunk of rows, kept in
// registers from row to row and written to `partial[BID]` (dw, then db if `params` is 2). `through` is a gradient
// that reaches x by another way; it may be dx. dx and dy may be absent; they are the same values, dy rounded to its
// type. GDIM depends on the shapes alone. Bytes an element, with x and dx float, dn bf16: 4 + 2 + 4, and what through
// and dy are.
KERNEL(norm_backward, 256,
       (X* dx, int dx_mode, Y* dy, int dy_mode, float* partial, int params, const X* x, const OUT* dn, const X* through,
        const float* mean, const float* reciprocal, const float* __restrict__ w, int rows, int cols, float shift)) {
  SHARED(float, red, [16]);
  SHARED(float, fold, [256 / WARP][FOLD]);
  u32 first = (u64)rows * BID / GDIM, last = (u64)rows * (BID + 1) / GDIM, teams = BDIM / LANES;
  Row dw = empty_row(), db = empty_row();
  for (u32 base = first; base < last; base += teams) {
    u32 row = base + TID / LANES;
    bool live = row < last;
    u64 at = (u64)row * cols;
    Row v = load_row(x + at, cols, live), d = load_row(dn + at, cols, live);
    Stats stats = {live && mean ? mean[row] : 0.0f, live ? reciprocal[row] : 0.0f};
    row_gradient(v, d, stats, w, shift, cols, dw, db, red);
    if (through) add_row(d, load_row(through + at, cols, live));
    if (dx) deliver_row(dx + at, d, dx_mode, cols, live);
    if (dy) deliver_row(dy + at, d, dy_mode, cols, live);
  }
  if (!partial) return;  // the same for all threads
  float* out = partial + (u64)BID * params * cols;
  put_sums(out, dw, cols, fold);
  if (params == 2) put_sums(out + cols, db, cols, fold);
}
