"""Times and amounts in words."""

from __future__ import annotations

import datetime as dt


def duration(seconds: float) -> str:
    """Give a length of time in words, such as `1 min 26 s`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def ago(time: dt.datetime, now: dt.datetime) -> str:
    """Give how long ago something was, by its largest unit; after 30 days, its date."""
    seconds = (now - time).total_seconds()
    if seconds < 5:
        return "just now"
    for unit, size in (("s", 60), ("min", 3600), ("h", 86_400), ("d", 30 * 86_400)):
        if seconds < size:
            step = {"s": 1, "min": 60, "h": 3600, "d": 86_400}[unit]
            return f"{int(seconds // step)} {unit} ago"
    return time.astimezone().strftime("%Y-%m-%d")


def count(number: int, noun: str) -> str:
    """Give a number with its noun, such as `1 run` or `16,017 runs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def size(bytes_: int) -> str:
    """Give a size in decimal units, such as `82.5 MB`."""
    value = float(bytes_)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
