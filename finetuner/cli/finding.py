"""What the doctor found out about one thing."""

from __future__ import annotations

from typing import Literal

import attrs


@attrs.frozen(kw_only=True)
class Finding:
    """One thing that was looked at."""

    name: str
    """What: `python`, `torch`, `state`, ..."""
    state: Literal["ok", "warning", "broken"]
    message: str
    """How it is, in a line."""
    hint: str | None = None
    """What to do about it."""

    def to_json(self) -> dict[str, str | None]:
        """Give it for programs."""
        return {"name": self.name, "state": self.state, "message": self.message, "hint": self.hint}
