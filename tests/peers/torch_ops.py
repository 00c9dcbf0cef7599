"""Operations alone in PyTorch on the CPU, to be set beside `zerollm bench op NAME` (same names, sizes and phases).

    python tests/peers/torch_ops.py all|matmul|attention|attention_cached|classifier|cross_entropy|rmsnorm|gated|adamw|norm
        [--shape 8192x512x2048] [--precision f32|bf16] [--compile] [--threads N]

In bf16 every tensor here is bf16; ours keep weights and the residual stream in f32 as in training, which moves more bytes. One
row of matmul and attention_cached are decoding, where ours are bf16 too.
backward is not timed alone: forward+backward is. adamw is clipping to a norm of 1 and the fused AdamW; norm is
clip_grad_norm_, which also scales: our scaling is part of the update's pass and is timed there;
both are the same with and without --compile, and left out with it. cross_entropy is the loss without the product before it.
Prints one JSON line: ops (op, shape, precision, phase, seconds, seconds_quartiles, gflops; null where none are counted).
"""
import argparse
import json
import math
import os
import statistics
import time

# Sizes as in `zerollm bench op`.
CASES = [
    ("matmul", (2048, 2048, 2048)),
    ("matmul", (8192, 512, 512)),
    ("matmul", (8192, 512, 1408)),
    ("matmul", (8192, 512, 2048)),
    ("matmul", (8192, 512, 6400)),
    ("matmul", (8192, 768, 3072)),
    ("matmul", (1024, 768, 50304)),
    ("matmul", (1, 768, 3072)),
    ("matmul", (1, 768, 100_000)),
    ("attention", (16, 8, 8, 512, 64)),
    ("attention", (16, 8, 2, 512, 64)),
    ("attention", (4, 8, 8, 2048, 64)),
    ("attention", (16, 4, 4, 512, 128)),
    ("attention_cached", (8, 64, 8192)),
    ("classifier", (8192, 512, 6400)),
    ("cross_entropy", (8192, 6400)),
    ("rmsnorm", (8192, 512)),
    ("gated", (8192, 1408)),
    ("adamw", (22_000_000,)),
    ("norm", (31_000_000,)),
]

p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument("op", choices=["all", *dict(CASES)])
p.add_argument("--shape", type=lambda text: tuple(map(int, text.split("x"))))
p.add_argument("--precision", choices=["f32", "bf16"])
p.add_argument("--compile", action="store_true")
p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
a = p.parse_args()
if a.shape and a.op == "all":
    p.error("--shape needs the name of one operation")
os.environ.setdefault("OMP_NUM_THREADS", str(a.threads))  # read when PyTorch is loaded
import torch
from torch.nn import functional as F

torch.manual_seed(0)
torch.set_num_threads(a.threads)
FORWARD, BOTH, UPDATE = "forward", "forward+backward", "update"


# Each gives (phase, function, its arguments, floating-point operations or None).


def matmul(dtype, m, k, n):
    x, w, dy = normal(dtype, m, k), normal(dtype, n, k), normal(dtype, m, n)
    flops = 2 * m * k * n
    yield FORWARD, lambda x, w: x @ w.t(), (x, w), flops
    if m > 1:  # one row is decoding, which has no gradients
        yield "dX", torch.mm, (dy, w), flops
        yield "dW", lambda dy, x: dy.t() @ x, (dy, x), flops


def attention(dtype, b, h, kv, t, d):
    def causal(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=h != kv)

    qkv = (normal(dtype, b, h, t, d), normal(dtype, b, kv, t, d), normal(dtype, b, kv, t, d))
    flops = 2 * b * h * t * t * d  # the causal half
    yield FORWARD, causal, qkv, flops
    yield BOTH, causal, qkv, 3.5 * flops


def attention_cached(dtype, h, d, context):
    qkv = (normal(dtype, 1, h, 1, d), normal(dtype, 1, h, context, d), normal(dtype, 1, h, context, d))
    yield FORWARD, F.scaled_dot_product_attention, qkv, 4 * h * d * context


