// Tiles of bf16 in shared memory and their products by matrix fragments.
//
// HEAD_DIM  size of a head, a multiple of 8; rows in shared memory have DIM columns (zeros behind HEAD_DIM) and 8
// more, so           that the eight rows that ldmatrix reads at once lie in different banks. WARPS     groups of 32
// lanes in a block. Each owns FRAGS times 16 of the block's ROWS rows. SPLIT     groups that share the same rows and
// own each DIM / SPLIT columns of what is summed up. COLS      rows of the other side in a tile: keys where the
// block owns queries, queries where it owns keys.
#define DIM ((HEAD_DIM + 16 * SPLIT - 1) / (16 * SPLIT) * (16 * SPLIT))
#define PART (DIM / SPLIT)
#define LD (DIM + 8)
#define THREADS (32 * WARPS)
#define ROWS (16 * FRAGS * WARPS / SPLIT)
#define LANE ((int)(TID & 31))
// The first row of this group of lanes.
#define MY_ROW ((int)(TID >> 5) / SPLIT * 16 * FRAGS)
// The first and the last row of all groups of the hardware's warp: what a whole warp may skip.
#define WARP_FIRST ((int)(TID / WARP * (WARP / 32)) / SPLIT * 16 * FRAGS)
#define WARP_LAST (((int)(TID / WARP * (WARP / 32) + WARP / 32 - 1) / SPLIT + 1) * 16 * FRAGS - 1)

