"""URLs are built from the table of routes alone."""

from __future__ import annotations

import pytest

from finetuner.api import routes
from finetuner.errors import InvalidName


def test_names_are_unique_and_so_are_method_and_path() -> None:
    assert len(routes.BY_NAME) == len(routes.ROUTES)
    assert len({(route.method, route.path) for route in routes.ROUTES}) == len(routes.ROUTES)


def test_segments_are_quoted_and_none_left_out() -> None:
    url = routes.url("named_run_get", {"a": None, "run": [1, 2], "flag": True}, experiment="a b/c", run="r")
    assert url == "/api/v1/experiments/a%20b%2Fc/runs/r?run=1&run=2&flag=1"


def test_an_empty_segment_never_reaches_the_collection() -> None:
    with pytest.raises(InvalidName):
        routes.url("experiment_delete", experiment="")


def test_only_health_is_open_to_anyone() -> None:
    assert [route.name for route in routes.ROUTES if route.who == "anyone"] == ["health"]
