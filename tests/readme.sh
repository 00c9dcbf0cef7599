#!/usr/bin/env bash
# Runs the commands of README.md that a machine can run alone, in a temporary folder, with the development build.
# Fails at the first exit code or output that is not what the README says.
set -euo pipefail

root="$(cd "$(dirname "$0")/.." && pwd)"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export ZEROLLM_CACHE="$work/cache" ZEROLLM_RUNS="$work/runs" CARGO_TERM_COLOR=never
unset ZEROLLM_ISA

# As the README's `cargo run`, in the development profile that `cargo test` has built already.
zerollm() {
    cargo run --quiet --locked --manifest-path "$root/Cargo.toml" -- "$@"
}

fail() {
    echo "readme.sh: $*" >&2
    for log in "$work"/out "$work"/err; do
        if test -s "$log"; then
            echo "--- $(basename "$log")" >&2
            tail -n 20 "$log" >&2
        fi
    done
    exit 1
}

# expect CODE ARGUMENT...: runs zerollm, keeps its output in out and err, and checks its exit code.
expect() {
    local wanted="$1" code=0
    shift
    echo "zerollm $*"
    zerollm "$@" >"$work/out" 2>"$work/err" </dev/null || code=$?
    test "$code" -eq "$wanted" || fail "exit code $code, not $wanted: zerollm $*"
}

# has PATTERN: stdout has a line that matches.
has() {
    grep -Eq -- "$1" "$work/out" || fail "stdout lacks: $1"
}

# only_json: stdout is one JSON object a line, and at least one.
only_json() {
    test -s "$work/out" || fail "stdout is empty"
    if grep -Evq '^\{.*\}$' "$work/out"; then
        fail "stdout has a line that is no JSON object"
    fi
}

cd "$work"

# Built before anything is timed or judged.
(cd "$root" && cargo build --quiet --locked)

expect 0 --version
has '^zerollm [0-9]+\.[0-9]+\.[0-9]+ \(commit '
expect 0 --help
has '^  train '
has '^  estimate '
expect 0 train --help-config
has '^  optimizer\.lr$'

# "Without a screen": events on stdout, nothing else; a run's folder as docs/en/runs.md lists it. Rows are short so that
# the embedded demo's evaluation is, too.
short=(--set data.sequence_length=32 --set train.batch_size=2 --set sample.max_tokens=8)
expect 0 train --run ci --max-steps 3 --ui json "${short[@]}"
only_json
has '^\{"event":"started","schema":1,"run":"ci","attempt":1,'
has '^\{"event":"step","step":3,"attempt":1,"loss":[0-9]'
has '^\{"event":"eval","step":3,"split":"validation",'
has '^\{"event":"checkpoint","step":3,"path":"checkpoints/step_00000003",'
has '^\{"event":"finished","step":3,.*"reason":"max_steps"'
for file in run.json events.jsonl config/v001.toml best checkpoints/step_00000003/manifest.json \
    checkpoints/step_00000003/model.safetensors checkpoints/step_00000003/config.json \
    checkpoints/step_00000003/tokenizer.json checkpoints/step_00000003/optimizer.safetensors \
    checkpoints/step_00000003/trainer.bin; do
    test -s "$work/runs/ci/$file" || fail "runs/ci/$file is missing"
done

# "Stop and resume": the second attempt starts behind the checkpoint and repeats no old event.
expect 0 train --run ci --resume --max-steps 5 --ui json
only_json
has '^\{"event":"resumed","step":3,"path":"checkpoints/step_00000003","attempt":2,'
has '^\{"event":"step","step":4,"attempt":2,'
if grep -q '^{"event":"step","step":3,' "$work/out"; then
    fail "the resumed run repeats step 3"
fi

# "Your own text", with a text made here.
for number in $(seq 1 300); do
    echo "ROMEO: line $number of a play that is written for this test alone, and soon forgotten."
