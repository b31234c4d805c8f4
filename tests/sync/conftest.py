"""An embedded server of its own, whose jobs do what their data says, and a sync client of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from finetuner.sync import Client, Run
from tests.aio.conftest import Home, home_at

Submit = Callable[..., Run]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with home_at(tmp_path_factory.mktemp("home")) as made:
        yield made


@pytest.fixture
def client(home: Home) -> Iterator[Client]:
    with Client() as made:
        made.login()
        yield made


@pytest.fixture
def submit(client: Client) -> Submit:
    """Give what submits a scripted run; three lines are `lines=3`."""

    def start(run_name: str | None = None, **wish: Any) -> Run:
        data = [(json.dumps(wish), "x")]
        return client.fit(
            "all-minilm-l6-v2", data, run_name=run_name, loss="MultipleNegativesRankingLoss", progress=False
        )

    return start
