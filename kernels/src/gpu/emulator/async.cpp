// What runs beside the threads on Hopper: barriers that count arrivals and bytes, the copy engine, products of a warpgroup.
// Appended to emulator.cpp; `hopper.cuh` calls it.
//
// All that is asynchronous happens at the last legal moment. A copy lands when a thread waits for the barrier that counts its
// bytes; until then its bytes are in flight, and touching them is a fault. A product is made when its thread waits for its
// group; until then its sums are NaN, and its factors are read only then. Who meets at a barrier is ordered after all that
// happened before the meeting: more than the hardware promises where a third thread did it.

// ---- barriers among some threads ----------------------------------------------------------------------------------------------
struct Named {
  u32 threads, here, done_epoch;
};
static Named named[16];
static void wake(const void* waits) {
  for (u32 i = 0; i < threads; i++)
    if (pool[i]->state == AT_ASYNC && pool[i]->waits == waits) pool[i]->state = READY;
}
static void acquire(u32 done_epoch) { emu_cur->since = std::max(emu_cur->since, done_epoch); }
API void emu_named(u32 id, u32 count, bool wait, int line) {
  if (id < 1 || id > 15 || count % 32 || count > threads) fail("named barrier %u of %u threads at line %d", id, count, line);
  Named& n = named[id];
  if (n.here && n.threads != count) fail("named barrier %u: %u threads and %u at line %d", id, n.threads, count, line);
  n.threads = count;
  if (++n.here == count) {
    n.here = 0, n.done_epoch = ++epoch;
    wake(&n);
  } else if (wait) {
    emu_cur->waits = &n;
    wait_in(AT_ASYNC, line);
  }
  if (wait) acquire(n.done_epoch);
}

// ---- the copy engine: a tensor as the driver of the emulated device describes it -----------------------------------------------
struct Map {
  u64 address, strides[3];  // bytes between the elements of dimensions 1, 2, 3
  u32 rank, element, dims[4], box[4];
};
struct Box {
  u8* to;
  Map map;
  int at[4];
  u32 bytes;
};
struct Counter {  // an mbarrier
  const void* at;
  u32 count, pending, phase, done_epoch, waiting;
  long bytes;  // expected, less those that came
  std::vector<Box> boxes;
};
static Counter counters[64];
static u32 counters_used;
// Calls row(to, from): lines of the box in their order; `from` is null where the line lies beyond the edges, and `left` its
// elements within them.
template <class F> static void rows_of(const Box& b, F row) {
  const Map& m = b.map;
  u8* to = b.to;
  for (u32 w = 0; w < m.box[3]; w++)
    for (u32 z = 0; z < m.box[2]; z++)
      for (u32 y = 0; y < m.box[1]; y++, to += m.box[0] * m.element) {
        u32 c[4] = {0, b.at[1] + y, b.at[2] + z, b.at[3] + w};  // what is negative becomes large
        bool in = c[1] < m.dims[1] && c[2] < m.dims[2] && c[3] < m.dims[3];
        u64 from = m.address;
        for (int d = 1; d < 4; d++) from += c[d] * m.strides[d - 1];
        row(to, in ? (const u8*)from : 0);
      }
}
static u8* swizzled(u8* p) {  // 16-byte chunks of 128-byte lines, by the line's number in 1024 bytes
  u64 a = (u64)p;
  return (u8*)(a ^ (a >> 3 & 0x70));
}
static void land(const Box& b) {
  const Map& m = b.map;
  rows_of(b, [&](u8* to, const u8* from) {
    for (u32 x = 0; x < m.box[0]; x++) {
      bool in = from && (u32)(b.at[0] + (int)x) < m.dims[0];
      u8* element = swizzled(to + x * m.element);
      if (in) memcpy(element, from + (long)(b.at[0] + (int)x) * m.element, m.element);
      else memset(element, 0, m.element);
    }
  });
  for (u32 i = 0; i < b.bytes; i++) {
    Record& r = shadow[b.to - arena + i];
    r.writer = ENGINE, r.write_epoch = epoch;
  }
}
static Counter& counter(const void* at) {
  for (u32 i = 0; i < counters_used; i++)
    if (counters[i].at == at) return counters[i];
  fail("a barrier in shared memory that was not initialised");
  return counters[0];
}
// The end of a phase, where all have arrived and all bytes have been asked for.
static void settle(Counter& c) {
  long asked = 0;
  for (const Box& b : c.boxes) asked += b.bytes;
  if (c.pending || asked != c.bytes) return;
  for (const Box& b : c.boxes) land(b);
  c.boxes.clear(), c.bytes = 0, c.phase++, c.pending = c.count, c.done_epoch = ++epoch;
  wake(&c);
}
API void emu_mbar_init(u64* bar, u32 count) {
  void* pc = __builtin_return_address(0);
  touch(bar, 8, WRITE, pc);
  emu_check_align(bar, 8);
  if (counters_used == 64) fail("more than 64 barriers in shared memory");
  Counter& c = counters[counters_used++];
  c.at = bar, c.count = c.pending = count, c.phase = c.done_epoch = c.waiting = 0, c.bytes = 0;
  c.boxes.clear();
}
API void emu_mbar_arrive(u64* bar, u32 bytes) {
  void* pc = __builtin_return_address(0);
  touch(bar, 8, READ, pc);
  Counter& c = counter(bar);
  if (!c.pending) fail("an arrival at a barrier where all have arrived and nobody waited");
  c.pending--, c.bytes += bytes;
  if (!c.pending && (c.waiting || (!c.bytes && c.boxes.empty()))) settle(c);
}
API void emu_mbar_wait(u64* bar, u32 parity, int line) {
  void* pc = __builtin_return_address(0);
  touch(bar, 8, READ, pc);
  Counter& c = counter(bar);
  if (parity > 1) fail("parity %u", parity);
  if ((c.phase & 1) == parity) settle(c);
  while ((c.phase & 1) == parity) {
    emu_cur->waits = &c;
    c.waiting++;
    wait_in(AT_ASYNC, line);
    c.waiting--;
  }
  acquire(c.done_epoch);
}
API void emu_tma_load(void* to, const void* map, u64* bar, const int* at, u32 rank) {
  void* pc = __builtin_return_address(0);
  touch(bar, 8, READ, pc);
  Counter& c = counter(bar);
  const Map& m = *(const Map*)map;
  if (m.rank != rank) fail("a tensor of %u dimensions is read with %u coordinates", m.rank, rank);
  Box b = {(u8*)to, m, {at[0], at[1], at[2], at[3]}, m.element * m.box[0] * m.box[1] * m.box[2] * m.box[3]};
  error_pc = (u64)pc;
  if (m.box[0] * m.element != 128) fail("lines of %u bytes: a tile has lines of 128", m.box[0] * m.element);
  if ((u64)to % 1024) fail("a tile that does not start at a multiple of 1024 bytes");
  touch(to, b.bytes, WRITE, pc);
  memset(to, 0xff, b.bytes);
  for (u32 i = 0; i < b.bytes; i++) shadow[(u8*)to - arena + i].writer = IN_FLIGHT;
  rows_of(b, [&](u8*, const u8* from) {
    int first = std::max(at[0], 0), end = std::min(at[0] + (int)m.box[0], (int)m.dims[0]);
    if (from && first < end) touch(from + (long)first * m.element, (end - first) * m.element, READ, pc);
  });
  c.boxes.push_back(b);
  if (c.waiting) settle(c);
}

