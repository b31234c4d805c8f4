"""Writes numbered lines and events, each noted in side files beforehand, so that a test knows what was written.

    python counting.py SIDE_DIR LINES PAUSE_S none|group|session

The last word: start a child that holds on to everything, in the job's process group or in a session of its own.
"""

import os
import signal
import sys
import threading
import time


def die_with_supervisor() -> None:
    """End the whole group once the supervisor is gone: nobody ever writes to this pipe."""
    while os.read(int(os.environ["FINETUNER_LIFELINE_FD"]), 1):
        pass
    os.killpg(0, signal.SIGKILL)


def say(fd: int, side: int, text: str) -> None:
    os.write(side, text.encode())
    os.write(fd, text.encode())


def main() -> None:
    side_dir, lines, pause_s, child = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
    log, events, runs = (
        os.open(f"{side_dir}/{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for name in ("log", "events", "runs")
    )
    os.write(runs, b"started\n")
    if child != "none" and os.fork() == 0:
        if child == "session":
            os.setsid()
        while True:
            time.sleep(60)
    threading.Thread(target=die_with_supervisor, daemon=True).start()
    events_fd = int(os.environ["FINETUNER_EVENTS_FD"])
    for number in range(lines):
        say(1, log, f"line {number} {'x' * (number * 37 % 500)}\n")
        say(events_fd, events, f'{{"kind": "progress", "t": 0.5, "step": {number}, "steps": {lines}}}\n')
        time.sleep(pause_s)
    os.write(runs, b"finished\n")


main()
