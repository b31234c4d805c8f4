"""One class of the async SDK as a class of the sync one: signatures, docstrings, and bodies that only delegate."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator, Mapping
from typing import Final

import attrs

from tools import sync_docs
from tools.sync_types import Place, Types

BY_HAND: Final = {"AsyncStream": "Stream"}
"""Async classes whose sync counterpart is written: `finetuner.portal.Stream` reads across threads."""
MADE_BY_USERS: Final = frozenset({"AsyncClient"})
"""Classes that a user constructs; others are given by these, and wrap what is given."""
DROPPED: Final = {("AsyncClient", "__init__", "session")}
"""Parameters that belong to the caller's own event loop."""
OF_STREAMS: Final = frozenset("__aiter__ __anext__ aclose asend athrow __aenter__ __aexit__".split())
"""What `finetuner.portal.Stream` does."""
SPECIAL: Final = frozenset({"_repr_html_"})
"""What a notebook asks for."""
INTERNAL: Final = frozenset({"__del__", "__slots__"})
TAKEN: Final = frozenset({"portal", "got", "one", "key", "inner", "inners", "on_caller"})
"""Names that bodies use, and that no parameter can have."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@attrs.frozen
class ClassRules:
    """The rules for one class.

    Args:
        node: The async class.
        types: The rules for its annotations.
        names: The sync class of each async one.
        place: Its file.
    """

    node: ast.ClassDef
    types: Types
    names: Mapping[str, str]
    place: Place

    @property
    def name(self) -> str:
        """Name of the sync class."""
        return self.names[self.node.name]

    @property
    def functions(self) -> Iterator[Function]:
        """Its methods and properties."""
        return (each for each in self.node.body if isinstance(each, Function))

    @property
    def is_stream(self) -> bool:
        """Whether it is an async iterator."""
        return self._item() is not None

    def source(self) -> str:
        """Give the sync class."""
        item = self._item()
        base = self._base(item)
        lines = [f"class {self.name}{base}:", f"    {self._doc(self.node, 4)}", ""]
        lines += self._init(item)
        for each in self.node.body:
            lines += self._member(each, is_stream=item is not None)
        return "\n".join(lines)

    def _item(self) -> ast.expr | None:
        """Give the annotation of the items, where this is an async iterator."""
        for base in self.node.bases:
            if isinstance(base, ast.Subscript) and ast.unparse(base.value) in BY_HAND:
                inner = self.types.plain(base.slice)
                return inner.elts[0] if isinstance(inner, ast.Tuple) else inner
        for each in self.functions:
            if each.name == "__anext__":
                if each.returns is None:
                    raise self.place.refuse(each, "__anext__ without a return annotation")
                return each.returns
        return None

    def _base(self, item: ast.expr | None) -> str:
        if item is not None:
            return f"(Stream[{self.types.shown(item)}])"
        for base in self.node.bases:
            if ast.unparse(base) not in self.names:
                raise self.place.refuse(base, f"the base {ast.unparse(base)!r}: what it gives would be lost")
        bases = [self.names[ast.unparse(base)] for base in self.node.bases]
        return f"({', '.join(bases)})" if bases else ""

    def _init(self, item: ast.expr | None) -> list[str]:
        if self.node.name in MADE_BY_USERS:
            return self._made()
        head = f"    def __init__(self, wrapped: {self.node.name}) -> None:"
        if item is None:
            return [head, "        self._async = wrapped", "", *self._attributes()]
        wrap = ""
        if self.types.concerns(item):
            is_class = isinstance(item, ast.Name)
            wrap = f", {self.types.shown(item) if is_class else 'lambda got: ' + self.types.to_sync(item, 'got')}"
        body = [f"        super().__init__(portal, wrapped{wrap})", "        self._async = wrapped"]
        return [head, *body, "", *self._attributes()]

    def _made(self) -> list[str]:
        init = self._init_of_source()
        if init is None:
            raise self.place.refuse(self.node, f"{self.node.name}, which users make, without __init__")
        args = self._kept_arguments(init)
        return [
            f"    def __init__({self._parameters(init, args)}) -> None:",
            f"        self._async = {self.node.name}({self._passed(init, args)})",
            "        portal.keep(self._async, _abandon)",
            "",
            *self._attributes(),
        ]

    def _init_of_source(self) -> Function | None:
        return next((each for each in self.functions if each.name == "__init__"), None)

    def _attributes(self) -> list[str]:
        """Give a property for each public attribute that `__init__` sets."""
        init = self._init_of_source()
        lines: list[str] = []
        body = [] if init is None else init.body
        for place, each in enumerate(body):
            if isinstance(each, ast.Assign) and any(map(_public_attribute, each.targets)):
                raise self.place.refuse(each, f"the attribute {ast.unparse(each)!r} without an annotation")
            if isinstance(each, ast.AnnAssign) and (name := _public_attribute(each.target)):
                lines += self._attribute(name, each.annotation, body[place + 1] if place + 1 < len(body) else None)
        return lines

    def _attribute(self, name: str, annotation: ast.expr, doc: ast.stmt | None) -> list[str]:
        text = doc.value.value if isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant) else None
        if not isinstance(text, str):
            raise self.place.refuse(annotation, f"the attribute {name!r} without a docstring below it")
        shown = sync_docs.literal(sync_docs.rewrite(text, self.names, self.place, annotation), 8)
        lines = ["    @property", f"    def {name}(self) -> {self.types.shown(annotation)}:", f"        {shown}"]
        return [*lines, *self._given_back(annotation, f"self._async.{name}"), ""]

    def _member(self, node: ast.stmt, *, is_stream: bool) -> list[str]:
        lines: list[str] = []
        match node:
            case ast.Expr(value=ast.Constant()) | ast.Pass():
                pass
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)) if name[0] == "_":
                pass
            case ast.Assign(targets=[ast.Name(id=alias)], value=ast.Name(id=method)):
                lines = [f"    {alias} = {method}", ""]
            case ast.AnnAssign(target=ast.Name(id=name)):
                following = self.node.body[self.node.body.index(node) + 1 :]
                lines = self._attribute(name, node.annotation, following[0] if following else None)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                lines = [] if is_stream and node.name in OF_STREAMS else self._function(node)
            case _:
                raise self.place.refuse(node, f"{type(node).__name__} in the body of {self.node.name}")
        return lines

    def _function(self, node: Function) -> list[str]:
        name = node.name
        is_special = name.startswith("__") or name in SPECIAL
        if name in INTERNAL or name == "__init__" or (name.startswith("_") and not is_special):
            return []
        if is_special:
            return self._special(node)
        kinds = [ast.unparse(each) for each in node.decorator_list]
        if kinds == ["property"]:
            return self._property(node)
        if kinds == [f"{name}.setter"]:
            return self._setter(node)
        if kinds == ["overload"]:
            return [f"    {line}" for line in [*self.head(node, "overload"), "    ..."]] + [""]
        if kinds:
            raise self.place.refuse(node, f"the decorator {kinds[0]!r} of {name}")
        return self._method(node)

    def _special(self, node: Function) -> list[str]:
        arguments = "kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None"
        rules = {
            "__aenter__": [
                "def __enter__(self) -> Self:",
                "    portal.call(self._async.__aenter__)",
                "    return self",
            ],
            "__aexit__": [
                f"def __exit__(self, {arguments}) -> None:",
                "    portal.call(self._async.__aexit__, kind, error, trace)",
            ],
            "__eq__": [
                "def __eq__(self, other: object) -> bool:",
                f"    return self._async == other._async if isinstance(other, {self.name}) else NotImplemented",
            ],
            "__hash__": ["def __hash__(self) -> int:", "    return hash(self._async)"],
            "__repr__": [
                "def __repr__(self) -> str:",
                f"    return repr(self._async).replace({self.node.name!r}, {self.name!r}, 1)",
            ],
            "__len__": ["def __len__(self) -> int:", "    return len(self._async)"],
            "_repr_html_": ["def _repr_html_(self) -> str:", "    return self._async._repr_html_()"],
            "__str__": ["def __str__(self) -> str:", "    return str(self._async)"],
        }
        if node.name not in rules or (node.name == "__aexit__" and ast.unparse(node.returns or node) != "None"):
            raise self.place.refuse(node, f"{node.name} of {self.node.name}, as it stands")
        return [f"    {line}" for line in rules[node.name]] + [""]

    def _property(self, node: Function) -> list[str]:
        returns = self._returns(node)
        lines = ["    @property", f"    def {node.name}(self) -> {self.types.shown(returns)}:"]
        return [*lines, f"        {self._doc(node, 8)}", *self._given_back(returns, f"self._async.{node.name}"), ""]

    def _setter(self, node: Function) -> list[str]:
        args = node.args.args
        return [
            f"    @{node.name}.setter",
            f"    def {node.name}({self._parameters(node, node.args)}) -> None:",
            f"        self._async.{node.name} = {self._passed(node, ast.arguments([], args, None, [], [], None, []))}",
            "",
        ]

    def _method(self, node: Function) -> list[str]:
        call = f"self._async.{node.name}"
        passed = self._passed(node, node.args)
        item = self.types.item(node.returns)
        lines = [f"    {line}" for line in [*self.head(node), f"    {self._doc(node, 8)}"]]
        way = "call" if isinstance(node, ast.AsyncFunctionDef) else "run"
        if self.is_stream and isinstance(node, ast.AsyncFunctionDef):
            if passed:
                raise self.place.refuse(node, f"the coroutine {node.name} of a stream with parameters")
            return [*lines, *self._given_back(self._returns(node), f"self._call({call})"), ""]
        through = f"portal.{way}({', '.join(filter(None, [call, passed]))})"
        if node.args.kwarg is not None and ast.unparse(node.args.kwarg.annotation or node).startswith("Unpack["):
            through = f"portal.{way}(lambda: {call}({passed}))"  # no ParamSpec takes the items of a TypedDict
        if item is not None:
            wrap = f", lambda got: {self.types.to_sync(item, 'got')}" if self.types.concerns(item) else ""
            started = through if isinstance(node, ast.FunctionDef) else f"{call}({passed})"
            return [*lines, f"        return Stream(portal, {started}{wrap})", ""]
        returns = self._returns(node)
        if isinstance(node, ast.AsyncFunctionDef) or self.types.concerns(returns):
            return [*lines, *self._given_back(returns, through), ""]
        return [*lines, *self._given_back(returns, f"{call}({passed})"), ""]

    def head(self, node: Function, decorator: str = "", instance: str = "self") -> list[str]:
        """Give the `def` line of a method or, with no instance, of a function."""
        item = self.types.item(node.returns)
        returns = f"Stream[{self.types.shown(item)}]" if item is not None else self.types.shown(self._returns(node))
        name = "close" if node.name == "aclose" else node.name
        parameters = self._parameters(node, node.args, instance)
        return [*([f"@{decorator}"] if decorator else []), f"def {name}({parameters}) -> {returns}:"]

    def _given_back(self, returns: ast.expr, value: str) -> list[str]:
        if ast.unparse(returns) == "None":
            return [f"        {value}"]
        if ast.unparse(returns) == self.node.name:
            return [f"        got = {value}", f"        return self if got is self._async else {self.name}(got)"]
        if not self.types.concerns(returns):
            return [f"        return {value}"]
        turned = self.types.to_sync(returns, "got")
        if turned.count("got") == 1:
            return [f"        return {self.types.to_sync(returns, value)}"]
        return [f"        got = {value}", f"        return {turned}"]

    def _returns(self, node: Function) -> ast.expr:
        if node.returns is None:
            raise self.place.refuse(node, f"{node.name} without a return annotation")
        return node.returns

    def _kept_arguments(self, node: Function) -> ast.arguments:
        args = copy.deepcopy(node.args)
        is_dropped = [(self.node.name, node.name, each.arg) in DROPPED for each in args.kwonlyargs]
        args.kw_defaults = [one for one, drop in zip(args.kw_defaults, is_dropped, strict=True) if not drop]
        args.kwonlyargs = [one for one, drop in zip(args.kwonlyargs, is_dropped, strict=True) if not drop]
        return args

    def _parameters(self, node: Function, args: ast.arguments, instance: str = "self") -> str:
        shown = copy.deepcopy(args)
        named = [*shown.posonlyargs, *shown.args, *shown.kwonlyargs, *filter(None, [shown.vararg, shown.kwarg])]
        if not named or named[0].arg != "self":
            raise self.place.refuse(node, f"{node.name} without self")
        for each in named[1:]:
            if each.annotation is None or each.arg in TAKEN:
                raise self.place.refuse(
                    node, f"the parameter {each.arg!r} of {node.name}: no annotation, or a name in use"
                )
            each.annotation = ast.parse(self.types.shown(each.annotation), mode="eval").body
        if not instance:
            del (shown.posonlyargs or shown.args)[0]
        return ast.unparse(shown)

    def _passed(self, node: Function, args: ast.arguments) -> str:
        def turned(each: ast.arg) -> str:
            if each.annotation is None:
                raise self.place.refuse(node, f"the parameter {each.arg!r} without an annotation")
            return self.types.to_async(each.annotation, each.arg)

        given = [turned(each) for each in [*args.posonlyargs, *args.args][1:]]
        for each in filter(None, [args.vararg, args.kwarg]):
            if self.types.concerns(each.annotation or ast.Constant(None)):
                raise self.place.refuse(node, f"async values in *{each.arg}")
        given += [f"*{args.vararg.arg}"] if args.vararg else []
        given += [f"{each.arg}={turned(each)}" for each in args.kwonlyargs]
        given += [f"**{args.kwarg.arg}"] if args.kwarg else []
        return ", ".join(given)

    def doc(self, node: Function | ast.ClassDef) -> str:
        """Give a docstring for the sync SDK, without its indentation."""
        text = ast.get_docstring(node, clean=False)
        if text is None:
            raise self.place.refuse(node, f"{node.name} without a docstring")
        for owner, _, parameter in DROPPED:
            if owner == node.name:
                text = sync_docs.without(text, parameter)
        return sync_docs.rewrite(text, self.names, self.place, node)

    def _doc(self, node: Function | ast.ClassDef, indent: int) -> str:
        return sync_docs.literal(self.doc(node), indent)


def _public_attribute(node: ast.expr) -> str:
    """Give the name of the public attribute of `self` that this is, or nothing."""
    is_own = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
    return node.attr if is_own and isinstance(node, ast.Attribute) and not node.attr.startswith("_") else ""
