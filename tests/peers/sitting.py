"""Runs programs one after the other in one sitting, each between two calibrations of the machine; used by run.sh and ops.sh.

    printf 'NAME\tCOMMAND\n' ... | sitting.py steps|ops --calibrate 'zerollm bench machine --json' [--raw FILE]

Every command prints one JSON line. ZeroLLM is the name of ours. A run beside which the f32 peak fell below 85 % of the best one
seen (two virtual cores may share a physical one for a while) was disturbed: it is made again at the end, at most twice, the
run beside the higher peak counts, and the table marks it with * if it is still below. --raw appends every run to a file.
"""
import argparse
import json
import subprocess
import sys

p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument("table", choices=["steps", "ops"])
p.add_argument("--calibrate", required=True)
p.add_argument("--raw", help="file for one JSON line a run")
a = p.parse_args()
OURS = "ZeroLLM"
DISTURBED = 0.85
best = 0.0


class Run:
    """One program's run; `result` is None where it failed."""

    def __init__(self, name, command):
        self.name, self.command = name, command
        print(f"running {name}: {command}", file=sys.stderr)
        self.before = calibrate()
        self.result = last_json(command)
        self.after = calibrate()
        if a.raw:
            with open(a.raw, "a") as file:
                raw = {"name": name, "peak_before": self.before, "peak_after": self.after, "result": self.result}
                file.write(json.dumps(raw) + "\n")

    def peak(self):
        return min(self.before, self.after)

    def disturbed(self):
        return self.peak() < DISTURBED * best

    def mark(self):
        return "*" if self.disturbed() else ""


def calibrate():
    """f32 peak of all threads, in GFLOP/s."""
    global best
    machine = last_json(a.calibrate)
    if machine is None:
        sys.exit("the machine could not be measured: see above, and give our binary as ZEROLLM")
    peak = machine["peaks"]["f32_gflops"]
    best = max(best, peak)
    return peak


def last_json(command):
    """The object in the last line that the command prints; its errors are seen as they come."""
    done = subprocess.run(["bash", "-c", command], stdout=subprocess.PIPE, text=True)
    lines = done.stdout.strip().splitlines()
    try:
        if done.returncode == 0:
            return json.loads(lines[-1])
    except (ValueError, IndexError):
        pass
    print(f"failed ({done.returncode}): {command}", file=sys.stderr)
    return None


def table(heads, rows):
    """Columns wide enough, all but the first on the right."""
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    for row in [heads, *rows]:
        cells = [cell.rjust(width) for cell, width in zip(row, widths)]
        print("  ".join([row[0].ljust(widths[0]), *cells[1:]]).rstrip())


def steps(runs):
    """Training: a line a program, and the better of PyTorch's two."""
    ours, mib = next(run.result for run in runs if run.name == OURS), 2.0**20

    def faster(result):
        return ours["tokens_per_second"] / result["tokens_per_second"]

    rows = []
    for run in runs:
        result, peaks = run.result, f"{run.before:.0f} / {run.after:.0f}{run.mark()}"
        if result is None:
            rows.append([run.name, "failed", "", "", "", peaks])
            continue
        low, high = (1e3 * seconds for seconds in result["step_seconds_quartiles"])
        rows.append([
            run.name,
            f"{result['tokens_per_second']:,.0f}",
            f"{faster(result):.2f}x",
            f"{1e3 * result['step_seconds']:,.1f} ({low:,.1f} to {high:,.1f})",
            f"{result['peak_memory_bytes'] / mib:,.0f}",
            peaks,
        ])
    table(["program", "tokens/s", "ours / it", "step ms (quartiles)", "peak MiB", "f32 peak before / after"], rows)
    torch = [run for run in runs if run.result and run.name.startswith("PyTorch")]
    if torch:
        better = max(torch, key=lambda run: run.result["tokens_per_second"])
        memory = ours["peak_memory_bytes"] / better.result["peak_memory_bytes"]
        print(f"PyTorch counts with the better of both, {better.name}: "
              f"ours has {faster(better.result):.2f}x its speed and {memory:.2f}x its memory")


def ops(runs):
    """Operations: a line a case, with the milliseconds of each program."""
    names = list(dict.fromkeys([OURS, *(run.name for run in runs)]))
    seconds = {}  # case -> name -> (seconds, mark)
    for run in runs:
        for op in (run.result or {}).get("ops", []):
            case = (op["op"], op["shape"], op["precision"], op["phase"])
            seconds.setdefault(case, {})[run.name] = (op["seconds"], run.mark())
    for case, own in seconds.items():
        # What they do at once, ours may do in two calls.
        parts = [seconds.get((*case[:3], phase), {}).get(OURS) for phase in ("forward", "backward")]
        if case[3] == "forward+backward" and OURS not in own and all(parts):
            own[OURS] = (parts[0][0] + parts[1][0], parts[0][1])
    groups = list(dict.fromkeys(case[:3] for case in seconds))
    rows = []
    for case in sorted(seconds, key=lambda case: groups.index(case[:3])):
        own = seconds[case]
        cells = [f"{1e3 * own[name][0]:,.3f}{own[name][1]}" if name in own else "-" for name in names]
        theirs = [own[name][0] for name in names[1:] if name in own]
        ratio = f"{min(theirs) / own[OURS][0]:.2f}x" if theirs and OURS in own else "-"
        rows.append([*case, *cells, ratio])
    table(["op", "shape", "precision", "phase", *(f"{name} ms" for name in names), "speed, ours / the better"], rows)


programs = [line.rstrip("\n").split("\t") for line in sys.stdin if line.strip()]
for _ in range(3):
    calibrate()
runs = [Run(*program) for program in programs]
for _ in range(2):
    for at, run in enumerate(runs):
        if run.result and run.disturbed():
            runs[at] = max(run, Run(run.name, run.command), key=lambda run: (run.result is not None, run.peak()))
if any(run.name == OURS and run.result is None for run in runs):
    sys.exit(f"{OURS} failed: see above")
print()
(steps if a.table == "steps" else ops)(runs)
if any(run.disturbed() for run in runs):
    print(f"* disturbed: the f32 peak beside it is below {DISTURBED:.0%} of {best:.0f} GFLOP/s, the best seen; run it again")
