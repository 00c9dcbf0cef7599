// Embedding. P is the type of the table, of x and of their gradients; VEC elements are moved at once: 4 where every row
// is aligned to them (16 bytes of f32), else 1. A row is `parts` times VEC elements.
#if VEC == 4
typedef float4x Part;
template <class T> DEV Part get(const T* p) { return load4(p); }
template <class T> DEV void set(T* p, Part v) { put4(p, v); }
#else
struct Part {
  float v[1];
};
template <class T> DEV Part get(const T* p) {
  Part r = {{load(p)}};
  return r;
}
template <class T> DEV void set(T* p, Part v) { put(p, v.v[0]); }
#endif
DEV Part plus(Part a, Part b) {
  for (int k = 0; k < VEC; k++) a.v[k] += b.v[k];
  return a;
}
DEV void give(P* p, Part v, int mode) { set(p, mode == ADD ? plus(get(p), v) : v); }

// x (n, C) = rows `ids` (n) of table (V, C). One warp a row; both are read and written once, 8 bytes an element of f32.
KERNEL(embedding_forward, 256, (P* x, const int* ids, const P* table, int n, int parts)) {
  u32 warps = GDIM * (BDIM / WARP);
  for (u32 t = (BID * BDIM + TID) / WARP; t < (u32)n; t += warps) {
    const P* from = table + (u64)ids[t] * parts * VEC;
    P* to = x + (u64)t * parts * VEC;
    for (u32 i = lane_w(); i < (u32)parts; i += WARP) set(to + i * VEC, get(from + i * VEC));
  }
}

// ---- backward: tokens sorted by their ids, stably, so that each row of the table adds its tokens in ascending order -
// The sort goes by digits of `bits` bits, lowest first: count the digits of each chunk of CHUNK tokens, sum the counts
// over (digit, chunk), put each token in its place. `order` is the tokens as the pass before left them; null in the
// first.

// The place of this lane's token in the warp's counters, which then count it. Every lane of the warp calls; `there` is
// false past the last token. Tokens of one digit keep their order: lanes count the lanes below them that have the same
// digit.
DEV u32 place(u32* counters, u32 digit, bool there, int bits) {
  u64 same = vote_mask(there);
  for (int b = 0; b < bits; b++) {
    bool one = digit >> b & 1;
    u64 ones = vote_mask(one);
    same &= one ? ones : ~ones;
  }
  u32 below = popcount(same & (((u64)1 << lane_w()) - 1));
  u32 before = there ? counters[digit] : 0;
  WSYNC();
  if (there && below == 0) counters[digit] = before + popcount(same);
  WSYNC();
  return before + below;
}
DEV u32 digit_of(const int* ids, u32 token, int shift, int bits) {
  return (u32)ids[token] >> shift & ((1u << bits) - 1);
}

// Counters of each warp over its share of the chunk: `counters` (warps, DIGITS), zeroed here.
DEV void count_chunk(u32* counters, const int* order, const int* ids, u32 n, int shift, int bits) {
  u32 warps = BDIM / WARP, warp = TID / WARP, share = CHUNK / warps, start = BID * CHUNK + warp * share;
  for (u32 d = TID; d < warps * DIGITS; d += BDIM) counters[d] = 0;
  BARRIER();
  for (u32 r = 0; r < share && start + r < n; r += WARP) {
    u32 i = start + r + lane_w();
    u32 token = i < n ? (order ? order[i] : i) : 0;
    place(counters + warp * DIGITS, digit_of(ids, token, shift, bits), i < n, bits);
  }
  BARRIER();
}
// counts (2^bits, chunks) of each chunk's digits; one block a chunk.
KERNEL(count_digits, 256, (int* counts, const int* order, const int* ids, int n, int shift, int bits)) {
  SHARED(u32, counters, [256 / 32 * DIGITS]);
  count_chunk(counters, order, ids, n, shift, bits);
  for (u32 d = TID; d < 1u << bits; d += BDIM) {
    u32 sum = 0;
    for (u32 w = 0; w < BDIM / WARP; w++) sum += counters[w * DIGITS + d];
    counts[d * GDIM + BID] = sum;
  }
}
// Each count (n) becomes the sum of those before it, by one block: a few hundred thousand at most, which lie in L2.
KERNEL(sum_counts, 1024, (int* counts, int n)) {
  SHARED(int, sums, [1024]);
  u32 share = (n + BDIM - 1) / BDIM, start = TID * share, end = start + share < (u32)n ? start + share : (u32)n;
  int sum = 0;
  for (u32 i = start; i < end; i++) sum += counts[i];
  sums[TID] = sum;
  BARRIER();
  for (u32 step = 1; step < BDIM; step *= 2) {
    int other = TID >= step ? sums[TID - step] : 0;
    BARRIER();
    sums[TID] += other;
    BARRIER();
  }
  int before = TID > 0 ? sums[TID - 1] : 0;
  for (u32 i = start; i < end; i++) {
    int count = counts[i];
    counts[i] = before;
    before += count;
  }
}
// to (n): the tokens of `order`, sorted by the digit. The chunk is counted again, then every warp knows where its
// tokens go.
KERNEL(place_tokens, 256,
       (int* to, const int* counts, const int* order, const int* ids, int n, int shift, int bits)) {
  SHARED(u32, counters, [256 / 32 * DIGITS]);
  count_chunk(counters, order, ids, n, shift, bits);
  u32 warps = BDIM / WARP, warp = TID / WARP, share = CHUNK / warps, start = BID * CHUNK + warp * share;
  for (u32 d = TID; d < 1u << bits; d += BDIM) {
    u32 at = counts[d * GDIM + BID];
    for (u32 w = 0; w < warps; w++) {
      u32 count = counters[w * DIGITS + d];
      counters[w * DIGITS + d] = at;
      at += count;
    }
  }
  BARRIER();
  for (u32 r = 0; r < share && start + r < (u32)n; r += WARP) {
    u32 i = start + r + lane_w();
    u32 token = i < (u32)n ? (order ? order[i] : i) : 0;
    u32 at = place(counters + warp * DIGITS, digit_of(ids, token, shift, bits), i < (u32)n, bits);
    if (i < (u32)n) to[at] = token;
  }
}

