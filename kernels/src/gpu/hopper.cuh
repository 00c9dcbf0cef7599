// Tensor cores and the copy engine of Hopper (sm_90a): the second text that knows which compiler reads it, beside the prelude.
// Inline assembly of these instructions stands nowhere else; each function has a twin for the emulation (emulator/async.cpp).
//
//   KERNEL_ALONE(name, threads, (parameters))     a kernel of which a multiprocessor holds one block, so that registers can move
//   TENSOR_MAP(name)                              a parameter that describes a matrix in memory (`Arg::Map`)
//   DYN_TILES(T, name)                            all dynamic shared memory, aligned to 1024 bytes, as tiles must be
//   mbar_init mbar_ready mbar_expect mbar_arrive mbar_wait    barriers in shared memory that count arrivals and bytes
//   tma_load                                      a box of a tensor to shared memory, 128-byte swizzle, zero beyond the edges
//   fence_async                                   ordinary writes of shared memory before wgmma or the copy engine reads them
//   named_sync named_arrive                       barriers 1..15 among some warps of the block
//   regs_release<N> regs_claim<N>                 registers of a thread, given up and taken by a whole warpgroup
//   rows_desc cols_desc                           where wgmma finds a factor; swizzled_128: the place of a byte in a tile
//   wgmma wgmma_fence wgmma_commit wgmma_wait<N> wgmma_hold   products of a warpgroup (four warps from a multiple of 128 on)
//
// A tile is lines of 128 bytes (64 bf16), one after the other, as `tma_load` of a box of 64 x lines leaves it: 16-byte chunk c
// of line r lies at chunk c ^ (r % 8). In a K-major factor a line is 64 of K of one row (or column) of the product; in an
// MN-major factor 64 rows (or columns) of one k, and further rows are further tiles of the same number of lines.
//
// The order that the hardware asks for: wgmma_fence() after the last ordinary use of sums or of A's registers and before the
// first wgmma; commit ends a group; wait<N> returns when at most N groups are under way. Until then neither sums, A's registers
// nor the tiles may be touched; wgmma_hold(sums) after the wait keeps the compiler from reading them before it.
struct alignas(128) TensorMap {
  u64 words[16];
};
DEV u32 swizzled_128(u32 byte) { return byte ^ (byte >> 3 & 0x70); }

#if defined(EMU_WARP)  // ---- the host ---------------------------------------------------------------------------------------
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define EMU_WATCHED 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define EMU_WATCHED 1
#endif
#if !defined(EMU_WATCHED)
#define EMU_WATCHED 0
#endif
extern "C" {
void emu_mbar_init(u64* bar, u32 count);
void emu_mbar_arrive(u64* bar, u32 bytes);
void emu_mbar_wait(u64* bar, u32 parity, int line);
void emu_tma_load(void* to, const void* map, u64* bar, const int* at, u32 rank);
void emu_named(u32 id, u32 threads, bool wait, int line);
void emu_wgmma(float* sums, u32 n, const u32* a_regs, u64 a, u64 b, u32 flags, int line);
void emu_wgmma_fence(int line);
void emu_wgmma_commit(int line);
void emu_wgmma_wait(u32 pending, int line);
}
#define KERNEL_ALONE KERNEL
#define TENSOR_MAP(name) TensorMap name
#define DYN_TILES(T, name)                                   \
  T* name = (T*)emu_shared(0, 0);                            \
  emu_check_align(name, 1024)
DEV u32 shared_at(const void* p) { return (u32)((const char*)p - (const char*)emu_shared(0, 0)); }
DEV void mbar_init(u64* bar, u32 arrivals) { emu_mbar_init(bar, arrivals); }
DEV void mbar_ready() {}
DEV void mbar_expect(u64* bar, u32 bytes) { emu_mbar_arrive(bar, bytes); }
DEV void mbar_arrive(u64* bar) { emu_mbar_arrive(bar, 0); }
static inline void mbar_wait(u64* bar, u32 parity LINE_ARG) { emu_mbar_wait(bar, parity, line); }
DEV void tma_prefetch(const TensorMap&) {}
DEV void tma_load(void* to, const TensorMap& map, u64* bar, int x, int y) {
  int at[4] = {x, y, 0, 0};
  emu_tma_load(to, &map, bar, at, 2);
}
DEV void tma_load(void* to, const TensorMap& map, u64* bar, int x, int y, int z) {
  int at[4] = {x, y, z, 0};
  emu_tma_load(to, &map, bar, at, 3);
}
DEV void tma_load(void* to, const TensorMap& map, u64* bar, int x, int y, int z, int w) {
  int at[4] = {x, y, z, w};
  emu_tma_load(to, &map, bar, at, 4);
}
DEV void fence_async() {}
static inline void named_sync(u32 id, u32 threads LINE_ARG) { emu_named(id, threads, true, line); }
static inline void named_arrive(u32 id, u32 threads LINE_ARG) { emu_named(id, threads, false, line); }
template <int N> DEV void regs_release() {}
template <int N> DEV void regs_claim() {}
static inline void wgmma_fence(int line = __builtin_LINE()) { emu_wgmma_fence(line); }
static inline void wgmma_commit(int line = __builtin_LINE()) { emu_wgmma_commit(line); }
template <int N> static inline void wgmma_wait(int line = __builtin_LINE()) { emu_wgmma_wait(N, line); }
template <int N> DEV void wgmma_hold(float (&)[N]) {}
template <int N, bool A_MN, bool B_MN>
static inline void wgmma(float (&sums)[N / 2], u64 a, u64 b, bool add LINE_ARG) {
  emu_wgmma(sums, N, 0, a, b, add | A_MN << 1 | B_MN << 2 | EMU_WATCHED << 3, line);
}
template <int N, bool B_MN>
static inline void wgmma(float (&sums)[N / 2], const u32 (&a)[4], u64 b, bool add LINE_ARG) {
  emu_wgmma(sums, N, a, 0, b, add | B_MN << 2 | EMU_WATCHED << 3, line);
}

