"""The size that tables and bars are drawn for."""

from __future__ import annotations

import pytest
from rich.console import Console

from finetuner.aio import display
from finetuner.aio.console import SizedConsole


@pytest.mark.parametrize("said", ["0", "00", ""])
def test_a_size_of_0_counts_as_not_said(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    for name in ("COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    natural = Console().size
    for name in ("COLUMNS", "LINES"):
        monkeypatch.setenv(name, said)
    assert SizedConsole().size == natural
    monkeypatch.setenv("COLUMNS", "30")
    assert SizedConsole().size == (30, natural.height)


def test_metrics_are_shown_where_columns_is_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "0")
    display.print_metrics("run", {"before": {"recall": 0.5}})
    assert "recall" in capsys.readouterr().out
