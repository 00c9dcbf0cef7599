// Attention of new tokens over a key-value cache, (kv_heads, capacity, HEAD_DIM): appending, and decoding one token.
// X: queries and outputs; S: the cache. The number of tokens that are there already is `live->cache_len`.

// Four neighbouring elements of a row from column `c` on; zeros behind the head.
template <class E> DEV float4x four(const E* row, int c) {
#if HEAD_DIM % 4 == 0
  return load4(row + c);
#else
  float4x x;
  for (int i = 0; i < 4; i++) x.v[i] = c + i < HEAD_DIM ? load(row + c + i) : 0.0f;
  return x;
#endif
}

// Writes the keys and values of `n` new tokens behind those of the cache, one element a thread.
KERNEL(cache_append, 256,
       (S* keys, S* values, const X* qkv, const Live* live, int n, int heads, int kv_heads, int capacity)) {
  int width = kv_heads * HEAD_DIM, len = live->cache_len;
  for (u32 i = BID * BDIM + TID; i < (u32)(n * width); i += GDIM * BDIM) {
    int token = i / width, c = i % width;
    const X* from = qkv + (u64)token * (heads + 2 * kv_heads) * HEAD_DIM + heads * HEAD_DIM + c;
    u64 to = ((u64)(c / HEAD_DIM) * capacity + len + token) * HEAD_DIM + c % HEAD_DIM;
    put(&keys[to], load(from));
    put(&values[to], load(from + width));
  }
}

// Copies what the cache holds after `n` new tokens into one of X, for products of fragments: both of its tensors.
KERNEL(cache_round, 256,
       (X* keys, X* values, const S* from_keys, const S* from_values, const Live* live, int n, int kv_heads,
        int capacity)) {
  u32 held = (u32)(live->cache_len + n) * HEAD_DIM;
  for (u32 i = BID * BDIM + TID; i < held; i += GDIM * BDIM)
    for (int head = 0; head < kv_heads; head++) {
      u64 at = (u64)head * capacity * HEAD_DIM + i;
      put(&keys[at], load(&from_keys[at]));
      put(&values[at], load(&from_values[at]));
    }
}

#define CHUNK 128                     // keys of a block: results do not depend on the device
#define EACH (HEAD_DIM + 2)           // floats of a partial result: sums, largest score, sum of exponentials
#define FOURS ((HEAD_DIM + 3) / 4)
#define SHARES (FOURS < 128 ? 128 / FOURS : 1)  // threads that divide the keys of a chunk for the same columns

// One token's softmax over one chunk of keys, for the query heads of one key-value head, HEADS at a time. The grid
// covers the capacity; blocks behind the tokens that are there do nothing. A block reads its keys and values once
// from memory (for groups of more than HEADS again from the cache): 2 CHUNK HEAD_DIM elements, 16 bytes a lane in
// f32. Eight lanes share a key; then each thread sums four columns over its share of the keys, in order.
KERNEL(decode_partial, 128,
       (float* partials, const X* qkv, const S* keys, const S* values, const Live* live, int kv_heads, int group,
        int capacity, float scale)) {
  SHARED(float, p, [HEADS][CHUNK]);
  SHARED(float, sums, [SHARES][HEADS][4 * FOURS]);
  int chunks = (capacity + CHUNK - 1) / CHUNK, kv_head = BID / chunks, chunk = BID % chunks;
  int len = live->cache_len + 1, count = len - chunk * CHUNK < CHUNK ? len - chunk * CHUNK : CHUNK;
  u64 first = ((u64)kv_head * capacity + chunk * CHUNK) * HEAD_DIM;
  keys += first, values += first;
  for (int head = 0; count > 0 && head < group; head += HEADS) {
    int heads = group - head < HEADS ? group - head : HEADS;
    const X* q = qkv + (kv_head * group + head) * HEAD_DIM;
    for (int k = TID / 8; k < CHUNK; k += 16) {
      float s[HEADS] = {};
      if (k < count)
        for (int c = TID % 8 * 4; c < HEAD_DIM; c += 32) {
          float4x key = four(keys + (u64)k * HEAD_DIM, c);
          UNROLL for (int h = 0; h < HEADS; h++)
            if (h < heads) {
              float4x x = four(q + h * HEAD_DIM, c);
              UNROLL for (int i = 0; i < 4; i++) s[h] = FMA(x.v[i], key.v[i], s[h]);
            }
        }
      UNROLL for (int h = 0; h < HEADS; h++) {
        for (int x = 4; x > 0; x >>= 1) s[h] += shfl_xor(s[h], x);
        if (TID % 8 == 0) p[h][k] = k < count ? s[h] * scale : -1.0f / 0.0f;
      }
    }
    BARRIER();
    for (int h = TID / WARP; h < heads; h += 128 / WARP) {
      float* to = partials + ((u64)(kv_head * group + head + h) * chunks + chunk) * EACH + HEAD_DIM;
      float largest = -1.0f / 0.0f, sum = 0.0f;
      for (int k = lane_w(); k < CHUNK; k += WARP) largest = FMAX(largest, p[h][k]);
      largest = warp_max(largest);
      for (int k = lane_w(); k < CHUNK; k += WARP) sum += p[h][k] = EXP2(p[h][k] - largest);
      sum = warp_sum(sum);
      if (lane_w() == 0) to[0] = largest, to[1] = sum;
    }
    BARRIER();
    for (int i = TID; i < FOURS * SHARES; i += 128) {
      int c = i % FOURS * 4, share = i / FOURS;
      float4x acc[HEADS] = {};
      for (int k = share; k < count; k += SHARES) {
        float4x value = four(values + (u64)k * HEAD_DIM, c);
        UNROLL for (int h = 0; h < HEADS; h++)
          if (h < heads) UNROLL for (int j = 0; j < 4; j++) acc[h].v[j] = FMA(p[h][k], value.v[j], acc[h].v[j]);
      }
      UNROLL for (int h = 0; h < HEADS; h++) put4(&sums[share][h][c], acc[h]);
    }
    BARRIER();
    for (int i = TID; i < heads * HEAD_DIM; i += 128) {
      int h = i / HEAD_DIM, c = i % HEAD_DIM;
      float sum = 0.0f;
      for (int share = 0; share < SHARES; share++) sum += sums[share][h][c];
      partials[((u64)(kv_head * group + head + h) * chunks + chunk) * EACH + c] = sum;
    }
    BARRIER();
  }
}

// Merges the chunks of one query head, in order. One block a head.
KERNEL(decode_merge, 64, (X* out, const float* partials, const Live* live, int capacity)) {
  int chunks = (capacity + CHUNK - 1) / CHUNK, used = (live->cache_len + CHUNK) / CHUNK;
  partials += (u64)BID * chunks * EACH;
  float largest = -1.0f / 0.0f, sum = 0.0f;
  for (int i = 0; i < used; i++) largest = FMAX(largest, partials[(u64)i * EACH + HEAD_DIM]);
  for (int i = 0; i < used; i++)
    sum = FMA(EXP2(partials[(u64)i * EACH + HEAD_DIM] - largest), partials[(u64)i * EACH + HEAD_DIM + 1], sum);
  for (int c = TID; c < HEAD_DIM; c += 64) {
    float x = 0.0f;
    for (int i = 0; i < used; i++)
      x = FMA(EXP2(partials[(u64)i * EACH + HEAD_DIM] - largest), partials[(u64)i * EACH + c], x);
    put(&out[BID * HEAD_DIM + c], x / sum);
  }
}
