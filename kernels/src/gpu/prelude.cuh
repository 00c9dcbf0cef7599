// The one text that knows which compiler reads the kernels: NVRTC, a HIP compiler, or the host's C++ compiler (emulation).
// No vendor header is included. Kernels use only what is defined here; inline assembly stands nowhere else.
//
//   KERNEL(name, threads, (parameters)) { body }      a kernel of blocks of at most `threads` threads
//   KERNEL_OF(name, threads, blocks, (parameters))    the same where a multiprocessor need hold no more than `blocks` of them
//   TID BID BDIM GDIM                                 thread in block, block in grid, their numbers; all one-dimensional
//   tid_anew() bid_anew()                             the same, and what is made of them keeps no register between two uses
//   WARP                                              threads in lockstep: 32 or 64 (AMD's gfx9)
//   SHARED(T, name, [8][4]);  DYN_SHARED(T, name);    shared memory of the block
//   BARRIER();  WSYNC();                              all threads of the block, of the warp
//   shfl_xor shfl_down shfl_from vote_mask            between the lanes of a warp
//   popcount                                          set bits of a vote
//   copy16_async copy_commit copy_wait<N>             16 bytes from global to shared memory, in the background
//   ldmatrix_x4 mma_m16n8k16                          matrix fragments of groups of 32 lanes
//   Frag Sums mma_frags                               matrix fragments of AMD's warps, in units that are given MATRIX
//   RECIP(x)                                          1 / x within two units in the last place; 0 beyond 2^126
//   UNROLL for (..)                                   a loop whose arrays must lie in registers
//   EX2 FMAX                                          2^x, results below 2^-126 zero; the number of two that is larger (not
//                                                     NaN)
//   load<T> put<T>, Pack                              elements as floats; several elements at once
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
struct alignas(16) vec4 {
  u32 x, y, z, w;
};

#if defined(EMU_WARP)  // ---- the host: every thread is a fiber, every meeting point a call into emulator.cpp -------------
#define WARP EMU_WARP
#include <math.h>

#include <utility>
struct EmuThread {
  u32 tid, bid, bdim, gdim;
};
extern "C" {
extern EmuThread* emu_cur;  // rewritten at every switch: never kept in a variable
void emu_barrier(int line);
void emu_warp_exchange(const void* mine, u32 bytes, const void** row, u32* stride, u32 group, int line);
void* emu_shared(const void* key, u32 bytes);
void emu_copy_async(void* to, const void* from, u32 bytes);
void emu_copy_commit();
void emu_copy_wait(u32 pending);
void emu_check_align(const void* p, u32 bytes);
void emu_warp_sync(int line);
int emu_launch(void (*call)(void**), void** args, u32 grid, u32 block, u32 dyn_bytes, u32 warp);
}
#define DEV static inline __attribute__((always_inline))
#define TID (emu_cur->tid)
#define BID (emu_cur->bid)
#define BDIM (emu_cur->bdim)
#define GDIM (emu_cur->gdim)
#define UNROLL
DEV u32 tid_anew() { return TID; }
DEV u32 bid_anew() { return BID; }
#define LINE_ARG , int line = __builtin_LINE()
#define SHARED(T, name, dims) \
  typedef T name##_t dims;    \
  static char name##_key;     \
  name##_t& name = *(name##_t*)emu_shared(&name##_key, sizeof(name##_t))
