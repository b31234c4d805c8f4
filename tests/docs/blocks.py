"""The code blocks of a Markdown page."""

from __future__ import annotations

import re
from pathlib import Path

import attrs

_BLOCK = re.compile(
    r"(?:<!-- (?P<note>[^\n]*?) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)

ROOT = Path(__file__).parents[2]


@attrs.frozen(kw_only=True)
class Block:
    """One fenced block."""

    page: str
    line: int
    """Line of its first code line, counted from 1."""
    language: str
    code: str
    note: str
    """What the HTML comment above it says, such as `command: demo`."""

    @property
    def id(self) -> str:
        """Where it stands, for the name of its test."""
        return f"{self.page}:{self.line}"


def blocks(path: Path) -> list[Block]:
    """Give the fenced blocks of a page in order."""
    text = path.read_text(encoding="utf-8")
    return [
        Block(
            page=str(path.relative_to(ROOT)),
            line=text[: found.start("code")].count("\n") + 1,
            language=found["language"],
            code=found["code"],
            note=found["note"] or "",
        )
        for found in _BLOCK.finditer(text)
    ]


def pages() -> list[Path]:
    """Give every page that a user or a contributor reads."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
