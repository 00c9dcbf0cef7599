// C (m x n) = A B on AMD's matrix cores: factors bf16 (a float factor is rounded while it is loaded), products exact,
// sums float.
//
// A block makes a tile of BM x BN, a warp WM x WN of it by instructions of 16 x 16 x 16 (MATRIX, see prelude.cuh); K
// goes by steps of 32 in two buffers. Nothing is copied in the background: while one step is multiplied the next one's
// values are on their way to registers, with one barrier a step.
//
// A lane holds neighbouring values of k of one line (a row of A, a column of B). So both factors stand in shared memory
// by lines, each with its 32 values of k, and a fragment is 8, 16 or 32 bytes in a row. A factor that is stored the
// other way (A_T: k x m; without B_T: k x n) is turned on its way: a thread takes four neighbouring elements of two
// neighbouring k, and writes four words. The four 16-byte chunks of a line are permuted by its number: the eight lines
// that are read at once lie in different banks, and of the words that are written at once at most two in one.
//
// Why these tiles: 64 x 64 of a warp of 64 reads 4 KiB of shared memory for 64 Ki multiply-adds: 32 cycles of its
// bandwidth where a CDNA3 unit needs 64. The sums of a lane, at most 64, stay in registers. VEC: lines of both factors
// start at 16 bytes and are whole chunks of 8; else elements are fetched one by one. Beyond the edges all is zero.
#define STEP 32
#define THREADS (BM / WM * (BN / WN) * WARP)
#define A_PIECES (BM * STEP / 8 / THREADS)
#define B_PIECES (BN * STEP / 8 / THREADS)

// Eight elements on their way to shared memory: eight k of one line, or of a factor that is turned two k of four lines.
struct Piece {
  u32 w[4];
};
DEV Piece along(const bf16* p) {
  vec4 v = ld16(p);
  Piece x = {{v.x, v.y, v.z, v.w}};
  return x;
}
DEV Piece along(const float* p) {
  float4x x = load4(p), y = load4(p + 4);
  Piece r = {{round2(x.v[0], x.v[1]), round2(x.v[2], x.v[3]), round2(y.v[0], y.v[1]), round2(y.v[2], y.v[3])}};
  return r;
}
DEV Piece across(const bf16* p, const bf16* next, bool both) {
  u64 x = *(const u64*)p, y = both ? *(const u64*)next : 0;
  Piece r;
  UNROLL for (int j = 0; j < 4; j++) r.w[j] = pack2((u16)(x >> 16 * j), (u16)(y >> 16 * j));
  return r;
}
DEV Piece across(const float* p, const float* next, bool both) {
  float4x x = load4(p), y = {{0.0f, 0.0f, 0.0f, 0.0f}};
  if (both) y = load4(next);
  Piece r;
  UNROLL for (int j = 0; j < 4; j++) r.w[j] = round2(x.v[j], y.v[j]);
  return r;
}
template <class T> DEV u16 one(const T* p, bool there) { return there ? f2bf(load(p)) : (u16)0; }

// Where piece `u` of LINES lines begins.
template <int LINES, bool TURN> DEV int line_of(int u) { return TURN ? u / 4 % (LINES / 4) * 4 : u / 4; }
template <int LINES, bool TURN> DEV int k_of(int u) { return TURN ? (u % 4 + u / LINES * 4) * 2 : u % 4 * 8; }
// Piece `u` from the first of its lines and of k, of which `lines` and `left` are left.
template <int LINES, bool TURN, class T> DEV Piece fetch8(const T* p, int stride, int lines, int left, int u) {
  int line = line_of<LINES, TURN>(u), k = k_of<LINES, TURN>(u);
  lines -= line, left -= k;
  p += TURN ? (u64)k * stride + line : (u64)line * stride + k;
  Piece x = {{0, 0, 0, 0}};
  if (VEC) {
    if (lines > 0 && left > 0) x = TURN ? across(p, p + stride, left > 1) : along(p);
  } else {
    UNROLL for (int j = 0; j < 4; j++)
      if (TURN) x.w[j] = pack2(one(p + j, j < lines && left > 0), one(p + stride + j, j < lines && left > 1));
      else x.w[j] = pack2(one(p + 2 * j, lines > 0 && 2 * j < left), one(p + 2 * j + 1, lines > 0 && 2 * j + 1 < left));
  }
  return x;
}
// The place of element k of a line in shared memory.
DEV int place(int line, int k) { return line * STEP + (k / 8 ^ ((line >> 1 ^ line >> 3) & 3)) * 8 + k % 8; }
template <int LINES, bool TURN> DEV void stage8(u16* to, const Piece& x, int u) {
  int line = line_of<LINES, TURN>(u), k = k_of<LINES, TURN>(u);
  if (TURN) {
    UNROLL for (int j = 0; j < 4; j++) *(u32*)(to + place(line + j, k)) = x.w[j];
  } else {
    vec4 v = {x.w[0], x.w[1], x.w[2], x.w[3]};
    st16(to + place(line, k), v);
  }
}
// The fragment of sixteen lines from `line` and sixteen k from `k` on.
DEV Frag fragment(const u16* from, int line, int k) {
  Frag f;
  line += frag_line(), k += frag_k();
  if (FRAG == 4) {
    u64 v = *(const u64*)(from + place(line, k));
    f.w[0] = (u32)v, f.w[1] = (u32)(v >> 32);
  } else {
    UNROLL for (int i = 0; i < FRAG / 8; i++) {
      vec4 v = ld16(from + place(line, k + 8 * i));
      f.w[4 * i] = v.x, f.w[4 * i + 1] = v.y, f.w[4 * i + 2] = v.z, f.w[4 * i + 3] = v.w;
    }
  }
  return f;
}