#define DYN_SHARED(T, name) T* name = (T*)emu_shared(0, 0)
static inline void BARRIER(int line = __builtin_LINE()) { emu_barrier(line); }
static inline void WSYNC(int line = __builtin_LINE()) { emu_warp_sync(line); }
template <class T> static inline T emu_from(T v, u32 source, u32 group, int line) {
  const void* row;
  u32 stride;
  emu_warp_exchange(&v, sizeof(T), &row, &stride, group, line);
  return *(const T*)((const char*)row + source * stride);
}
DEV u32 lane_w() { return TID % WARP; }
template <class T> static inline T shfl_xor(T v, int m LINE_ARG) { return emu_from(v, lane_w() ^ m, WARP, line); }
template <class T> static inline T shfl_down(T v, int d LINE_ARG) {
  u32 source = lane_w() + d;
  return emu_from(v, source < WARP ? source : lane_w(), WARP, line);
}
template <class T> static inline T shfl_from(T v, int s LINE_ARG) { return emu_from(v, s, WARP, line); }
static inline u64 vote_mask(bool p LINE_ARG) {
  const void* row;
  u32 stride;
  u8 mine = p;
  u64 mask = 0;
  emu_warp_exchange(&mine, 1, &row, &stride, WARP, line);
  for (u32 i = 0; i < WARP; i++) mask |= (u64)(((const u8*)row)[i * stride] == 1) << i;
  return mask;
}
static inline void copy16_async(void* to, const void* from, bool ok) {
  emu_check_align(to, 16);
  if (ok) emu_check_align(from, 16);
  emu_copy_async(to, ok ? from : 0, 16);
}
static inline void copy_commit() { emu_copy_commit(); }
template <int N> static inline void copy_wait() { emu_copy_wait(N); }
static inline vec4 ld16(const void* p) {
  emu_check_align(p, 16);
  return *(const vec4*)p;
}
static inline u32 ld4(const void* p) {
  emu_check_align(p, 4);
  return *(const u32*)p;
}
static inline void st16(void* p, vec4 v) {
  emu_check_align(p, 16);
  *(vec4*)p = v;
}
DEV float RSQRT(float x) { return 1.0f / sqrtf(x); }
DEV float SQRT(float x) { return sqrtf(x); }
DEV double SQRT64(double x) { return sqrt(x); }
DEV float EXP(float x) { return expf(x); }
DEV float EXP2(float x) { return exp2f(x); }
DEV float EX2(float x) { return x < -126.0f ? 0.0f : exp2f(x); }
DEV float LOG(float x) { return logf(x); }
DEV float LOG2(float x) { return log2f(x); }
DEV float TANH(float x) { return tanhf(x); }
DEV float ERF(float x) { return erff(x); }
DEV void SINCOS(double x, double* s, double* c) { *s = sin(x), *c = cos(x); }
DEV float POW(float x, float y) { return powf(x, y); }
DEV float RECIP(float x) { return 1.0f / x; }
DEV float FMA(float a, float b, float c) { return fmaf(a, b, c); }
DEV float FMAX(float a, float b) { return fmaxf(a, b); }
DEV u32 mulhi(u32 a, u32 b) { return (u32)((u64)a * b >> 32); }
DEV u32 popcount(u64 mask) { return (u32)__builtin_popcountll(mask); }
// A kernel's launcher takes the same void** as cuLaunchKernel and hipModuleLaunchKernel.
template <auto F> struct EmuKernel;
template <class... A, void (*F)(A...)> struct EmuKernel<F> {
  template <size_t... I> static void run(void** a, std::index_sequence<I...>) { F(*(A*)a[I]...); }
  static void call(void** a) { run(a, std::index_sequence_for<A...>()); }
};
#define KERNEL(name, threads, params)                                              \
  static void name params;                                                         \
  extern "C" int emu_##name(void** a, u32 grid, u32 block, u32 dyn) {              \
    if (block > threads) return -1;                                                \
    return emu_launch(&EmuKernel<&name>::call, a, grid, block, dyn, WARP);         \
  }                                                                                \
  static void name params

#define KERNEL_OF(name, threads, blocks, params) KERNEL(name, threads, params)

#elif defined(__HIP__)  // ---- AMD: clang or hipRTC, without headers -------------------------------------------------------
#define DEV __attribute__((device)) inline __attribute__((always_inline))
#define KERNEL(name, threads, params)                                                                  \
  extern "C" __attribute__((global)) __attribute__((amdgpu_flat_work_group_size(1, threads))) void name params
