// s = x + y; X and Y are the types of x and y.
KERNEL(add_forward, 256, (X* s, const X* x, const Y* y, int n)) {
  for (u32 i = BID * BDIM + TID; i < (u32)n; i += GDIM * BDIM) put(&s[i], load(&x[i]) + load(&y[i]));
}
