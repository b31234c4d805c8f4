"""Make `finetuner/sync/` from `finetuner/aio/`, and its suite of behaviours from the async one's; `--check` compares.

    python tools/sync.py [--check]

Every public method of every `Async*` class, and of the bases in `aio` that make it up, is carried by one rule a
construct: a coroutine becomes a function that waits, an async iterator an iterator, `async with` a `with`. What there
is no rule for is an error with its place.
"""

from __future__ import annotations

import ast
import builtins
import copy
import difflib
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tools import sync_docs, sync_tests  # noqa: E402 - found from the root, where this file runs as a script
from tools.sync_classes import BY_HAND, ClassRules, Function  # noqa: E402
from tools.sync_types import NoRule, Place, Types  # noqa: E402

NAMED: Final = (ast.FunctionDef, ast.Assign)
AIO: Final = ROOT / "finetuner" / "aio"
SYNC: Final = ROOT / "finetuner" / "sync"
BEHAVIOURS: Final = ROOT / "tests" / "behaviours" / "aio"
RUNTIME: Final = {
    name: f"from finetuner.portal import {name}" for name in ("portal", "Stream", "inner", "inners", "on_caller")
} | {
    "Self": "from typing import Self",
    "TracebackType": "from types import TracebackType",
    "overload": "from typing import overload",
}
ABANDON: Final = '''
def _abandon(client: AsyncClient) -> object:
    """Forget a client's connections without closing them: in a forked child they are the parent's."""
    transport = client._transport
    pools, transport._pools = transport._pools, {}
    transport._loop = None
    return pools
'''
DEFAULT_CLIENT: Final = '''
_clients: dict[str, Client] = {}


def _client() -> Client:
    # No lock, which a fork could leave locked: a client that loses the race was never connected.
    return _clients.get("default") or _clients.setdefault("default", Client())


def close() -> None:
    """Close the connections of the client behind these functions; the next call makes a new one.

    Example:
        finetuner.close()
    """
    client = _clients.pop("default", None)
    if client is not None:
        client.close()
'''


@attrs.frozen
class Source:
    """One file of the async SDK."""

    path: Path
    tree: ast.Module
    of_parts: Mapping[str, str] = attrs.field(factory=dict)
    """The imports of the parts that its classes were made whole with."""

    @property
    def module(self) -> str:
        """Its name without the package's."""
        return self.path.stem

    @property
    def classes(self) -> list[ast.ClassDef]:
        """The classes that are carried, and those whose counterpart is written by hand."""
        return [one for one in self.tree.body if isinstance(one, ast.ClassDef) and one.name.startswith("Async")]

    def imports(self) -> dict[str, str]:
        """Give the line that imports each name: those it imports itself, and those it defines."""
        found: dict[str, str] = dict(self.of_parts)
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom) and node.module != "__future__":
                for one in node.names:
                    name = f" as {one.asname}" if one.asname else ""
                    found[one.asname or one.name] = f"from {node.module} import {one.name}{name}"
            elif isinstance(node, ast.Import):
                for one in node.names:
                    found[one.asname or one.name] = f"import {one.name}" + (f" as {one.asname}" if one.asname else "")
        for node in self.tree.body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", node)]
            for name in [one.id for one in targets if isinstance(one, ast.Name)] + [getattr(node, "name", "")]:
                found |= {name: f"from finetuner.aio.{self.module} import {name}"} if name else {}
        return found


def generate(aio: Path) -> dict[str, str]:
    """Give the files of the sync SDK by their names.

    Raises:
        NoRule: The async SDK has a construct that there is no rule for.
    """
    read = [Source(path, _parsed(path, aio.parents[1])) for path in sorted(aio.glob("*.py"))]
    sources = [_whole(source, read) for source in read]
    homes = {one.name: source.module for source in sources for one in source.classes}
    names = {name: BY_HAND.get(name, name.removeprefix("Async")) for name in homes} | BY_HAND
    files: dict[str, str] = {}
    for source in sources:
        place = Place(source.path.relative_to(aio.parents[1]))
        types = Types(names, place)
        rules = [ClassRules(one, types, names, place) for one in source.classes if one.name not in BY_HAND]
        rules.sort(key=lambda each: each.is_stream)  # its base names the class of its items
        if rules:
            body = "\n\n".join(each.source() for each in rules)
            body += ABANDON if "_abandon" in body else ""
            what = "`, `".join(each.name for each in rules)
            files[f"{source.module}.py"] = _file(source, f"`{what}`, for programs without an event loop.", body, homes)
        for each in rules:
            if each.name == "Client":
                files["functions.py"] = _functions(source, each, homes)
    files["__init__.py"] = _package(
        files, {names[name]: module for name, module in homes.items() if name not in BY_HAND}
    )
    return {name: formatted(text) for name, text in files.items()}


