// Kernels that test the execution model: what its meeting points give, and faults that it must see.
KERNEL(probe_warp, 128, (u32* out)) {
  u32 l = lane_w();
  u32 down = shfl_down(l, 3), from = shfl_from(l * 7, 5);
  u64 odd = vote_mask(l & 1);
  SHARED(float, red, [32]);
  Bits sum;
  sum.f = block_sum((float)TID, red);
  out[TID * 5] = down, out[TID * 5 + 1] = from;
  out[TID * 5 + 2] = (u32)odd, out[TID * 5 + 3] = (u32)(odd >> 32), out[TID * 5 + 4] = sum.u;
}
KERNEL(probe_mma, 64, (float* out, const u32* in)) {
  float d[4] = {}, e[4] = {};
  u32 a[4], b[2];
  for (int i = 0; i < 4; i++) a[i] = in[(TID & 31) * 4 + i];
  for (int i = 0; i < 2; i++) b[i] = in[128 + (TID & 31) * 2 + i];
  mma_m16n8k16(d, a, b);
  mma_by_shuffles(e, a, b);
  for (int i = 0; i < 4; i++) out[TID * 4 + i] = d[i], out[256 + TID * 4 + i] = e[i];
}
// The blocks of a grid of 8, in the order in which they run: each finds the first place that is not taken. A race by design,
// for a device that does not watch.
KERNEL(block_order, 64, (int* out)) {
  if (TID == 0) {
    int at = 0;
    while (out[at]) at++;
    out[at] = BID + 1;
  }
}
KERNEL(count_up, 64, (int* out)) { out[TID]++; }

// Reverses the block's numbers through shared memory, as it should be done.
KERNEL(sound, 128, (float* out)) {
  SHARED(float, row, [128]);
  row[TID] = (float)TID;
  BARRIER();
  out[BID * BDIM + TID] = row[127 - TID];
}
KERNEL(missing_barrier, 128, (float* out)) {
  SHARED(float, row, [128]);
  row[TID] = (float)TID;
  out[BID * BDIM + TID] = row[127 - TID];
}
KERNEL(missing_warp_sync, 128, (float* out)) {
  SHARED(float, row, [128]);
  row[TID] = (float)TID;
  WSYNC();
  float mine = row[TID ^ 1];
  row[TID] = mine;
  out[BID * BDIM + TID] = mine;
}
KERNEL(past_the_end, 128, (float* out)) { out[BID * BDIM + TID + 1] = 1.0f; }
KERNEL(past_shared, 128, (float* out)) {
  SHARED(float, row, [128]);
  float* p = row;
  p[TID + 1] = 1.0f;
  BARRIER();
  out[BID * BDIM + TID] = p[TID + 1];
}
KERNEL(unwritten_shared, 128, (float* out)) {
  SHARED(float, row, [128]);
  if (TID < 100) row[TID] = 1.0f;
  BARRIER();
  out[BID * BDIM + TID] = row[TID];
}
KERNEL(barrier_in_a_branch, 128, (float* out)) {
  if (TID < 64) BARRIER();
  out[BID * BDIM + TID] = 1.0f;
}
KERNEL(shuffle_in_a_branch, 128, (float* out)) {
  float v = 1.0f;
  if (TID % 32 < 16) v = shfl_xor(v, 1);
  out[BID * BDIM + TID] = v;
}
KERNEL(blocks_share_a_sum, 128, (float* out)) {
  if (TID == 0) out[0] += 1.0f;
}
KERNEL(copy_not_awaited, 128, (float* out)) {
  SHARED(float, row, [512]);
  copy16_async(&row[TID * 4], &out[TID % 64 * 4], true);
  copy_commit();
  copy_wait<1>();
  BARRIER();
  float v = row[TID];
  BARRIER();
  if (BID == 0) out[TID] = v;
}
KERNEL(misaligned, 128, (float* out)) {
  SHARED(float, row, [520]);
  copy16_async(&row[TID * 4 + 1], &out[0], true);
  copy_commit();
  copy_wait<0>();
}
KERNEL(row_overflow, 128, (float* out)) {
  SHARED(float, tile, [8][16]);
  tile[TID / 16][TID % 16 + (TID == 47 ? 1 : 0)] = 1.0f;
  BARRIER();
  out[BID * BDIM + TID] = tile[TID / 16][TID % 16];
}
