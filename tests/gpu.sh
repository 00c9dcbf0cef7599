#!/usr/bin/env bash
# Checks and measures ZeroLLM on a GPU. Needs the built program and a driver with its run-time compiler: no network, no
# toolkit, no Python (which adds PyTorch's figures where it has torch). Each part ends with one short table and is meant to
# take less than eight minutes.
#
#   tests/gpu.sh check    every operation against its definition, models against the CPU, repeats and resumes to the bit
#   tests/gpu.sh ops      operations as shares of the device's copy bandwidth, and their time beside PyTorch's
#   tests/gpu.sh train    whole training steps: GPT-2 124M, 350M, 1558M, beside PyTorch; nano to the loss of the CPU
#   tests/gpu.sh nano     on a CPU, ten minutes: makes the loss that `train` goes to (NANO_LOSS in this file)
#
#   ZEROLLM   the program (else target/release/zerollm)
#   DEVICE    cuda, cuda:N, rocm, rocm:N (else auto); emulated or cpu, with tiny sizes, only show that the script works
#   PYTHON    a Python that may have torch (else python3)
#   TEXT      what nano trains on: War and Peace as Project Gutenberg has it (else ../shared/data/en-pretrain/gutenberg/)
#   OUT       a folder that raw output is written to (else a temporary one)
#
# Exit code 1 if anything fails; a figure that is not reached is no failure.
set -euo pipefail
cd "$(dirname "$0")/.."
part="${1:-}"
device="${DEVICE:-auto}"
python="${PYTHON:-python3}"
zerollm="${ZEROLLM:-target/release/zerollm}"
text="${TEXT:-../shared/data/en-pretrain/gutenberg/war_and_peace.txt}"
out="${OUT:-$(mktemp -d)}"
mkdir -p "$out"
table="$out/table-$part.tsv"
tab="$(printf '\t')"

# The loss of nano (bf16) after ten minutes on a CPU, as the mean of its last NANO_STEPS steps, and `cksum` of the text, as
#   ZEROLLM=... TEXT=... tests/gpu.sh nano
# prints them.
NANO_STEPS=20
NANO_LOSS=5.0130
NANO_TEXT="399435121 3359542"

usage() { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2; }

# ---- the table ------------------------------------------------------------------------------------------------------------

# A line of the table: figure, value (a number, or a word), unit, what is required and aimed at (`>=80`, `<=3`, or `-`), a note.
row() { printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "${3:-}" "${4:--}" "${5:--}" "${6:-}" >> "$table"; }
passed() { row "$1" passed '' - - "$2"; }
failed() { row "$1" FAILED '' - - "$2"; }
skipped() { row "$1" skipped '' - - "$2"; }

report() {
    printf '\n%s, tests/gpu.sh %s, %s s\n' "$("$zerollm" --version)" "$part" "$SECONDS"
    printf 'device %s\nraw output %s\n\n' "$described" "$out"
    ! tiny || printf 'Tiny sizes: this shows that the script works, and not how fast anything is.\n\n'
    awk -F '\t' -v tiny="$(! tiny || echo 1)" '
        function met(value, wanted) {
            if (wanted == "-") return 0
            return substr(wanted, 1, 1) == ">" ? value >= substr(wanted, 3) + 0 : value <= substr(wanted, 3) + 0
        }
        function shown(value) { return value >= 1000 ? sprintf("%.0f", value) : sprintf("%.4g", value) }
        BEGIN { printf "%-38s %10s %-9s %9s %9s  %-9s %s\n", "figure", "measured", "", "required", "aim", "verdict", "" }
        {
            number = $2 ~ /^-?[0-9]/
            verdict = !number ? $2 : tiny || $4 == "-" ? "" : met($2, $5) ? "aim" : met($2, $4) ? "required" : "MISSED"
            printf "%-38s %10s %-9s %9s %9s  %-9s %s\n", $1, number ? shown($2) : "", $3, $4, $5, verdict, $6
        }' "$table"
    ! grep -q "${tab}FAILED$tab" "$table"
}

