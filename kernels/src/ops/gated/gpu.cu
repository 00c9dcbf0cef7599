// Gated activations: a thread takes 8 columns of a row at a time, the gate and what it lets through from the two
// halves of the row, so that every access is of 16 bytes. X is the type of all tensors, ACT the function, W the
// elements of a pack.

// y = f(gate) up: rows of 2 `cols` -> rows of `cols`. In bf16 4 bytes read and 2 written for an element of y.
KERNEL(gated_forward, 256, (X* y, const X* x, int n, int cols)) {
  each_pack(n, [&](u32 i, auto count) {
    constexpr int C = decltype(count)::n;
    const X* gate = x + i + (u64)(i / cols) * cols;
    Pack<C> v = load_pack<C>(gate), up = load_pack<C>(gate + cols);
#pragma unroll
    for (int j = 0; j < C; j++) v.v[j] = act_value<ACT>(v.v[j]) * up.v[j];
    put_pack(y + i, v);
  });
}

// dgate = dy up f'(gate), dup = dy f(gate). In bf16 6 bytes read and 4 written for an element of dy.
KERNEL(gated_backward, 256, (X* dx, const X* x, const X* dy, int n, int cols, int mode)) {
  each_pack(n, [&](u32 i, auto count) {
    constexpr int C = decltype(count)::n;
    u64 at = i + (u64)(i / cols) * cols;
    Pack<C> v = load_pack<C>(x + at), up = load_pack<C>(x + at + cols), d = load_pack<C>(dy + i);
#pragma unroll
    for (int j = 0; j < C; j++) {
      float value, slope = act_slope<ACT>(v.v[j], &value);
      v.v[j] = d.v[j] * up.v[j] * slope;
      up.v[j] = d.v[j] * value;
    }
    deliver_pack(dx + at, v, mode);
    deliver_pack(dx + at + cols, up, mode);
  });
}
