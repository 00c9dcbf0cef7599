// The execution model of a GPU on the host, for kernels compiled with the host face of prelude.cuh.
//
// Threads of a block are fibers; blocks run one after another. Barriers, shuffles, votes and matrix instructions are meeting
// points at which a fiber waits for the others; async.cpp, which follows this file, has what runs beside the threads. Compile
// both plainly and the kernels with -fsanitize=thread: the hooks at the end (libtsan itself is not linked) then see every load
// and store of a kernel and give exact bounds, initialisation and race checks. Two accesses to one byte conflict when different threads made them, one is a write, and no barrier lies
// between; inside a warp WSYNC separates too, shuffles do not. Blocks of one launch are never ordered.
#include <dlfcn.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <mutex>
#include <vector>
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
#define API extern "C" __attribute__((visibility("default")))

// ---- fibers -----------------------------------------------------------------------------------------------------------------
#if defined(__x86_64__)
struct Context {
  void* sp;
};
extern "C" void emu_switch(Context* from, Context* to);
asm(".text\n.globl emu_switch\n.hidden emu_switch\nemu_switch:\n"
    " push %rbp\n push %rbx\n push %r12\n push %r13\n push %r14\n push %r15\n"
    " mov %rsp,(%rdi)\n mov (%rsi),%rsp\n"
    " pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbx\n pop %rbp\n ret\n");
static void make_context(Context* c, char* stack, size_t n, void (*f)()) {
  void** p = (void**)(stack + n) - 2;
  p[0] = (void*)f, p[1] = 0;
  memset(p - 6, 0, 48);
  c->sp = p - 6;
}
#else
struct Context {
  ucontext_t u;
};
static void emu_switch(Context* a, Context* b) { swapcontext(&a->u, &b->u); }
static void make_context(Context* c, char* stack, size_t n, void (*f)()) {
  getcontext(&c->u);
  c->u.uc_stack.ss_sp = stack, c->u.uc_stack.ss_size = n, c->u.uc_link = 0;
  makecontext(&c->u, f, 0);
}
#endif

enum State { READY, AT_BARRIER, AT_WARP, AT_ASYNC, DONE };
struct Copy {
  u8* to;
  const u8* from;
  u32 bytes, group;
};
struct Thread {
  u32 tid, bid, bdim, gdim;  // what the kernels read
  Context context;
  State state;
  int line;
  char* stack;
  u32 group, since;  // the epoch of the last barrier that it passed
  const void* waits;
  std::vector<Copy> copies;
};
struct Group {  // lanes that meet: of a warp, or of 32 for matrix fragments
  u32 size, live, count, generation;
  int line;
  u8 slot[2][64][32];
};
static const size_t STACK = 64 << 10, PAGE = 4096, ARENA = 1ull << 30;
static std::vector<Thread*> pool;
static std::vector<u32> order;
static Group groups[2][64];
static u32 warp_epoch[64], warp_size = 32;
static Context scheduler;
static u32 threads, alive, at_barrier;
static bool failed;
static char error[512];
static u64 error_pc;
static void (*body)(void**);
static void** body_args;
static u32 config_order, random_state = 1, epoch = 1, launch_start, block_start;
extern "C" {
__attribute__((visibility("default"))) Thread* emu_cur = 0;
}

static void fail(const char* format, ...) {  // does not return when called on a fiber
  if (!failed) {
    failed = true;
    int n = emu_cur ? snprintf(error, 99, "block %u thread %u: ", emu_cur->bid, emu_cur->tid) : 0;
    va_list args;
    va_start(args, format);
    vsnprintf(error + n, sizeof error - n, format, args);
    va_end(args);
  }
  if (emu_cur) {
    Context dead;
    emu_switch(&dead, &scheduler);
  }
}
static void wait_in(State state, int line) {
  Thread* t = emu_cur;
  t->state = state, t->line = line;
  emu_switch(&t->context, &scheduler);
}
static void entry() {
  body(body_args);
  emu_cur->state = DONE;
  Context dead;
  emu_switch(&dead, &scheduler);
}