#else  // ---- NVIDIA: NVRTC for sm_90a ----------------------------------------------------------------------------------------
#define KERNEL_ALONE(name, threads, params) extern "C" __global__ void __launch_bounds__(threads, 1) name params
#define TENSOR_MAP(name) const __grid_constant__ TensorMap name
#define DYN_TILES(T, name) extern __shared__ __align__(1024) T name[]
DEV u32 shared_at(const void* p) { return (u32)__cvta_generic_to_shared(p); }
DEV void mbar_init(u64* bar, u32 arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_at(bar)), "r"(arrivals) : "memory");
}
DEV void mbar_ready() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
DEV void mbar_expect(u64* bar, u32 bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_at(bar)), "r"(bytes) : "memory");
}
DEV void mbar_arrive(u64* bar) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_at(bar)) : "memory");
}
DEV void mbar_wait(u64* bar, u32 parity) {
  u32 done;
  do {
    asm volatile(
        "{\n .reg .pred p;\n mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n selp.b32 %0, 1, 0, p;\n}"
        : "=r"(done)
        : "r"(shared_at(bar)), "r"(parity)
        : "memory");
  } while (!done);
}
DEV void tma_prefetch(const TensorMap& map) { asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory"); }
#define TMA_LOAD(dims) "cp.async.bulk.tensor." dims ".shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, "
DEV void tma_load(void* to, const TensorMap& map, u64* bar, int x, int y) {
  asm volatile(TMA_LOAD("2d") "{%3, %4}], [%2];" ::"r"(shared_at(to)), "l"(&map), "r"(shared_at(bar)), "r"(x), "r"(y)
               : "memory");
}
DEV void tma_load(void* to, const TensorMap& map, u64* bar, int x, int y, int z) {
  asm volatile(TMA_LOAD("3d") "{%3, %4, %5}], [%2];" ::"r"(shared_at(to)), "l"(&map), "r"(shared_at(bar)), "r"(x), "r"(y),
               "r"(z)
               : "memory");
}
DEV void tma_load(void* to, const TensorMap& map, u64* bar, int x, int y, int z, int w) {
  asm volatile(TMA_LOAD("4d") "{%3, %4, %5, %6}], [%2];" ::"r"(shared_at(to)), "l"(&map), "r"(shared_at(bar)), "r"(x),
               "r"(y), "r"(z), "r"(w)
               : "memory");
}
DEV void fence_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
DEV void named_sync(u32 id, u32 threads) { asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory"); }
DEV void named_arrive(u32 id, u32 threads) { asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory"); }
template <int N> DEV void regs_release() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N)); }
template <int N> DEV void regs_claim() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N)); }
DEV void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
DEV void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int N> DEV void wgmma_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory"); }
template <int N> DEV void wgmma_hold(float (&sums)[N]) {
#pragma unroll
  for (int i = 0; i < N; i++) asm volatile("" : "+f"(sums[i])::"memory");
}
#define SUMS_32 \
  "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26," \
  "%27,%28,%29,%30,%31"
#define SUMS_64 \
  SUMS_32 "," \
  "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56," \
  "%57,%58,%59,%60,%61,%62,%63"
#define SUMS_128 \
  SUMS_64 "," \
  "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,%80,%81,%82,%83,%84,%85,%86,%87,%88," \
  "%89,%90,%91,%92,%93,%94,%95,%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110," \
  "%111,%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127"
#define OUT_8(i)                                                                                                    \
  "+f"(sums[i]), "+f"(sums[i + 1]), "+f"(sums[i + 2]), "+f"(sums[i + 3]), "+f"(sums[i + 4]), "+f"(sums[i + 5]),     \
      "+f"(sums[i + 6]), "+f"(sums[i + 7])
