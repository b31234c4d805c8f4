"""The generator, on a module with every construct, on what it must refuse, and on the SDK itself."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tools import sync, sync_classes, sync_docs, sync_tests
from tools.sync_types import NoRule, Place

ROOT = Path(__file__).parents[2]
PLACE = Place(Path("finetuner/aio/item.py"))

PROGRAM = """
from finetuner.sync.item import Count, Item, Shop

shop = Shop(5, title="the shop")
assert shop.title == "the shop"
with Shop() as entered:
    assert entered.get(1, 2, size=3, more=4).number == 10
assert Shop.fetch is Shop.get
assert shop.find(9) is None and shop.find(9, known=True) == Item(shop.find(9, known=True)._async) == shop.get(2)
assert [item.number for item in shop.every(iter(range(3)))] == [0, 1, 2]
assert shop.named()["one"].number == 1
assert shop.pair()[0].number == shop.pair()[1] == 2
assert len(set(shop.several()) | set(shop.every([1, 2]))) == 2
assert isinstance(shop.groups()["all"][0], Item)
assert shop.total() == 0 and shop.total(shop.every([1, 2]), shop.named()) == 4
assert [shop.number_of(item) for item in (shop.get(1), 3, None)] == [8, 3, None]
assert [item.number for item in shop.walk(3)] == [0, 1, 2]
with shop.stroll(3) as strolled:
    assert isinstance(next(strolled), Item)
with shop.count(2) as begun:
    assert [item.number for item in begun.first()] == [0] and [item.number for item in begun] == [1]
with shop.count(3) as numbers:
    assert isinstance(numbers, Count) and numbers.end == 3
    assert [item.number for item in numbers] == [0, 1, 2]
assert shop.plain(["a", "b"]) == "a, b here"
told = []
shop.told(3, told.append)
shop.told(3)
assert told == [0, 1, 2]
item = shop.get(0)
item.note = "noted"
assert item.note == item.renew().note == "noted" and item.renew() is item
assert repr(item) == "<Item 7>" and not hasattr(item, "_hidden")
assert [item.number for item in shop.stocked([1, 2])] == [1, 2] and Shop.in_stock is Shop.stocked
assert (shop.weighed(), shop.weighed(5), shop.weighed(iter(shop.stocked([1, 2])))) == (0, 5, 3)
shop.close()
"""


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of its own, whose async SDK has every construct."""
    monkeypatch.setattr(sync_classes, "MADE_BY_USERS", frozenset({"AsyncShop"}))
    monkeypatch.setattr(sync, "ABANDON", "\n\ndef _abandon(client: AsyncShop) -> object:\n    return client\n")
    package = tmp_path / "finetuner"
    shutil.copytree(ROOT / "finetuner" / "portal", package / "portal")
    shutil.copy(ROOT / "finetuner" / "errors.py", package)
    shutil.copytree(Path(__file__).with_name("sync_source"), package / "aio")
    for folder in (package, package / "aio"):
        (folder / "__init__.py").touch()
    return tmp_path


def suite_at(root: Path, source: str = "") -> Path:
    """Write a suite of one test of the async SDK, and give its folder."""
    folder = root / "tests" / "behaviours" / "aio"
    folder.mkdir(parents=True)
    (folder / "test_it.py").write_text(textwrap.dedent(source), "utf-8")
    return folder


def changed(tree: Path, old: str, new: str) -> Path:
    """Replace something in the async module, and give the async package."""
    module = tree / "finetuner" / "aio" / "item.py"
    text = module.read_text("utf-8")
    assert old in text
    module.write_text(text.replace(old, new, 1), "utf-8")
    return module.parent