// ---- device memory: every allocation ends at a guard page; the shadow holds one record a byte ---------------------------------
struct Record {
  u32 write_epoch, read_epoch, read_by_other_block;
  u16 writer, reader, write_warp_epoch, read_warp_epoch;
};
enum : u16 { ENGINE = 0xfffb, IN_FLIGHT = 0xfffc, MANY = 0xffff, MANY_OF_WARP = 0x8000 };
struct Alloc {
  u8* p;
  u32 bytes, span;
  const void* key;
  bool shared, used;
};
struct Hole {
  size_t offset, span;
};
static u8* arena;
static Record* shadow;
static size_t bump;
static std::vector<Alloc> allocs;
static std::vector<Hole> holes;
static u32* page_owner;

static u8* base_of(const Alloc& a) { return a.p + (a.bytes + 15) / 16 * 16 - a.span; }
static size_t place(size_t span) {  // pages for an allocation and the guard page behind it
  for (Hole& hole : holes)
    if (hole.span >= span) {
      size_t offset = hole.offset;
      hole.offset += span, hole.span -= span;
      return offset;
    }
  if (bump + span > ARENA) return 0;
  size_t offset = bump;
  bump += span;
  return offset;
}
static Alloc* reserve(u32 bytes, const void* key, bool shared) {
  if (!arena) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    arena = (u8*)mmap(0, ARENA, PROT_NONE, flags, -1, 0);
    shadow = (Record*)mmap(0, ARENA * sizeof(Record), PROT_READ | PROT_WRITE, flags, -1, 0);
    page_owner = (u32*)calloc(ARENA / PAGE, 4);
    bump = PAGE;
  }
  u32 need = (bytes + 15) / 16 * 16, span = (need + PAGE - 1) / PAGE * PAGE;
  size_t offset = place(span + PAGE);
  if (!offset) {
    fail("device memory is full");
    return 0;
  }
  u8* base = arena + offset;
  mprotect(base, span, PROT_READ | PROT_WRITE);
  memset(base, 0xA5, span);
  size_t slot = 0;
  while (slot < allocs.size() && allocs[slot].used) slot++;
  if (slot == allocs.size()) allocs.push_back({});
  allocs[slot] = {base + span - need, bytes, span, key, shared, true};
  for (u32 i = 0; i < span / PAGE; i++) page_owner[offset / PAGE + i] = slot + 1;
  memset(allocs[slot].p, 0xff, bytes);
  return &allocs[slot];
}
static void release(Alloc& a) {
  u8* base = base_of(a);
  size_t offset = base - arena;
  for (u32 i = 0; i < a.span / PAGE; i++) page_owner[offset / PAGE + i] = 0;
  madvise(base, a.span, MADV_DONTNEED);
  mprotect(base, a.span, PROT_NONE);
  holes.push_back({offset, a.span + PAGE});
  a.used = false;
  for (const Alloc& other : allocs)
    if (other.used) return;
  holes.clear(), allocs.clear(), bump = PAGE;
}
static bool canaries_ok(const Alloc& a) {
  u8* base = base_of(a);
  for (u8* q = base; q < base + a.span; q++)
    if ((q < a.p || q >= a.p + a.bytes) && *q != 0xA5) return false;
  return true;
}
API void* emu_alloc(u32 bytes) {
  failed = false;
  Alloc* a = reserve(bytes, 0, false);
  return a ? a->p : 0;
}
API void emu_free(void* p) {
  for (Alloc& a : allocs)
    if (a.used && a.p == p) return release(a);
}
API void* emu_shared(const void* key, u32 bytes) {
  for (Alloc& a : allocs)
    if (a.used && a.shared && a.key == key) return a.p;
  if (!key) fail("the kernel uses dynamic shared memory, the launch gave none");
  Alloc* a = reserve(bytes, key, true);
  return a ? a->p : 0;
}