def classifier(dtype, rows, c, v):
    def loss(x, w, targets):
        return F.cross_entropy(F.linear(x, w).float(), targets)

    inputs = (normal(dtype, rows, c), normal(dtype, v, c), torch.randint(v, (rows,)))
    flops = 2 * rows * c * v
    yield FORWARD, loss, inputs, flops
    yield BOTH, loss, inputs, 3 * flops


def cross_entropy(dtype, rows, v):
    def loss(logits, targets):
        return F.cross_entropy(logits.float(), targets)

    inputs = (normal(dtype, rows, v), torch.randint(v, (rows,)))
    yield FORWARD, loss, inputs, None
    yield BOTH, loss, inputs, None


def rmsnorm(dtype, rows, c):
    def norm(x, w):
        return F.rms_norm(x, (c,), w, 1e-5)

    inputs = (normal(dtype, rows, c), normal(dtype, c))
    yield FORWARD, norm, inputs, None
    yield BOTH, norm, inputs, None


def gated(dtype, rows, hidden):
    inputs = (normal(dtype, rows, hidden), normal(dtype, rows, hidden))
    yield FORWARD, lambda gate, up: F.silu(gate) * up, inputs, None


def adamw(dtype, count):
    weights = pieces(count)
    for w in weights:
        w.grad = torch.randn_like(w)
    optimizer = torch.optim.AdamW(weights, lr=1e-6, betas=(0.9, 0.95), weight_decay=0.1, fused=True)

    def update():
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()

    yield UPDATE, update, (), None


def norm(dtype, count):
    weights = pieces(count)
    for w in weights:
        w.grad = torch.randn_like(w)
    yield UPDATE, lambda: torch.nn.utils.clip_grad_norm_(weights, 1.0), (), None


def normal(dtype, *shape):
    return torch.randn(shape).to(dtype)


def pieces(count):
    """As a model has them: 24 tensors of `count` values together."""
    return [torch.randn(size.numel()) for size in torch.empty(count, device="meta").chunk(24)]


def ready(phase, function, inputs):
    """Something to call without arguments that does the work once."""
    if a.compile:
        torch._dynamo.reset()  # every case on its own: no generality, no limit on recompiling
        function = torch.compile(function, dynamic=False)
    if phase == BOTH:
        inputs = [x.requires_grad_() if x.is_floating_point() else x for x in inputs]
        wanted = [x for x in inputs if x.requires_grad]
        upstream = torch.randn_like(function(*inputs))
        return lambda: torch.autograd.grad(function(*inputs), wanted, upstream)
    return torch.no_grad()(lambda: function(*inputs))


def timed(work):
    """Quartiles of the seconds of one call: at least 7 samples of at least 5 ms each, for at least 0.2 s."""
    for _ in range(2):
        work()
    start = time.perf_counter()
    work()
    calls = max(1, math.ceil(0.005 / (time.perf_counter() - start)))
    samples = []
    while len(samples) < 7 or sum(samples) * calls < 0.2:
        start = time.perf_counter()
        for _ in range(calls):
            work()
        samples.append((time.perf_counter() - start) / calls)
    return statistics.quantiles(samples, n=4, method="inclusive")


ops = []
own = [(name, shape) for name, shape in CASES if a.op in ("all", name)]
for name, shape in [(a.op, a.shape)] if a.shape else own:
    for precision, dtype in (("f32", torch.float32), ("bf16", torch.bfloat16)):
        updates = name in ("adamw", "norm")
        if a.precision not in (None, precision) or updates and (a.compile or precision == "bf16"):
            continue
        for phase, function, inputs, flops in globals()[name](dtype, *shape):
            low, median, high = timed(ready(phase, function, inputs))
            ops.append({
                "op": name,
                "shape": "x".join(map(str, shape)),
                "precision": precision,
                "phase": phase,
                "seconds": median,
                "seconds_quartiles": [low, high],
                "gflops": flops and flops / median / 1e9,
            })
print(json.dumps({
    "program": f"PyTorch {torch.__version__.split('+')[0]} {'compile' if a.compile else 'eager'}",
    "threads": a.threads,
    "ops": ops,
}))
