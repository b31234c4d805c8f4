"""What users can name is in the docs, and what the docs name exists."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import attrs

from finetuner import errors
from finetuner.api import routes
from finetuner.callback import CALLBACKS, CustomCallback, Training
from finetuner.server import refusals
from tests.docs.blocks import ROOT, pages

HTTP = (ROOT / "docs/http.md").read_text(encoding="utf-8")
SETTINGS = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
ERRORS = (ROOT / "docs/errors.md").read_text(encoding="utf-8")


def test_every_route_is_in_the_docs_and_no_other() -> None:
    documented = set(re.findall(r"^\| (\w+) \| `([^`]+)` \| (\w+) \| (.+) \|$", HTTP, re.MULTILINE))
    assert documented == {(route.method, route.path, route.who, route.summary) for route in routes.ROUTES}


def test_every_error_code_is_in_the_docs_and_no_other() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "finetuner/server").rglob("*.py"))
    table = HTTP[HTTP.index("## Error codes") :]
    documented = {
        (code, int(status))
        for codes, status in re.findall(r"^\| ((?:`\w+` )+)\| (\d+) \|", table, re.MULTILINE)
        for code in re.findall(r"\w+", codes)
    }
    answered = {(code, int(status)) for status, code in re.findall(r'Refusal\(\s*(\d+),\s*"(\w+)"', sources)}
    answered |= {(code, status) for _, status, code in refusals._STATUS}
    answered |= {(code, status) for status, code in refusals._OF_HTTP.items()}
    answered |= {("bad_request", 400), ("internal", 500)}
    assert documented == answered


def test_every_setting_is_in_the_docs_and_no_other() -> None:
    sources = [path for path in (ROOT / "finetuner").rglob("*.py") if "sync" not in path.parts]
    read = {
        name
        for path in sources
        for name in re.findall(r"\bFINETUNER_[A-Z_]*[A-Z]\b", path.read_text(encoding="utf-8"))
        if name not in {"FINETUNER_STATE", "FINETUNER_CONFIG"}
    }
    assert read == set(re.findall(r"^\| `(FINETUNER_\w+)`", SETTINGS, re.MULTILINE))


def test_every_error_is_in_the_docs_and_no_other() -> None:
    known = {name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, Exception)}
    tree = ERRORS[ERRORS.index("```text") : ERRORS.index("```\n\n")]
    assert set(re.findall(r"^[│├└─ ]*([A-Z]\w+)", tree, re.MULTILINE)) == known


def test_every_callback_and_option_is_in_the_docs_and_no_other() -> None:
    sections = re.split(r"^## ", (ROOT / "docs/callbacks.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    by_name = {found[1]: section for section in sections if (found := re.match(r"`(\w+)`\n", section))}
    documented = {
        name: {option for cell in re.findall(r"^\| (`.+?) \|", section, re.MULTILINE) for option in _words(cell)}
        for name, section in by_name.items()
    }
    known = {name: {field.name for field in attrs.fields(kind)} for name, kind in CALLBACKS.items()}  # type: ignore[arg-type]
    assert documented == known


def test_all_that_a_callback_of_ones_own_sees_is_in_the_docs() -> None:
    section = (ROOT / "docs/callbacks.md").read_text(encoding="utf-8").partition("`training` has:")[2]
    documented = {name for cell in re.findall(r"^\| (`.+?) \|", section, re.MULTILINE) for name in _words(cell)}
    assert documented == {name for name in vars(Training) if not name.startswith("_")}
    moments = {name for name in vars(CustomCallback) if name.startswith("on_")}
    assert moments == set(re.findall(r"`(on_\w+)`", (ROOT / "docs/callbacks.md").read_text(encoding="utf-8")))


def _words(cell: str) -> list[str]:
    return re.findall(r"`(\w+)", cell)


def test_the_tree_in_the_errors_module_is_true() -> None:
    lines = re.findall(r"^    ([│├└─ ]*)([A-Z]\w+)", errors.__doc__ or "", re.MULTILINE)
    parents: list[str] = []
    for indent, name in lines:
        depth = len(indent) // 4
        parents[depth:] = [name]
        if depth:
            assert issubclass(getattr(errors, name), getattr(errors, parents[depth - 1]))


def test_links_between_pages_lead_somewhere() -> None:
    broken = [
        f"{page.name}: {target}"
        for page in pages()
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
        if "://" not in target and not Path(page.parent / target).exists()
    ]
    assert not broken