# ---- reading JSON without a program for it ----------------------------------------------------------------------------------

# The awk function `field(key)`: the first value of a key in a line of JSON.
field='function field(key, s) {
    if (!match($0, "\"" key "\": *(\"[^\"]*\"|[-0-9.e+]+)")) return ""
    s = substr($0, RSTART, RLENGTH)
    sub(/^"[^"]*": */, "", s)
    gsub(/"/, "", s)
    return s
}'
value() { awk "$field"' { print field("'"$1"'"); exit }'; }
# Step, loss and norm of every step of a run; of a step that was trained twice, what came last.
losses() {
    awk "$field"' /"event":"step"/ { n = field("step") + 0; all[n] = n " " field("loss") " " field("grad_norm"); if (n > most) most = n }
        END { for (i = 1; i <= most; i++) if (i in all) print all[i] }' "$1/events.jsonl"
}
# Seconds from a run's start and step at which the mean loss of the last NANO_STEPS steps is at most $2; or, without $2, the mean
# loss of the last ones within $3 seconds.
reached() {
    awk "$field"' function clock(s) {
            split(substr(field("time"), 12), s, ":")
            return s[1] * 3600 + s[2] * 60 + s[3]
        }
        function since(now) { now = clock() - start; return now < 0 ? now + 86400 : now }
        /"event":"started"/ { start = clock() }
        /"event":"step"/ {
            if (limit && since() > limit) exit
            sum += field("loss") - recent[++n % width]
            recent[n % width] = field("loss")
            if (n < width) next
            mean = sum / width
            if (goal && mean <= goal) { printf "%.2f %d\n", since(), n; found = 1; exit }
        }
        END { if (!goal && n >= width) printf "%.4f %d\n", mean, n }' \
        goal="${2:-}" limit="${3:-}" width="$NANO_STEPS" "$1/events.jsonl"
}

# ---- what there is ------------------------------------------------------------------------------------------------------------

# kind: cuda, rocm, emulated or cpu. A device that was asked for by name must be there.
find_device() {
    kind=cpu described="cpu: there is no GPU"
    test "$device" != cpu || return 0
    if "$zerollm" bench gpu --quick --json --device "$device" > "$out/device.json" 2> "$out/device.err"; then
        kind="$(value kind < "$out/device.json")"
        described="$(awk "$field"' { printf "%s:%s %s (%s), %s", field("kind"), field("index"), field("name"), field("arch"),
            field("versions"); exit }' "$out/device.json")"
    elif test "$device" = auto; then
        device=cpu
    else
        cat "$out/device.err" >&2
        exit 1
    fi
}
tiny() { test "$kind" = cpu || test "$kind" = emulated; }
# PyTorch on a GPU of either vendor; with tiny sizes on the CPU, which shows that the two tables fit.
have_torch() {
    if tiny; then
        torch_device=cpu
        "$python" -c 'import torch' 2> /dev/null
    else
        torch_device=cuda
        "$python" -c 'import torch; assert torch.cuda.is_available()' 2> /dev/null
    fi
}

# ---- check ------------------------------------------------------------------------------------------------------------------

