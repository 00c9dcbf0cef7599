// A stand-in for cuBLASLt, or with -DHIP for hipBLASLt, in the host's memory: the functions that the program calls,
// written from the headers' declarations and the documentation of a product, D = alpha op(A) op(B) + beta C + bias,
// columns first. It refuses what the real library would: sizes that do not fit, attributes that it does not know, an
// algorithm that it did not offer.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef HIP
#define NAME(name) hipblasLt##name
enum { COMPUTE_32F = 2, OP_N = 111, OP_T = 112, NOT_SUPPORTED = 7, INVALID_VALUE = 3 };
enum { DESC_TRANSA = 0, DESC_TRANSB = 1, DESC_EPILOGUE = 2, DESC_BIAS_POINTER = 3, DESC_BIAS_DATA_TYPE = 4 };
typedef struct {
  uint8_t data[16];
  size_t max_workspace_bytes;
} Algo;
int hipblasLtGetVersion(void* handle, int* version) {
  *version = 1 * 100000 + 2 * 100 + 3;
  return handle ? 0 : INVALID_VALUE;
}
#else
#define NAME(name) cublasLt##name
enum { COMPUTE_32F = 68, OP_N = 0, OP_T = 1, NOT_SUPPORTED = 15, INVALID_VALUE = 7 };
enum { DESC_TRANSA = 3, DESC_TRANSB = 4, DESC_EPILOGUE = 7, DESC_BIAS_POINTER = 8, DESC_BIAS_DATA_TYPE = 26 };
enum { PREF_REDUCTION_SCHEME_MASK = 3, PREF_MIN_ALIGNMENT_A = 5, PREF_MIN_ALIGNMENT_D = 8, REDUCTION_COMPUTE_TYPE = 2 };
typedef struct {
  uint64_t data[8];
} Algo;
size_t cublasLtGetVersion(void) { return 130102; }
#endif
enum { R_32F = 0, R_16BF = 14, EPILOGUE_DEFAULT = 1, EPILOGUE_BIAS = 4, PREF_MAX_WORKSPACE = 1 };
typedef struct {
  Algo algo;
  size_t workspace;
  int state;
  float waves;
  int reserved[4];
} Result;
typedef struct {
  int compute, op_a, op_b, epilogue, bias_type;
  const void* bias;
} Desc;
typedef struct {
  int type;
  uint64_t rows, cols;
  int64_t ld;
} Layout;
typedef struct {
  size_t workspace;
  int set;
} Preference;

// Products that were made; things that were made and not given back; whether no algorithm is known any more.
static int products, alive, refuses;
int fake_products(void) { return products; }
int fake_alive(void) { return alive; }
void fake_refuse(int what) { refuses = what; }

static int made(void** to, size_t bytes) {
  *to = calloc(1, bytes);
  alive++;
  return 0;
}
static int ended(void* thing) {
  free(thing);
  alive--;
  return 0;
}
int NAME(Create)(void** handle) { return made(handle, 8); }
int NAME(Destroy)(void* handle) { return ended(handle); }
int NAME(MatmulDescCreate)(void** to, int compute, int scale) {
  made(to, sizeof(Desc));
  Desc desc = {compute, OP_N, OP_N, EPILOGUE_DEFAULT, -1, 0};
  *(Desc*)*to = desc;
  return scale == R_32F ? 0 : INVALID_VALUE;
}
int NAME(MatmulDescDestroy)(void* desc) { return ended(desc); }
static int take(void* to, const void* from, size_t want, size_t size) {
  if (size != want) return INVALID_VALUE;
  memcpy(to, from, size);
  return 0;
}
int NAME(MatmulDescSetAttribute)(void* desc, int attribute, const void* value, size_t size) {
  Desc* d = desc;
  switch (attribute) {
    case DESC_TRANSA: return take(&d->op_a, value, 4, size);
    case DESC_TRANSB: return take(&d->op_b, value, 4, size);
    case DESC_EPILOGUE: return take(&d->epilogue, value, 4, size);
    case DESC_BIAS_DATA_TYPE: return take(&d->bias_type, value, 4, size);
    case DESC_BIAS_POINTER: return take(&d->bias, value, 8, size);
  }
  return INVALID_VALUE;
}
int NAME(MatrixLayoutCreate)(void** to, int type, uint64_t rows, uint64_t cols, int64_t ld) {
  made(to, sizeof(Layout));
  Layout layout = {type, rows, cols, ld};
  *(Layout*)*to = layout;
  return ld >= (int64_t)rows && (type == R_32F || type == R_16BF) ? 0 : INVALID_VALUE;
}
int NAME(MatrixLayoutDestroy)(void* layout) { return ended(layout); }
int NAME(MatmulPreferenceCreate)(void** to) { return made(to, sizeof(Preference)); }
int NAME(MatmulPreferenceDestroy)(void* preference) { return ended(preference); }
int NAME(MatmulPreferenceSetAttribute)(void* preference, int attribute, const void* value, size_t size) {
  Preference* p = preference;
  p->set++;
  if (attribute == PREF_MAX_WORKSPACE) return take(&p->workspace, value, 8, size);
#ifndef HIP
  uint32_t number;
  if (take(&number, value, 4, size)) return INVALID_VALUE;
  if (attribute == PREF_REDUCTION_SCHEME_MASK) return number == REDUCTION_COMPUTE_TYPE ? 0 : INVALID_VALUE;
  if (attribute >= PREF_MIN_ALIGNMENT_A && attribute <= PREF_MIN_ALIGNMENT_D)
    return number >= 2 && number <= 256 && (number & (number - 1)) == 0 ? 0 : INVALID_VALUE;
#endif
  return INVALID_VALUE;
}

