"""Waits for a run as the package's worker does, then does in its own process what the run's `job.json` says.

    python standing.py well|declines|dies [SCRIPT]

It leaves `RUN_DIR.taken` before it says that it takes the run. `declines`: it ends without a word when it is given one;
`dies`: it is killed then, before it has taken it. A script is done in place of what `job.json` says.
"""

import json
import os
import runpy
import signal
import socket
import sys
import threading
from pathlib import Path

LIFELINE = int(os.environ["FINETUNER_LIFELINE_FD"])


def die_with_supervisor() -> None:
    """End the whole group once the supervisor is gone: nobody ever writes to this pipe."""
    while os.read(LIFELINE, 1):
        pass
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    threading.Thread(target=die_with_supervisor, daemon=True).start()
    print("said before there was a run", flush=True)
    with socket.socket(fileno=int(os.environ.pop("FINETUNER_STANDBY_FD"))) as supervisor:
        supervisor.set_inheritable(False)
        supervisor.sendall(b"ready\n")
        told = b""
        while not told.endswith(b"\n"):
            more = supervisor.recv(65536)
            if not more:
                return
            told += more
        if sys.argv[1] == "declines":
            return
        if sys.argv[1] == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        run = json.loads(told)
        os.chdir(run["cwd"])
        os.environ["FINETUNER_RUN_DIR"] = run["run_dir"]
        Path(run["run_dir"]).with_suffix(".taken").touch()
        supervisor.sendall(b"taken\n")
    argv = sys.argv[2:] or json.loads(Path(run["run_dir"], "job.json").read_bytes())["argv"]
    script = next(number for number, part in enumerate(argv) if part.endswith(".py"))
    sys.argv = argv[script:]
    runpy.run_path(argv[script], run_name="__main__")


main()
