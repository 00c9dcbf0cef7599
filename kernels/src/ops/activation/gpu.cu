// Activations: flat passes, a thread takes 8 elements at a time, so that every access is of 16 bytes. X is the type
// of all tensors, ACT the function, W the elements of a pack.

// y = f(x): in bf16 2 bytes read and 2 written for an element, in float twice that.
KERNEL(activation_forward, 256, (X* y, const X* x, int n)) {
  each_pack(n, [&](u32 i, auto count) {
    constexpr int C = decltype(count)::n;
    Pack<C> v = load_pack<C>(x + i);
#pragma unroll
    for (int j = 0; j < C; j++) v.v[j] = act_value<ACT>(v.v[j]);
    put_pack(y + i, v);
  });
}

// dx = dy f'(x); dy may be dx. In bf16 4 bytes read and 2 written for an element.
KERNEL(activation_backward, 256, (X* dx, const X* x, const X* dy, int n, int mode)) {
  each_pack(n, [&](u32 i, auto count) {
    constexpr int C = decltype(count)::n;
    Pack<C> v = load_pack<C>(x + i), d = load_pack<C>(dy + i);
#pragma unroll
    for (int j = 0; j < C; j++) {
      float value;
      d.v[j] *= act_slope<ACT>(v.v[j], &value);
    }
    deliver_pack(dx + i, d, mode);
  });
}
