// C (m, n; rows c_stride apart) = A B, or C += A B: one thread an element. A: m x k, or k x m where `a_t`; B: k x n, or n x k.
KERNEL(plain_product, 256, (CT* c, const AT* a, const BT* b, int m, int n, int k, int a_stride, int b_stride, int c_stride,
                            int a_t, int b_t, int add)) {
  u64 a_row = a_t ? 1 : a_stride, a_col = a_t ? a_stride : 1, b_row = b_t ? 1 : b_stride, b_col = b_t ? b_stride : 1;
  for (u32 i = BID * BDIM + TID; i < (u32)(m * n); i += GDIM * BDIM) {
    u32 row = i / n, col = i % n;
    float sum = 0.0f;
    for (u32 l = 0; l < (u32)k; l++) sum = FMA(load(a + row * a_row + l * a_col), load(b + l * b_row + col * b_col), sum);
    deliver(c + (u64)row * c_stride + col, sum, add ? ADD : SET);
  }
}
