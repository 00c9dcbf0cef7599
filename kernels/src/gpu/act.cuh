// The activation functions of `ops/act.rs` and their derivatives, in its order and with its formulas. A unit is told
// which one by a definition: `.with("ACT", act.define())`, then `act_value<ACT>(x)`.
//
// Cost for an element: an exponential and a reciprocal (a division would take three times the instructions, and
// passes over memory leave room for about 25), erf for GELU alone.
enum Act { SILU, GELU_TANH, GELU, RELU, RELU2 };

DEV float sigmoid(float x) { return RECIP(1.0f + EXP(-x)); }
// (1 + tanh u) / 2 = sigmoid(2 u) with u = sqrt(2 / pi) (x + 0.044715 x^3).
DEV float gelu_gate(float x) { return sigmoid(x * FMA(x * x, 0.07135481627260025f, 1.5957691216057308f)); }
// The normal distribution function.
DEV float normal_below(float x) { return FMA(ERF(x * 0.7071067811865476f), 0.5f, 0.5f); }

// f(x). A NaN stays one.
template <int A> DEV float act_value(float x) {
  if (A == SILU) return x * sigmoid(x);
  if (A == GELU_TANH) return x * gelu_gate(x);
  if (A == GELU) return x * normal_below(x);
  float positive = x < 0.0f ? 0.0f : x;
  return A == RELU ? positive : positive * positive;
}

// f'(x), and f(x) in `value`.
template <int A> DEV float act_slope(float x, float* value) {
  if (A == SILU) {
    float s = sigmoid(x);
    *value = x * s;
    return FMA(*value, 1.0f - s, s);
  }
  if (A == GELU_TANH) {
    float s = gelu_gate(x);
    *value = x * s;
    // Beyond 16 the second term is zero, and its factors must not overflow.
    float near = x < -16.0f ? -16.0f : x > 16.0f ? 16.0f : x;
    return FMA(near * FMA(near * near, 0.21406444881780076f, 1.5957691216057308f), s * (1.0f - s), s);
  }
  if (A == GELU) {
    float below = normal_below(x);
    *value = x * below;
    return FMA(x, 0.3989422804014327f * EXP(-0.5f * x * x), below);
  }
  float positive = x < 0.0f ? 0.0f : x;
  *value = A == RELU ? positive : positive * positive;
  return A == RELU ? (x > 0.0f ? 1.0f : 0.0f) : positive + positive;
}
