"""What a job reported as a table: it steers no terminal, and may be malformed."""

from __future__ import annotations

from typing import Any

import pytest

from finetuner.aio import display
from finetuner.aio.client import AsyncClient
from finetuner.aio.run import AsyncRun

HOSTILE = "a\x1b]0;title\x07b\x9b31m\u202ec"
VISIBLE = "a\\x1b]0;title\\x07b\\x9b31m\\u202ec"


def test_no_text_of_a_job_steers_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    results = [{"text": f"{HOSTILE}\nd", "score": 0.5, "relevant": True}]
    display.print_examples("run", {"before": [{"query": {"text": HOSTILE}, "results": results}]}, 5)
    display.print_metrics(HOSTILE, {"before": {HOSTILE: 0.5}})
    display.print_metrics(HOSTILE, {})
    shown = capsys.readouterr().out
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(shown)
    assert shown.count(VISIBLE) == 5
    assert f"{VISIBLE} d" in shown
    raw = {
        "id": "1" * 24,
        "artifact_id": "2" * 24,
        "seq": 1,
        "name": "run",
        "experiment_name": "default",
        "status": "FAILED",
        "details": HOSTILE,
        "created_at": "2026-01-31T12:00:00Z",
    }
    assert VISIBLE in repr(AsyncRun(AsyncClient("http://127.0.0.1:1"), raw))


@pytest.mark.parametrize(
    "examples",
    [
        {"before": "text"},
        {"before": {"query": "q"}},
        {"before": ["q", None, 3]},
        {"before": [{"query": 5, "results": "none"}], "after": [{"query": None, "results": [1, {"score": "high"}]}]},
    ],
)
def test_examples_that_are_none_are_passed_over(examples: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    display.print_examples("run", examples, 5)
    assert capsys.readouterr().out
