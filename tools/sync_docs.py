"""Docstrings of the async SDK, as the sync one has them."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Mapping
from typing import Final

from tools.sync_types import NoRule, Place

PROSE: Final = {
    "; a session that was given stays open.": ".",
    "The SDK for asyncio programs. Safe with many tasks of one event loop, and in one loop after another.": (
        "The SDK for plain programs. Safe with many threads; the clients of a process share one event-loop thread."
    ),
}
"""What a docstring says that is true of the async SDK alone."""

_MAIN = re.compile(
    r"^( *)async def main\(\)(?: -> None)?:\n((?:\1 +.*\n|\n)+)\s*\1asyncio\.run\(main\(\)\)\n?", re.MULTILINE
)
_AWAITED = re.compile(r"(?<![\w\])])\(await ((?:[^()]|\((?:[^()]|\([^()]*\))*\))*)\)(?=[.\[])")
_LEFT = re.compile(r"\b(await|async|asyncio|aclose|anext|__a\w+__|Async\w+)\b")


def rewrite(text: str, names: Mapping[str, str], place: Place, node: ast.AST) -> str:
    """Give a docstring for the sync SDK, without its indentation.

    Raises:
        NoRule: It still speaks of async things.
    """
    text = inspect.cleandoc(text)
    for old, new in PROSE.items():
        text = text.replace(old, new)
    text = _MAIN.sub(lambda found: textwrap.indent(textwrap.dedent(found[2]), found[1]), text + "\n").rstrip()
    text = re.sub(r"^ *import asyncio\n+", "", text, flags=re.MULTILINE)
    text = _AWAITED.sub(r"\1", text)
    text = re.sub(r"\bawait ", "", text)
    text = re.sub(r"\basync (with|for|def)\b", r"\1", text)
    text = re.sub(r"\baclose\(\)", "close()", text)
    text = re.sub(r"\bAsync[A-Z]\w*", lambda found: names.get(found[0], found[0]), text)
    if left := _LEFT.search(text):
        raise NoRule(f"{place.refuse(node, 'a docstring')} that says {left[0]!r}")
    return text


def without(text: str, parameter: str) -> str:
    """Give a docstring without one entry of its `Args`."""
    return re.sub(rf"^( +){parameter}: .*\n(?:\1 +.*\n)*", "", text + "\n", flags=re.MULTILINE).rstrip()


def of_module(text: str) -> str:
    """Give a method's docstring for the function of the same name in the package."""
    return re.sub(r"\bclient\.(?=\w+\()", "finetuner.", text)


def literal(text: str, indent: int) -> str:
    """Give a docstring as source."""
    body = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    if "\n" not in body:
        return f'"""{body}"""'
    return '"""' + textwrap.indent(body, " " * indent).lstrip() + f'\n{" " * indent}"""'
