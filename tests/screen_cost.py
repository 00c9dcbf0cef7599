#!/usr/bin/env python3
"""By how much the screen lengthens the steps of the training beside it.

    tests/screen_cost.py target/release/zerollm [PAIRS [SECONDS]]

Trains the built-in demo with its screen (80 x 24, in a pseudo-terminal that is read here), for SECONDS with a key every 33 ms,
each of which is answered by a frame, and as long without keys (five frames a second), in turns. The steps of each turn with keys
are compared with the mean of the turns before and after it, so that a machine that gets slower or faster does not count; the
slowest tenth of each turn is left out, where other programs were at work. The reading and the keys are work too and count as
the screen's. Needs Python 3.8 alone.
"""

import datetime
import fcntl
import json
import os
import pty
import select
import signal
import statistics
import struct
import sys
import tempfile
import termios
import time

KEY = b"\x1b[24;2~"  # Shift-F12: bound to nothing, so that the screen says so and nothing else changes
RATE = 30.0
SETTLE = 5.0


def train(program, runs, turns, seconds):
    """Trains, pressing keys in every second turn; returns when each turn began (Unix time)."""
    quiet = ["train.eval_interval", "train.checkpoint_interval", "sample.interval", "telemetry.layer_interval"]
    command = [program, "train", "--runs", runs, "--run", "cost", "--max-steps", "10000000"]
    for key in quiet:
        command += ["--set", f"{key}=0"]
    child, terminal = pty.fork()
    if child == 0:
        os.environ["TERM"] = "xterm-256color"
        os.execvp(command[0], command)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    begin = time.monotonic() + SETTLE
    turn, began, press = -1, [], begin
    while turn < turns:
        now = time.monotonic()
        if now >= begin + (turn + 1) * seconds:
            turn += 1
            began.append(time.time())
            press = now
        keys = turn % 2 == 1
        if keys and now >= press:
            os.write(terminal, KEY)
            press += 1.0 / RATE
        wait = max(press - now, 0.0) if keys else 0.2
        if select.select([terminal], [], [], wait)[0]:
            os.read(terminal, 65536)
    os.kill(child, signal.SIGINT)
    while True:
        try:
            if not os.read(terminal, 65536):
                break
        except OSError:  # the other end is closed
            break
    os.waitpid(child, 0)
    return began


def steps(run):
    """Of each step when it was recorded (Unix time) and its seconds."""
    with open(os.path.join(run, "events.jsonl"), encoding="utf-8") as lines:
        for line in lines:
            event = json.loads(line)
            if event["event"] == "step":
                at = datetime.datetime.fromisoformat(event["time"].replace("Z", "+00:00"))
                yield at.timestamp(), event["step_seconds"]


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    program = sys.argv[1]
    pairs = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 4.0
    with tempfile.TemporaryDirectory() as runs:
        began = train(os.path.abspath(program), runs, 2 * pairs + 1, seconds)
        done = list(steps(os.path.join(runs, "cost")))
    means = []
    for begin, end in zip(began, began[1:]):
        # A step that began in the turn before belongs to neither.
        turn = sorted(s for at, s in done if begin + 0.3 <= at < end - 0.1)
        means.append(statistics.mean(turn[: len(turn) - len(turn) // 10]))
    longer = [
        100.0 * (means[at] / ((means[at - 1] + means[at + 1]) / 2.0) - 1.0) for at in range(1, len(means) - 1, 2)
    ]
    error = statistics.stdev(longer) / len(longer) ** 0.5
    print(f"{len(done)} steps of {1e3 * statistics.mean(means):.1f} ms; with {RATE:.0f} keys a second they are longer by")
    print(f"{statistics.mean(longer):.2f} % (standard error {error:.2f} %, median {statistics.median(longer):.2f} %, "
          f"{len(longer)} pairs)")


if __name__ == "__main__":
    main()