done >"$work/input.txt"
play=("$root/configs/shakespeare.toml" --set "data.train=[\"input.txt\"]")
expect 0 estimate "${play[@]}"
has '^parameters +[0-9]+$'
expect 0 estimate "${play[@]}" --json
only_json
has '"step_seconds":[0-9].*"fits":true'
expect 0 train "${play[@]}" --run play --max-steps 2
test ! -s "$work/out" || fail "a run with plain lines writes to stdout"
grep -q '^step 2/2  loss ' "$work/err" || fail "stderr lacks the line of step 2"
expect 0 train "${play[@]}" --run play --resume --max-steps 3 --ui none
test ! -s "$work/out" || fail "--ui none writes to stdout"

# "Let it write": from the run above; greedy writing is the same twice.
expect 0 generate --run play --prompt "ROMEO:" --max-tokens 16 --temperature 0.8
test -s "$work/out" || fail "generate writes nothing"
expect 0 generate --run play --prompt "ROMEO:" --max-tokens 16 --temperature 0 --json
only_json
has '"text":".*"ids":\[[0-9]'
grep -o '"ids":[^]]*' "$work/out" >"$work/ids.txt"
expect 0 generate --run play --prompt "ROMEO:" --max-tokens 16 --temperature 0 --json
grep -o '"ids":[^]]*' "$work/out" | cmp - "$work/ids.txt" || fail "greedy writing differs"
expect 2 generate --run nowhere --prompt "ROMEO:"
expect 0 score --run play --input input.txt --json
only_json
has '"logprobs":\[null,-[0-9]'

# "Look at runs".
expect 0 runs
has '^play '
for ask in "runs" "show play" "metric play grad_norm" "compare play ci"; do
    # shellcheck disable=SC2086
    expect 0 $ask --json
    only_json
done
expect 2 show nowhere

# docs/en/tokenizers.md, "From the command line".
expect 0 tokenizer train --input input.txt --vocab-size 300 --special '<|endoftext|>' --output tokenizer.json
expect 0 tokenizer inspect --tokenizer tokenizer.json --text "Once upon a time"
expect 0 tokenizer encode --tokenizer tokenizer.json --text "Once upon a time" --json
has '^\{"ids":\[[0-9]'
expect 0 tokenizer encode --tokenizer tokenizer.json --input input.txt --output ids.bin
expect 0 tokenizer decode --tokenizer tokenizer.json --input ids.bin
cmp "$work/out" "$work/input.txt" || fail "decode does not give back what was encoded"
expect 0 cache

# docs/en/determinism.md, "See it yourself": one thread, then all of them.
losses() {
    grep '"event":"step"' "$work/out" | sed 's/.*"loss":\([^,]*\),.*/\1/'
}
quiet=("${short[@]}" --set train.eval_interval=0 --set sample.interval=0)
expect 0 train --run one --max-steps 20 --ui json "${quiet[@]}" --set device.threads=1
losses >"$work/one.txt"
expect 0 train --run many --max-steps 20 --ui json "${quiet[@]}"
losses >"$work/many.txt"
test "$(wc -l <"$work/one.txt")" -eq 20 || fail "not 20 losses"
cmp "$work/one.txt" "$work/many.txt" || fail "losses depend on the number of threads"

# "Exit codes": refused before the first step, and no folder is left.
expect 2 train --run ci --ui none
expect 2 train --run refused --set optimizer.lrr=1 --ui none
grep -q 'optimizer\.lr' "$work/err" || fail "the error does not name the nearest key"
expect 2 train nowhere.toml --run refused --ui none
expect 4 train --run refused --device cuda --ui none
test ! -e "$work/runs/refused" || fail "a refused run left a folder"
expect 3 train --run diverged --max-steps 20 --ui none "${short[@]}" --set optimizer.lr=1e30 --set train.clip_norm=0 \
    --set schedule.warmup_steps=0

echo "readme.sh: all is as the README says (${SECONDS}s)"