// ---- products of a warpgroup ------------------------------------------------------------------------------------------------------
struct Sums {  // of one thread
  float* at;
  u32 n, products;
  float value[128];
};
struct Warpgroup {  // a product that was asked for, as one thread sees it
  Sums* sums;
  u64 a, b;
  u32 flags, group, a_rows[2][8];  // two rows of A, where it came in registers
  bool in_registers;
  void* pc;
};
struct Lane {
  std::vector<Warpgroup> products;
  std::vector<Sums*> sums;
  u32 group;
  bool fenced;
};
enum : u32 { ADD_TO = 1, A_MN = 2, B_MN = 4, WATCHED = 8 };
static Lane lanes[1024];
static u8* dynamic_base() { return (u8*)emu_shared(0, 0); }
// Where element k of row or column `mn` of a factor lies.
static u8* element_of(u8* base, u64 desc, bool mn_major, u32 mn, u32 k) {
  u32 start = (desc & 0x3fff) << 4, leading = (desc >> 16 & 0x3fff) << 4, stride = (desc >> 32 & 0x3fff) << 4;
  u32 at = mn_major ? mn / 64 * leading + k / 8 * stride + k % 8 * 128 + mn % 64 * 2
                    : mn / 8 * stride + mn % 8 * 128 + k * 2;
  return swizzled(base + start + at);
}
static float bf16_at(const u8* p) {
  u32 bits = 0;
  memcpy((u8*)&bits + 2, p, 2);
  float f;
  memcpy(&f, &bits, 4);
  return f;
}
// All that a warp reads, watched as its first lane's reads; and that it lies in shared memory.
static void read_factor(const Warpgroup& p, u8* base, u64 desc, bool mn_major, u32 first, u32 count) {
  u32 mn_step = mn_major ? 8 : 1, k_step = mn_major ? 1 : 8;
  for (u32 mn = first; mn < first + count; mn += mn_step)
    for (u32 k = 0; k < 16; k += k_step) touch(element_of(base, desc, mn_major, mn, k), 16, READ, p.pc);
}
static void multiply(const Warpgroup& p) {
  u32 t = emu_cur->tid % 128, l = t % 32, row = t / 32 * 16 + l / 4, n = p.sums->n;
  u8* base = dynamic_base();
  bool a_mn = p.flags & A_MN, b_mn = p.flags & B_MN;
  if (l == 0 && (p.flags & WATCHED)) {
    if (!p.in_registers) read_factor(p, base, p.a, a_mn, t / 32 * 16, 16);
    read_factor(p, base, p.b, b_mn, 0, n);
  }
  float a[2][16];
  for (u32 h = 0; h < 2; h++)
    for (u32 k = 0; k < 16; k++)
      a[h][k] = p.in_registers ? bf16_at((const u8*)&p.a_rows[h][k / 2] + k % 2 * 2)
                               : bf16_at(element_of(base, p.a, a_mn, row + 8 * h, k));
  for (u32 j = 0; j < n / 8; j++)
    for (u32 e = 0; e < 2; e++) {
      float b[16];
      for (u32 k = 0; k < 16; k++) b[k] = bf16_at(element_of(base, p.b, b_mn, j * 8 + l % 4 * 2 + e, k));
      for (u32 h = 0; h < 2; h++) {
        float& to = p.sums->value[4 * j + 2 * h + e];
        double sum = p.flags & ADD_TO ? to : 0.0;
        for (u32 k = 0; k < 16; k++) sum += (double)a[h][k] * b[k];
        to = (float)sum;
      }
    }
}
// Swizzle of 128 bytes, no base offset, nothing in the bits between the fields.
static bool desc_ok(u64 desc) { return desc >> 62 == 1 && !(desc & 0x3fffc000c000c000ull); }
API void emu_wgmma(float* sums, u32 n, const u32* a_regs, u64 a, u64 b, u32 flags, int line) {
  Lane& lane = lanes[emu_cur->tid];
  u32 l = emu_cur->tid % 32;
  error_pc = (u64)__builtin_return_address(0);
  if (threads % 128) fail("wgmma at line %d: the block has no whole warpgroups", line);
  if (!lane.fenced) fail("wgmma at line %d without wgmma_fence since the last wait", line);
  if (!desc_ok(b) || (!a_regs && !desc_ok(a))) fail("wgmma at line %d: a matrix descriptor that no tile has", line);
  Warpgroup p = {0, a, b, flags, lane.group, {}, a_regs != 0, __builtin_return_address(0)};
  u32 mine[4] = {}, stride;
  if (a_regs) memcpy(mine, a_regs, 16);
  const void* row;
  emu_warp_exchange(mine, 16, &row, &stride, 32, line);
  for (u32 q = 0; q < 4; q++) {
    const u32* other = (const u32*)((const char*)row + (l / 4 * 4 + q) * stride);
    for (u32 i = 0; i < 4; i++) p.a_rows[i % 2][i / 2 * 4 + q] = other[i];
  }
  for (Sums* s : lane.sums)
    if (s->at == sums) p.sums = s;
  if (!p.sums) {
    p.sums = new Sums{sums, n, 0, {}};
    memcpy(p.sums->value, sums, n * 2);
    memset(sums, 0xff, n * 2);
    lane.sums.push_back(p.sums);
  }
  p.sums->products++;
  lane.products.push_back(p);
}
static void meet_warp(int line) {
  u8 nothing = 0;
  const void* row;
  u32 stride;
  emu_warp_exchange(&nothing, 1, &row, &stride, 32, line);
}
API void emu_wgmma_fence(int line) {
  meet_warp(line);
  lanes[emu_cur->tid].fenced = true;
}
API void emu_wgmma_commit(int) { lanes[emu_cur->tid].group++; }
API void emu_wgmma_wait(u32 pending, int line) {
  meet_warp(line);
  Lane& lane = lanes[emu_cur->tid];
  lane.fenced = false;
  size_t done = 0;
  for (; done < lane.products.size() && lane.products[done].group + pending < lane.group; done++) {
    multiply(lane.products[done]);
    lane.products[done].sums->products--;
  }
  lane.products.erase(lane.products.begin(), lane.products.begin() + done);
  for (size_t i = 0; i < lane.sums.size();) {
    Sums* s = lane.sums[i];
    if (s->products) {
      i++;
      continue;
    }
    memcpy(s->at, s->value, s->n * 2);
    delete s;
    lane.sums.erase(lane.sums.begin() + i);
  }
  meet_warp(line);  // lanes are in lockstep: what one does next comes after the products of all
}

// ---- a block's begin and end --------------------------------------------------------------------------------------------------------
static void async_begin() {
  for (u32 i = 0; i < counters_used; i++) counters[i].boxes.clear();
  counters_used = 0;
  memset(named, 0, sizeof named);
  for (u32 i = 0; i < threads; i++) {
    for (Sums* s : lanes[i].sums) delete s;
    lanes[i] = Lane();
  }
}
static void async_end(u32 bid) {
  for (u32 i = 0; i < counters_used; i++)
    if (!counters[i].boxes.empty()) return fail("block %u: a copy that nobody waited for", bid);
  for (u32 i = 0; i < threads; i++)
    if (!lanes[i].products.empty()) return fail("block %u thread %u: a product that was not waited for", bid, i);
}