// Sums of runs of equal ids in segments of RUN sorted tokens; one thread for each segment and part of a row, so that
// the most frequent id is no more work for one thread than any other. A run that lies in one segment is delivered to
// its row of d_table (V, C); of a run that goes on, the part where it begins goes to last (segments, C), further parts
// to first (segments, C). dx (n, C) is read once; 12 kB of 16-byte loads are in flight for every hundred threads.
KERNEL(sum_runs, 256, (P* d_table, float* first, float* last, const P* dx, const int* ids, const int* order, int n,
                       int parts, int mode)) {
  u32 segments = (n + RUN - 1) / RUN, thread = BID * BDIM + TID, segment = thread / parts;
  if (segment < segments) {
    u64 cols = (u64)parts * VEC, at = thread % parts * VEC;
    u32 start = segment * RUN, end = start + RUN < (u32)n ? start + RUN : (u32)n;
    int id = ids[order[start]];
    bool begun = start > 0 && ids[order[start - 1]] == id;
    Part zero = {}, sum = zero;
    for (u32 i = start; i < end; i += 8) {
      Part v[8];
      int of[8];
      for (u32 k = 0; k < 8; k++) {
        u32 token = order[i + k < end ? i + k : end - 1];
        of[k] = ids[token];
        v[k] = get(dx + token * cols + at);
      }
      for (u32 k = 0; k < 8; k++)
        if (i + k < end) {
          if (of[k] != id) {
            if (begun)
              set(first + segment * cols + at, sum);
            else
              give(d_table + id * cols + at, sum, mode);
            id = of[k], begun = false, sum = zero;
          }
          sum = plus(sum, v[k]);
        }
    }
    if (begun)
      set(first + segment * cols + at, sum);
    else if (end < (u32)n && ids[order[end]] == id)
      set(last + segment * cols + at, sum);
    else
      give(d_table + id * cols + at, sum, mode);
  }
}
// Runs that go on over segments: the thread of the segment where a run begins adds its parts in order and delivers the
// sum.
KERNEL(fold_runs, 256, (P* d_table, const float* first, const float* last, const int* ids, const int* order, int n,
                        int parts, int mode)) {
  u32 segments = (n + RUN - 1) / RUN, thread = BID * BDIM + TID, segment = thread / parts;
  u32 start = segment * RUN, end = start + RUN;
  if (segment < segments && end < (u32)n) {
    u64 cols = (u64)parts * VEC, at = thread % parts * VEC;
    int id = ids[order[end - 1]];
    bool begun = start > 0 && ids[order[start - 1]] == id;
    if (!begun && ids[order[end]] == id) {
      Part sum = get(last + segment * cols + at);
      u32 s = segment + 1;
      for (u32 ahead = (s + 7) * RUN; ahead < (u32)n && ids[order[ahead]] == id; ahead = (s + 7) * RUN) {
        Part v[8];
        for (u32 k = 0; k < 8; k++) v[k] = get(first + (s + k) * cols + at);
        for (u32 k = 0; k < 8; k++) sum = plus(sum, v[k]);
        s += 8;
      }
      for (; s * RUN < (u32)n && ids[order[s * RUN]] == id; s++) sum = plus(sum, get(first + s * cols + at));
      give(d_table + id * cols + at, sum, mode);
    }
  }
}