check() {
    local line name
    if "$zerollm" doctor --device "$device" > "$out/doctor.txt" 2> "$out/doctor.err"; then
        passed doctor "$(tail -n 1 "$out/doctor.txt")"
    else
        failed doctor "$(tail -n 1 "$out/doctor.err"), see $out/doctor.txt"
    fi
    while read -r line; do
        failed "  $(printf '%.30s' "${line#FAIL  }")" "${line#FAIL *s  }"
    done < <(grep '^FAIL' "$out/doctor.txt" || true)
    for name in "gpt2 f32" "gpt2 bf16" "llama f32" "llama bf16"; do
        line="$(grep "^ok *gpu gradients $name " "$out/doctor.txt" || true)"
        test -z "$line" || passed "gradients $name" "${line##* s  }"
    done
    sanitized memcheck operations bench gpu --quick
    sanitized racecheck operations bench gpu --quick
    sanitized memcheck steps bench step "${small[@]}" --steps 5
    local precision
    rm -rf "$out/runs"
    for precision in f32 bf16; do repeats "$precision"; done
}

# A small model: a whole step takes milliseconds on a GPU, and not minutes where the device is emulated.
small=(--set tokenizer.vocab_size=300 --set model.layers=2 --set model.dim=64 --set model.heads=2 --set model.kv_heads=1
    --set model.ffn.hidden=96 --set data.sequence_length=32 --set train.batch_size=3 --set train.micro_batch=2)

# sanitized TOOL NAME ARGUMENTS...
sanitized() {
    local tool="$1" name="$2"
    shift 2
    if ! command -v compute-sanitizer > /dev/null; then
        skipped "compute-sanitizer $tool, $name" "not installed"
        return
    fi
    local file="$out/$tool-$name.txt" status=0
    timeout 90 compute-sanitizer --tool "$tool" --error-exitcode 9 "$zerollm" "$@" --device "$device" > "$file" 2>&1 ||
        status=$?
    case "$status" in
    0) passed "compute-sanitizer $tool, $name" "no fault" ;;
    124) skipped "compute-sanitizer $tool, $name" "no fault in 90 s, and then it was stopped" ;;
    *) failed "compute-sanitizer $tool, $name" "exit code $status, see $file" ;;
    esac
}

# The same run twice; one that is stopped in the middle and goes on; one that is forked there: the same losses to the bit.
repeats() {
    local precision="$1" runs="$out/runs" steps=20 name
    local common=(--runs "$runs" --ui none)
    local sets=(--device "$device" --set "device.precision=$precision" --set train.checkpoint_interval=10
        --set train.eval_interval=0 --set sample.interval=0 --set 'schedule={kind="constant"}' --set model.dropout=0.1)
    # Two micro-batches a step, of two rows and one.
    if tiny; then sets+=("${small[@]}"); else sets+=(--set train.batch_size=15 --set train.micro_batch=8); fi
    {
        for name in one two; do
            "$zerollm" train --run "$name-$precision" "${common[@]}" "${sets[@]}" --max-steps "$steps"
        done
        "$zerollm" train --run "stopped-$precision" "${common[@]}" "${sets[@]}" --max-steps 10
        "$zerollm" train --run "stopped-$precision" "${common[@]}" "${sets[@]}" --resume --max-steps "$steps"
        "$zerollm" fork "one-$precision@10" --run "forked-$precision" "${common[@]}"
    } > "$out/repeats-$precision.txt" 2>&1 || { failed "repeats $precision" "see $out/repeats-$precision.txt"; return; }
    for name in one two stopped forked; do losses "$runs/$name-$precision" > "$out/$name-$precision.txt"; done
    same "repeated $precision" "$steps" "$out/one-$precision.txt" "$out/two-$precision.txt"
    same "stopped and resumed $precision" "$steps" "$out/one-$precision.txt" "$out/stopped-$precision.txt"
    tail -n 10 "$out/one-$precision.txt" > "$out/late-$precision.txt"
    tail -n 10 "$out/forked-$precision.txt" > "$out/forked-late-$precision.txt"
    same "from a checkpoint $precision" 10 "$out/late-$precision.txt" "$out/forked-late-$precision.txt"
}
# same NAME COUNT FILE FILE: so many losses in both, equal.
same() {
    if test "$(grep -c ' ' "$3")" = "$2" && cmp -s "$3" "$4"; then
        passed "$1" "$2 losses and norms, the same bits"
    else
        failed "$1" "losses differ: $3, $4"
    fi
}

# ---- ops --------------------------------------------------------------------------------------------------------------------

