"""The two forms in which a log is streamed: server-sent events, and frames for clients that ask for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs
from aiohttp import web

from finetuner.api import logframes, sse


@attrs.frozen(kw_only=True)
class LogForm:
    """How what a stream has to say is written."""

    media_type: str
    lines: Callable[[bytes, int], bytes]
    """Whole lines of the log, and the byte offset where they begin."""
    position: Callable[[int], bytes]
    """How far the log was looked through."""
    ping: bytes
    end: Callable[[int, bytes], bytes]
    """Where the log ends, and JSON that says how its run ended."""
    is_kept: bool
    """Writing lines costs so much that what was written is kept for other streams."""


def _end_event(offset: int, said: bytes) -> bytes:
    return sse.encode([sse.Event(str(offset), "end", said.decode())])


EVENTS: Final = LogForm(
    media_type="text/event-stream; charset=utf-8",
    lines=sse.encode_log,
    position=sse.encode_position,
    ping=sse.PING,
    end=_end_event,
    is_kept=True,
)
FRAMES: Final = LogForm(
    media_type=logframes.MEDIA_TYPE,
    lines=logframes.encode_stretch,
    position=logframes.encode_position,
    ping=logframes.PING,
    end=logframes.encode_end,
    is_kept=False,
)


def form_of(request: web.Request) -> LogForm:
    """Give the form that a client asks for: events, unless it names the other."""
    accepted = request.headers.get("Accept", "").split(",")
    return FRAMES if any(one.partition(";")[0].strip() == logframes.MEDIA_TYPE for one in accepted) else EVENTS
