#!/usr/bin/env bash
# Checks and measures ZeroLLM on a GPU. Needs the built program and a driver with its run-time compiler: no network, no
# toolkit, no Python (which adds PyTorch's figures where it has torch).
#
#   tests/gpu.sh check    every operation against its definition, models against the CPU, repeats and resumes to the bit
#   tests/gpu.sh ops      operations as shares of the device's copy bandwidth and matrix peak
#   tests/gpu.sh train    whole training steps: GPT-2 124M, 350M, 1558M, and nano, beside PyTorch
#
#   ZEROLLM   the program (else target/release/zerollm)
#   DEVICE    cuda, cuda:N, rocm, rocm:N, or emulated, which only shows that the script works (else auto)
#   PYTHON    a Python that may have torch (else python3)
#   OUT       a folder that raw JSON is written to (else a temporary one)
set -euo pipefail
cd "$(dirname "$0")/.."
part="${1:-}"
device="${DEVICE:-auto}"
python="${PYTHON:-python3}"
zerollm="${ZEROLLM:-target/release/zerollm}"
out="${OUT:-$(mktemp -d)}"
mkdir -p "$out"
failures=0

usage() { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2; }
say() { printf '%-28s %s\n' "$1" "$2"; }
failed() { say "$1" "FAILED: $2"; failures=$((failures + 1)); }
# The number under a key of the first level of a JSON object on stdin.
number() { sed -n "s/.*\"$1\": *\([-0-9.e+]*\).*/\1/p" | head -n 1; }
losses() { sed -n 's/.*"event":"step".*"step":\([0-9]*\),.*"loss":\([^,]*\),.*/\1 \2/p' "$1/events.jsonl"; }

check() {
    if "$zerollm" doctor --device "$device" > "$out/doctor.txt"; then
        say doctor "$(tail -n 1 "$out/doctor.txt")"
    else
        failed doctor "see $out/doctor.txt"
        grep FAIL "$out/doctor.txt" || true
    fi
    if command -v compute-sanitizer > /dev/null; then
        if compute-sanitizer --error-exitcode 9 "$zerollm" bench gpu --quick --device "$device" > "$out/sanitizer.txt"; then
            say compute-sanitizer "no fault"
        else
            failed compute-sanitizer "see $out/sanitizer.txt"
        fi
    else
        say compute-sanitizer "skipped: not installed"
    fi
    local runs="$out/runs" steps=20 precision
    rm -rf "$runs"
    for precision in f32 bf16; do
        local common=(--runs "$runs" --ui json --device "$device" --set "device.precision=$precision"
            --max-steps "$steps" --set train.checkpoint_interval=10 --set train.eval_interval=0 --set sample.interval=0)
        for name in one two; do
            "$zerollm" train --run "$name-$precision" "${common[@]}" > "$out/$name-$precision.jsonl"
        done
        "$zerollm" fork "one-$precision@10" --run "forked-$precision" --runs "$runs" --ui json \
            > "$out/forked-$precision.jsonl"
        losses "$runs/one-$precision" > "$out/one.txt"
        losses "$runs/two-$precision" > "$out/two.txt"
        losses "$runs/forked-$precision" | tail -n 10 > "$out/forked.txt"
        if test "$(wc -l < "$out/one.txt")" = "$steps" && cmp -s "$out/one.txt" "$out/two.txt"; then
            say "repeat $precision" "$steps losses, the same bits"
        else
            failed "repeat $precision" "losses differ: $out/one.txt, $out/two.txt"
        fi
        if cmp -s <(tail -n 10 "$out/one.txt") "$out/forked.txt"; then
            say "from a checkpoint $precision" "10 losses, the same bits"
        else
            failed "from a checkpoint $precision" "losses differ: $out/one.txt, $out/forked.txt"
        fi
    done
}

ops() {
    local quick=()
    test "$device" != emulated || quick=(--quick)
    "$zerollm" bench gpu --device "$device" "${quick[@]}" --json > "$out/ops.json"
    "$zerollm" bench gpu --device "$device" "${quick[@]}" | tee "$out/ops.txt"
}

# A model's steps: its name, its batch, how many steps, and what differs from configs/gpt2-124m.toml.
steps() {
    local model="$1" batch="$2" count="$3" ours theirs
    shift 3
    local sets=(--set "train.batch_size=$batch" --set "train.micro_batch=$batch" --set device.precision=bf16)
    if ! "$zerollm" bench step "$@" "${sets[@]}" --device "$device" --steps "$count" --profile --json \
        > "$out/step-$model.json" 2> "$out/step-$model.err"; then
        failed "step $model" "$(tail -n 1 "$out/step-$model.err")"
        return
    fi
    ours="$(number tokens_per_second < "$out/step-$model.json")"
    say "$model" "$(printf '%.0f tokens/s, idle %.1f %%' "$ours" \
        "$(number idle_share < "$out/step-$model.json" | awk '{ print 100 * $1 }')")"
    test "$device" != emulated || return 0
    "$python" -c 'import torch; assert torch.cuda.is_available()' 2> /dev/null || return 0
    if theirs="$("$python" tests/peers/torch_step.py "$model" --device cuda --precision bf16 --compile --batch "$batch" \
        --steps "$count" --warm-up 3 | tee "$out/torch-$model.json" | number tokens_per_second)"; then
        say "" "$(awk -v a="$ours" -v b="$theirs" 'BEGIN { printf "PyTorch %.0f tokens/s: ours is %.2f of it", b, a / b }')"
    fi
}

train() {
    if test "$device" = emulated; then
        steps tiny 2 5 --set model.layers=1 --set model.dim=32 --set model.heads=2 --set data.sequence_length=16 \
            --set model.ffn.hidden=64
        return
    fi
    local gpt2=configs/gpt2-124m.toml
    steps gpt2-124m 64 50 "$gpt2"
    steps gpt2-350m 32 30 "$gpt2" --set model.dim=1024 --set model.layers=24 --set model.heads=16
    steps gpt2-1558m 16 10 "$gpt2" --set model.dim=1600 --set model.layers=48 --set model.heads=25
    steps nano 16 50 configs/nano.toml
}

case "$part" in
check | ops | train) "$part" ;;
*) usage ;;
esac
say "raw output" "$out"
if test "$failures" -gt 0; then
    say result "$failures FAILED"
    exit 1
fi
