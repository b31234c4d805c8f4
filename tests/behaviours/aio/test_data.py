"""Data on its way to a run: lists, files, data sets that the server has."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from finetuner import CSVOptions, errors
from finetuner.aio.client import AsyncClient
from finetuner.aio.run import AsyncRun
from finetuner.callback import EvaluationCallback

pytestmark = pytest.mark.anyio

ROWS = [(json.dumps({"lines": 1}), "first"), ("second", "third")]


async def _fit(client: AsyncClient, train_data: Any, **more: Any) -> AsyncRun:
    run: AsyncRun = await client.fit(
        "all-minilm-l6-v2",
        train_data,
        loss="MultipleNegativesRankingLoss",
        progress=False,
        **more,
    )
    return run


async def test_a_list_a_file_and_its_name_are_one_data_set_uploaded_once(client: AsyncClient, tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("\n".join(f'"{one.replace(chr(34), chr(34) * 2)}",{other}' for one, other in ROWS) + "\n")
    with path.open(encoding="utf-8") as file:
        runs = [await _fit(client, data) for data in (ROWS, path, str(path), file, io.StringIO(path.read_text()))]
    runs.append(await _fit(client, runs[0].train_data))
    names = {run.train_data for run in runs}
    stored = [data for data in await client.list_datasets() if data.name in names]
    assert [(data.kind, data.rows) for data in stored] == [("pairs", 2)] * len(names)
    assert {name.partition("-")[0] for name in names} == {"data", "pairs"}
    assert len({data.sha256 for data in stored}) == 1
    with pytest.raises(
        errors.InvalidData, match=f"no such file, and the server has no data set .*Near: '{runs[0].train_data}'"
    ):
        await _fit(client, f"{runs[0].train_data[:-1]}x")


async def test_options_tell_how_a_file_is_read(client: AsyncClient, tmp_path: Path) -> None:
    path = tmp_path / "labelled.csv"
    path.write_bytes("b\u00e4r;animal\nrose;plant\nwolf;animal\noak;plant\n".encode("latin-1"))
    options = CSVOptions(size=3, encoding="latin-1", is_labeled=True)
    run = await client.fit("all-minilm-l6-v2", path, csv_options=options, progress=False)
    (stored,) = [data for data in await client.list_datasets() if data.name == run.train_data]
    assert (stored.kind, stored.columns, stored.rows) == ("labelled", ("text", "label"), 3)


async def test_data_of_an_evaluation_is_uploaded_and_named_in_the_config(client: AsyncClient) -> None:
    callback = EvaluationCallback([("cannot log in", "1")], index_data=[("Reset it", "1"), ("Refund", "2")])
    run = await _fit(client, ROWS, callbacks=[callback])
    options = run.config["callbacks"][0]["options"]
    stored = {data.name: data for data in await client.list_datasets()}
    assert stored[options["query_data"]].kind == "labelled"
    assert stored[options["index_data"]].rows == 2


async def test_a_bad_row_is_named_by_its_file_and_line_and_nothing_is_sent(client: AsyncClient, tmp_path: Path) -> None:
    before = (await client.list_runs(), await client.list_datasets())
    path = tmp_path / "torn.csv"
    path.write_text("a,b\nc,d\ne\n")
    with pytest.raises(errors.InvalidData, match=r"torn\.csv, line 3: ") as caught:
        await _fit(client, path)
    assert (caught.value.path, caught.value.line) == (path, 3)
    with pytest.raises(errors.InvalidData, match="row 2") as caught:
        await _fit(client, [("a", "b"), ("c",)])
    assert caught.value.path is None
    assert (await client.list_runs(), await client.list_datasets()) == before
