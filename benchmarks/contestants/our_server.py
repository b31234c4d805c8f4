"""This project's server, as a process that starts no run: `our_server.py STATE_DIR`; each turn tells its memory."""

from __future__ import annotations

import cProfile
import os
import secrets
import signal
import sys
import threading
import time
from pathlib import Path

from turns import memory, tell  # type: ignore[import-not-found] # beside this script, wherever it runs

from finetuner.api.embedded import ServerFile
from finetuner.server import lifecycle
from finetuner.server.settings import Settings


def main() -> None:
    """Serve until stdin ends."""
    settings = Settings(
        state_dir=Path(sys.argv[1]),
        embedded=True,
        token=secrets.token_urlsafe(32),
        instance=secrets.token_hex(4),
        slots=0,
        idle_stop_s=0.0,
    )
    lifecycle.set_up_log(settings)
    settings.file_path.unlink(missing_ok=True)
    threading.Thread(target=_obey, args=(settings.file_path,), daemon=True).start()
    target = os.environ.get("BENCHMARK_PROFILE")
    profile = cProfile.Profile()
    if target:
        profile.enable()
    lifecycle.run(settings)
    if target:
        profile.disable()
        profile.dump_stats(target)


def _obey(said: Path) -> None:
    while not said.exists():
        time.sleep(0.02)
    server = ServerFile.loads(said.read_bytes())
    tell({"url": server.url, "token": server.token, "pid": os.getpid(), **memory()})
    for _ in sys.stdin:
        tell(memory())
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
