// What a step tells the host, in device memory; behind it lie the losses of its micro-batches, `float` each. Laid out as
// `update/told/gpu.rs` says.
struct Told {
  double squares;  // sum of the squares of the gradients
  float scale;     // what gradients are multiplied by
  int go;          // whether the update is made
};
