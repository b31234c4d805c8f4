"""How the demo looks, on a narrow and a wide terminal and on none."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from finetuner.api.types import Progress
from finetuner.cli.demo_scripts import async_script, sync_script
from finetuner.cli.demo_view import METRICS, Answer, Asked, View

LONG = "It has used a renamed copy of a tool that ships with the system to compress what it had collected " * 2


def _shown(width: int, *, is_terminal: bool) -> str:
    file = io.StringIO()
    console = Console(
        file=file, width=width, force_terminal=is_terminal, highlight=False, markup=False, emoji=False, _environ={}
    )
    view = View(console)
    view.title(LONG)
    view.step("Data")
    view.tell(LONG)
    measured = {
        stage: {f"{caption}/{key}": value for caption in ("a", "b") for key in METRICS}
        for stage, value in (("before", 0.25), ("after", 0.5))
    }
    view.metrics(measured, [("a", "Index: the technique's name"), ("b", "Index: name and description")], limit=20)
    view.answers(
        [
            Asked(
                query=LONG,
                truth="Archive",
                before=Answer(title=LONG, is_right=False),
                after=Answer(title="Archive", is_right=True),
            ),
        ]
    )
    view.script(sync_script(0))
    view.script(async_script(0))
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", file.getvalue())


@pytest.mark.parametrize("is_terminal", [True, False])
@pytest.mark.parametrize("width", [80, 200])
def test_no_line_is_wider_than_the_terminal_or_than_can_be_read(width: int, is_terminal: bool) -> None:
    lines = _shown(width, is_terminal=is_terminal).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= min(width, 100)


def test_the_table_has_percents_and_gains_in_points() -> None:
    assert re.search(r"first answer right \(recall@1\) +25\.0 +50\.0 +\+25\.0", _shown(80, is_terminal=False))
    assert "nDCG@20" in _shown(80, is_terminal=False)


def test_answers_say_which_is_right() -> None:
    shown = " ".join(_shown(80, is_terminal=False).split())
    assert f"before {LONG.strip()} wrong after Archive right" in shown


def test_where_both_are_wrong_the_truth_is_told() -> None:
    file = io.StringIO()
    view = View(Console(file=file, width=80, highlight=False, markup=False, emoji=False))
    wrong = Answer(title="Exfiltration", is_right=False)
    view.answers([Asked(query="It zips files.", truth="Archive", before=wrong, after=wrong)])
    assert re.search(r"^     truth   Archive$", file.getvalue(), re.MULTILINE)


def test_scripts_can_be_copied_from_a_narrow_terminal() -> None:
    shown = "\n".join(line.rstrip() for line in _shown(80, is_terminal=True).splitlines())
    assert sync_script(0).strip() in shown
    assert async_script(0).strip() in shown


def test_the_live_log_is_plain_lines_without_a_terminal() -> None:
    file = io.StringIO()
    view = View(Console(file=file, width=80, highlight=False, markup=False, emoji=False))
    with view.live() as live:
        live.progress(Progress(phase="training", step=1, steps=2))
        live.log("step 1 " + "x" * 100)
    assert file.getvalue() == f"   step 1 {'x' * 100}\n"


def test_the_bar_moves_with_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    view = View(Console(file=file, width=80, force_terminal=True, highlight=False, markup=False, _environ={}))
    with view.live() as live:
        live.progress(Progress(phase="loading"))
        live.progress(Progress(phase="training", step=30, steps=60, loss=1.25, left_s=40))
        live.log("a line")
    assert "30/60 · loss 1.25 · 40 s left" in file.getvalue()
    assert "a line" in file.getvalue()