// ---- access rules --------------------------------------------------------------------------------------------------------------
enum Kind { READ, WRITE };
static bool same_warp_before(u16 thread, u16 epoch_then, u32 warp, u32 epoch_now) {
  return thread < 1024 && thread / warp_size == warp && epoch_then != (u16)epoch_now;
}
static void touch(const void* address, u32 bytes, Kind kind, void* pc) {
  size_t offset = (size_t)((const u8*)address - arena);
  if (offset >= ARENA || !emu_cur) return;  // not device memory: stack, emulator state
  u32 owner = page_owner[offset / PAGE];
  Alloc* a = owner ? &allocs[owner - 1] : 0;
  const u8* p = (const u8*)address;
  const char* what = kind == READ ? "read" : "write";
  if (pc) error_pc = (u64)pc;
  if (!a || p < a->p || p + bytes > a->p + a->bytes)
    fail("out of bounds: %s of %u bytes at offset %ld of a %u-byte %s array", what, bytes, a ? (long)(p - a->p) : -1L,
         a ? a->bytes : 0, a && a->shared ? "shared" : "global");
  const char* space = a->shared ? "shared" : "global";
  u16 me = emu_cur->tid, warp = me / warp_size;
  u32 now = warp_epoch[warp], since = emu_cur->since;
  for (Record* r = shadow + offset; r < shadow + offset + bytes; r++) {
    bool here = r->write_epoch >= block_start;
    if (here && r->writer == IN_FLIGHT) fail("%s of bytes with an asynchronous copy in flight", what);
    if (a->shared && kind == READ && !here)
      fail("read of shared memory nobody wrote in this block (offset %ld)", (long)(p - a->p));
    if (r->writer == ENGINE && r->write_epoch >= since)
      fail("race: %s of what a copy brings, before a wait for its barrier (%s offset %ld)", what, space, (long)(p - a->p));
    if (r->write_epoch >= since && r->writer != me && !same_warp_before(r->writer, r->write_warp_epoch, warp, now))
      fail("race: %s after write by thread %u with no barrier between (%s offset %ld)", what, r->writer, space,
           (long)(p - a->p));
    if (!a->shared && r->write_epoch >= launch_start && !here) fail("race between blocks: %s after a write", what);
    u16 reader = r->reader;
    u32 reader_thread = reader & MANY_OF_WARP ? (reader & 0x7fff) * warp_size : reader;
    if (kind == READ) {
      if (r->read_epoch >= launch_start && r->read_epoch < block_start) r->read_by_other_block = launch_start;
      if (r->read_epoch != epoch || reader == me) r->reader = me;
      else if (reader == MANY || reader_thread / warp_size != warp) r->reader = MANY;
      else r->reader = r->read_warp_epoch == (u16)now ? MANY_OF_WARP | warp : me;
      r->read_epoch = epoch, r->read_warp_epoch = now;
    } else {
      bool mine = reader == me ||
                  (reader != MANY && reader_thread / warp_size == warp && r->read_warp_epoch != (u16)now);
      if (r->read_epoch >= since && !mine)
        fail("race: %s after read by %s with no barrier between (%s offset %ld)", what,
             reader == MANY ? "several threads" : "another thread", space, (long)(p - a->p));
      if (!a->shared && (r->read_by_other_block == launch_start ||
                         (r->read_epoch >= launch_start && r->read_epoch < block_start)))
        fail("race between blocks: %s after a read", what);
      r->write_epoch = epoch, r->writer = me, r->write_warp_epoch = now;
    }
  }
}
API void emu_check_align(const void* p, u32 bytes) {
  if ((u64)p % bytes) {
    error_pc = (u64)__builtin_return_address(0);
    fail("pointer not aligned to %u bytes", bytes);
  }
}

