// Passes over flat tensors that belong to no operation. X and Y are the types of what is read and written.

// y = x, or y += x. Each byte is read and written once.
KERNEL(deliver_all, 256, (Y* y, const X* x, int n, int mode)) {
  for (u32 i = BID * BDIM + TID; i < (u32)n; i += GDIM * BDIM) deliver(&y[i], load(&x[i]), mode);
}

// y = value.
KERNEL(set_all, 256, (Y* y, float value, int n)) {
  for (u32 i = BID * BDIM + TID; i < (u32)n; i += GDIM * BDIM) put(&y[i], value);
}
