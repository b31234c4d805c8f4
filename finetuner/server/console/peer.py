"""Whose process is at the other end of a loopback connection, as far as the system tells: Linux does."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_MAPPED: Final = bytes(10) + b"\xff\xff"


def owner_of(peer: tuple[str, int], local: tuple[str, int]) -> int | None:
    """Give the user id of the process that connected from an address of this machine; None where nobody knows.

    Args:
        peer: The other end's address and port.
        local: This end's.
    """
    try:
        wanted = {(one, other) for one in _written(*peer) for other in _written(*local)}
    except ValueError:
        return None
    for table in _TABLES:
        try:
            lines = table.read_text(encoding="ascii").splitlines()
        except OSError:
            continue
        for line in lines[1:]:
            fields = line.split()
            if len(fields) > 7 and (fields[1], fields[2]) in wanted:
                return int(fields[7])
    return None


def _written(host: str, port: int) -> Iterable[str]:
    """Give an address as the kernel's tables have it: one may stand in both, as itself and mapped."""
    address = ipaddress.ip_address(host.partition("%")[0])
    forms = [address.packed]
    if isinstance(address, ipaddress.IPv4Address):
        forms.append(_MAPPED + address.packed)
    elif address.ipv4_mapped is not None:
        forms.append(address.ipv4_mapped.packed)
    return [f"{_words(form)}:{port:04X}" for form in forms]


def _words(packed: bytes) -> str:
    # Words of four bytes, each a number of this machine's byte order.
    words = (packed[start : start + 4] for start in range(0, len(packed), 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)
