"""Text of a job, or of another user, as a terminal may show it."""

from __future__ import annotations

import re
from typing import Final

_UNSAFE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Control characters but tab, and the marks that reorder text or break lines: all that could fake another line."""


def visible(text: str) -> str:
    r"""Write the control characters of one line out, such as `\x1b`; a tab stays."""
    return _UNSAFE.sub(lambda found: _escape(found[0]), text)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
