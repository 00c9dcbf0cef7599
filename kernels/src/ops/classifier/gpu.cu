// Softmax and cross-entropy of logits: z (rows, stride) f32, of whose rows `vocab` columns count. `stride` is a
// multiple of 8, so that every row is aligned to 16 bytes as f32 and as DZ. With a gradient, row r of dz (DZ: the type
// that the products take) begins where row r of z begins: in place, at most as long. losses (rows); targets (rows),
// negative: ignored.
#define LOWEST (-3.402823466e38f)  // its exponential is 0 beside any logit
DEV float factor_of(const Live* live, const float* upstream) {
  return (float)live->loss_scale * (upstream ? *upstream : 0.0f);
}
// A quad of a row; what lies past its end does not count.
DEV float4x quad(const float* row, u32 q, u32 vocab) {
  float4x v = load4(row + 4 * q);
  for (u32 k = 0; k < 4; k++)
    if (4 * q + k >= vocab) v.v[k] = LOWEST;
  return v;
}
DEV void put_gradient(DZ* dz, u32 q, float4x e, float scale, u32 target, float factor) {
  for (u32 k = 0; k < 4; k++) {
    e.v[k] *= scale;
    if (4 * q + k == target) e.v[k] -= factor;
  }
  put4(dz + 4 * q, e);
}
DEV void put_zeros(DZ* dz, u32 quads) {
  float4x zero = {{0.0f, 0.0f, 0.0f, 0.0f}};
  for (u32 q = TID; q < quads; q += BDIM) put4(dz + 4 * q, zero);
}

// Loss and gradient of a row that fits in shared memory (`stride` floats), one block a row: every logit is read once
// and every gradient written once, 6 bytes a logit in bf16 runs, and one exponential is taken of each. The whole row is
// asked for at once by asynchronous copies (200 kB for a vocabulary of 50 thousand: one block a multiprocessor), in
// four groups, so that the maximum of what has come is taken while the rest is on its way. A thread reads only the
// quads that it copied.
DEV float highest_of(float* row, u32 from, u32 to, u32 vocab, float highest) {
  for (u32 k = from; k < to; k++) {
    u32 q = k * BDIM + TID;
    if (4 * q < vocab) {
      float4x v = quad(row, q, vocab);
      if (4 * q + 4 > vocab) put4(row + 4 * q, v);
      for (int l = 0; l < 4; l++) highest = v.v[l] > highest ? v.v[l] : highest;
    }
  }
  return highest;
}
KERNEL(softmax_in_shared, 1024, (float* z, float* losses, const int* targets, const float* upstream, const Live* live,
                                 int vocab, int stride)) {
  DYN_SHARED(float, row);
  SHARED(float, red, [32]);
  float* z_row = z + (u64)BID * stride;
  DZ* dz = (DZ*)z_row;
  int target = targets[BID];
  u32 quads = (vocab + 3) / 4, turns = (quads + BDIM - 1) / BDIM, group = (turns + 3) / 4;
  float factor = factor_of(live, upstream);
  if (target < 0) {
    put_zeros(dz, quads);
    if (TID == 0) losses[BID] = 0.0f;
  } else {
    float at_target = TID == 0 ? z_row[target] : 0.0f;
    for (u32 g = 0; g < 4; g++) {
      for (u32 k = g * group; k < (g + 1) * group; k++) {
        u32 q = k * BDIM + TID;
        if (q < quads) copy16_async(row + 4 * q, z_row + 4 * q, true);
      }
      copy_commit();
    }
    float highest = LOWEST;
    copy_wait<3>();
    highest = highest_of(row, 0, group, vocab, highest);
    copy_wait<2>();
    highest = highest_of(row, group, 2 * group, vocab, highest);
    copy_wait<1>();
    highest = highest_of(row, 2 * group, 3 * group, vocab, highest);
    copy_wait<0>();
    highest = highest_of(row, 3 * group, 4 * group, vocab, highest);
    highest = block_max(highest, red);
    float sum = 0.0f;
    for (u32 q = TID; q < quads; q += BDIM) {
      float4x e = load4(row + 4 * q);
      for (int l = 0; l < 4; l++) e.v[l] = EXP(e.v[l] - highest);
      sum += (e.v[0] + e.v[1]) + (e.v[2] + e.v[3]);
      put4(row + 4 * q, e);
    }
    sum = block_sum(sum, red);
    float scale = factor / sum;
    for (u32 q = TID; q < quads; q += BDIM) put_gradient(dz, q, load4(row + 4 * q), scale, target, factor);
    if (TID == 0) losses[BID] = LOG(sum) + highest - at_target;
  }
}

// Loss, and with `gradient` its gradient, of a row of any length, one block a row. First a pass that keeps a running
// maximum and the sum of exponentials below it; then, for the gradient, a second pass over the logits, which are in L2
// where the rows in flight fit. The gradient is at most as wide as the logits, so that what a tile of the second pass
// writes lies over logits of this tile and of those before it: one barrier after they are read.
KERNEL(softmax_in_passes, 1024, (float* z, float* losses, const int* targets, const float* upstream, const Live* live,
                                 int vocab, int stride, int gradient)) {
  SHARED(float, red, [32]);
  float* z_row = z + (u64)BID * stride;
  DZ* dz = (DZ*)z_row;
  int target = targets[BID];
  u32 quads = (vocab + 3) / 4;
  if (target < 0) {
    if (gradient) put_zeros(dz, quads);
    if (TID == 0) losses[BID] = 0.0f;
  } else {
    float at_target = TID == 0 ? z_row[target] : 0.0f;
    float highest = LOWEST, sum = 0.0f;
    for (u32 q = TID; q < quads; q += BDIM) {
      float4x v = quad(z_row, q, vocab);
      float a = v.v[0] > v.v[1] ? v.v[0] : v.v[1], b = v.v[2] > v.v[3] ? v.v[2] : v.v[3];
      a = a > b ? a : b;
      if (a > highest) {
        sum *= EXP(highest - a);
        highest = a;
      }
      for (int l = 0; l < 4; l++) v.v[l] = EXP(v.v[l] - highest);
      sum += (v.v[0] + v.v[1]) + (v.v[2] + v.v[3]);
    }
    float own = highest;
    highest = block_max(own, red);
    sum = block_sum(sum * EXP(own - highest), red);
    if (gradient) {
      float factor = factor_of(live, upstream), scale = factor / sum;
      for (u32 base = 0; base < quads; base += BDIM) {
        u32 q = base + TID;
        float4x e = {{0.0f, 0.0f, 0.0f, 0.0f}};
        if (q < quads) {
          e = quad(z_row, q, vocab);
          for (int l = 0; l < 4; l++) e.v[l] = EXP(e.v[l] - highest);
        }
        BARRIER();
        if (q < quads) put_gradient(dz, q, e, scale, target, factor);
      }
    }
    if (TID == 0) losses[BID] = LOG(sum) + highest - at_target;
  }
}

// loss = loss_scale * sum of losses (n), in f64 and a fixed order, by one block.
KERNEL(total_loss, 1024, (float* loss, const float* losses, const Live* live, int n)) {
  SHARED(double, red, [1024]);
  double sum = 0.0;
  for (u32 i = TID; i < (u32)n; i += BDIM) sum += losses[i];
  sum = block_sum_f64(sum, red);
  if (TID == 0) *loss = (float)(sum * live->loss_scale);
}