def _parsed(path: Path, root: Path) -> ast.Module:
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        Place.mark(node, path.relative_to(root))
    return tree


def _whole(source: Source, read: Sequence[Source]) -> Source:
    """Give a file with its classes made whole: what they have of a part, a base that is not carried, is their own."""
    parts = {one.name: (one, each) for each in read for one in each.tree.body if isinstance(one, ast.ClassDef)}
    table: dict[str, str] = {}
    tree = copy.deepcopy(source.tree)
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name.startswith("Async"):
            for part in _parts(node, parts):
                node.body += _missing(part.body, node.body)
                table |= parts[part.name][1].imports()
            node.bases = [base for base in node.bases if not _is_part(base, parts)]
    return Source(source.path, tree, table)


def _parts(node: ast.ClassDef, parts: Mapping[str, tuple[ast.ClassDef, Source]]) -> Iterator[ast.ClassDef]:
    for base in node.bases:
        if _is_part(base, parts):
            part = parts[ast.unparse(base)][0]
            yield part
            yield from _parts(part, parts)


def _is_part(base: ast.expr, parts: Mapping[str, object]) -> bool:
    name = ast.unparse(base)
    return name in parts and not name.startswith("Async")


def _missing(given: Sequence[ast.stmt], there: Sequence[ast.stmt]) -> list[ast.stmt]:
    """Give the methods and aliases of a part that a class does not have itself."""
    named = {name for one in there if (name := _member(one))}
    return [copy.deepcopy(one) for one in given if (name := _member(one)) and name not in named]


def _member(node: ast.stmt) -> str:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return node.name
        case ast.Assign(targets=[ast.Name(id=name)]):
            return name
    return ""


def _file(source: Source, doc: str, body: str, homes: Mapping[str, str]) -> str:
    table = source.imports() | RUNTIME
    defined = {one.name for one in ast.parse(body).body if isinstance(one, ast.ClassDef | ast.FunctionDef)}
    for name, module in homes.items():
        table[name] = f"from finetuner.aio.{module} import {name}"
        if name not in BY_HAND:
            table[name.removeprefix("Async")] = f"from finetuner.sync.{module} import {name.removeprefix('Async')}"
    lines = []
    for name in sorted(set(_free_names(ast.parse(body))) - defined):
        if name not in table:
            raise NoRule(f"{source.path}: no rule for the name {name!r}, which a signature uses and nothing imports")
        lines.append(table[name])
    head = (
        f"# Generated by tools/sync.py from finetuner/aio/{source.path.name}. Do not edit: edit that, and run the tool."
    )
    return "\n".join([head, f'"""{doc}"""', "", "from __future__ import annotations", "", *lines, "", body, ""])


def _free_names(tree: ast.Module) -> Iterator[str]:
    bound = {each.id for each in ast.walk(tree) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)}
    bound |= {each.arg for each in ast.walk(tree) if isinstance(each, ast.arg)}
    bound |= {each.name for one in tree.body for each in ast.walk(one) if isinstance(each, Function)}
    for each in ast.walk(tree):
        if isinstance(each, ast.Name) and each.id not in bound and not hasattr(builtins, each.id):
            yield each.id


def _functions(source: Source, rules: ClassRules, homes: Mapping[str, str]) -> str:
    parts = [DEFAULT_CLIENT]
    for each in rules.node.body:
        match each:
            case ast.Assign(targets=[ast.Name(id=alias)], value=ast.Name(id=method)) if not alias.startswith("_"):
                parts.append(f"{alias} = {method}")
            case ast.FunctionDef() | ast.AsyncFunctionDef() if _is_function(each):
                parts.append(_function(rules, each))
    doc = "The methods of a `Client` that is made when it is first needed, as functions."
    return _file(source, doc, "\n\n".join(parts), homes)


def _is_function(node: Function) -> bool:
    is_method = not node.decorator_list or ast.unparse(node.decorator_list[0]) == "overload"
    return is_method and not node.name.startswith("_") and node.name != "aclose"


