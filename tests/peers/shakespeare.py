"""The recipe of configs/shakespeare.toml in PyTorch, to be timed beside `zerollm train`.

    python tests/peers/shakespeare.py input.txt [--compile] [--steps 400]

Prints one JSON line: median step time, tokens a second, and with --steps 2000 the loss of the last tenth of the bytes.
"""
import argparse, json, math, statistics, time
import torch, torch.nn as nn, torch.nn.functional as F

p = argparse.ArgumentParser()
p.add_argument("input")
p.add_argument("--compile", action="store_true")
p.add_argument("--steps", type=int, default=400)
p.add_argument("--threads", type=int, default=2)
a = p.parse_args()
torch.manual_seed(0)
torch.set_num_threads(a.threads)
V, D, L, H, T, B = 256, 128, 4, 4, 64, 12


class Block(nn.Module):
    def __init__(s):
        super().__init__()
        s.n1, s.n2 = nn.LayerNorm(D, bias=False), nn.LayerNorm(D, bias=False)
        s.qkv, s.o = nn.Linear(D, 3 * D, bias=False), nn.Linear(D, D, bias=False)
        s.up, s.down = nn.Linear(D, 4 * D, bias=False), nn.Linear(4 * D, D, bias=False)

    def forward(s, x):
        b, t, _ = x.shape
        q, k, v = s.qkv(s.n1(x)).view(b, t, 3, H, D // H).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, D)
        x = x + s.o(y)
        return x + s.down(F.gelu(s.up(s.n2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(s):
        super().__init__()
        s.emb, s.pos = nn.Embedding(V, D), nn.Embedding(T, D)
        s.blocks, s.n = nn.ModuleList(Block() for _ in range(L)), nn.LayerNorm(D, bias=False)
        for name, q in s.named_parameters():
            if q.dim() == 2:
                nn.init.normal_(q, std=0.02 / math.sqrt(2 * L) if name.endswith(("o.weight", "down.weight")) else 0.02)

    def forward(s, i, t):
        x = s.emb(i) + s.pos.weight[: i.size(1)]
        for b in s.blocks:
            x = b(x)
        return F.cross_entropy(F.linear(s.n(x), s.emb.weight).view(-1, V), t.reshape(-1))


data = torch.tensor(list(open(a.input, "rb").read()))
cut = int(len(data) * 0.9)
train, held = data[:cut], data[cut:]
net = Gpt()
decayed = [q for n, q in net.named_parameters() if q.dim() == 2 and not n.startswith(("emb", "pos"))]
other = [q for n, q in net.named_parameters() if q.dim() != 2 or n.startswith(("emb", "pos"))]
opt = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.1}, {"params": other, "weight_decay": 0.0}],
                        lr=1e-3, betas=(0.9, 0.99), fused=True)
step_fn = torch.compile(net) if a.compile else net
times = []
for s in range(1, a.steps + 1):
    lr = 1e-3 * s / 100 if s < 100 else 1e-4 + 0.5 * 9e-4 * (1 + math.cos(math.pi * (s - 100) / 1900))
    for g in opt.param_groups:
        g["lr"] = lr
    start = time.perf_counter()
    at = torch.randint(len(train) - T - 1, (B,))
    x = torch.stack([train[i : i + T] for i in at])
    y = torch.stack([train[i + 1 : i + T + 1] for i in at])
    loss = step_fn(x, y)
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    opt.step()
    opt.zero_grad(set_to_none=True)
    loss.item()
    times.append(time.perf_counter() - start)
rows = (len(held) - 1) // T
with torch.no_grad():
    x, y = held[: rows * T].view(rows, T), held[1 : rows * T + 1].view(rows, T)
    loss = sum(net(x[i : i + 64], y[i : i + 64]).item() * len(x[i : i + 64]) for i in range(0, rows, 64)) / rows
median = statistics.median(times[20:])
print(json.dumps(dict(torch=torch.__version__, compile=a.compile, steps=a.steps, step_seconds=round(median, 5),
                      tokens_per_second=round(B * T / median), validation_loss=round(loss, 4))))
