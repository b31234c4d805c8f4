"""Arguments of the wrong type are refused by name, before anything is sent."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetuner.aio.client import AsyncClient
from finetuner.aio.run import AsyncRun
from finetuner.callback import EvaluationCallback
from finetuner.errors import FinetunerError, InvalidInput

pytestmark = pytest.mark.anyio
FIT: dict[str, Any] = {
    "model": "all-minilm-l6-v2",
    "train_data": [("a", "b"), ("c", "d")],
    "loss": "MultipleNegativesRankingLoss",
    "epochs": 1,
}
NOWHERE = "http://127.0.0.1:1"
"""Whoever sends something there is told that nobody answers: another error."""


@pytest.fixture
def client() -> AsyncClient:
    return AsyncClient(NOWHERE, "token", timeout_s=0.1)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        (
            "train_data",
            None,
            "must be a text or a path or an open file or a list of rows or texts or a data frame or Run, not None",
        ),
        ("train_data", 5, "must be a text or a path"),
        ("train_data", "a\0.csv", "NUL"),
        ("eval_data", "", "must not be empty"),
        ("callbacks", EvaluationCallback(query_data="queries"), "must be a list of Callback or None"),
        ("csv_options", {"is_labeled": True}, "must be CSVOptions or None"),
        ("tags", 5, "must be a list of texts or None, not 5"),
        ("tags", "abc", "must be a list of texts or None, not 'abc'"),
        ("tags", ["a", 5], r"\[1\] must be a text, not 5"),
        ("tags", ["\udc00"], r"\[0\] holds a lone surrogate"),
        ("description", "\ud800", "holds a lone surrogate"),
        ("secrets", "sesame", "must be a dict or None, not of type str$"),
        ("secrets", {"NAME": 1234}, r"\['NAME'\] must be a text, not of type int$"),
        ("secrets", {"NAME": "\ud800"}, r"\['NAME'\] holds a lone surrogate"),
        ("epochs", None, "must be a whole number, not None"),
        ("epochs", math.nan, "must be a whole number, not nan"),
        ("epochs", True, "must be a whole number, not True"),
        ("learning_rate", math.nan, "must be a number or None, not nan"),
        ("loss", None, "must be a text, not None"),
        ("public", "yes", "must be True or False, not 'yes'"),
    ],
)
async def test_what_fit_refuses(client: AsyncClient, name: str, value: object, words: str) -> None:
    with pytest.raises(InvalidInput, match=rf"^{name}.*{words}"):
        await client.fit(**{**FIT, name: value})


async def test_a_file_that_is_closed_and_an_option_that_is_no_number(client: AsyncClient, tmp_path: Path) -> None:
    with (tmp_path / "data.csv").open("w") as file:
        pass
    with pytest.raises(InvalidInput, match=r"^train_data is a file that is closed"):
        await client.fit(**{**FIT, "train_data": file})
    with pytest.raises(InvalidInput, match=r"loss_options\.scale: must be a finite number, not nan"):
        await client.fit(**FIT, loss_options={"scale": math.nan})


@pytest.mark.parametrize(
    ("call", "name"),
    [  # what a caller may get wrong, and mypy would see
        (lambda client: client.list_runs(status=5), "status"),
        (lambda client: client.list_runs(tag=5), "tag"),
        (lambda client: client.list_runs(page="x"), "page"),
        (lambda client: client.list_experiments(page="x"), "page"),
        (lambda client: client.get_run(5), "run_name"),
        (lambda client: client.delete_run(None), "run_name"),
        (lambda client: client.get_model(None), "artifact"),
        (lambda client: client.synthesize(None, None, None), "query_data"),
        (lambda client: client.create_experiment(5), "name"),
        (lambda client: AsyncRun(client, {"id": "1"}).wait(timeout_s="x"), "timeout_s"),  # type: ignore[arg-type]
        (lambda client: AsyncRun(client, {"id": "1"}).save_artifact(5), "directory"),  # type: ignore[arg-type]
    ],
)
async def test_what_other_calls_refuse(client: AsyncClient, call: Callable[[AsyncClient], Any], name: str) -> None:
    with pytest.raises(InvalidInput, match=rf"^{name} must be "):
        await call(client)


@pytest.mark.parametrize(
    ("name", "value"), [("host", 3), ("timeout_s", "x"), ("timeout_s", True), ("timeout_s", math.nan)]
)
def test_what_a_client_refuses(name: str, value: object) -> None:
    with pytest.raises(InvalidInput, match=rf"^{name} must be "):
        AsyncClient(**{name: value})  # type: ignore[arg-type] # what a caller may get wrong


def test_a_token_of_another_type_is_not_shown() -> None:
    with pytest.raises(InvalidInput, match=r"^token must be a text or None, not of type bytes$"):
        AsyncClient(NOWHERE, b"sesame")  # type: ignore[arg-type] # what a caller may get wrong


async def test_what_is_right_goes_on(client: AsyncClient) -> None:
    with pytest.raises(FinetunerError, match="no answer"):
        await client.fit(**{**FIT, "train_data": tuple(FIT["train_data"])}, tags=("a",), secrets={}, learning_rate=1)
    assert AsyncClient.create_run is AsyncClient.fit
