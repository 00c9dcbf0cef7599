#!/usr/bin/env bash
# A training step of llm.c's CPU trainer (train_gpt2.c) on GPT-2 124M, to be set beside `zerollm bench step`.
#
#   LLMC=path/to/llm.c tests/peers/llmc.sh [ROWS [STEPS]]
#
# ROWS (1) of 1024 tokens a step: four need more than 20 GB. The first step warms up, then STEPS (3) are timed. Builds a copy of
# the trainer with these sizes and without its evaluations, with the flags of its Makefile and OpenMP; weights and tokens are
# random, in the layout that it reads. Prints one JSON line.
#   PYTHON   a Python that has numpy (else python3)
#   CC       a C compiler with OpenMP (else gcc)
set -euo pipefail
usage() { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2; }
rows="${1:-1}" steps="${2:-3}" python="${PYTHON:-python3}"
test -n "${LLMC:-}" || usage
case "$rows$steps" in *[!0-9]*) usage ;; esac
test -f "$LLMC/train_gpt2.c" || { echo "$LLMC/train_gpt2.c is missing: LLMC must be the folder of llm.c's source" >&2; exit 2; }
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

# A line that is not there any more is an error, not another size.
edit() {
    grep -q "$1" "$scratch/train.c" || { echo "$LLMC/train_gpt2.c has no \`$1\`: another version than this script knows" >&2; exit 1; }
    sed -i "s/$1/$2/" "$scratch/train.c"
}
cp "$LLMC/train_gpt2.c" "$scratch/train.c"
edit 'int B = 4;' "int B = $rows;"
edit 'int T = 64;' 'int T = 1024;'
edit 'step <= 40' "step <= $steps"
edit 'if (step % 10 == 0)' 'if (0)'
edit 'if (step > 0 && step % 20 == 0)' 'if (0)'
"${CC:-gcc}" -Ofast -march=native -fopenmp -DOMP -w -I"$LLMC" "$scratch/train.c" -o "$scratch/train" -lm

"$python" - "$rows" "$scratch" <<'PYTHON'
"""Random weights and tokens: a header of 256 int32, then f32 tensors or uint16 ids."""
import json, os, re, resource, statistics, subprocess, sys
import numpy as np

rows = int(sys.argv[1])
os.chdir(sys.argv[2])
T, V, L, H, C, PADDED = 1024, 50257, 12, 12, 768, 50304
random = np.random.default_rng(0)


def header(*values):
    return np.array(values + (0,) * (256 - len(values)), np.int32)


def normal(*shape):
    return 0.02 * random.standard_normal(shape, dtype=np.float32)


def constant(value):
    return lambda *shape: np.full(shape, value, np.float32)


zeros, ones = constant(0), constant(1)
parameters = 0
with open("gpt2_124M.bin", "wb") as file:
    header(20240326, 3, T, V, L, H, C, PADDED).tofile(file)
    for init, *shape in (
        (normal, PADDED, C), (normal, T, C), (ones, L, C), (zeros, L, C),
        (normal, L, 3 * C, C), (zeros, L, 3 * C), (normal, L, C, C), (zeros, L, C), (ones, L, C), (zeros, L, C),
        (normal, L, 4 * C, C), (zeros, L, 4 * C), (normal, L, C, 4 * C), (zeros, L, C), (ones, C), (zeros, C),
    ):
        init(*shape).tofile(file)
        parameters += int(np.prod(shape))
folder = "dev/data/tinyshakespeare"
os.makedirs(folder)
for part in ("train", "val"):
    with open(f"{folder}/tiny_shakespeare_{part}.bin", "wb") as file:
        header(20240520, 1, 1_000_000).tofile(file)
        random.integers(0, V, 1_000_000, dtype=np.uint16).tofile(file)

done = subprocess.run(["./train"], stdout=subprocess.PIPE, text=True)
found = re.findall(r"step \d+: train loss ([\d.]+) \(took ([\d.]+) ms\)", done.stdout)
if done.returncode != 0 or len(found) < 2:
    sys.exit(f"llm.c stopped with {done.returncode} after {len(found)} steps:\n{done.stdout[-500:]}")
seconds = [float(ms) / 1e3 for _, ms in found[1:]]
low, median, high = statistics.quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else 3 * seconds
print(json.dumps({
    "program": "llm.c",
    "model": "gpt2-124m",
    "precision": "f32",
    "batch": rows,
    "tokens_per_second": rows * T / median,
    "step_seconds": median,
    "step_seconds_quartiles": [low, high],
    "steps": len(seconds),
    "peak_memory_bytes": 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss,
    "parameters": parameters,
    "loss": float(found[-1][0]),
}))
PYTHON
