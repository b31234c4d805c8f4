"""What may stand between a client and its server, or in the server's place; each runs in a thread of its own."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator, Mapping

from anyio.from_thread import start_blocking_portal

from tests.proxy_support import Fault, FaultProxy


@contextlib.contextmanager
def proxied(target_url: str, fault: Fault) -> Iterator[str]:
    """Give the address of a proxy that fails so at each connection."""
    proxy = FaultProxy(target_url, lambda: fault)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(proxy):
        yield proxy.url


@contextlib.contextmanager
def stranger(status: int, body: bytes, headers: Mapping[str, str]) -> Iterator[str]:
    """Give the address of a server that gives every request the same answer."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    for method in ("HEAD", "GET", "POST", "PUT", "PATCH", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.answer)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
