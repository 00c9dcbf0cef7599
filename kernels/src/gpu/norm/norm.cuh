// Normalisation of rows that a team of threads holds in registers, so that every byte is read once. A row of `cols`
// elements is spread in packs of W: pack p of lane l stands at column (p LANES + l) W.
//
//   LANES  threads of a team: a part of a warp, a warp, or (more than WARP) the whole block
//   PACKS  packs that a thread holds: W PACKS LANES is at least `cols`
//   LAYER  1: layer norm; 0: RMSNorm, which is a layer norm whose mean is taken to be zero
//
// Every thread of a block calls these functions together; a team without a row is not `live`.
struct Row {
  Pack<W> p[PACKS];
};
DEV u32 column(int p) { return (p * LANES + TID % LANES) * W; }
DEV Row empty_row() {
  Row r;
#pragma unroll
  for (int p = 0; p < PACKS; p++) r.p[p] = zeros<W>();
  return r;
}
// Columns beyond the row are zeros.
template <class T> DEV Row load_row(const T* from, u32 cols, bool live) {
  Row r = empty_row();
#pragma unroll
  for (int p = 0; p < PACKS; p++)
    if (live && column(p) < cols) r.p[p] = load_pack<W>(from + column(p));
  return r;
}

DEV void add_row(Row& x, const Row& y) {
#pragma unroll
  for (int p = 0; p < PACKS; p++)
#pragma unroll
    for (int i = 0; i < W; i++) x.p[p].v[i] += y.p[p].v[i];
}
template <class T> DEV void put_row(T* to, const Row& x, u32 cols, bool live) {
#pragma unroll
  for (int p = 0; p < PACKS; p++)
    if (live && column(p) < cols) put_pack(to + column(p), x.p[p]);
}
// Writes a gradient, or adds it to what is there: all of that is read before anything is written, in one wait.
template <class T> DEV void deliver_row(T* to, Row x, int mode, u32 cols, bool live) {
  if (mode == ADD) add_row(x, load_row(to, cols, live));
  put_row(to, x, cols, live);
}

// Sums over a team, given to each of its threads, in a fixed order. `red` holds two floats for each warp.
DEV void team_sums(float* a, float* b, float* red) {
#pragma unroll
  for (int m = (LANES < WARP ? LANES : WARP) / 2; m > 0; m >>= 1) *a += shfl_xor(*a, m), *b += shfl_xor(*b, m);
  if constexpr (LANES > WARP) {
    if (TID % WARP == 0) red[TID / WARP * 2] = *a, red[TID / WARP * 2 + 1] = *b;
    BARRIER();
    *a = *b = 0.0f;
#pragma unroll
    for (int i = 0; i < LANES / WARP; i++) *a += red[2 * i], *b += red[2 * i + 1];
    BARRIER();
  }
}

struct Stats {
  float mean, reciprocal;
};
// Mean (0 for RMSNorm) and the reciprocal of the deviation from it. The variance is taken from the row held, in a
// pass of its own, so that a large mean costs no digits.
DEV Stats statistics(const Row& x, u32 cols, float eps, float* red) {
  Stats s = {0.0f, 0.0f};
  float unused = 0.0f;
  if constexpr (LAYER) {
    float sum = 0.0f;
#pragma unroll
    for (int p = 0; p < PACKS; p++)
#pragma unroll
      for (int i = 0; i < W; i++) sum += x.p[p].v[i];
    team_sums(&sum, &unused, red);
    s.mean = sum / (float)cols;
  }
  float square = 0.0f;
#pragma unroll
  for (int p = 0; p < PACKS; p++)
    if (column(p) < cols)
#pragma unroll
      for (int i = 0; i < W; i++) {
        float d = x.p[p].v[i] - s.mean;
        square = FMA(d, d, square);
      }
  team_sums(&square, &unused, red);
  s.reciprocal = RSQRT(square / (float)cols + eps);
  return s;
}

// Writes (x - mean) reciprocal (w + shift) + b; b may be absent.
template <class T>
DEV void put_normalised(T* n, const Row& x, Stats s, const float* w, const float* b, float shift, u32 cols,
                        bool live) {
#pragma unroll
  for (int p = 0; p < PACKS; p++) {
    u32 c = column(p);
    if (!live || c >= cols) continue;
    Pack<W> gain = load_pack<W>(w + c), bias = b ? load_pack<W>(b + c) : zeros<W>(), y;
#pragma unroll
    for (int i = 0; i < W; i++) {
      float h = (x.p[p].v[i] - s.mean) * s.reciprocal;
      y.v[i] = FMA(h, gain.v[i] + shift, bias.v[i]);
    }
    put_pack(n + c, y);
  }
}

// With h = (x - mean) reciprocal, d the gradient of the normalised row and a = d (w + shift): adds d h to `dw` and d
// to `db`, and leaves in d the gradient of the row, reciprocal (a - mean(a) - h mean(a h)), where RMSNorm has no
// mean(a). The row and d must be zero where the team is not live. One exchange for both sums.
DEV void row_gradient(Row& x, Row& d, Stats s, const float* w, float shift, u32 cols, Row& dw, Row& db, float* red) {
  float sum = 0.0f, dot = 0.0f;
#pragma unroll
  for (int p = 0; p < PACKS; p++) {
    u32 c = column(p);
    if (c >= cols) continue;
    Pack<W> gain = load_pack<W>(w + c);
#pragma unroll
    for (int i = 0; i < W; i++) {
      float h = (x.p[p].v[i] - s.mean) * s.reciprocal, dy = d.p[p].v[i], a = dy * (gain.v[i] + shift);
      dw.p[p].v[i] = FMA(dy, h, dw.p[p].v[i]);
      if constexpr (LAYER) db.p[p].v[i] += dy, sum += a;
      dot = FMA(a, h, dot);
      x.p[p].v[i] = h, d.p[p].v[i] = a;
    }
  }
  team_sums(&sum, &dot, red);
  sum = LAYER ? sum / (float)cols : 0.0f, dot = dot / (float)cols;
#pragma unroll
  for (int p = 0; p < PACKS; p++)
#pragma unroll
    for (int i = 0; i < W; i++) d.p[p].v[i] = s.reciprocal * (d.p[p].v[i] - sum - x.p[p].v[i] * dot);
}

// Sums of a parameter's gradient over the teams of a block, in a fixed order: written to `out`, `cols` values. `fold`
// is shared memory of FOLD floats for each warp; it is free again on return.
#define FOLD (LANES > WARP ? 1 : PACKS * W * LANES)
DEV void put_sums(float* out, Row& sums, u32 cols, float (*fold)[FOLD]) {
  if constexpr (LANES > WARP) {
#pragma unroll
    for (int p = 0; p < PACKS; p++)
      if (column(p) < cols) put_pack(out + column(p), sums.p[p]);
  } else {
#pragma unroll
    for (int p = 0; p < PACKS; p++)
#pragma unroll
      for (int i = 0; i < W; i++) {
        float v = sums.p[p].v[i];
#pragma unroll
        for (int m = LANES; m < WARP; m *= 2) v += shfl_xor(v, m);
        if (TID % WARP < LANES) fold[TID / WARP][column(p) + i] = v;
      }
    BARRIER();
    for (u32 c = TID; c < cols; c += BDIM) {
      float v = 0.0f;
      for (u32 warp = 0; warp < BDIM / WARP; warp++) v += fold[warp][c];
      out[c] = v;
    }
    BARRIER();
  }
}
