// Tiles of bf16 in shared memory and their products on AMD's matrix cores (`MATRIX`, see prelude.cuh).
//
// HEAD_DIM  size of a head, a multiple of 8, at most 128; rows in shared memory have DIM columns (zeros behind
// HEAD_DIM) and 8 more, so that the eight rows that are read at once lie in different banks. WARPS warps of a block
// own 16 of its ROWS rows each; a lane has some columns of one of them. COLS  rows of the other side in a tile: keys
// where the block owns queries, queries where it owns keys.
#define DIM ((HEAD_DIM + 15) / 16 * 16)
#define LD (DIM + 8)
#define THREADS (WARP * WARPS)
#define ROWS (16 * WARPS)
// The first row of this warp, and the row of this lane.
#define MY_ROW ((int)(TID / WARP) * 16)
#define LANE_ROW (MY_ROW + frag_line())

// N rows on their way from global to shared memory, 16 bytes a thread at a time; zeros for rows from `end` on. There
// is no copy in the background: while one tile is worked on, the next one waits in registers.
#define PIECES (DIM / 8)
template <int N> struct Rows {
  vec4 v[(N * PIECES + THREADS - 1) / THREADS];
};
template <int N> DEV void fetch_rows(Rows<N>& to, const bf16* from, int first, int end, int stride) {
  UNROLL for (int i = 0; i < (N * PIECES + THREADS - 1) / THREADS; i++) {
    int at = TID + i * THREADS, row = at / PIECES, col = at % PIECES * 8;
    vec4 x = {0, 0, 0, 0};
    if (row < N && first + row < end && col < HEAD_DIM) x = ld16(from + (u64)(first + row) * stride + col);
    to.v[i] = x;
  }
}
template <int N> DEV void put_rows(u16* tile, const Rows<N>& rows) {
  UNROLL for (int i = 0; i < (N * PIECES + THREADS - 1) / THREADS; i++) {
    int at = TID + i * THREADS, row = at / PIECES, col = at % PIECES * 8;
    if (row < N) st16(tile + row * LD + col, rows.v[i]);
  }
}
// A factor of a product that sums over columns: sixteen rows from `row` on, sixteen columns from `col` on.
DEV Frag along(const u16* tile, int row, int col) {
  const u16* p = tile + (row + frag_line()) * LD + col + frag_k();
  Frag f;
  if (FRAG == 4) {
    u64 v = *(const u64*)p;
    f.w[0] = (u32)v, f.w[1] = (u32)(v >> 32);
  } else {
    UNROLL for (int i = 0; i < FRAG / 8; i++) {
      vec4 v = ld16(p + 8 * i);
      f.w[4 * i] = v.x, f.w[4 * i + 1] = v.y, f.w[4 * i + 2] = v.z, f.w[4 * i + 3] = v.w;
    }
  }
  return f;
}
// A right factor of a product that sums over rows.
DEV Frag down(const u16* tile, int row, int col) {
  const u16* p = tile + (row + frag_k()) * LD + col + frag_line();
  Frag f;
  UNROLL for (int i = 0; i < FRAG / 2; i++) f.w[i] = pack2(p[2 * i * LD], p[(2 * i + 1) * LD]);
  return f;
}
// The sums of one product, rounded, as the left factor of the next: they never leave the registers. Where a lane
// holds every other column (WMMA), the two lanes of a row tell each other theirs.
DEV Frag factor(const Sums& p) {
  Frag f;
  for (int i = 0; i < SUMS / 2; i++) {
    u32 mine = round2(p.v[2 * i], p.v[2 * i + 1]);
    if (MATRIX == WMMA) {
      u32 other = shfl_xor(mine, 16);
      bool odd = lane_w() / 16;
      u32 x = odd ? other : mine, y = odd ? mine : other;  // columns 4i and 4i + 2, 4i + 1 and 4i + 3
      f.w[2 * i] = pack2((u16)x, (u16)y), f.w[2 * i + 1] = pack2((u16)(x >> 16), (u16)(y >> 16));
    } else {
      f.w[i] = mine;
    }
  }
  return f;
}
// s += a b^T: this warp's rows of tile `a` with all COLS rows of tile `b`, over all columns.
DEV void multiply(Sums (&s)[COLS / 16], const u16* a, const u16* b) {
#pragma unroll MATRIX == MFMA ? 8 : 1
  for (int k = 0; k < DIM; k += 16) {
    Frag fa = along(a, MY_ROW, k);
    UNROLL for (int n = 0; n < COLS / 16; n++) mma_frags(s[n], fa, along(b, 16 * n, k));
  }
}
// sums += p b: p (this warp's rows by COLS) is rounded to bf16, b is a tile.
DEV void accumulate(Sums (&sums)[DIM / 16], const Sums (&p)[COLS / 16], const u16* b) {
  UNROLL for (int n = 0; n < COLS / 16; n++) {
    Frag fa = factor(p[n]);
    if (MATRIX != MFMA) WSYNC();
    UNROLL for (int c = 0; c < DIM / 16; c++) mma_frags(sums[c], fa, down(b, 16 * n, 16 * c));
  }
}
// Over the lanes of a row.
DEV float row_max(float x) {
  for (int m = 16; m < WARP; m <<= 1) x = FMAX(x, shfl_xor(x, m));
  return x;
}
DEV float row_sum(float x) {
  for (int m = 16; m < WARP; m <<= 1) x += shfl_xor(x, m);
  return x;
}
// Scores of this lane's query with keys before `start` and behind `last` become minus infinity; the tile begins with
// `key`.
DEV void hide(Sums (&s)[COLS / 16], int start, int last, int key) {
  UNROLL for (int n = 0; n < COLS / 16; n++)
    UNROLL for (int i = 0; i < SUMS; i++) {
      int j = key + 16 * n + sums_col(i);
      if (j < start || j > last) s[n].v[i] = -1.0f / 0.0f;
    }
}
// Delivers this lane's columns of its row, which begins at `to`, where there is such a row: 8 or 16 bytes at a time,
// 32 of the lanes of a row.
DEV void deliver_row(bf16* to, bool have, const Sums (&sums)[DIM / 16], float scale, int mode) {
  UNROLL for (int c = 0; c < DIM / 16; c++) {
    float x[SUMS];
    sums_in_order(x, sums[c]);
    int col = 16 * c + lane_w() / 16 * SUMS;
    if (!have || col >= HEAD_DIM) continue;
    UNROLL for (int e = 0; e < SUMS; e += 4) {
      float4x v = {{x[e] * scale, x[e + 1] * scale, x[e + 2] * scale, x[e + 3] * scale}};
      if (mode == ADD) {
        float4x old = load4(to + col + e);
        UNROLL for (int j = 0; j < 4; j++) v.v[j] += old.v[j];
      }
      put4(to + col + e, v);
    }
  }
}