#define KERNEL_OF(name, threads, blocks, params) KERNEL(name, threads, params)
#define UNROLL _Pragma("unroll")
#define TID ((u32)__builtin_amdgcn_workitem_id_x())
#define BID ((u32)__builtin_amdgcn_workgroup_id_x())
#define BDIM ((u32)__builtin_amdgcn_workgroup_size_x())
#define GDIM ((u32)__builtin_amdgcn_grid_size_x() / BDIM)
DEV u32 tid_anew() { return TID; }
DEV u32 bid_anew() { return BID; }
#if defined(__GFX9__)
#define WARP 64
#else
#define WARP 32
#endif
#define SHARED(T, name, dims) __attribute__((shared, aligned(16))) static T name dims
#define DYN_SHARED(T, name) extern __attribute__((shared, aligned(16))) T name[]
DEV void BARRIER() {
  __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
  __builtin_amdgcn_s_barrier();
  __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
}
DEV void WSYNC() {
  __builtin_amdgcn_fence(__ATOMIC_ACQ_REL, "wavefront");
  __builtin_amdgcn_wave_barrier();
}
DEV int lane_w() {
  int lane = __builtin_amdgcn_mbcnt_lo(~0u, 0);
  if (WARP == 64) lane = __builtin_amdgcn_mbcnt_hi(~0u, lane);
  return lane;
}
template <class T> DEV T shfl_from(T v, int s) {
  static_assert(sizeof(T) == 4, "values of four bytes");
  return __builtin_bit_cast(T, __builtin_amdgcn_ds_bpermute(s << 2, __builtin_bit_cast(int, v)));
}
template <class T> DEV T shfl_xor(T v, int m) { return shfl_from(v, lane_w() ^ m); }
template <class T> DEV T shfl_down(T v, int d) {
  int s = lane_w() + d;
  return shfl_from(v, s < WARP ? s : lane_w());
}
#if WARP == 64
DEV u64 vote_mask(bool p) { return __builtin_amdgcn_ballot_w64(p); }
#else
DEV u64 vote_mask(bool p) { return __builtin_amdgcn_ballot_w32(p); }
#endif
DEV void copy16_async(void* to, const void* from, bool ok) {
  vec4 zero = {0, 0, 0, 0};
  *(vec4*)to = ok ? *(const vec4*)from : zero;
}
DEV void copy_commit() {}
template <int N> DEV void copy_wait() {}
DEV vec4 ld16(const void* p) { return *(const vec4*)p; }
DEV u32 ld4(const void* p) { return *(const u32*)p; }
DEV void st16(void* p, vec4 v) { *(vec4*)p = v; }
extern "C" {
__attribute__((device)) float __ocml_tanh_f32(float);
__attribute__((device)) float __ocml_erf_f32(float);
__attribute__((device)) float __ocml_pow_f32(float, float);
__attribute__((device)) double __ocml_sin_f64(double);
__attribute__((device)) double __ocml_cos_f64(double);
}
DEV float RSQRT(float x) { return __builtin_amdgcn_rsqf(x); }
DEV float SQRT(float x) { return __builtin_sqrtf(x); }
DEV double SQRT64(double x) { return __builtin_sqrt(x); }
DEV float EXP2(float x) { return __builtin_amdgcn_exp2f(x); }
DEV float EX2(float x) { return __builtin_amdgcn_exp2f(x); }
DEV float LOG2(float x) { return __builtin_amdgcn_logf(x); }
DEV float EXP(float x) { return EXP2(x * 1.4426950408889634f); }
DEV float LOG(float x) { return LOG2(x) * 0.6931471805599453f; }
DEV float TANH(float x) { return __ocml_tanh_f32(x); }
DEV float ERF(float x) { return __ocml_erf_f32(x); }
DEV float POW(float x, float y) { return __ocml_pow_f32(x, y); }
DEV void SINCOS(double x, double* s, double* c) { *s = __ocml_sin_f64(x), *c = __ocml_cos_f64(x); }
DEV float RECIP(float x) { return __builtin_amdgcn_rcpf(x); }
DEV float FMA(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
DEV float FMAX(float a, float b) { return __builtin_fmaxf(a, b); }
DEV u32 mulhi(u32 a, u32 b) { return (u32)((u64)a * b >> 32); }
DEV u32 popcount(u64 mask) { return (u32)__builtin_popcountll(mask); }

#else  // ---- NVIDIA: NVRTC ------------------------------------------------------------------------------------------------
#define WARP 32
#define DEV __device__ __forceinline__
#define KERNEL(name, threads, params) extern "C" __global__ void __launch_bounds__(threads) name params
#define KERNEL_OF(name, threads, blocks, params) \
  extern "C" __global__ void __launch_bounds__(threads, blocks) name params
#define UNROLL _Pragma("unroll")
#define TID threadIdx.x
#define BID blockIdx.x
#define BDIM blockDim.x
#define GDIM gridDim.x
DEV u32 tid_anew() {
  u32 t;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(t));
  return t;
}
DEV u32 bid_anew() {
  u32 b;
  asm volatile("mov.u32 %0, %%ctaid.x;" : "=r"(b));
  return b;
}
#define SHARED(T, name, dims) __shared__ __align__(16) T name dims
#define DYN_SHARED(T, name) extern __shared__ __align__(16) T name[]
DEV void BARRIER() { __syncthreads(); }
DEV void WSYNC() { __syncwarp(); }
DEV u32 lane_w() { return TID & 31; }
template <class T> DEV T shfl_xor(T v, int m) { return __shfl_xor_sync(~0u, v, m); }
template <class T> DEV T shfl_down(T v, int d) { return __shfl_down_sync(~0u, v, d); }
template <class T> DEV T shfl_from(T v, int s) { return __shfl_sync(~0u, v, s); }
DEV u64 vote_mask(bool p) { return __ballot_sync(~0u, p); }
DEV void copy16_async(void* to, const void* from, bool ok) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"((u32)__cvta_generic_to_shared(to)), "l"(from),
               "r"(ok ? 16 : 0)
               : "memory");
}
DEV void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> DEV void copy_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }
DEV vec4 ld16(const void* p) { return *(const vec4*)p; }
DEV u32 ld4(const void* p) { return *(const u32*)p; }
DEV void st16(void* p, vec4 v) { *(vec4*)p = v; }
DEV float RSQRT(float x) { return rsqrtf(x); }
DEV float SQRT(float x) { return sqrtf(x); }
DEV double SQRT64(double x) { return sqrt(x); }
DEV float EXP(float x) { return expf(x); }
DEV float EXP2(float x) { return exp2f(x); }
DEV float EX2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
DEV float LOG(float x) { return logf(x); }
DEV float LOG2(float x) { return log2f(x); }
DEV float TANH(float x) { return tanhf(x); }
DEV float ERF(float x) { return erff(x); }
DEV float POW(float x, float y) { return powf(x, y); }
DEV void SINCOS(double x, double* s, double* c) { sincos(x, s, c); }
DEV float RECIP(float x) { return __fdividef(1.0f, x); }
DEV float FMA(float a, float b, float c) { return fmaf(a, b, c); }
DEV float FMAX(float a, float b) { return fmaxf(a, b); }
DEV u32 mulhi(u32 a, u32 b) { return __umulhi(a, b); }
DEV u32 popcount(u64 mask) { return (u32)__popcll(mask); }
#endif

