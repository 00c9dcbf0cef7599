// Counter-based random numbers: Philox4x32-10, word for word as `kernels/src/philox.rs`.
struct Words {
  u32 w[4];
};
DEV Words philox(u32 k0, u32 k1, u32 c0, u32 c1, u32 c2, u32 c3) {
#pragma unroll
  for (int round = 0; round < 10; round++) {
    u64 a = (u64)0xD2511F53u * c0, b = (u64)0xCD9E8D57u * c2;
    c0 = (u32)(b >> 32) ^ c1 ^ k0;
    c1 = (u32)b;
    c2 = (u32)(a >> 32) ^ c3 ^ k1;
    c3 = (u32)a;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  Words r = {{c0, c1, c2, c3}};
  return r;
}
// The key (words 0 and 1) of the operation with this id at this step of this seed.
DEV Words philox_key(const Live* live, u32 id, u32 id_high) {
  u64 seed = live->seed, step = live->step;
  return philox((u32)seed, (u32)(seed >> 32), (u32)step, (u32)(step >> 32), id, id_high);
}
