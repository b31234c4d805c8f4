from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path

import pytest

from finetuner.server.console.peer import owner_of
from tests.server.console.many import Visitor
from tests.server.serving import Client

pytestmark = pytest.mark.anyio
on_linux = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="only Linux tells whose a connection is")
ASK = """
import encodings.idna, http.client, os, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
os.setuid(int(sys.argv[3]))
connection.request("GET", sys.argv[2])
print(connection.getresponse().status)
"""


@on_linux
@pytest.mark.parametrize(
    ("family", "host", "to"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
        (socket.AF_INET6, "::1", "::1"),
        (socket.AF_INET6, "::", "127.0.0.1"),
    ],
)
def test_the_owner_of_a_connection_is_known(family: socket.AddressFamily, host: str, to: str) -> None:
    try:
        listener = socket.create_server((host, 0), family=family, dualstack_ipv6=host == "::")
    except (OSError, ValueError) as error:
        pytest.skip(f"no such address here: {error}")
    with listener, socket.create_connection((to, listener.getsockname()[1])):
        accepted, peer = listener.accept()
        with accepted:
            assert owner_of(peer[:2], accepted.getsockname()[:2]) == os.getuid()


@pytest.mark.parametrize("host", ["", "no address", "192.0.2.1", "2001:db8::1", "fe80::1%lo"])
def test_nobody_knows_whose_another_machines_connection_is(host: str) -> None:
    assert owner_of((host, 1), ("127.0.0.1", 2)) is None


@on_linux
@pytest.mark.skipif(os.getuid() != 0, reason="only root can act as another user")
async def test_another_user_of_the_machine_is_refused(stranger: Visitor, client: Client) -> None:
    path = (await client.call("console_ticket")).json["path"]

    async def ask(path: str, uid: int) -> str:
        port = client.url.rpartition(":")[2]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", ASK, port, path, str(uid), stdout=asyncio.subprocess.PIPE
        )
        return (await process.communicate())[0].decode().strip()

    # Were the ticket's link read off a command line, it would be of no use, and stay good for its owner.
    assert await ask(path, 65534) == "403"
    assert await ask("/console/login", 65534) == "403"
    assert await ask("/health", 65534) == "200"
    assert await ask("/console/login", 0) == "200"
    assert (await stranger.get(path)).status == 200
    assert (await stranger.get("/console/")).status == 200