// ---- scalars of a replay, written by the host before it ----------------------------------------------------------------------
struct Live {
  u64 seed, step, row0;
  double loss_scale;
  int cache_len, padding;
};

// ---- elements: `float` and `bf16` (the upper half of a float, rounded to nearest even) ----------------------------------------
struct bf16 {
  u16 bits;
};
union Bits {
  float f;
  u32 u;
};
DEV float bf2f(u16 h) {
  Bits c;
  c.u = (u32)h << 16;
  return c.f;
}
DEV u16 f2bf(float f) {
  Bits c;
  c.f = f;
  u32 rounded = c.u + 0x7fffu + ((c.u >> 16) & 1u);
  return (c.u & 0x7fffffffu) > 0x7f800000u ? (u16)((c.u >> 16) | 0x40u) : (u16)(rounded >> 16);
}
DEV u32 pack2(u16 lo, u16 hi) { return (u32)lo | (u32)hi << 16; }
// Two floats rounded, in one word.
#if defined(EMU_WARP) || defined(__HIP__)
DEV u32 round2(float lo, float hi) { return pack2(f2bf(lo), f2bf(hi)); }
#else
DEV u32 round2(float lo, float hi) {
  u32 r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
  return r;
}
#endif
DEV float lo2f(u32 w) { return bf2f((u16)w); }
DEV float hi2f(u32 w) { return bf2f((u16)(w >> 16)); }
DEV float load(const float* p) { return *p; }
DEV float load(const bf16* p) { return bf2f(p->bits); }
DEV void put(float* p, float x) { *p = x; }
DEV void put(bf16* p, float x) { p->bits = f2bf(x); }
DEV float rounded(const float*, float x) { return x; }            // what `put` would store, as a float
DEV float rounded(const bf16*, float x) { return bf2f(f2bf(x)); }
// How a gradient is delivered: written, or added to what is there (`op::GradMode`).
#define SET 0
#define ADD 1
template <class T> DEV void deliver(T* p, float x, int mode) { put(p, mode == ADD ? load(p) + x : x); }

