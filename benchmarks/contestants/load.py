"""Asks a server the same thing over many connections: `load.py ours|bare|mlflow create|get|list URL SECONDS`.

No HTTP library stands between: requests are bytes made beforehand, and of an answer its status and length are read.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, cast
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from turns import take_turns  # type: ignore[import-not-found] # beside this script, wherever it runs

CONNECTIONS = 32
NOTES = "what this run is about, in so many words; " * 18
"""Makes a config of a kilobyte."""
OURS_CONFIG = {
    "model": {"name": "all-minilm-l6-v2"},
    "data": {"train_data": "pairs"},
    "hyper_parameters": {"loss": "MultipleNegativesRankingLoss"},
    "callbacks": [{"name": "WandBLogger", "options": {"wandb_args": {"notes": NOTES}}}],
}
MLFLOW = "/api/2.0/mlflow"


class Way:
    """How one server is asked.

    Args:
        paths: Method and path of each thing to ask; `{id}` is that of a run that is there.
        body: Gives the body of what creates a run.
    """

    def __init__(self, paths: Mapping[str, tuple[str, str]], body: Callable[[], Mapping[str, Any]]) -> None:
        self.paths = paths
        self.body = body


WAYS = {
    "ours": Way(
        {
            "create": ("POST", "/api/v1/experiments/default/runs"),
            "get": ("GET", "/api/v1/runs/{id}"),
            "list": ("GET", "/api/v1/runs?page=1&size=100"),
        },
        lambda: {"config": OURS_CONFIG, "device": "cpu"},
    ),
    "bare": Way(
        {"create": ("POST", "/runs"), "get": ("GET", "/runs/{id}"), "list": ("GET", "/runs")},
        lambda: {"config": OURS_CONFIG},
    ),
    "mlflow": Way(
        {
            "create": ("POST", f"{MLFLOW}/runs/create"),
            "get": ("GET", f"{MLFLOW}/runs/get?run_id={{id}}"),
            "list": ("POST", f"{MLFLOW}/runs/search"),
        },
        lambda: {
            "experiment_id": "0",
            "start_time": int(time.time() * 1000),
            "tags": [{"key": "config", "value": json.dumps(OURS_CONFIG)}],
        },
    ),
}


class Asker(asyncio.Protocol):
    """One connection: the next request goes out when the answer to the last one is in."""

    def __init__(self, requests: Iterator[bytes], ended: asyncio.Future[None]) -> None:
        self.answers = 0
        self.size = 0
        self.refused = 0
        """Answers that say that the server could not."""
        self._requests = requests
        self._ended = ended
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask first."""
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def _next(self) -> None:
        assert self._transport is not None
        request = next(self._requests, None)
        if request is not None:
            self._transport.write(request)
            return
        self._transport.close()
        if not self._ended.done():
            self._ended.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Look whether the answer is whole."""
        self._buffer += data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = self._buffer[:head_end].lower()
        at = head.find(b"content-length: ")
        whole = head_end + 4 + (int(head[at + 16 :].partition(b"\r\n")[0]) if at >= 0 else 0)
        if len(self._buffer) < whole:
            return
        if at < 0 or not head.startswith((b"http/1.1 20", b"http/1.1 5")):
            self._fail(f"an answer that is none: {self._buffer[:1000]!r}")
            return
        if head.startswith(b"http/1.1 5"):
            self.refused += 1
        else:
            self.answers += 1
            self.size += whole
        self._buffer = self._buffer[whole:]
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        """Say so where answers were still to come."""
        self._fail(f"a connection was lost: {exc}")

    def _fail(self, why: str) -> None:
        if not self._ended.done():
            self._ended.set_exception(RuntimeError(why))


async def ask(address: tuple[str, int], request: bytes, seconds: float) -> dict[str, Any]:
    """Ask for so many seconds."""
    loop = asyncio.get_running_loop()
    start = time.perf_counter()

    def requests() -> Iterator[bytes]:
        while time.perf_counter() < start + seconds:
            yield request

    ends = [loop.create_future() for _ in range(CONNECTIONS)]
    askers = [Asker(requests(), end) for end in ends]
    for asker in askers:
        await loop.create_connection(partial(_same, asker), *address)
    await asyncio.gather(*ends)
    answers = sum(asker.answers for asker in askers)
    taken = time.perf_counter() - start
    return {
        "count": answers,
        "per_s": answers / taken,
        "size": sum(asker.size for asker in askers) / max(answers, 1),
        "refused": sum(asker.refused for asker in askers),
    }


def _same(asker: Asker) -> Asker:
    return asker


def main(server: str, thing: str, url: str, seconds: float) -> None:
    """Take turns with one kind of request."""
    way = WAYS[server]
    body = json.dumps(way.body()).encode()
    method, path = way.paths[thing]
    if "{id}" in path:
        path = path.replace("{id}", _some_id(way, url, body))
    if server == "mlflow" and thing == "list":
        body = json.dumps({"experiment_ids": ["0"], "max_results": 100}).encode()
    head = {"Host": urlsplit(url).netloc, **_headers()}
    if method == "POST":
        head |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items())]
    request = "\r\n".join(lines).encode() + b"\r\n\r\n" + (body if method == "POST" else b"")
    address = urlsplit(url).hostname or "", urlsplit(url).port or 0
    take_turns(lambda: asyncio.run(ask(address, request, seconds)))


def _some_id(way: Way, url: str, body: bytes) -> str:
    method, path = way.paths["create"]
    made = Request(url + path, body, {"Content-Type": "application/json", **_headers()}, method=method)
    with urlopen(made, timeout=60) as answer:
        said = json.load(answer)
    return str(said["run"]["info"]["run_id"] if "run" in said else said["id"])


def _headers() -> dict[str, str]:
    token = os.environ.get("FINETUNER_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]))
