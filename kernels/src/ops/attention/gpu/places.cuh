// What all kernels of attention share: which part a block works on, and which keys its queries may see.
struct Place {
  int part, batch, head;
};
// Blocks of the grid: parts (of queries or of keys) times heads of all sequences. Heads go in sections whose keys
// and values stay in the L2 cache together; within a section part 0 of every head comes first. The caller makes part
// 0 the longest.
DEV Place place(int parts, int batches, int heads, int section) {
  int id = bid_anew(), all = batches * heads;
  int first = id / (section * parts) * section, rest = id - first * parts;
  int size = first + section < all ? section : all - first;
  int head = first + rest % size;
  Place p = {rest / size, head / heads, head % heads};
  return p;
}
// The first key that the query at `position` sees; `starts` is null where that is key 0.
DEV int first_key(const int* starts, u64 query, int position) {
  int s = starts ? starts[query] : 0;
  return s < 0 ? 0 : s < position ? s : position;
}
// The lowest and the highest first key of some queries.
struct Range {
  int low, high;
};
DEV Range join(Range a, Range b) {
  Range r = {a.low < b.low ? a.low : b.low, a.high > b.high ? a.high : b.high};
  return r;
}
// Of all threads of the block; `red` holds two numbers for each warp.
DEV Range block_join(Range r, int* red) {
  for (int m = WARP / 2; m > 0; m >>= 1) {
    Range other = {shfl_xor(r.low, m), shfl_xor(r.high, m)};
    r = join(r, other);
  }
  if (TID % WARP == 0) red[TID / WARP * 2] = r.low, red[TID / WARP * 2 + 1] = r.high;
  BARRIER();
  for (u32 i = 0; i < BDIM / WARP; i++) {
    Range other = {red[2 * i], red[2 * i + 1]};
    r = join(r, other);
  }
  return r;
}
// Of `count` queries from number `query` on, of which the first stands at `position`.
DEV Range block_range(const int* starts, u64 query, int count, int position, int* red) {
  Range r = {0x7fffffff, 0};
  for (int i = TID; i < count; i += BDIM) {
    int s = first_key(starts, query + i, position + i);
    Range one = {s, s};
    r = join(r, one);
  }
  return block_join(r, red);
}
// Tiles of queries from `tile` on that see keys below `end`: the last one. `ranges` are those of all tiles of the
// sequence.
DEV int last_tile(const int* ranges, int tile, int tiles, int end, int* red) {
  Range r = {0, tile};
  for (int i = tile + TID; i < tiles; i += BDIM)
    if (ranges[2 * i] < end) r.high = i > r.high ? i : r.high;
  return block_join(r, red).high;
}
