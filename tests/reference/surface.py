"""The public surface of the old client, 0.8.1, as `surface.json` has it."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import attrs
from cattrs import Converter

FOLDER: Final = Path(__file__).parent


@attrs.frozen(kw_only=True)
class Parameter:
    """One parameter, in its place."""

    name: str
    type: str
    default: Any = inspect.Parameter.empty

    @property
    def kinds(self) -> frozenset[str]:
        """What it took: `{"str", "None"}` of `Optional[str]`."""
        return frozenset(_kinds(ast.parse(self.type, mode="eval").body))


@attrs.frozen(kw_only=True)
class Signature:
    """One function or method."""

    parameters: tuple[Parameter, ...]
    returns: str | None = None
    rest: str | None = None
    """Name of its `**kwargs`, where it had some."""


@attrs.frozen(kw_only=True)
class Members:
    """What a class had."""

    properties: tuple[str, ...]
    methods: Mapping[str, Signature]


@attrs.frozen(kw_only=True)
class OldModel:
    """A row of the table of models."""

    name: str
    backbone: str
    task: str
    output_dim: int
    architecture: str


@attrs.frozen(kw_only=True)
class Surface:
    """All of it."""

    source: str
    functions: Mapping[str, Signature]
    aliases: Mapping[str, str]
    classes: Mapping[str, Members]
    values: Mapping[str, tuple[Parameter, ...]]
    """Callbacks, and what else a user made, by where it was imported from."""
    constants: tuple[str, ...]
    models: tuple[OldModel, ...]

    def signatures(self) -> Iterator[tuple[str, Signature]]:
        """Give every function, alias, method and value with the path that it was called by."""
        for name, signature in self.functions.items():
            yield f"finetuner.{name}", signature
        for alias, name in self.aliases.items():
            yield f"finetuner.{alias}", self.functions[name]
        for path, members in self.classes.items():
            for name, signature in members.methods.items():
                yield f"{path}.{name}", signature
        for path, parameters in self.values.items():
            yield path, Signature(parameters=parameters)


def found(path: str) -> Any:
    """Give what is there today under an old path, such as `finetuner.run.Run.status`.

    Raises:
        AttributeError: There is nothing of that name.
    """
    owner: Any = import_module("finetuner")
    for name in path.split(".")[1:]:
        owner = getattr(owner, name)
    return owner


def _kinds(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Subscript(value=ast.Name(id="Optional"), slice=inner):
            yield from (*_kinds(inner), "None")
        case ast.Subscript(value=ast.Name(id="Union"), slice=ast.Tuple(elts=inners)):
            yield from (kind for inner in inners for kind in _kinds(inner))
        case ast.Subscript(value=ast.Name(id=name)) | ast.Name(id=name) | ast.Attribute(attr=name):
            yield {"List": "list", "Dict": "dict", "NoneType": "None"}.get(name, name)
        case _:
            raise AssertionError(f"no rule for the old type {ast.unparse(node)}")


SURFACE: Final = Converter(forbid_extra_keys=True).structure(
    json.loads((FOLDER / "surface.json").read_text(encoding="utf-8")), Surface
)