// Asynchronous copies complete at the last legal moment, the wait; until then the destination is poison.
API void emu_copy_async(void* to, const void* from, u32 bytes) {
  void* pc = __builtin_return_address(0);
  touch(to, bytes, WRITE, pc);
  if (from) touch(from, bytes, READ, pc);
  memset(to, 0xff, bytes);
  for (u32 i = 0; i < bytes; i++) shadow[(u8*)to - arena + i].writer = IN_FLIGHT;
  emu_cur->copies.push_back({(u8*)to, (const u8*)from, bytes, emu_cur->group});
}
API void emu_copy_commit() { emu_cur->group++; }
API void emu_copy_wait(u32 pending) {
  Thread* t = emu_cur;
  size_t done = 0;
  for (; done < t->copies.size() && t->copies[done].group + pending < t->group; done++) {
    Copy& c = t->copies[done];
    if (c.from) memcpy(c.to, c.from, c.bytes);
    else memset(c.to, 0, c.bytes);
    for (u32 i = 0; i < c.bytes; i++) {
      Record& r = shadow[c.to - arena + i];
      r.writer = t->tid, r.write_epoch = epoch, r.write_warp_epoch = warp_epoch[t->tid / warp_size];
    }
  }
  t->copies.erase(t->copies.begin(), t->copies.begin() + done);
}

// ---- meeting points --------------------------------------------------------------------------------------------------------------
API void emu_barrier(int line) {
  at_barrier++;
  wait_in(AT_BARRIER, line);
}
static u8* meet(Group& g, const void* mine, u32 bytes, u32 lane, int line) {
  u32 parity = g.generation & 1;
  if (g.live != g.size) fail("warp collective at line %d in a partial warp: make the block a multiple of the warp", line);
  if (g.count == 0) memset(g.slot[parity], 0xff, sizeof g.slot[parity]), g.line = line;
  else if (g.line != line) fail("lanes of one warp meet at different places: line %d and line %d", g.line, line);
  memcpy(g.slot[parity][lane], mine, bytes);
  if (++g.count < g.live) {
    wait_in(AT_WARP, line);
  } else {
    g.count = 0, g.generation++;
    u32 first = emu_cur->tid - lane;
    for (u32 i = first; i < first + g.size && i < threads; i++)
      if (pool[i]->state == AT_WARP) pool[i]->state = READY;
  }
  return g.slot[parity][0];
}
API void emu_warp_exchange(const void* mine, u32 bytes, const void** row, u32* stride, u32 size, int line) {
  u32 t = emu_cur->tid;
  *row = meet(groups[size == warp_size ? 0 : 1][t / size], mine, bytes, t % size, line);
  *stride = 32;
}
API void emu_warp_sync(int line) {
  u8 nothing = 0;
  u32 t = emu_cur->tid, warp = t / warp_size, before = groups[0][warp].generation;
  meet(groups[0][warp], &nothing, 1, t % warp_size, line);
  if (before + 1 == groups[0][warp].generation) warp_epoch[warp] = before + 1;
}

