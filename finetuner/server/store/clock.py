"""The time, as the database holds it."""

from __future__ import annotations

import datetime as dt

from finetuner.api.convert import to_iso


def now() -> str:
    """Give the present time as an ISO 8601 text in UTC."""
    return to_iso(dt.datetime.now(dt.UTC))


def text_of(seconds: float) -> str:
    """Give a time of the clock, in seconds since 1970, as such a text."""
    return to_iso(dt.datetime.fromtimestamp(seconds, dt.UTC))


def ago(seconds: float) -> str:
    """Give the time some seconds back."""
    return to_iso(dt.datetime.now(dt.UTC) - dt.timedelta(seconds=seconds))