ops() {
    if test "$kind" = cpu; then
        skipped operations "a CPU's are measured by zerollm bench op"
        return
    fi
    local quick=()
    ! tiny || quick=(--quick)
    if ! "$zerollm" bench gpu --device "$device" "${quick[@]}" --json > "$out/ops.json" 2> "$out/ops.err"; then
        failed operations "$(tail -n 1 "$out/ops.err")"
        return
    fi
    # A line an operation: op, shape, phase, seconds, TFLOP/s, share of the copy.
    tr '{' '\n' < "$out/ops.json" | awk "$field"' /"copy_share"/ { print field("op") "\t" field("shape") "\t" field("phase") "\t" \
        field("seconds") "\t" field("tflops") "\t" 100 * field("copy_share") }' > "$out/ops.tsv"
    row "copy within the device" "$(value copy_gbps < "$out/ops.json")" GB/s
    row "bf16 product, largest" "$(value product_tflops < "$out/ops.json")" TFLOP/s - - "$(value library < "$out/ops.json")"
    attention 64 '>=200' '>=330'
    attention 128 '>=240' '>=450'
    share AdamW '^adamw$' update '>=80' '>=88'
    share "norms, forward" '.norm$' forward '>=75' '>=85'
    share "norms, backward" '.norm$' backward '>=60' '>=70'
    share "classifier in place" '^softmax$' 'in place' '>=75' '>=85'
    if ! have_torch; then
        skipped "beside PyTorch" "$python has no torch for this device"
        return
    fi
    if ! timeout 240 "$python" tests/peers/torch_ops_gpu.py "$out/ops.json" --device "$torch_device" > "$out/torch-ops.json" \
        2> "$out/torch-ops.err"; then
        skipped "beside PyTorch" "it stopped, or was not done in 240 s: $(tail -n 1 "$out/torch-ops.err")"
        return
    fi
    tr '{' '\n' < "$out/torch-ops.json" | awk "$field"' /"phase"/ { print field("op") "\t" field("shape") "\t" field("phase") "\t" \
        field("seconds") }' > "$out/torch-ops.tsv"
    # PyTorch's time over ours, an operation a line.
    awk -F '\t' 'NR == FNR { theirs[$1, $2, $3] = $4; next } ($1, $2, $3) in theirs {
        print $1 "\t" $2 "\t" $3 "\t" theirs[$1, $2, $3] / $4 }' "$out/torch-ops.tsv" "$out/ops.tsv" > "$out/ratios.tsv"
    beside "products, % of PyTorch's time" '^linear$' '' '>=95' '>=100'
    beside "attention, % of PyTorch's time" '^attention$' ''
    beside "AdamW, % of PyTorch's time" '^adamw$' ''
    beside "norms, % of PyTorch's time" '.norm$' ''
    beside "classifier, % of PyTorch's time" '^classifier$' ''
    printf "\nPyTorch's time over ours, in %%\n"
    awk -F '\t' '{ printf "%-12s %-36s %-9s %7.1f\n", $1, $2, $3, 100 * $4 }' "$out/ratios.tsv"
}

