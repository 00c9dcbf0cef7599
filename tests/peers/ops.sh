#!/usr/bin/env bash
# Operations of ZeroLLM beside those of PyTorch on this machine, at the sizes of `zerollm bench op`.
#
#   tests/peers/ops.sh [all|matmul|attention|...] [f32|bf16]
#
# One operation after the other, each program between two calibrations (see sitting.py), then a table.
#   ZEROLLM   our program (else cargo run --release)
#   PYTHON    a Python that has torch (else python3)
#   RAW       a file that every run's JSON is appended to
set -euo pipefail
usage() { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2; }
names="${1:-all}" precision="${2:-}"
case "$precision" in '' | f32 | bf16) ;; *) usage ;; esac
case "$names" in
all) names="matmul attention attention_cached classifier cross_entropy rmsnorm gated adamw norm" ;;
matmul | attention | attention_cached | classifier | cross_entropy | rmsnorm | gated | adamw | norm) ;;
*) usage ;;
esac
cd "$(dirname "$0")/../.."
python="${PYTHON:-python3}"
"$python" -c 'import torch' || { echo "$python has no torch; give one that has as PYTHON" >&2; exit 2; }
if test -z "${ZEROLLM:-}"; then
    cargo build --release --locked --bin zerollm
    ZEROLLM="cargo run --release --locked --quiet --bin zerollm --"
fi
theirs="$python tests/peers/torch_ops.py"
for allocator in /usr/lib/*/libtcmalloc_minimal.so.4; do
    if test -e "$allocator"; then theirs="env LD_PRELOAD=$allocator $theirs"; fi
done
only="${precision:+ --precision $precision}"

programs() {
    local name
    for name in $names; do
        # Updates are in f32, and so are logits in both precisions.
        local updates=0 wide=0 only="$only"
        case "$name" in
        adamw | norm) updates=1 wide=1 ;;
        cross_entropy) wide=1 only=' --precision f32' ;;
        esac
        if test "$wide$precision" = 1bf16; then continue; fi
        printf 'ZeroLLM\t%s\n' "$ZEROLLM bench op $name$only --json"
        printf 'PyTorch eager\t%s\n' "$theirs $name$only"
        test "$updates" = 1 || printf 'PyTorch compile\t%s\n' "$theirs $name$only --compile"
    done
}

programs | python3 tests/peers/sitting.py ops --calibrate "$ZEROLLM bench machine --json" ${RAW:+--raw "$RAW"}
