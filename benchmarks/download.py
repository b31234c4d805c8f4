"""Downloading an artifact: this project's client beside `curl | tee FILE | sha256sum`, and its memory meanwhile."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.request import Request, urlopen

from benchmarks.contestant import Contestant, contestant
from benchmarks.measure import Goal, Measured, Options, Table, over, told_in_turn
from benchmarks.service import Server, our_server, run_with_artifact

BARE, OURS = "curl | tee FILE | sha256sum", "ours, save_artifact()"
FLAT_MB = 64
"""More than this above what it holds before, and a part of the artifact would be in memory."""


def measure(options: Options) -> list[Table]:
    """Measure whole downloads onto the same disk, checked by sha256."""
    size = options.pick(10 * 10**6, 10**9)
    if shutil.which("curl") is None:
        return [Table(title="Downloading an artifact", rows=[], notes=["left out: there is no curl here"])]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="finetuner-download-")))
        server = stack.enter_context(our_server(folder / "state", run_with_artifact(size), profiles=options.profiles))
        target = folder / "ours"
        ours = stack.enter_context(
            contestant("download_ours", target, environ=server.environ, profiles=options.profiles)
        )
        started = ours.ready.get("held_bytes", 0)
        artifact = _artifact(server)
        told = told_in_turn(
            {BARE: lambda: _curl(server, artifact, folder / "curl.zip"), OURS: lambda: _ours(ours, target, artifact)},
            options.repeat,
        )
        peak_mb = (_told_of(ours, target)["peak_bytes"] - started) / 1e6
    rows = {name: Measured(name=name, values=values, unit="MB/s") for name, values in told.items()}
    memory = Measured(name="ours, memory over that of a client that did nothing", values=[peak_mb], unit="MB")
    return [
        Table(
            title=f"Downloading an artifact of {size / 1e6:,.0f} MB",
            rows=[*rows.values(), memory],
            goals=[
                Goal(what="ours over curl", value=over(rows[OURS], rows[BARE]), limit=0.9, is_most=False),
                Goal(what="megabytes of memory for it", value=peak_mb, limit=FLAT_MB),
            ],
        )
    ]


def _artifact(server: Server) -> dict[str, str]:
    """Give the artifact's id, its size and its sha256."""
    headers = {"Authorization": f"Bearer {server.token}"}
    with urlopen(Request(f"{server.url}/api/v1/runs?limit=1", headers=headers), timeout=60) as answer:
        run = json.load(answer)["items"][0]
    with urlopen(Request(f"{server.url}/api/v1/artifacts/{run['artifact_id']}", headers=headers), timeout=60) as answer:
        said: dict[str, str] = json.load(answer)
    return said


def _curl(server: Server, artifact: dict[str, str], target: Path) -> float:
    url = f"{server.url}/api/v1/artifacts/{artifact['id']}/content"
    script = 'curl --silent --fail --header "$1" "$2" | tee "$3" | sha256sum'
    argv = ["bash", "-o", "pipefail", "-c", script, "curl", f"Authorization: Bearer {server.token}", url, str(target)]
    target.unlink(missing_ok=True)
    start = time.perf_counter()
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.stdout.split()[0] != artifact["sha256"]:
        raise RuntimeError(f"curl gave {done.stdout!r}, not {artifact['sha256']}")
    size = target.stat().st_size
    target.unlink()
    return size / seconds / 1e6


def _ours(ours: Contestant, target: Path, artifact: dict[str, str]) -> float:
    told = _told_of(ours, target)
    if told["size"] != int(artifact["size_bytes"]):
        raise RuntimeError(f"a file of {told['size']} bytes came, not of {artifact['size_bytes']}")
    return float(told["size"] / told["seconds"] / 1e6)


def _told_of(ours: Contestant, target: Path) -> dict[str, float]:
    shutil.rmtree(target, ignore_errors=True)
    return ours.go()