// Brings N rows from `first` on into a tile, 16 bytes a thread at a time; zeros for rows from `end` on. A thread
// stays in its columns and goes down the rows, so that few addresses are kept.
#define PIECES (DIM / 8)
#define ACROSS (PIECES & -PIECES)  // threads of a row: the power of two in PIECES, at most a warp
template <int N> DEV void copy_rows(u16* tile, const bf16* from, int first, int end, int stride) {
  const int down = THREADS / ACROSS;
  int thread = tid_anew(), row = thread / ACROSS, col = thread % ACROSS * 8;
  const bf16* at = from + (u64)(first + row) * stride + col;
  u16* to = tile + row * LD + col;
  UNROLL for (int j = 0; j < N; j += down) {
    if (N % down == 0 || row + j < N)
      UNROLL for (int i = 0; i < DIM; i += 8 * ACROSS)
        copy16_async(to + j * LD + i, at + i, first + row + j < end && (DIM == HEAD_DIM || col + i < HEAD_DIM));
    at += (u64)down * stride;
  }
}
// The left factor: 16 rows by 16 columns of a tile.
DEV void left(u32 a[4], int lane, const u16* tile, int row, int col) {
  ldmatrix_x4<false>(a, tile + (row + (lane & 15)) * LD + col + (lane >> 4) * 8);
}
// Two right factors of tile^T: columns are 16 rows of the tile, 16 of its columns are summed over.
DEV void right_transposed(u32 b[4], int lane, const u16* tile, int row, int col) {
  ldmatrix_x4<false>(b, tile + (row + (lane >> 4) * 8 + (lane & 7)) * LD + col + (lane >> 3 & 1) * 8);
}
// Two right factors of the tile: columns are 16 of its columns, 16 of its rows are summed over.
DEV void right(u32 b[4], int lane, const u16* tile, int row, int col) {
  ldmatrix_x4<true>(b, tile + (row + (lane & 15)) * LD + col + (lane >> 4) * 8);
}
// s += a b^T: this group's rows of tile `a` with all COLS rows of tile `b`, over all columns.
DEV void multiply(float (&s)[FRAGS][COLS / 8][4], const u16* a, const u16* b) {
  int thread = TID, lane = thread & 31, row = (thread >> 5) / SPLIT * 16 * FRAGS;
  UNROLL for (int k = 0; k < DIM; k += 16) {
    u32 fa[FRAGS][4];
    UNROLL for (int m = 0; m < FRAGS; m++) left(fa[m], lane, a, row + 16 * m, k);
    UNROLL for (int n = 0; n < COLS / 16; n++) {
      u32 fb[4];
      right_transposed(fb, lane, b, 16 * n, k);
      UNROLL for (int m = 0; m < FRAGS; m++) {
        mma_m16n8k16(s[m][2 * n], fa[m], fb);
        mma_m16n8k16(s[m][2 * n + 1], fa[m], fb + 2);
      }
    }
  }
}
// sums += p b: p (this group's rows by COLS) is rounded to bf16, b is a tile, of which this group takes its columns.
// The accumulators of one product are laid out as the left factor of the next, so that p never leaves the registers.
DEV void accumulate(float (&sums)[FRAGS][PART / 8][4], const float (&p)[FRAGS][COLS / 8][4], const u16* b) {
  int thread = TID, lane = thread & 31, col = (thread >> 5) % SPLIT * PART;
  UNROLL for (int k = 0; k < COLS / 16; k++) {
    u32 fa[FRAGS][4];
    UNROLL for (int m = 0; m < FRAGS; m++)
      UNROLL for (int i = 0; i < 4; i++) {
        const float* pair = &p[m][2 * k + (i >> 1)][2 * (i & 1)];
        fa[m][i] = round2(pair[0], pair[1]);
      }
    UNROLL for (int n = 0; n < PART / 16; n++) {
      u32 fb[4];
      right(fb, lane, b, 16 * k, col + 16 * n);
      UNROLL for (int m = 0; m < FRAGS; m++) {
        mma_m16n8k16(sums[m][2 * n], fa[m], fb);
        mma_m16n8k16(sums[m][2 * n + 1], fa[m], fb + 2);
      }
    }
  }
}
// Scores of this group's queries with keys that they do not see become minus infinity. Of `count` queries of the
// block the first has number `first` and stands at `position`; the tile begins with `key`.
DEV void hide(float (&s)[FRAGS][COLS / 8][4], const int* starts, u64 row0, int first, int position, int count,
              int key) {
  int thread = tid_anew(), t = thread & 3, first_row = (thread >> 5) / SPLIT * 16 * FRAGS + (thread >> 2 & 7);
  UNROLL for (int m = 0; m < FRAGS; m++)
    UNROLL for (int h = 0; h < 2; h++) {
      int row = first_row + 16 * m + 8 * h;
      int start = row < count ? first_key(starts, row0 + first + row, position + row) : 0;
      UNROLL for (int n = 0; n < COLS / 8; n++)
        UNROLL for (int i = 0; i < 2; i++) {
          int j = key + 8 * n + 2 * t + i;
          if (j > position + row || j < start) s[m][n][2 * h + i] = -1.0f / 0.0f;
        }
    }
}
// Delivers the block's rows, of which those below `end` exist, in pieces of 16 bytes: through shared memory (ROWS *
// LD floats, whose other use is over for every thread), because the fragments scatter them.
DEV void deliver_rows(bf16* to, const float (&sums)[FRAGS][PART / 8][4], float scale, float* stage, int first, int end,
                      int stride, int mode) {
  int thread = tid_anew(), g = thread >> 2 & 7, t = thread & 3;
  float* mine = stage + ((thread >> 5) / SPLIT * 16 * FRAGS + g) * LD + (thread >> 5) % SPLIT * PART + 2 * t;
  BARRIER();
  UNROLL for (int m = 0; m < FRAGS; m++)
    UNROLL for (int n = 0; n < PART / 8; n++)
      UNROLL for (int i = 0; i < 4; i++)
        mine[(16 * m + i / 2 * 8) * LD + 8 * n + i % 2] = sums[m][n][i] * scale;
  BARRIER();
  for (int i = thread; i < ROWS * (HEAD_DIM / 8); i += THREADS) {
    int row = i / (HEAD_DIM / 8), col = i % (HEAD_DIM / 8) * 8;
    if (first + row >= end) continue;
    bf16* at = to + (u64)(first + row) * stride + col;
    float4x x = load4(stage + row * LD + col), y = load4(stage + row * LD + col + 4);
    if (mode == ADD) {
      float4x a = load4(at), b = load4(at + 4);
      UNROLL for (int j = 0; j < 4; j++) x.v[j] += a.v[j], y.v[j] += b.v[j];
    }
    vec4 w = {round2(x.v[0], x.v[1]), round2(x.v[2], x.v[3]), round2(y.v[0], y.v[1]),
              round2(y.v[2], y.v[3])};
    st16(at, w);
  }
}
