from __future__ import annotations

import resource

import pytest

from finetuner.server import open_files

INFINITE = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("limits", "after"),
    [
        ((1024, 4096), 4096),
        ((1024, 10**6), 65_536),
        ((1024, INFINITE), 65_536),
        ((4096, 4096), None),
        ((10**6, INFINITE), None),
        ((INFINITE, INFINITE), None),
    ],
)
def test_the_soft_limit_becomes_the_hard_one_within_reason(
    limits: tuple[int, int], after: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's own calls are told here: a limit once lowered could not be raised again."""
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, both: given.append(both))
    open_files.raise_limit()
    assert given == ([] if after is None else [(after, limits[1])])


def test_a_system_that_takes_less_is_offered_less(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []

    def refuse(_: int, both: tuple[int, int]) -> None:
        if both[0] > 10_240:
            raise ValueError("current limit exceeds maximum limit")
        given.append(both[0])

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, INFINITE))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    open_files.raise_limit()
    assert given == [10_240]


@pytest.mark.parametrize(("soft", "most"), [(1024, 896), (200, 100), (INFINITE, 65_536)])
def test_some_files_are_kept_for_what_is_no_stream(soft: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, INFINITE))
    assert open_files.most_connections() == most