def _function(rules: ClassRules, node: Function) -> str:
    if node.decorator_list:
        return "\n".join([*rules.head(node, "overload", ""), "    ..."])
    args = node.args
    passed = [each.arg for each in [*args.posonlyargs, *args.args][1:]]
    passed += [f"*{args.vararg.arg}"] if args.vararg else []
    passed += [f"{each.arg}={each.arg}" for each in args.kwonlyargs]
    passed += [f"**{args.kwarg.arg}"] if args.kwarg else []
    call = f"_client().{node.name}({', '.join(passed)})"
    is_silent = ast.unparse(node.returns or node) == "None"
    doc = sync_docs.literal(sync_docs.of_module(rules.doc(node)), 4)
    return "\n".join([*rules.head(node, "", ""), f"    {doc}", f"    {call}" if is_silent else f"    return {call}"])


def _package(files: Mapping[str, str], classes: Mapping[str, str]) -> str:
    lines = [f"from finetuner.sync.{module} import {name}" for name, module in classes.items()]
    functions = [one for one in ast.parse(files.get("functions.py", "")).body if isinstance(one, NAMED)]
    names = {name for one in functions if not (name := _defined(one)).startswith("_")}
    lines += [f"from finetuner.sync.functions import {name}" for name in names]
    shown = ", ".join(repr(name) for name in sorted([*classes, *names]))
    head = "# Generated by tools/sync.py from finetuner/aio/. Do not edit: edit that, and run the tool."
    doc = '"""The sync client: generated from the async one."""'
    return "\n".join([head, doc, "", *lines, "", f"__all__ = [{shown}]", ""])


def _defined(node: ast.FunctionDef | ast.Assign) -> str:
    return node.name if isinstance(node, ast.FunctionDef) else ast.unparse(node.targets[0])


def formatted(text: str) -> str:
    """Give source as ruff formats it, its imports sorted."""
    for command in (["check", "--quiet", "--select", "I", "--fix"], ["format", "--quiet"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(ROOT / "generated.py"), "-"]
        text = subprocess.run(ruff, input=text, capture_output=True, text=True, check=True).stdout
    return text


def differences(made: Mapping[str, str], folder: Path) -> list[str]:
    """Give the lines by which the files of a folder differ from those that were made."""
    there = {path.name: path.read_text("utf-8") for path in folder.glob("*.py")}
    lines: list[str] = []
    for name in sorted({*made, *there}):
        old, new = there.get(name, "").splitlines(), made.get(name, "").splitlines()
        lines += difflib.unified_diff(old, new, f"{folder.name}/{name}", f"{folder.name}/{name} as made", lineterm="")
    return lines


def write(made: Mapping[str, str], folder: Path) -> None:
    """Make the folder hold these files and no others."""
    folder.mkdir(exist_ok=True)
    for path in folder.glob("*.py"):
        if path.name not in made:
            path.unlink()
    for name, text in made.items():
        (folder / name).write_text(text, "utf-8")


def behaviours(folder: Path, aio: Path) -> dict[str, str]:
    """Give the modules of the sync suite of behaviours by their names.

    Raises:
        NoRule: A test has a construct that a plain program cannot have.
    """
    trees = [ast.parse(path.read_text("utf-8")) for path in aio.glob("*.py")]
    found = [one.name for tree in trees for one in tree.body if isinstance(one, ast.ClassDef)]
    names = {name: name.removeprefix("Async") for name in found if name.startswith("Async")}
    made = sync_tests.generate(folder, folder.parents[2], names)
    return {name: formatted(text) for name, text in made.items()}


def main(arguments: list[str], aio: Path = AIO, sync: Path = SYNC, suite: Path = BEHAVIOURS) -> int:
    """Write the sync SDK and its suite, or compare them with `--check`."""
    try:
        pairs = [(generate(aio), aio, sync), (behaviours(suite, aio), suite, suite.with_name("sync"))]
    except NoRule as error:
        print(error, file=sys.stderr)
        return 1
    code = 0
    for made, source, folder in pairs:
        if "--check" not in arguments:
            write(made, folder)
        elif lines := differences(made, folder):
            print("\n".join(lines))
            print(f"{folder} is not what tools/sync.py makes of {source}: run it", file=sys.stderr)
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
