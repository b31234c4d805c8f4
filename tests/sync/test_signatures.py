"""What `help()` and an IDE see of the sync client is what the async one says."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest

from finetuner import sync
from finetuner.aio.client import AsyncClient
from finetuner.aio.experiment import AsyncExperiment
from finetuner.aio.logstream import AsyncLogStream
from finetuner.aio.run import AsyncRun

PAIRS = [
    (AsyncClient, sync.Client),
    (AsyncExperiment, sync.Experiment),
    (AsyncRun, sync.Run),
    (AsyncLogStream, sync.LogStream),
]
METHODS = [
    (name, getattr(old, name), getattr(new, "close" if name == "aclose" else name))
    for old, new in PAIRS
    for name in dir(old)
    if not name.startswith("_") and name not in {"asend", "athrow"} and inspect.isfunction(getattr(old, name))
]
FUNCTIONS = [name for name, old, _ in METHODS if old.__qualname__.startswith("AsyncClient.") and name != "aclose"]


def parameters(function: Callable[..., Any]) -> list[tuple[str, object, object]]:
    found = inspect.signature(function).parameters.values()
    return [(each.name, each.kind, each.default) for each in found if each.name != "self"]


@pytest.mark.parametrize(("old", "new"), [each[1:] for each in METHODS], ids=[each[1].__qualname__ for each in METHODS])
def test_methods_take_what_the_async_ones_take_and_say_what_they_do(
    old: Callable[..., Any], new: Callable[..., Any]
) -> None:
    assert parameters(new) == parameters(old)
    assert not inspect.iscoroutinefunction(new)
    assert "await" not in (new.__doc__ or "await")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_method_of_the_client_is_a_function_of_the_package(name: str) -> None:
    function, method = getattr(sync, name), getattr(sync.Client, name)
    without_self = inspect.signature(method).replace(parameters=list(inspect.signature(method).parameters.values())[1:])
    assert inspect.signature(function) == without_self
    assert not re.search(r"client\.\w", function.__doc__)


def test_fit_says_everything() -> None:
    signature = inspect.signature(sync.fit)
    assert list(signature.parameters)[:3] == ["model", "train_data", "eval_data"]
    assert signature.return_annotation == "Run | Plan"
    assert signature.parameters["epochs"].annotation == "int"
    assert "finetuner.fit(model=" in (sync.fit.__doc__ or "")
    assert sync.create_run is sync.create_training_run is sync.fit
