// One thread a position and frequency. A table of 1024 positions and 32 frequencies is 256 kB and stays in the cache
// of the kernels that read it; in double it takes two microseconds.
KERNEL(angle_table, 256, (float* table, int seq, int pairs, int ratio_low, int ratio_high)) {
  u32 t = BID * BDIM + TID;
  if (t >= (u32)seq * pairs) return;
  u32 position = t / pairs, i = t % pairs;
  float* row = table + (u64)position * 2 * pairs;
  angle_at(position, i, double_of(ratio_low, ratio_high), &row[i], &row[pairs + i]);
}
