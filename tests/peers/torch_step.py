"""A training step in PyTorch, on the CPU or a GPU, to be set beside `zerollm bench step`.

    python tests/peers/torch_step.py nano|tiny|gpt2-124m|gpt2-350m|gpt2-1558m [--precision bf16] [--compile]
        [--threads N] [--device cuda] [--batch N] [--micro-batch N] [--steps 15] [--seconds 30] [--warm-up 2]

The model that our configuration of the same name describes, on random ids: forward, backward, clipping to a norm of 1,
fused AdamW. bf16 is autocast: weights, norms and optimizer in f32. At most --steps steps are timed, fewer (but three) once
--seconds are over. Prints one JSON line with the fields of `zerollm bench step --json`: medians and quartiles.
"""
import argparse
import json
import os
import resource
import statistics
import time

p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument("model", choices=["nano", "tiny", "gpt2-124m", "gpt2-350m", "gpt2-1558m"])
p.add_argument("--precision", choices=["f32", "bf16"], default="f32")
p.add_argument("--compile", action="store_true")
p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
p.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
p.add_argument("--batch", type=int)
p.add_argument("--micro-batch", type=int, help="rows at once; the whole batch without it")
p.add_argument("--steps", type=int, default=15)
p.add_argument("--seconds", type=float, default=30.0)
p.add_argument("--warm-up", type=int, default=2)
a = p.parse_args()
os.environ.setdefault("OMP_NUM_THREADS", str(a.threads))  # read when PyTorch is loaded
import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)
torch.set_num_threads(a.threads)

# vocabulary, channels, layers, heads, hidden, sequence, batch
MODELS = {
    "nano": (6400, 512, 6, 8, 1408, 512, 16),
    "tiny": (512, 128, 4, 4, 352, 256, 32),
    "gpt2-124m": (50304, 768, 12, 12, 3072, 1024, 4),
    "gpt2-350m": (50304, 1024, 24, 16, 4096, 1024, 4),
    "gpt2-1558m": (50304, 1600, 48, 25, 6400, 1024, 4),
}
V, C, L, H, HIDDEN, T, B = MODELS[a.model]
B = a.batch or B
ROWS = a.micro_batch or B
assert B % ROWS == 0, "a batch is whole micro-batches"
LLAMA = not a.model.startswith("gpt2")


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(C, 3 * C, bias=not LLAMA)
        self.out = nn.Linear(C, C, bias=not LLAMA)

    def forward(self, x, rope):
        b, t, _ = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, H, C // H).permute(2, 0, 3, 1, 4).unbind(0)  # (b, H, t, C / H) each
        if LLAMA:
            q, k = rotated(q, *rope).to(v.dtype), rotated(k, *rope).to(v.dtype)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(b, t, C))


def rotated(x, cos, sin):
    left, right = x.chunk(2, -1)
    return torch.cat((left * cos - right * sin, right * cos + left * sin), -1)


class SwiGlu(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate, self.up = nn.Linear(C, HIDDEN, bias=False), nn.Linear(C, HIDDEN, bias=False)
        self.down = nn.Linear(HIDDEN, C, bias=False)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = norm(), norm()
        self.attention = Attention()
        gelu = nn.Sequential(nn.Linear(C, HIDDEN), nn.GELU(approximate="tanh"), nn.Linear(HIDDEN, C))
        self.ffn = SwiGlu() if LLAMA else gelu

    def forward(self, x, rope):
        x = x + self.attention(self.norm1(x), rope)
        return x + self.ffn(self.norm2(x))


def norm():
    return nn.RMSNorm(C, eps=1e-5) if LLAMA else nn.LayerNorm(C)


class Model(nn.Module):
    """The loss of a batch; embedding and classifier share their weights."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(V, C)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.positions = None if LLAMA else nn.Embedding(T, C)
        self.blocks = nn.ModuleList(Block() for _ in range(L))
        self.norm = norm()
        rate = 10000.0 ** (-torch.arange(0, C // H, 2) / (C // H))
        angle = torch.outer(torch.arange(T), rate)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def forward(self, tokens, targets):
        x = self.embedding(tokens)
        if self.positions is not None:
            x = x + self.positions.weight
        for block in self.blocks:
            x = block(x, (self.cos, self.sin))
        logits = F.linear(self.norm(x), self.embedding.weight)
        return F.cross_entropy(logits.view(-1, V), targets.view(-1))


model = Model().to(a.device)
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
loss_of = torch.compile(model) if a.compile else model
tokens, targets = torch.randint(V, (2, B, T), device=a.device).unbind(0)


def step():
    total = 0.0
    for part, wanted in zip(tokens.split(ROWS), targets.split(ROWS)):
        with torch.autocast(a.device, dtype=torch.bfloat16, enabled=a.precision == "bf16"):
            loss = loss_of(part, wanted) * (ROWS / B)
        loss.backward()
        total += loss.detach()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return total.item()


for _ in range(a.warm_up):
    step()
seconds = []
while len(seconds) < a.steps and (len(seconds) < 3 or sum(seconds) < a.seconds):
    start = time.perf_counter()
    loss = step()
    seconds.append(time.perf_counter() - start)
low, median, high = statistics.quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else 3 * seconds
print(json.dumps({
    "program": f"PyTorch {torch.__version__.split('+')[0]} {'compile' if a.compile else 'eager'}",
    "model": a.model,
    "precision": a.precision,
    "threads": a.threads,
    "tokens_per_second": B * T / median,
    "step_seconds": median,
    "step_seconds_quartiles": [low, high],
    "steps": len(seconds),
    "peak_memory_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    "parameters": sum(q.numel() for q in model.parameters()),
    "loss": loss,
}))