# put FIGURE FOUND UNIT REQUIRED AIM: a row of a value and, behind a tab, what has it.
put() {
    local value name
    IFS="$tab" read -r value name <<< "$2" || true
    if test -n "$value"; then row "$1" "$value" "$3" "$4" "$5" "$name"; else failed "$1" "not measured"; fi
}
# attention HEAD_DIM REQUIRED AIM: forward over 2048 tokens (the emulated device has fewer).
attention() {
    local tokens=2048 found
    ! tiny || tokens=70
    found="$(awk -F '\t' -v end="x${tokens}x$1\$" '$1 == "attention" && $3 == "forward" && $2 ~ end { print $5 "\t" $2; exit }' \
        "$out/ops.tsv")"
    put "attention forward, head dim $1" "$found" TFLOP/s "$2" "$3"
}
# share FIGURE OP PHASE REQUIRED AIM: the worst of those operations, in % of the copy bandwidth.
share() {
    local found
    found="$(awk -F '\t' -v op="$2" -v phase="$3" '$1 ~ op && $3 == phase && ++n && (n == 1 || $6 < worst) {
        worst = $6; name = $1 " " $2 } END { if (n) print worst "\t" (n > 1 ? "worst of " n ": " : "") name }' "$out/ops.tsv")"
    put "$1, % of the copy" "$found" % "$4" "$5"
}
# beside FIGURE OP PHASE [REQUIRED AIM]: the worst of those operations.
beside() {
    local found
    found="$(awk -F '\t' -v op="$2" -v phase="$3" '$1 ~ op && (phase == "" || $3 == phase) && ++n && (n == 1 || $4 < worst) {
        worst = $4; name = $1 " " $2 " " $3 } END { if (n) print 100 * worst "\t" (n > 1 ? "worst of " n ": " : "") name }' "$out/ratios.tsv")"
    put "$1" "$found" % "${4:--}" "${5:--}"
}

# ---- train ------------------------------------------------------------------------------------------------------------------

train() {
    if tiny; then
        # Two micro-batches, as the larger models have.
        steps tiny 4 2 5 - - --set tokenizer.vocab_size=300 --set model.layers=1 --set model.dim=32 --set model.heads=2 --set model.kv_heads=1 \
            --set model.ffn.hidden=64 --set data.sequence_length=16
    else
        # 65,536 tokens a step.
        local gpt2=configs/gpt2-124m.toml
        steps gpt2-124m 64 64 50 '>=350000' '>=550000' "$gpt2"
        steps gpt2-350m 64 32 50 '>=140000' '>=215000' "$gpt2" --set model.dim=1024 --set model.layers=24 --set model.heads=16
        steps gpt2-1558m 64 16 10 '>=36000' '>=52000' "$gpt2" --set model.dim=1600 --set model.layers=48 --set model.heads=25
    fi
    nano_time
}

# steps MODEL BATCH MICRO_BATCH COUNT REQUIRED AIM CONFIG...: tokens a second, idle time, and PyTorch's tokens a second.
steps() {
    local model="$1" batch="$2" micro="$3" count="$4" required="$5" aim="$6" ours theirs advised
    shift 6
    local json="$out/step-$model.json" err="$out/step-$model.err" precision=bf16
    ours() {
        "$zerollm" bench step "$@" --set "train.batch_size=$batch" --set "train.micro_batch=$micro" \
            --set "device.precision=$precision" --device "$device" --steps "$count" --profile --json > "$json" 2> "$err"
    }
    if ! ours "$@"; then
        # A device with less memory: what the program says would fit.
        advised="$(sed -n 's/.*: train.micro_batch = \([0-9]*\) would take.*/\1/p' "$err" | head -n 1)"
        micro="${advised:-$micro}"
        if test -z "$advised" || ! ours "$@"; then
            failed "$model" "$(tail -n 1 "$err")"
            return
        fi
    fi
    row "$model" "$(value tokens_per_second < "$json")" tokens/s "$required" "$aim" "micro-batches of $micro"
    local idle
    idle="$(value idle_share < "$json")"
    test -z "$idle" || row "$model, idle" "$(awk -v x="$idle" 'BEGIN { print 100 * x }')" % '<=3' '<=1'
    if ! have_torch; then
        skipped "$model beside PyTorch" "$python has no torch for this device"
        return
    fi
    local compile=(--compile)
    ! tiny || compile=()
    if ! timeout 150 "$python" tests/peers/torch_step.py "$model" --device "$torch_device" --precision "$precision" "${compile[@]}" \
        --batch "$batch" --micro-batch "$micro" --steps "$count" --warm-up 3 > "$out/torch-$model.json" \
        2> "$out/torch-$model.err"; then
        skipped "$model beside PyTorch" "it stopped, or was not done in 150 s: $(tail -n 1 "$out/torch-$model.err")"
        return
    fi
    theirs="$(value tokens_per_second < "$out/torch-$model.json")"
    local least=- most=-
    test "$model" != gpt2-124m || least='>=1' most='>=1.15'
    row "$model beside PyTorch" "$(awk -v a="$(value tokens_per_second < "$json")" -v b="$theirs" 'BEGIN { print a / b }')" x \
        "$least" "$most" "PyTorch $(printf '%.0f' "$theirs") tokens/s"
}