// ---- launch ------------------------------------------------------------------------------------------------------------------------
static u32 random_below(u32 n) {
  random_state ^= random_state << 13, random_state ^= random_state >> 17, random_state ^= random_state << 5;
  return random_state % n;
}
static std::vector<u32> permuted(u32 n) {
  std::vector<u32> v(n);
  for (u32 i = 0; i < n; i++) {
    u32 j = random_below(i + 1);
    v[i] = v[j], v[j] = i;
  }
  return v;
}
// 0 ascending, 1 descending, 2 any permutation, 3 warps permuted, and the lanes in each; blocks likewise
static void make_order() {
  if (config_order == 2) {
    order = permuted(threads);
    return;
  }
  order.clear();
  if (config_order < 2) {
    for (u32 i = 0; i < threads; i++) order.push_back(config_order ? threads - 1 - i : i);
    return;
  }
  for (u32 w : permuted((threads + warp_size - 1) / warp_size))
    for (u32 l : permuted(warp_size))
      if (w * warp_size + l < threads) order.push_back(w * warp_size + l);
}
static sigjmp_buf trap;
static char signal_stack[65536];
static void on_signal(int signal, siginfo_t* info, void* context) {
#if defined(__x86_64__)
  error_pc = ((ucontext_t*)context)->uc_mcontext.gregs[REG_RIP] + 1;
#endif
  size_t offset = (size_t)((u8*)info->si_addr - arena);
  Thread* t = emu_cur;
  emu_cur = 0;
  const char* what = signal == SIGFPE  ? "integer division fault"
                     : signal == SIGILL ? "undefined behaviour trap (array bound, shift)"
                     : offset < ARENA   ? "guard page hit (out of bounds)"
                                        : "bad address or stack overflow";
  fail("block %u thread %u: %s", t ? t->bid : 0, t ? t->tid : 0, what);
  siglongjmp(trap, 1);
}
static void async_begin();
static void async_end(u32 bid);
static void start_block(u32 bid, u32 grid) {
  alive = threads, at_barrier = 0, block_start = ++epoch;
  memset(warp_epoch, 0, sizeof warp_epoch);
  for (Alloc& a : allocs)
    if (a.used && a.shared) memset(a.p, 0xff, a.bytes);
  for (int k = 0; k < 2; k++)
    for (u32 i = 0; i < 64; i++) {
      Group& g = groups[k][i];
      g.size = k ? 32 : warp_size, g.count = g.generation = 0;
      g.live = i * g.size < threads ? std::min(g.size, threads - i * g.size) : 0;
    }
  for (u32 i = 0; i < threads; i++) {
    Thread* t = pool[i];
    t->tid = i, t->bid = bid, t->bdim = threads, t->gdim = grid;
    t->state = READY, t->group = 0, t->since = epoch, t->copies.clear();
    make_context(&t->context, t->stack, STACK, entry);
  }
  async_begin();
  if (config_order < 2) make_order();
}
// Runs every thread that can run once (in order 3 a warp runs ahead to its next barrier). Lanes that left still count in warp
// collectives: a strict verdict that no order changes.
static bool run_round() {
  bool moved = false;
  for (u32 k = 0; k < threads;) {
    u32 warp = order[k] / warp_size;
    u32 end = config_order == 3 ? std::min(threads, (warp + 1) * warp_size) - warp * warp_size + k : threads;
    bool again = false;
    for (u32 i = k; i < end; i++) {
      Thread* t = pool[order[i]];
      if (t->state != READY) continue;
      moved = again = true;
      emu_cur = t;
      emu_switch(&scheduler, &t->context);
      emu_cur = 0;
      if (failed) return true;
      if (t->state == DONE) alive--;
    }
    if (config_order != 3 || !again) k = end;
  }
  return moved;
}
static void run_block(u32 bid, u32 grid) {
  start_block(bid, grid);
  while (alive) {
    if (config_order >= 2) make_order();
    bool moved = run_round();
    if (failed) return;
    if (moved && at_barrier < alive) continue;
    int line = 0, other = 0;
    u32 here = 0, elsewhere = 0, out = 0;
    for (u32 i = 0; i < threads; i++) {
      Thread* t = pool[i];
      if (t->state == DONE) out++;
      else if (!here || t->line == line) line = t->line, here++;
      else other = t->line, elsewhere++;
    }
    if (alive && (elsewhere || out || at_barrier != alive))
      return fail("block %u: divergence: %u threads wait at line %d, %u at line %d, %u have exited", bid, here, line,
                  elsewhere, other, out);
    at_barrier = 0, epoch++;
    for (u32 i = 0; i < threads; i++)
      if (pool[i]->state == AT_BARRIER) pool[i]->state = READY, pool[i]->since = epoch;
  }
  async_end(bid);
}
API void emu_config(u32 order, u32 seed) { config_order = order, random_state = seed * 2654435761u | 1; }
API const char* emu_error() { return error; }
// Where in its object the failing access lies, and which object that is.
API u64 emu_error_at(const char** object) {
  Dl_info info;
  if (!error_pc || !dladdr((void*)error_pc, &info)) return 0;
  *object = info.dli_fname;
  return error_pc - (u64)info.dli_fbase - 1;
}
API int emu_launch(void (*call)(void**), void** args, u32 grid, u32 block, u32 dyn_bytes, u32 warp) {
  static std::mutex one;
  std::lock_guard<std::mutex> hold(one);
  while (pool.size() < block) {
    Thread* t = new Thread();
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    char* memory = (char*)mmap(0, STACK + PAGE, PROT_READ | PROT_WRITE, flags, -1, 0);
    mprotect(memory, PAGE, PROT_NONE);
    t->stack = memory + PAGE;
    pool.push_back(t);
  }
  failed = false, error[0] = 0, error_pc = 0;
  body = call, body_args = args, threads = block, warp_size = warp, launch_start = ++epoch;
  if (dyn_bytes) reserve(dyn_bytes, 0, true);
  // Blocks go in the order that threads do; it is made before a fault may jump out of the loop.
  static std::vector<u32> blocks;
  blocks = config_order >= 2 ? permuted(grid) : std::vector<u32>();
  stack_t stack = {signal_stack, 0, sizeof signal_stack}, old_stack;
  struct sigaction action = {}, old[4];
  int signals[4] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
  action.sa_sigaction = on_signal, action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaltstack(&stack, &old_stack);
  for (int i = 0; i < 4; i++) sigaction(signals[i], &action, &old[i]);
  if (!sigsetjmp(trap, 1))
    for (u32 b = 0; b < grid && !failed; b++) run_block(blocks.empty() ? (config_order ? grid - 1 - b : b) : blocks[b], grid);
  emu_cur = 0;
  for (int i = 0; i < 4; i++) sigaction(signals[i], &old[i], 0);
  sigaltstack(&old_stack, 0);
  for (Alloc& a : allocs)
    if (a.used && !canaries_ok(a))
      fail("guard bytes around a %u-byte %s array were overwritten", a.bytes, a.shared ? "shared" : "global");
  for (size_t i = 0; i < allocs.size(); i++)
    if (allocs[i].used && allocs[i].shared) release(allocs[i]);
  return failed;
}

