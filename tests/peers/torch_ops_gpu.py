"""The operations of `zerollm bench gpu --json`, in PyTorch on the same GPU.

    python tests/peers/torch_ops_gpu.py ops.json [--device cuda] [--eager]

Reads which operations were measured and at which sizes, and times each of them: products by the vendor's library, attention by the
flash backend of scaled_dot_product_attention, AdamW fused; norms, gates, embedding and classifier compiled (--eager: not). All
in bf16 but for weights of norms, the residual stream that norms read, and what the optimizer has, which are f32 as in ours.
Times are the device's own, means of 20 calls behind one another after some that warm up. An operation that PyTorch lacks is left out.

Prints one JSON line: program, device, ops (op, shape, phase, seconds).
"""
import argparse
import json
import sys
import time

import torch
import torch._functorch.config
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument("measured")
p.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
p.add_argument("--eager", action="store_true")
a = p.parse_args()
with open(a.measured) as file:
    WANTED = json.load(file)["operations"]
BF16, F32 = torch.bfloat16, torch.float32
CALLS = 20 if a.device == "cuda" else 2
# A backward is timed alone, again and again on one forward.
torch._functorch.config.donated_buffer = False
torch.manual_seed(0)


def normal(dtype, *shape):
    return torch.randn(shape, device=a.device, dtype=dtype)


def compiled(function):
    return function if a.eager or a.device == "cpu" else torch.compile(function, dynamic=False)


def both(function, inputs, wanted):
    """A forward without gradients, and a backward alone."""
    torch._dynamo.reset()
    run = compiled(function)
    yield "forward", torch.no_grad()(lambda: run(*inputs))
    for x in wanted:
        x.requires_grad_()
    outputs = run(*inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    upstream = [torch.randn_like(y) for y in outputs]
    yield "backward", lambda: torch.autograd.grad(outputs, wanted, upstream, retain_graph=True)


def linear(x, w):
    """(rows, in) by (out, in); the backward makes both gradients."""
    (rows, inner), (outer, _) = x, w
    x, w, dy = normal(BF16, rows, inner), normal(BF16, outer, inner), normal(BF16, rows, outer)
    yield "forward", lambda: F.linear(x, w)
    yield "backward", lambda: (dy @ w, dy.t() @ x)


def attention(size):
    b, h, t, d = size
    q, k, v = (normal(BF16, b, h, t, d) for _ in range(3))

    def causal(q, k, v):
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    yield "forward", torch.no_grad()(lambda: causal(q, k, v))
    for x in (q, k, v):
        x.requires_grad_()
    y = causal(q, k, v)
    dy = torch.randn_like(y)
    yield "backward", lambda: torch.autograd.grad(y, (q, k, v), dy, retain_graph=True)


def rmsnorm(x, w):
    x, w = normal(F32, *x), normal(F32, *w)
    yield from both(lambda x, w: F.rms_norm(x, w.shape, w, 1e-5).to(BF16), (x, w), (x, w))


def layernorm(x, w, bias):
    x, w, bias = normal(F32, *x), normal(F32, *w), normal(F32, *bias)
    yield from both(lambda x, w, b: F.layer_norm(x, w.shape, w, b, 1e-5).to(BF16), (x, w, bias), (x, w, bias))


def add_norm(x, y, w):
    """The residual stream, what a block adds to it, and a gain: the sum, and its norm."""
    x, y, w = normal(F32, *x), normal(BF16, *y), normal(F32, *w)

    def add(x, y, w):
        s = x + y
        return s, F.rms_norm(s, w.shape, w, 1e-5).to(BF16)

    yield from both(add, (x, y, w), (x, y, w))


def gated(x):
    x = normal(BF16, *x)

    def gate(x):
        g, u = x.chunk(2, -1)
        return F.silu(g) * u

    yield from both(gate, (x,), (x,))


def embedding(ids, w):
    ids, w = torch.randint(w[0], ids, device=a.device), normal(F32, *w)
    yield from both(F.embedding, (ids, w), (w,))


def classifier(h, w, targets):
    targets = torch.randint(w[0], targets, device=a.device)
    h, w = normal(BF16, *h).requires_grad_(), normal(BF16, *w).requires_grad_()
    torch._dynamo.reset()
    loss = compiled(lambda h, w: F.cross_entropy(F.linear(h, w).float(), targets))
    yield "both", lambda: torch.autograd.grad(loss(h, w), (h, w))


def softmax(size):
    """Logits in bf16 to their gradient."""
    logits = normal(BF16, *size).requires_grad_()
    targets = torch.randint(size[1], size[:1], device=a.device)
    torch._dynamo.reset()
    loss = compiled(lambda z: F.cross_entropy(z.float(), targets))
    yield "in place", lambda: torch.autograd.grad(loss(logits), logits)


def adamw(size):
    weights = pieces(*size)
    for w in weights:
        w.grad = torch.randn_like(w)
    optimizer = torch.optim.AdamW(weights, lr=1e-6, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    yield "update", optimizer.step


def norm(size):
    gradients = pieces(*size)
    yield "update", lambda: torch.nn.utils.get_total_norm(gradients)


def pieces(count):
    """As a model has them: 148 tensors of `count` values together."""
    return [normal(F32, part.numel()) for part in torch.empty(count, device="meta").chunk(148)]


def seconds(work):
    for _ in range(3):
        work()
    if a.device == "cpu":
        start = time.perf_counter()
        for _ in range(CALLS):
            work()
        return (time.perf_counter() - start) / CALLS
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(CALLS):
        work()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) * 1e-3 / CALLS


OPERATIONS = {
    f.__name__: f
    for f in (linear, attention, rmsnorm, layernorm, add_norm, gated, embedding, classifier, softmax, adamw, norm)
}
ops, made = [], set()
for row in WANTED:
    op, shape = row["op"], row["shape"]
    if (op, shape) in made or op not in OPERATIONS:
        continue
    made.add((op, shape))
    sizes = [tuple(map(int, part.split("x"))) for part in shape.split(" ")]
    try:
        for phase, work in OPERATIONS[op](*sizes):
            ops.append({"op": op, "shape": shape, "phase": phase, "seconds": seconds(work)})
    except (RuntimeError, TypeError, ValueError) as error:
        print(f"{op} {shape}: {str(error).splitlines()[0]}", file=sys.stderr)
    if a.device == "cuda":
        torch.cuda.empty_cache()
name = torch.cuda.get_device_name() if a.device == "cuda" else "cpu"
print(json.dumps({"program": f"PyTorch {torch.__version__}", "device": name, "ops": ops}))