// Four neighbouring elements at once. The address is a multiple of four elements.
struct float4x {
  float v[4];
};
DEV float4x load4(const float* p) {
  vec4 w = ld16(p);
  Bits b[4];
  b[0].u = w.x, b[1].u = w.y, b[2].u = w.z, b[3].u = w.w;
  float4x r = {{b[0].f, b[1].f, b[2].f, b[3].f}};
  return r;
}
DEV float4x load4(const bf16* p) {
  u64 w = *(const u64*)p;
  float4x r = {{lo2f((u32)w), hi2f((u32)w), lo2f((u32)(w >> 32)), hi2f((u32)(w >> 32))}};
  return r;
}
DEV void put4(float* p, float4x x) {
  Bits b[4];
  for (int i = 0; i < 4; i++) b[i].f = x.v[i];
  vec4 w = {b[0].u, b[1].u, b[2].u, b[3].u};
  st16(p, w);
}
DEV void put4(bf16* p, float4x x) {
  *(u64*)p = (u64)round2(x.v[0], x.v[1]) | (u64)round2(x.v[2], x.v[3]) << 32;
}

// ---- matrix fragments of 32 lanes; g = lane / 4, t = lane % 4 ------------------------------------------------------------------
// d += A(16x16) * B(16x8), bf16 in, f32 out:
//   a[0]: row g   cols 2t,2t+1   a[1]: row g+8, same cols   a[2]: row g, cols 2t+8,2t+9   a[3]: row g+8, same
//   b[0]: k 2t,2t+1 of column g  b[1]: k 2t+8,2t+9          d[0],d[1]: row g, cols 2t,2t+1   d[2],d[3]: row g+8
// By shuffles: what AMD runs, and a second opinion on the host's twin.
DEV void mma_by_shuffles(float d[4], const u32 a[4], const u32 b[2]) {
  int l = TID & 31, base = (int)lane_w() - l, g = l >> 2, t = l & 3;
  for (int j = 0; j < 8; j++) {
    int h = j >> 2, q = j & 3;
    u32 a0 = shfl_from(a[2 * h], base + g * 4 + q), a1 = shfl_from(a[2 * h + 1], base + g * 4 + q);
    u32 b0 = shfl_from(b[h], base + 8 * t + q), b1 = shfl_from(b[h], base + 8 * t + 4 + q);
    d[0] += lo2f(a0) * lo2f(b0) + hi2f(a0) * hi2f(b0);
    d[1] += lo2f(a0) * lo2f(b1) + hi2f(a0) * hi2f(b1);
    d[2] += lo2f(a1) * lo2f(b0) + hi2f(a1) * hi2f(b0);
    d[3] += lo2f(a1) * lo2f(b1) + hi2f(a1) * hi2f(b1);
  }
}
// r[i] of lane l: words of the 8x8 bf16 matrix i, whose rows start at the pointers of lanes 8i..8i+7: row l/4, columns
// 2(l%4) and +1; with TRANS rows 2(l%4) and +1 of column l/4. Each row is 16 bytes, aligned to 16.
#if defined(EMU_WARP) || defined(__HIP__)
#if defined(EMU_WARP)
static inline const u16* row_of(const u16* p, u32 lane LINE_ARG) {
  emu_check_align(p, 16);
  return emu_from(p, lane, 32, line);
}
#else
DEV const u16* row_of(const u16* p, u32 lane) {
  u64 a = (u64)p;
  return (const u16*)((a >> 32 << 32) | shfl_from((u32)a, (lane_w() & ~31) + lane));
}
#endif
template <bool TRANS> DEV void ldmatrix_x4(u32 r[4], const u16* p) {
  u32 l = TID & 31;
  for (u32 i = 0; i < 4; i++)
    if (TRANS) {
      const u16 *a = row_of(p, i * 8 + l % 4 * 2), *b = row_of(p, i * 8 + l % 4 * 2 + 1);
      r[i] = pack2(a[l / 4], b[l / 4]);
    } else {
      r[i] = ld4(row_of(p, i * 8 + l / 4) + l % 4 * 2);
    }
}
#else
template <bool TRANS> DEV void ldmatrix_x4(u32 r[4], const u16* p) {
  u32 s = (u32)__cvta_generic_to_shared(p);
  if (TRANS)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(s)
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(s)
                 : "memory");
}
#endif
#if defined(EMU_WARP)
// The host's twin: gathers both tiles from the 32 lanes by the layout above, then multiplies in double.
static inline void mma_m16n8k16(float d[4], const u32 a[4], const u32 b[2] LINE_ARG) {
  struct Lane {
    u32 a[4], b[2];
  } mine = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
  const void* row;
  u32 stride;
  emu_warp_exchange(&mine, sizeof mine, &row, &stride, 32, line);
  auto lane = [&](u32 l) { return (const Lane*)((const char*)row + l * stride); };
  auto half = [](u32 w, u32 i) { return bf2f((u16)(w >> 16 * i)); };
  u32 l = TID & 31;
  for (u32 i = 0; i < 4; i++) {
    u32 r = l / 4 + 8 * (i / 2), c = 2 * (l % 4) + i % 2;
    double s = d[i];
    for (u32 k = 0; k < 16; k++)
      s += (double)half(lane(r % 8 * 4 + k % 8 / 2)->a[r / 8 + 2 * (k / 8)], k % 2) *
           half(lane(c * 4 + k % 8 / 2)->b[k / 8], k % 2);
    d[i] = (float)s;
  }
}
#elif defined(__HIP__)
DEV void mma_m16n8k16(float d[4], const u32 a[4], const u32 b[2]) { mma_by_shuffles(d, a, b); }
#else
DEV void mma_m16n8k16(float d[4], const u32 a[4], const u32 b[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

// ---- AMD's matrix instructions: a warp's product of 16 x 16 x 16, bf16 in, float out, in units that are given MATRIX --
// The instructions make D += A B. With r = lane % 16 and q = lane / 16, a lane holds
//             A, row r, and B, column r    D, column r
//   MFMA    k 4q .. 4q + 3                rows 4q .. 4q + 3       64 lanes, gfx90a and gfx94x (CDNA3 ISA, 7.1.4)
//   WMMA    k 0 .. 15, for both q         rows q, q + 2, ..       32 lanes, gfx11 (RDNA3 ISA, 7.9)
//   WMMA12  k 8q .. 8q + 7                rows 8q .. 8q + 7       32 lanes, gfx120x (RDNA4 ISA, 7.12)
// A and B are laid out alike: so the factors are given in the other order, and D is the transpose of what is wanted. A
// lane then holds columns of one row, next to each other but for WMMA, as it must where they are the next left factor.
#ifdef MATRIX
#define MFMA 1
#define WMMA 2
#define WMMA12 3
#define FRAG (MATRIX == MFMA ? 4 : MATRIX == WMMA ? 16 : 8)
#define SUMS (256 / WARP)
static_assert(WARP == (MATRIX == MFMA ? 64 : 32), "lanes of the instruction");
// FRAG neighbouring values of k, from frag_k() on, of line frag_line(): a row of the left factor, a column of the right.
struct Frag {
  u32 w[FRAG / 2];
};
struct Sums {  // of row frag_line(), the columns sums_col(i)
  float v[SUMS];
};
DEV int frag_line() { return lane_w() % 16; }
DEV int frag_k() { return MATRIX == WMMA ? 0 : (int)lane_w() / 16 * FRAG; }
DEV int sums_col(int i) {
  int q = lane_w() / 16;
  return MATRIX == WMMA ? 2 * i + q : SUMS * q + i;
}
#if defined(EMU_WARP)
// The host's twin: gathers both factors by the table above, then multiplies in double.
static inline void mma_frags(Sums& c, const Frag& left, const Frag& right LINE_ARG) {
  Frag a[WARP], b[WARP];
  auto gather = [&](Frag* to, const Frag& mine) {
    const void* row;
    u32 stride;
    emu_warp_exchange(&mine, sizeof(Frag), &row, &stride, WARP, line);
    for (u32 l = 0; l < WARP; l++) to[l] = *(const Frag*)((const char*)row + l * stride);
  };
  gather(a, right), gather(b, left);
  auto at = [](const Frag* of, u32 r, u32 k) {
    const Frag& f = of[r + k / FRAG * 16];
    u32 w = f.w[k % FRAG / 2];
    // What both halves of the warp must hold, and do not, is not a number.
    if (MATRIX == WMMA && w != of[r + 16].w[k / 2]) w = 0x7fc07fc0u;
    return (double)bf2f((u16)(w >> 16 * (k % 2)));
  };
  for (u32 i = 0; i < SUMS; i++) {
    u32 row = MATRIX == WMMA ? 2 * i + lane_w() / 16 : lane_w() / 16 * SUMS + i, column = lane_w() % 16;
    double s = c.v[i];
    for (u32 k = 0; k < 16; k++) s += at(a, row, k) * at(b, column, k);
    c.v[i] = (float)s;
  }
}
#elif defined(__HIP__)
typedef short frag_words __attribute__((ext_vector_type(FRAG)));
typedef float sums_words __attribute__((ext_vector_type(SUMS)));
DEV void mma_frags(Sums& c, const Frag& left, const Frag& right) {
  frag_words a = __builtin_bit_cast(frag_words, right), b = __builtin_bit_cast(frag_words, left);
  sums_words d = __builtin_bit_cast(sums_words, c);
#if MATRIX == MFMA
  d = __builtin_amdgcn_mfma_f32_16x16x16bf16_1k(a, b, d, 0, 0, 0);
#elif MATRIX == WMMA
  d = __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32(a, b, d);
#else
  d = __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32_gfx12(a, b, d);
#endif
  c = __builtin_bit_cast(Sums, d);
}
#endif
// The sums as neighbouring columns, from column SUMS * (lane / 16) on.
DEV void sums_in_order(float to[SUMS], const Sums& c) {
  bool high = lane_w() / 16;
  for (int i = 0; i < SUMS / 2; i++)
    if (MATRIX == WMMA) {
      float x = shfl_xor(high ? c.v[i] : c.v[SUMS / 2 + i], 16);
      to[2 * i] = high ? x : c.v[i], to[2 * i + 1] = high ? c.v[SUMS / 2 + i] : x;
    } else {
      to[2 * i] = c.v[2 * i], to[2 * i + 1] = c.v[2 * i + 1];
    }
}
#endif