def test_what_is_made_of_every_construct_works_and_is_typed(tree: Path) -> None:
    assert sync.main([], tree / "finetuner" / "aio", tree / "finetuner" / "sync", suite_at(tree)) == 0
    environment = {**os.environ, "PYTHONPATH": str(tree), "MYPYPATH": str(tree)}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, cwd=tree, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    mypy = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", str(tree / "cache")]
    checked = subprocess.run(
        [*mypy, "-p", "finetuner.sync"], env=environment, cwd=tree, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout


def test_examples_are_those_of_a_plain_program(tree: Path) -> None:
    made = sync.generate(tree / "finetuner" / "aio")["item.py"]
    docs = {
        node.name: ast.get_docstring(node)
        for node in ast.walk(ast.parse(made))
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
    }
    assert (docs["Shop"] or "").endswith("Example:\n    with Shop() as shop:\n        print(shop.get(1))")
    assert (docs["Count"] or "").endswith(
        "with shop.count(3) as numbers:\n        for number in numbers:\n            print(number)"
    )
    assert (docs["renew"] or "").endswith("print(item.renew().number)")
    assert (docs["close"] or "").endswith("shop.close()")
    assert docs["Item"] == "A thing that a shop has; `Shop` gives it."


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("fetch = get", "fetch, other = get, get", "Assign in the body of AsyncShop"),
        ("def first(self)", "def first(self, more: int)", "the coroutine first of a stream with parameters"),
        ("    def plain(", "    @staticmethod\n    def plain(", "the decorator 'staticmethod' of plain"),
        ("class AsyncItem:", "class AsyncItem(Path):", "the base 'Path': what it gives would be lost"),
        ("def __hash__", "def __lt__", "__lt__ of AsyncItem"),
        ('self._note = ""', "self.loose = 1", "the attribute 'self.loose = 1' without an annotation"),
        ('        """Which one."""\n', "", "the attribute 'number' without a docstring below it"),
        ("-> dict[str, AsyncItem]", "-> dict[AsyncItem, str]", "'dict[AsyncItem, str]'"),
        ("-> tuple[AsyncItem, int]", "-> type[AsyncItem]", "'type[AsyncItem]'"),
        ("Callable[[int], None]", "Callable[[AsyncItem], None]", "a callback gets plain values and gives None"),
        ("Callable[[int], None]", "Callable[[int], bool]", "a callback gets plain values and gives None"),
        ("where: str | Path", "where: asyncio.Event", "asyncio belongs to an event loop"),
        ("end: int, progress", "end, progress", "the parameter 'end' without an annotation"),
        (
            "end: int, progress",
            "portal: int, progress",
            "the parameter 'portal' of told: no annotation, or a name in use",
        ),
        ('"""Give numbers."""', '"""Give an asyncio task."""', "a docstring that says 'asyncio'"),
        ('        """Give numbers."""\n', "", "count without a docstring"),
        (
            "async def __aexit__(self, *error: object) -> None",
            "async def __aexit__(self, *error: object) -> bool",
            "__aexit__",
        ),
        ("where: str | Path", "where: Unknown", "the name 'Unknown'"),
    ],
)
def test_what_there_is_no_rule_for_is_an_error_with_its_place(tree: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(NoRule, match=r"aio/item\.py.*: no rule for") as caught:
        sync.generate(changed(tree, old, new))
    assert message in str(caught.value)


def test_what_a_part_of_a_class_has_no_rule_for_is_named_with_the_file_of_the_part(tree: Path) -> None:
    part = tree / "finetuner" / "aio" / "stock.py"
    part.write_text(part.read_text("utf-8").replace("where: PurePath | None", "where"), "utf-8")
    with pytest.raises(NoRule, match=r"aio/stock\.py:\d+: no rule for the parameter 'where'"):
        sync.generate(part.parent)


def test_an_error_is_printed_and_nothing_is_written(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    aio = changed(tree, "fetch = get", "fetch, other = get, get")
    assert sync.main([], aio, tree / "finetuner" / "sync", suite_at(tree)) == 1
    line = (aio / "item.py").read_text("utf-8").splitlines().index("    fetch, other = get, get") + 1
    assert f"finetuner/aio/item.py:{line}: no rule for" in capsys.readouterr().err
    assert not (tree / "finetuner" / "sync").exists()


def test_the_sync_sdk_is_what_the_async_one_makes_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert sync.main(["--check"]) == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "shown"),
    [
        ("    async def cancel(self)", "    async def _cancel(self)", "-    def cancel(self) -> None:"),
        ("tail: int | None = None", "tail: int | None = 1", "+        tail: int | None = 1,"),
    ],
)
def test_a_change_of_the_async_sdk_alone_fails_the_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, shown: str
) -> None:
    aio = tmp_path / "finetuner" / "aio"
    shutil.copytree(sync.AIO, aio)
    text = (aio / "run.py").read_text("utf-8")
    assert old in text
    (aio / "run.py").write_text(text.replace(old, new), "utf-8")
    assert sync.main(["--check"], aio, sync.SYNC) == 1
    assert shown in capsys.readouterr().out


@pytest.mark.parametrize("edit", ["change", "add", "remove"])
def test_a_change_of_the_sync_sdk_by_hand_fails_the_check(tmp_path: Path, edit: str) -> None:
    copied = tmp_path / "sync"
    shutil.copytree(sync.SYNC, copied, ignore=shutil.ignore_patterns("__pycache__"))
    assert sync.main(["--check"], sync.AIO, copied) == 0
    if edit == "change":
        with (copied / "run.py").open("a", encoding="utf-8") as file:
            file.write("# a remark\n")
    elif edit == "add":
        (copied / "more.py").write_text('"""More."""\n', "utf-8")
    else:
        (copied / "watch.py").unlink()
    assert sync.main(["--check"], sync.AIO, copied) == 1
    assert sync.main([], sync.AIO, copied, suite_at(tmp_path)) == 0
    assert sync.main(["--check"], sync.AIO, copied) == 0


