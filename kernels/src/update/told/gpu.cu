// What a step comes to: its losses side by side, its clip factor, and whether its update is made. Numbers of the step that
// the host knows beforehand, written by it:
struct Bounds {
  double clip_norm;  // largest norm of the gradient; 0: none
  double most_loss;  // largest loss whose update is made
  int number;        // of the micro-batch
  int count;         // of the step's micro-batches
};
// losses[number] = loss. One block; its first thread works.
KERNEL(keep_loss, 64, (float* losses, const float* loss, const Bounds* bounds)) {
  if (TID == 0) losses[bounds->number] = *loss;
}
// told->scale and told->go from told->squares and the losses (count), in the order and with the roundings of the host: sums
// and quotients in f64. One block; its first thread works.
KERNEL(judge, 64, (Told* told, const float* losses, const Bounds* bounds)) {
  if (TID == 0) {
    double most = 1.7976931348623157e308, loss = 0.0, clip = bounds->clip_norm;
    for (int i = 0; i < bounds->count; i++) loss += (double)losses[i];
    double norm = SQRT64(told->squares);
    // Not a number is in no range.
    told->go = loss >= -most && loss <= most && norm <= most && !(loss > bounds->most_loss);
    told->scale = clip > 0.0 && norm > clip ? (float)(clip / (norm + 1e-6)) : 1.0f;
  }
}
