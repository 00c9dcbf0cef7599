#!/usr/bin/env bash
# Training speed of ZeroLLM beside PyTorch, candle, burn and llm.c on this machine: the same model, batch and threads.
#
#   tests/peers/run.sh nano|tiny|gpt2-124m [f32|bf16]
#
# One program after the other, each between two calibrations (see sitting.py), then a table. Set-up: README.md here.
#   ZEROLLM   our program (else cargo run --release)
#   PYTHON    a Python that has torch (else python3); without torch, PyTorch is left out
#   LLMC      folder of llm.c's source; without it, llm.c is left out
#   RAW       a file that every run's JSON is appended to
# candle, burn and llm.c compute in f32 only, and are left out of bf16; llm.c knows only GPT-2.
set -euo pipefail
usage() { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2; }
model="${1:-}" precision="${2:-f32}"
case "$precision" in f32 | bf16) ;; *) usage ;; esac
case "$model" in
nano) shape="configs/nano.toml" ;;
tiny)
    shape="configs/nano.toml --set tokenizer.vocab_size=512 --set model.dim=128 --set model.layers=4 --set model.heads=4"
    shape+=" --set model.ffn.hidden=352 --set data.sequence_length=256 --set train.batch_size=32 --set train.micro_batch=32"
    ;;
gpt2-124m) shape="configs/gpt2-124m.toml --set train.batch_size=4 --set train.micro_batch=4" ;;
*) usage ;;
esac
cd "$(dirname "$0")/../.."
peers=tests/peers
python="${PYTHON:-python3}"
if test -z "${ZEROLLM:-}"; then
    cargo build --release --locked --bin zerollm
    ZEROLLM="cargo run --release --locked --quiet --bin zerollm --"
fi

program() { printf '%s\t%s\n' "$1" "$2"; }

programs() {
    program ZeroLLM "$ZEROLLM bench step $shape --set device.precision=$precision --json"
    if "$python" -c 'import torch' 2> /dev/null; then
        # glibc gives large tensors back to the system after each step; this allocator keeps them.
        local torch="$python $peers/torch_step.py $model --precision $precision" allocator
        for allocator in /usr/lib/*/libtcmalloc_minimal.so.4; do
            if test -e "$allocator"; then torch="env LD_PRELOAD=$allocator $torch"; fi
        done
        program "PyTorch eager" "$torch"
        program "PyTorch compile" "$torch --compile"
    else
        echo "left out: PyTorch ($python has no torch; give one that has as PYTHON)" >&2
    fi
    test "$precision" = f32 || return 0
    local name
    for name in candle burn; do
        if test -x "$peers/$name/target/release/$name-step"; then
            program "$name" "$peers/$name/target/release/$name-step $model"
        else
            echo "left out: $name (not built; see $peers/README.md)" >&2
        fi
    done
    if test "$model" = gpt2-124m; then
        if test -n "${LLMC:-}"; then program llm.c "$peers/llmc.sh"; else echo "left out: llm.c (LLMC is not set)" >&2; fi
    fi
}

programs | python3 "$peers/sitting.py" steps --calibrate "$ZEROLLM bench machine --json" ${RAW:+--raw "$RAW"}