def test_a_program_around_an_example_is_taken_away() -> None:
    text = """Do it.

    Example:
        import asyncio

        async def main():
            async with AsyncShop() as shop:
                one = await shop.get(f(2))

                print((await shop.get(1)).note, (await shop.named())["one"])

        asyncio.run(main())
    """
    wanted = """Do it.

    Example:
        with Shop() as shop:
            one = shop.get(f(2))

            print(shop.get(1).note, shop.named()["one"])
    """
    made = sync_docs.rewrite(text, {"AsyncShop": "Shop"}, PLACE, ast.parse("1"))
    assert made == f"Do it.\n\n{textwrap.dedent(wanted.partition(chr(10) * 2)[2]).rstrip()}"


def test_the_entry_of_a_dropped_argument_goes_with_it() -> None:
    text = "Args:\n    one: A.\n    two: B,\n        and more.\n    three: C."
    assert sync_docs.without(text, "two") == "Args:\n    one: A.\n    three: C."


SUITE = '''
"""A suite."""
from __future__ import annotations
from collections.abc import AsyncIterator, Awaitable, Callable
import pytest
from finetuner.aio.item import AsyncItem, AsyncShop
from tests.behaviours.aio.conftest import AsyncMake
pytestmark = pytest.mark.anyio

@pytest.fixture
async def shop() -> AsyncIterator[AsyncShop]:
    async with AsyncShop() as made:
        yield made

async def test_it(shop: AsyncShop, make: AsyncMake, call: Callable[[int], Awaitable[AsyncItem]]) -> None:
    items = [await each.renew() async for each in shop.walk(3) if (await each.renew()).number]
    async for item in shop.walk(3):
        assert repr(await call(item.number)) == "<AsyncItem 7>"
    with pytest.raises(StopAsyncIteration):
        await anext(aiter(items))
    await shop.aclose()
'''
SYNC_SUITE = '''
"""A suite."""
from __future__ import annotations
from collections.abc import Iterator, Callable
import pytest
from finetuner.sync import Item, Shop
from tests.behaviours.sync.conftest import Make

@pytest.fixture
def shop() -> Iterator[Shop]:
    with Shop() as made:
        yield made

def test_it(shop: Shop, make: Make, call: Callable[[int], Item]) -> None:
    items = [each.renew() for each in shop.walk(3) if each.renew().number]
    for item in shop.walk(3):
        assert repr(call(item.number)) == "<Item 7>"
    with pytest.raises(StopIteration):
        next(iter(items))
    shop.close()
'''


def test_a_suite_becomes_that_of_the_sync_classes(tmp_path: Path) -> None:
    names = {"AsyncShop": "Shop", "AsyncItem": "Item"}
    (made,) = sync_tests.generate(suite_at(tmp_path, SUITE), tmp_path, names).values()
    assert ast.dump(ast.parse(made)) == ast.dump(ast.parse(SYNC_SUITE))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("import asyncio", "'asyncio', which belongs to an event loop"),
        ("from finetuner.aio.transfer import upload", "the sync SDK has no such thing"),
        ("def f(): return [asyncio.sleep(1)]", "'asyncio', which belongs to an event loop"),
        ("def f() -> AsyncGenerator[int]: ...", "'AsyncGenerator', which belongs to an event loop"),
    ],
)
def test_what_of_a_suite_belongs_to_an_event_loop_is_an_error_with_its_place(
    tmp_path: Path, line: str, said: str
) -> None:
    with pytest.raises(NoRule, match=r"tests/behaviours/aio/test_it\.py:2: no rule for") as caught:
        sync_tests.generate(suite_at(tmp_path, f"\n{line}"), tmp_path, {})
    assert said in str(caught.value)


def test_a_suite_that_was_changed_alone_fails_the_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite = suite_at(tmp_path, "async def test_it() -> None:\n    await f()")
    assert sync.main([], sync.AIO, tmp_path / "sync", suite) == 0
    assert sync.main(["--check"], sync.AIO, tmp_path / "sync", suite) == 0
    made = suite.with_name("sync") / "test_it.py"
    made.write_text(made.read_text("utf-8").replace("f()", "g()"), "utf-8")
    assert sync.main(["--check"], sync.AIO, tmp_path / "sync", suite) == 1
    assert "+    f()" in capsys.readouterr().out