KERNEL(product_waves, THREADS,
       (TC * c, const TA* a, const TB* b, const float* bias, int m, int n, int k, int a_stride, int b_stride,
        int c_stride, int add, int aligned, int part_k)) {
  SHARED(u16, as, [2][BM * STEP]);
  SHARED(u16, bs, [2][BN * STEP]);
  Tile tile = tile_of_block<BM, BN>(m, n);
  int start = tile.part * part_k, end = k - start < part_k ? k : start + part_k;
  int steps = (end - start + STEP - 1) / STEP;
  int warp = TID / WARP, warp_m = warp / (BN / WN) * WM, warp_n = warp % (BN / WN) * WN;
  const TA* a_from = a + (A_T ? (u64)start * a_stride + tile.row : (u64)tile.row * a_stride + start);
  const TB* b_from = b + (B_T ? (u64)tile.col * b_stride + start : (u64)start * b_stride + tile.col);
  Piece a_next[A_PIECES], b_next[B_PIECES];
  auto fetch = [&](int step) {
    u64 done = step * STEP;
    int left = end - start - step * STEP, high = m - tile.row, wide = n - tile.col;
    const TA* from_a = a_from + (A_T ? done * a_stride : done);
    const TB* from_b = b_from + (B_T ? done : done * b_stride);
    UNROLL for (int i = 0; i < A_PIECES; i++)
      a_next[i] = fetch8<BM, A_T>(from_a, a_stride, high, left, TID + i * THREADS);
    UNROLL for (int i = 0; i < B_PIECES; i++)
      b_next[i] = fetch8<BN, !B_T>(from_b, b_stride, wide, left, TID + i * THREADS);
  };
  auto stage = [&](int step) {
    UNROLL for (int i = 0; i < A_PIECES; i++) stage8<BM, A_T>(as[step % 2], a_next[i], TID + i * THREADS);
    UNROLL for (int i = 0; i < B_PIECES; i++) stage8<BN, !B_T>(bs[step % 2], b_next[i], TID + i * THREADS);
  };
  Sums sum[WM / 16][WN / 16] = {};
  if (steps > 0) fetch(0), stage(0);
  BARRIER();
  for (int step = 0; step < steps; step++) {
    if (step + 1 < steps) fetch(step + 1);
    UNROLL for (int kk = 0; kk < STEP; kk += 16) {
      Frag fa[WM / 16];
      UNROLL for (int i = 0; i < WM / 16; i++) fa[i] = fragment(as[step % 2], warp_m + i * 16, kk);
      UNROLL for (int j = 0; j < WN / 16; j++) {
        Frag fb = fragment(bs[step % 2], warp_n + j * 16, kk);
        UNROLL for (int i = 0; i < WM / 16; i++) mma_frags(sum[i][j], fa[i], fb);
      }
    }
    if (step + 1 < steps) stage(step + 1);
    BARRIER();
  }
  // A lane holds four or eight neighbouring columns of a row, the warp all sixteen.
  c += (u64)tile.part * m * n;
  UNROLL for (int i = 0; i < WM / 16; i++)
    UNROLL for (int j = 0; j < WN / 16; j++) {
      float x[SUMS];
      sums_in_order(x, sum[i][j]);
      int row = tile.row + warp_m + i * 16 + frag_line(), col = tile.col + warp_n + j * 16 + lane_w() / 16 * SUMS;
      UNROLL for (int e = 0; e < SUMS; e += 4) {
        float4x v = {{x[e], x[e + 1], x[e + 2], x[e + 3]}};
        output4(c, c_stride, row, col + e, m, n, v, bias, add, aligned);
      }
    }
}