static uint64_t high(const Layout* m, int op) { return op == OP_T ? m->cols : m->rows; }
static uint64_t wide(const Layout* m, int op) { return op == OP_T ? m->rows : m->cols; }
static int fits(const Desc* d, const Layout* a, const Layout* b, const Layout* c, const Layout* to) {
  int ops = (d->op_a == OP_N || d->op_a == OP_T) && (d->op_b == OP_N || d->op_b == OP_T);
  int sizes = high(a, d->op_a) == to->rows && wide(b, d->op_b) == to->cols && wide(a, d->op_a) == high(b, d->op_b);
  int same = c->type == to->type && c->rows == to->rows && c->cols == to->cols && c->ld == to->ld && a->type == b->type;
  return d->compute == COMPUTE_32F && ops && sizes && same;
}
// Of four results the second has failed, and the third takes more workspace than there is.
int NAME(MatmulAlgoGetHeuristic)(void* handle, void* desc, void* a, void* b, void* c, void* to, void* preference,
                                 int room, Result* results, int* count) {
  const Desc* d = desc;
  const Preference* p = preference;
  *count = 0;
  if (!handle || !fits(d, a, b, c, to)) return INVALID_VALUE;
  if (refuses) return NOT_SUPPORTED;
  for (int i = 0; i < 4 && i < room; i++) {
    memset(&results[i], 0x77, sizeof(Result));
    memset(&results[i].algo, i + 1, sizeof(Algo));
    results[i].workspace = i == 2 ? p->workspace + 1 : 0;
    results[i].state = i == 1 ? NOT_SUPPORTED : 0;
    ++*count;
  }
  return 0;
}
static double load(const void* p, int type, int64_t at) {
  if (type == R_32F) return ((const float*)p)[at];
  uint32_t word = (uint32_t)((const uint16_t*)p)[at] << 16;
  float value;
  memcpy(&value, &word, 4);
  return value;
}
static void store(void* p, int type, int64_t at, float value) {
  uint32_t word;
  memcpy(&word, &value, 4);
  if (type == R_32F) ((float*)p)[at] = value;
  else ((uint16_t*)p)[at] = (uint16_t)((word + 0x7fff + (word >> 16 & 1)) >> 16);
}
int NAME(Matmul)(void* handle, void* desc, const float* alpha, const void* a, void* a_layout, const void* b,
                 void* b_layout, const float* beta, const void* c, void* c_layout, void* to, void* to_layout,
                 const Algo* algo, void* workspace, size_t workspace_bytes, void* stream) {
  const Desc* d = desc;
  const Layout *la = a_layout, *lb = b_layout, *lc = c_layout, *lt = to_layout;
  const uint8_t* bytes = (const uint8_t*)algo;
  if (!handle || !stream || !workspace || !workspace_bytes || !fits(d, la, lb, lc, lt)) return INVALID_VALUE;
  if (bytes[0] != 1 && bytes[0] != 4) return NOT_SUPPORTED;
  for (size_t i = 1; i < sizeof(Algo); i++)
    if (bytes[i] != bytes[0]) return INVALID_VALUE;
  uint64_t k = wide(la, d->op_a);
  for (uint64_t j = 0; j < lt->cols; j++)
    for (uint64_t i = 0; i < lt->rows; i++) {
      double sum = 0.0;
      for (uint64_t p = 0; p < k; p++)
        sum += load(a, la->type, d->op_a == OP_T ? p + i * la->ld : i + p * la->ld) *
               load(b, lb->type, d->op_b == OP_T ? j + p * lb->ld : p + j * lb->ld);
      sum *= *alpha;
      if (*beta != 0.0f) sum += *beta * load(c, lc->type, i + j * lc->ld);
      if (d->epilogue == EPILOGUE_BIAS) sum += load(d->bias, d->bias_type, i);
      store(to, lt->type, i + j * lt->ld, (float)sum);
    }
  products++;
  return 0;
}