// ---- access hooks: the calls that -fsanitize=thread plants ----------------------------------------------------------------------
#define HOOK(name, bytes)                                                                                   \
  API void __tsan_##name##read##bytes(void* p) { touch(p, bytes, READ, __builtin_return_address(0)); }      \
  API void __tsan_##name##write##bytes(void* p) { touch(p, bytes, WRITE, __builtin_return_address(0)); }
HOOK(, 1) HOOK(, 2) HOOK(, 4) HOOK(, 8) HOOK(, 16)
HOOK(unaligned_, 2) HOOK(unaligned_, 4) HOOK(unaligned_, 8) HOOK(unaligned_, 16)
API void* __tsan_memcpy(void* to, const void* from, size_t n) {
  void* pc = __builtin_return_address(0);
  touch(from, n, READ, pc), touch(to, n, WRITE, pc);
  return memcpy(to, from, n);
}
API void* __tsan_memset(void* to, int c, size_t n) {
  touch(to, n, WRITE, __builtin_return_address(0));
  return memset(to, c, n);
}
API void __tsan_read_range(void* p, long n) { touch(p, n, READ, __builtin_return_address(0)); }
API void __tsan_write_range(void* p, long n) { touch(p, n, WRITE, __builtin_return_address(0)); }
API void __tsan_init() {}
API void __tsan_func_entry(void*) {}
API void __tsan_func_exit() {}
