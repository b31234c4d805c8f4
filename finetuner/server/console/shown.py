"""How values are written on a page."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any, Final

_HIDDEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)


def plain(text: object) -> str:
    r"""Give a text with every character written as its number that would hide, or turn others around.

    Example:
        >>> print(plain("a\x1b[31mred"))
        a\x1b[31mred
    """
    return _HIDDEN.sub(_number_of, str(text))


def _number_of(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\u{code:04x}" if code > 0xFF else f"\\x{code:02x}"


def duration(seconds: float | None) -> str:
    """Give a length of time in the two largest units that say something.

    Example:
        >>> duration(3723)
        '1 h 02 min'
    """
    if seconds is None:
        return ""
    whole = max(0, int(seconds))
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if days:
        return f"{days} d {hours % 24:02} h"
    if hours:
        return f"{hours} h {minutes % 60:02} min"
    return f"{minutes} min {whole % 60:02} s" if minutes else f"{whole} s"


def size(count: float | None) -> str:
    """Give a number of bytes in the unit that keeps it short.

    Example:
        >>> size(90_868_376)
        '86.7 MiB'
    """
    if count is None:
        return ""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def time(text: str | None) -> str:
    """Give a time of the database to the second, for people.

    Example:
        >>> time("2026-01-31T12:00:05.123456Z")
        '2026-01-31 12:00:05'
    """
    return "" if text is None else text[:19].replace("T", " ")


def seconds_between(start: str | None, end: str | None) -> float | None:
    """Give the seconds between two times of the database; until now where the second is missing."""
    if start is None:
        return None
    until = dt.datetime.now(dt.UTC) if end is None else dt.datetime.fromisoformat(end)
    return (until - dt.datetime.fromisoformat(start)).total_seconds()


def number(value: object) -> str:
    """Give a number as short as it can be read exactly enough.

    Example:
        >>> number(0.59123456), number(2e-05), number(64)
        ('0.5912', '2e-05', '64')
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return plain(value)
    if isinstance(value, int):
        return str(value)
    return f"{value:.4f}" if 0.001 <= abs(value) < 1e6 else f"{value:.4g}"


FILTERS: Final[dict[str, Any]] = {
    "plain": plain,
    "duration": duration,
    "size": size,
    "time": time,
    "number": number,
}
