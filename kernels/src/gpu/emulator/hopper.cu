// Kernels that test what runs beside the threads on Hopper, and faults that the emulation must see in it.
//
// One block: A (64 x 64) and B (COLS x 64) come by the copy engine, the sums (64 x COLS) go to `out` as the threads hold them.
#define KS 64
#define STAGE (64 * 128 + COLS * 128)

KERNEL_ALONE(probe_wgmma, 128, (float* out, TENSOR_MAP(a_map), TENSOR_MAP(b_map), int a_first, int b_first, int k_first)) {
  DYN_TILES(u8, memory);
  SHARED(u64, full, [1]);
  u8 *a = memory, *b = memory + 64 * 128;
  if (TID == 0) {
    mbar_init(full, 1);
    mbar_ready();
  }
  BARRIER();
  if (TID == 0) {
    mbar_expect(full, STAGE);
#if A_COLS
    tma_load(a, a_map, full, a_first, k_first);
#else
    tma_load(a, a_map, full, k_first, a_first);
#endif
#if B_COLS
    for (int i = 0; i < COLS / 64; i++) tma_load(b + i * KS * 128, b_map, full, b_first + i * 64, k_first);
#else
    tma_load(b, b_map, full, k_first, b_first);
#endif
  }
  mbar_wait(full, 0);
  float sums[COLS / 2];
  for (int i = 0; i < COLS / 2; i++) sums[i] = 0.5f;
#if A_COLS
  u64 a_desc = cols_desc(a, KS * 128);
#else
  u64 a_desc = rows_desc(a, 0);
#endif
#if B_COLS
  u64 b_desc = cols_desc(b, KS * 128);
#else
  u64 b_desc = rows_desc(b, 0);
#endif
  wgmma_fence();
  for (int k = 0; k < KS / 16; k++) {
#if A_REGS
    // Fragments by hand, from a K-major tile.
    u32 regs[4];
    int row = TID / 32 * 16 + TID % 32 / 4, col = TID % 4 * 2;
    for (int i = 0; i < 4; i++)
      regs[i] = ld4(a + swizzled_128((row + i % 2 * 8) * 128 + (k * 16 + col + i / 2 * 8) * 2));
    wgmma<COLS, B_COLS>(sums, regs, b_desc, k > 0 || START);
#else
    wgmma<COLS, A_COLS, B_COLS>(sums, a_desc, b_desc, k > 0 || START);
#endif
    a_desc = A_COLS ? cols_next_k(a_desc) : rows_next_k(a_desc);
    b_desc = B_COLS ? cols_next_k(b_desc) : rows_next_k(b_desc);
  }
  wgmma_commit();
  wgmma_wait<0>();
  wgmma_hold(sums);
  for (int i = 0; i < COLS / 2; i++) out[i * 128 + TID] = sums[i];
}

// A box of a tensor of four dimensions as it lies in shared memory, and the descriptors of a tile 2048 bytes in.
KERNEL_ALONE(probe_tile, 128, (u32* out, TENSOR_MAP(map), int x, int y, int z, int w, int words)) {
  DYN_TILES(u8, memory);
  SHARED(u64, full, [1]);
  if (TID == 0) mbar_init(full, 1), mbar_ready();
  BARRIER();
  if (TID == 0) {
    mbar_expect(full, words * 4);
    tma_load(memory, map, full, x, y, z, w);
  }
  mbar_wait(full, 0);
  for (int i = TID; i < words; i += 128) out[4 + i] = ld4(memory + i * 4);
  if (TID == 0) {
    u64 rows = rows_desc(memory + 1024, 8), cols = cols_desc(memory + 2048, 8192);
    u64 at = shared_at(memory) >> 4;
    out[0] = (u32)(rows - at), out[1] = (u32)(rows >> 32), out[2] = (u32)(cols - at), out[3] = (u32)(cols >> 32);
  }
}

// Two warpgroups pass numbers through shared memory by two mbarriers, and by named barriers.
KERNEL(probe_pass, 256, (int* out, int rounds)) {
  SHARED(int, box, [128]);
  SHARED(u64, bars, [2]);
  if (TID == 0) mbar_init(bars, 4), mbar_init(bars + 1, 4), mbar_ready();
  BARRIER();
  int t = TID % 128, total = 0;
  if (TID < 128) {
    for (int i = 0; i < rounds; i++) {
      mbar_wait(bars + 1, (i + 1) & 1);
      box[t] = t * 10 + i;
      named_sync(1, 128);
      if (t % 32 == 0) mbar_arrive(bars);
    }
    named_arrive(2, 256);
  } else {
    for (int i = 0; i < rounds; i++) {
      mbar_wait(bars, i & 1);
      total += box[127 - t];
      WSYNC();
      if (t % 32 == 0) mbar_arrive(bars + 1);
    }
    named_sync(2, 256);
    out[t] = total;
  }
}

// ---- planted faults: `fault` says which -------------------------------------------------------------------------------------------
KERNEL_ALONE(planted, 128, (float* out, TENSOR_MAP(map), int fault)) {
  DYN_TILES(u8, memory);
  SHARED(u64, bar, [1]);
  if (TID == 0 && fault != 1) mbar_init(bar, 1);
  BARRIER();
  if (TID == 0) {
    mbar_expect(bar, fault == 2 ? 2 * 8192 : 8192);
    tma_load(memory, map, bar, 0, 0);
    if (fault == 3) tma_load(memory, map, bar, 64, 0);
  }
  if (fault != 4) mbar_wait(bar, 0);
  float sums[32];
  for (int i = 0; i < 32; i++) sums[i] = 0.0f;
  u64 desc = rows_desc(memory, 0);
  if (fault != 5) wgmma_fence();
  if (fault == 6) desc += 1ull << 49;
  wgmma<64, false, false>(sums, desc, fault == 7 ? desc + (8192 >> 4) : desc, true);
  if (fault != 8) wgmma_commit();
  if (fault == 9) memory[TID * 64] = 0;
  if (fault == 10 && TID < 16) wgmma_fence();
  if (fault != 11) wgmma_wait<0>();
  for (int i = 0; i < 32; i++) out[i * 128 + TID] = sums[i];
}
