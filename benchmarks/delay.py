"""A loopback proxy that delays every byte, in each direction, as a network with a longer way would.

It keeps order and lets any number of bytes be under way at once; only time is added. It is a process of its own, so
that it takes none of the client's. What a kernel does for a connection, its handshake, is not delayed.
"""

from __future__ import annotations

import contextlib
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from benchmarks.contestant import contestant

ECHOES = 30


@contextlib.contextmanager
def delayed(url: str, one_way_s: float) -> Iterator[str]:
    """Give a URL that reaches a server with a delay in each direction; without a delay, the server's own."""
    if not one_way_s:
        yield url
        return
    target = urlsplit(url)
    with contestant("delay_proxy", target.hostname, target.port, one_way_s) as proxy:
        yield f"http://127.0.0.1:{proxy.ready['port']}"


def echo_round_trip_s(one_way_s: float) -> float:
    """Give the median round trip of one byte through a proxy to an echo: what the proxy says of itself, checked."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_echo, args=(server,), daemon=True)
        thread.start()
        with delayed(f"http://127.0.0.1:{server.getsockname()[1]}", one_way_s) as url:
            address = urlsplit(url)
            taken = []
            with socket.create_connection((address.hostname or "", address.port or 0), timeout=10) as client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for _ in range(ECHOES):
                    start = time.perf_counter()
                    client.sendall(b"x")
                    assert client.recv(1) == b"x"
                    taken.append(time.perf_counter() - start)
        thread.join(timeout=10)
    return statistics.median(taken)


def _echo(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := connection.recv(64):
            connection.sendall(data)
