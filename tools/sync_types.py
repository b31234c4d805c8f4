"""Annotations of the async SDK, as the sync one has them, and expressions that turn values of one into the other."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeAlias

import attrs

LISTS: Final = frozenset({"list", "Sequence", "Iterable", "Collection", "Iterator"})
SETS: Final = frozenset({"set", "frozenset"})
DICTS: Final = frozenset({"dict", "Mapping"})
STREAMS: Final = frozenset({"AsyncIterator", "AsyncGenerator", "AsyncIterable"})
LOOP_BOUND: Final = frozenset({"aiohttp", "asyncio", "anyio", "Awaitable", "Coroutine", "AsyncContextManager"})
"""Names whose values belong to one event loop: nothing that a sync signature can have."""


class NoRule(Exception):
    """A construct that the generator has no rule for."""


@attrs.frozen
class Place:
    """Where in the async source the generator is."""

    path: Path

    @staticmethod
    def mark(node: ast.AST, path: Path) -> None:
        """Take down the file of a node, which may become a part of another file's class."""
        node.source = path  # type: ignore[attr-defined] # a node holds whatever is set

    def refuse(self, node: ast.AST, what: str) -> NoRule:
        """Give the error for a construct."""
        path = getattr(node, "source", self.path)
        return NoRule(f"{path}:{getattr(node, 'lineno', 1)}: no rule for {what}")


@attrs.frozen
class Types:
    """The rules for annotations of one file.

    Args:
        names: The sync class of each async one.
        place: The file.
    """

    names: Mapping[str, str]
    place: Place

    def plain(self, node: ast.expr) -> ast.expr:
        """Give an annotation with its quoted parts unquoted."""
        parsed: ast.expr = _Unquote().visit(ast.parse(ast.unparse(node), mode="eval").body)
        for each in ast.walk(parsed):
            ast.copy_location(each, node)
        return ast.fix_missing_locations(parsed)

    def shown(self, node: ast.expr) -> str:
        """Give the sync annotation."""
        plain = self.plain(node)
        for each in ast.walk(plain):
            if isinstance(each, ast.Name) and (each.id in LOOP_BOUND or each.id in STREAMS):
                raise self.place.refuse(node, f"{ast.unparse(node)!r}: {each.id} belongs to an event loop")
        return ast.unparse(_Rename(self.names).visit(plain))

    def concerns(self, node: ast.expr) -> bool:
        """Whether values of this annotation have to be turned."""
        return any(isinstance(each, ast.Name) and each.id in self.names for each in ast.walk(self.plain(node)))

    def item(self, node: ast.expr | None) -> ast.expr | None:
        """Give the item's annotation of an async iterator's, or None where it is no such thing."""
        if node is None:
            return None
        plain = self.plain(node)
        if not (isinstance(plain, ast.Subscript) and _name(plain.value) in STREAMS):
            return None
        return plain.slice.elts[0] if isinstance(plain.slice, ast.Tuple) else plain.slice

    def to_sync(self, node: ast.expr, value: str) -> str:
        """Give the expression that makes a sync value of an async one."""
        plain = self.plain(node)
        if not self.concerns(plain):
            return value
        if isinstance(plain, ast.Name):
            return f"{self.names[plain.id]}({value})"
        members = _members(plain)
        if len(members) > 1:
            chain = value
            for member in reversed([one for one in members if self.concerns(one)]):
                if not isinstance(member, ast.Name):
                    return self._optional(plain, members, value, self.to_sync(member, value))
                chain = f"{self.to_sync(member, value)} if isinstance({value}, {member.id}) else {chain}"
            return chain
        return self._container(plain, value, self.to_sync)

    def to_async(self, node: ast.expr, value: str) -> str:
        """Give the expression that makes an async argument of a sync one."""
        plain = self.plain(node)
        members = _members(plain)
        if any(_is_callable(member) for member in members):
            return self._callback(plain, value)
        if not self.concerns(plain):
            return value
        if isinstance(plain, ast.Name):
            return f"inner({value})"
        if len(members) > 1:
            chain = value
            for member in reversed([one for one in members if self.concerns(one)]):
                if not isinstance(member, ast.Name):
                    return self._optional(plain, members, value, self.to_async(member, value))
                chain = f"{value}._async if isinstance({value}, {self.names[member.id]}) else {chain}"
            return chain
        return self._container(plain, value, self.to_async)

    def _optional(self, node: ast.expr, members: list[ast.expr], value: str, turned: str) -> str:
        """Give the expression for a container of async values beside plain classes and None, which stay as they are."""
        kept = []
        for member in members:
            if isinstance(member, ast.Constant) and member.value is None:
                kept.append(f"{value} is None")
            elif isinstance(member, ast.Name) and not self.concerns(member):
                kept.append(f"isinstance({value}, {member.id})")
        if len(kept) != len(members) - 1:
            raise self.place.refuse(node, f"{ast.unparse(node)!r}: more than a container, plain classes and None")
        return f"{value} if {' or '.join(kept)} else {turned}"

    def _container(self, node: ast.expr, value: str, turn: Turn) -> str:
        if not isinstance(node, ast.Subscript):
            raise self.place.refuse(node, f"{ast.unparse(node)!r}")
        kind, inner = _name(node.value), node.slice
        parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
        if kind in LISTS and len(parts) == 1:
            turned = turn(parts[0], "one")
            return f"inners({value})" if turned == "inner(one)" else f"[{turned} for one in {value}]"
        if kind == "RunList" and len(parts) == 1:
            return f"RunList({turn(parts[0], 'one')} for one in {value})"
        if kind in SETS and len(parts) == 1:
            return f"{kind}({turn(parts[0], 'one')} for one in {value})"
        if kind in DICTS and not self.concerns(parts[0]):
            return f"{{key: {turn(parts[1], 'one')} for key, one in {value}.items()}}"
        if kind == "tuple" and isinstance(parts[-1], ast.Constant):
            return f"tuple({turn(parts[0], 'one')} for one in {value})"
        if kind == "tuple":
            return "(" + "".join(f"{turn(part, f'{value}[{index}]')}, " for index, part in enumerate(parts)) + ")"
        raise self.place.refuse(node, f"{ast.unparse(node)!r}")

    def _callback(self, node: ast.expr, value: str) -> str:
        for member in _members(node):
            if not _is_callable(member):
                continue
            if _result(member) not in {"None", "object"} or self.concerns(node):
                raise self.place.refuse(node, f"{ast.unparse(node)!r}: a callback gets plain values and gives None")
        return f"on_caller({value})"


Turn: TypeAlias = Callable[[ast.expr, str], str]


class _Unquote(ast.NodeTransformer):
    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        return node if _name(node.value) == "Literal" else self.generic_visit(node)  # type: ignore[return-value]

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        return ast.parse(node.value, mode="eval").body if isinstance(node.value, str) else node


@attrs.frozen
class _Rename(ast.NodeTransformer):
    names: Mapping[str, str]

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Name(self.names.get(node.id, node.id), node.ctx)


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _members(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _members(node.left) + _members(node.right)
    return [node]


def _is_callable(node: ast.expr) -> bool:
    return _name(node.value if isinstance(node, ast.Subscript) else node) == "Callable"


def _result(node: ast.expr) -> str:
    """Give what a `Callable[[...], result]` gives."""
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple) and len(node.slice.elts) == 2:
        return ast.unparse(node.slice.elts[1])
    return ""