# Seconds until nano has the loss that a CPU has after ten minutes: the same rows in the same order from the same seed, so that
# the losses are the CPU's but for rounding, and the mean of the last ones is compared.
nano_time() {
    local name="nano to the CPU's loss"
    if tiny; then
        skipped "$name" "needs a GPU"
    elif test -z "$NANO_LOSS"; then
        skipped "$name" "NANO_LOSS of tests/gpu.sh is not made yet: tests/gpu.sh nano"
    elif ! test -f "$text"; then
        skipped "$name" "there is no $text: name the text as TEXT"
    elif test "$(cksum < "$text")" != "$NANO_TEXT"; then
        skipped "$name" "$text is another text than the one that NANO_LOSS was made on"
    else
        rm -rf "$out/nano"
        # Kernels are compiled once on a machine, and kept: by a first run that is not timed.
        local run
        for run in first timed; do
            nano_run "$run" "$device" bf16 400 > "$out/nano-$run.txt" 2>&1 || { failed "$name" "see $out/nano-$run.txt"; return; }
        done
        local found
        found="$(reached "$out/nano/timed" "$NANO_LOSS")"
        if test -n "$found"; then
            row "$name" "${found% *}" s '<=10' '<=3' "loss $NANO_LOSS at step ${found#* }"
        else
            failed "$name" "not within 400 steps: see $out/nano/timed"
        fi
    fi
}
# nano_run RUN DEVICE PRECISION STEPS: the configuration as it stands; max_steps shapes the schedule and stays, so that the run is
# stopped from outside.
nano_run() {
    local run="$1" where="$2" precision="$3" steps="$4" child status=0
    "$zerollm" train configs/nano.toml --run "$run" --runs "$out/nano" --ui none --device "$where" \
        --set "device.precision=$precision" --set "data.train=[\"$text\"]" --set sample.interval=0 &
    child=$!
    while kill -0 "$child" 2> /dev/null; do
        if test -f "$out/nano/$run/events.jsonl" &&
            test "$(grep -c '"event":"step"' "$out/nano/$run/events.jsonl")" -ge "$steps"; then
            kill -INT "$child" 2> /dev/null || true
            break
        fi
        sleep 0.2
    done
    wait "$child" || status=$?
    return "$status"
}

# Ten minutes of nano on the CPU, and what to write into this file.
nano() {
    local child found
    rm -rf "$out/nano"
    "$zerollm" train configs/nano.toml --run cpu --runs "$out/nano" --ui none --device cpu --set device.precision=bf16 \
        --set "data.train=[\"$text\"]" --set sample.interval=0 --set train.eval_interval=0 &
    child=$!
    until test -f "$out/nano/cpu/events.jsonl" && grep -q '"event":"step"' "$out/nano/cpu/events.jsonl"; do
        kill -0 "$child"
        sleep 1
    done
    sleep "${NANO_SECONDS:-600}"
    kill -INT "$child"
    wait "$child" || true
    found="$(reached "$out/nano/cpu" "" "${NANO_SECONDS:-600}")"
    row "nano after ${NANO_SECONDS:-600} s on the CPU" "${found% *}" nats - - "step ${found#* }"
    printf 'NANO_LOSS=%s\nNANO_TEXT="%s"\n' "${found% *}" "$(cksum < "$text")"
}

case "$part" in
check | ops | train) ;;
nano) device=cpu ;;
*) usage ;;
esac
: > "$table"
find_device
"$part"
report