#define OUT_32(i) OUT_8(i), OUT_8(i + 8), OUT_8(i + 16), OUT_8(i + 24)
#define OUT_64 OUT_32(0), OUT_32(32)
#define OUT_128 OUT_64, OUT_32(64), OUT_32(96)
// The operands behind the sums: A, B, whether to add, and which factors are MN-major.
#define WGMMA(shape, list, a, b, add, more, outs, ...)                                                              \
  asm volatile("{\n .reg .pred p;\n setp.ne.b32 p, " add ", 0;\n wgmma.mma_async.sync.aligned." shape               \
               ".f32.bf16.bf16 {" list "}, " a ", " b ", p, 1, 1, " more ";\n}"                                     \
               : outs                                                                                               \
               : __VA_ARGS__)
// sums (64 x N of a warpgroup) += A (64 x 16) B (16 x N), or =. Thread t of the warpgroup holds, with row r = 16 (t / 32) +
// t % 32 / 4 and column c = 2 (t % 4): sums[4 j + 2 h + e] of row r + 8 h, column 8 j + c + e.
template <int N, bool A_MN, bool B_MN> DEV void wgmma(float (&sums)[N / 2], u64 a, u64 b, bool add) {
  static_assert(N == 64 || N == 128 || N == 256, "64, 128 or 256 columns");
  if constexpr (N == 64)
    WGMMA("m64n64k16", SUMS_32, "%32", "%33", "%34", "%35, %36", OUT_32(0), "l"(a), "l"(b), "r"((int)add), "n"(A_MN), "n"(B_MN));
  if constexpr (N == 128)
    WGMMA("m64n128k16", SUMS_64, "%64", "%65", "%66", "%67, %68", OUT_64, "l"(a), "l"(b), "r"((int)add), "n"(A_MN), "n"(B_MN));
  if constexpr (N == 256)
    WGMMA("m64n256k16", SUMS_128, "%128", "%129", "%130", "%131, %132", OUT_128, "l"(a), "l"(b), "r"((int)add), "n"(A_MN),
          "n"(B_MN));
}
// The same with A from registers, as `mma_m16n8k16` has it, each warp 16 rows: sums of one product, rounded, are the next one's A.
template <int N, bool B_MN> DEV void wgmma(float (&sums)[N / 2], const u32 (&a)[4], u64 b, bool add) {
  static_assert(N == 64 || N == 128 || N == 256, "64, 128 or 256 columns");
  if constexpr (N == 64)
    WGMMA("m64n64k16", SUMS_32, "{%32, %33, %34, %35}", "%36", "%37", "%38", OUT_32(0), "r"(a[0]), "r"(a[1]), "r"(a[2]),
          "r"(a[3]), "l"(b), "r"((int)add), "n"(B_MN));
  if constexpr (N == 128)
    WGMMA("m64n128k16", SUMS_64, "{%64, %65, %66, %67}", "%68", "%69", "%70", OUT_64, "r"(a[0]), "r"(a[1]), "r"(a[2]),
          "r"(a[3]), "l"(b), "r"((int)add), "n"(B_MN));
  if constexpr (N == 256)
    WGMMA("m64n256k16", SUMS_128, "{%128, %129, %130, %131}", "%132", "%133", "%134", OUT_128, "r"(a[0]), "r"(a[1]),
          "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)add), "n"(B_MN));
}
#endif

// ---- matrix descriptors (PTX ISA, "Asynchronous Warpgroup Level Matrix Shared Memory Layout") ----------------------------------
// Bits 0..13 address, 16..29 leading offset, 32..45 stride offset, all in 16 bytes; 49..51 base offset, 0 as tiles start at
// multiples of 1024 bytes; 62..63 swizzle, 1 for 128 bytes.
DEV u64 matrix_desc(u32 at, u32 leading, u32 stride) {
  return (u64)(at & 0x3ffff) >> 4 | (u64)(leading >> 4 & 0x3fff) << 16 | (u64)(stride >> 4 & 0x3fff) << 32 | 1ull << 62;
}
// A K-major factor: groups of 8 lines are 1024 bytes apart; the leading offset has no meaning. `line`: a multiple of 8.
DEV u64 rows_desc(const void* tile, u32 line) { return matrix_desc(shared_at(tile) + line * 128, 16, 1024); }
// An MN-major factor: the tiles of further 64 rows or columns are `tile_bytes` apart, groups of 8 of K 1024 bytes.
DEV u64 cols_desc(const void* tile, u32 tile_bytes) { return matrix_desc(shared_at(tile), tile_bytes, 1024); }
// The descriptor of the next 16 of K: 32 bytes further in the lines, or 16 lines further down.
DEV u64 rows_next_k(u64 desc) { return desc + (32 >> 4); }
DEV u64 cols_next_k(u64 desc) { return desc + (16 * 128 >> 4); }
