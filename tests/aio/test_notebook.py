"""What a notebook and `print` show of runs: whole, escaped, and no longer than can be read."""

from __future__ import annotations

import datetime as dt
import re
from html.parser import HTMLParser

import attrs
import pytest

from finetuner.aio.client import AsyncClient
from finetuner.aio.notebook import MAX_ROWS, RunList, experiment_html, run_html, run_text, runs_html
from finetuner.aio.results import ExampleTable, HistoryTable, MetricTable
from finetuner.api.types import ExperimentInfo, Progress, RunInfo, RunStatus
from finetuner.errors import Failure
from tests.aio.conftest import Submit

NOW = dt.datetime(2026, 1, 2, 12, tzinfo=dt.UTC)
HOSTILE = '<script>alert(1)</script> & "q" \u202e'
RUN = RunInfo(
    id="a" * 24,
    seq=1,
    name="calm-curie",
    experiment_name="nightly",
    status=RunStatus.STARTED,
    artifact_id="b" * 24,
    tags=("x", HOSTILE),
    description=HOSTILE,
    progress=Progress(phase="training", step=3, steps=4, loss=0.5),
    created_at=NOW - dt.timedelta(minutes=5),
    started_at=NOW - dt.timedelta(minutes=4),
)


class Page(HTMLParser):
    """Reads HTML, and knows whether every element was closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002 - the library's signature
        self.open.append(tag)
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def page(html: str) -> Page:
    read = Page(html)
    assert read.open == []
    assert read.seen <= {"b", "code", "div", "i", "polyline", "pre", "span", "svg", "table", "td", "tr"}
    return read


def test_a_run_is_shown_whole_and_its_text_is_text() -> None:
    shown = page(run_html(RUN, NOW))
    for words in ("calm-curie", "STARTED", "training, step 3 of 4, loss 0.500", "nightly", "5 min ago", "4 min 0 s"):
        assert words in shown.text
    assert shown.text.count("<script>alert(1)</script>") == 2
    assert "\u202e" not in shown.text
    assert "width:75%" in run_html(RUN, NOW)


def test_a_run_that_failed_says_why_and_what_to_do() -> None:
    failure = Failure(type="OutOfMemory", message="too large", hint="use a smaller batch_size")
    failed = attrs.evolve(RUN, status=RunStatus.FAILED, details="OutOfMemory: too large", failure=failure)
    for text in (page(run_html(failed, NOW)).text, run_text(failed, NOW)):
        assert "OutOfMemory: too large" in text
        assert "use a smaller batch_size" in text


def test_a_list_counts_cuts_and_stays_a_list() -> None:
    infos = [attrs.evolve(RUN, seq=at, status=list(RunStatus)[at % 4]) for at in range(MAX_ROWS + 7)]
    shown = page(runs_html(infos, NOW))
    assert shown.text.startswith("57 runs: CREATED 15 · STARTED 14 · FINISHED 14 · FAILED 14")
    assert shown.text.endswith("… and 7 runs more")
    assert page(runs_html([], NOW)).text == "no runs"


def test_metrics_and_experiments_have_a_table_and_a_line() -> None:
    metrics = MetricTable({"before": {"mrr": 0.25, HOSTILE: 1.0}, "after": {"mrr": 0.5}})
    shown = page(metrics._repr_html_())
    assert "+0.250" in shown.text
    assert HOSTILE[:-1] in shown.text
    assert metrics == {"before": {"mrr": 0.25, HOSTILE: 1.0}, "after": {"mrr": 0.5}}
    experiment = ExperimentInfo(name="nightly", created_at=NOW, description=HOSTILE)
    assert "<script>" in page(experiment_html(experiment, NOW)).text


def test_a_history_has_a_line_for_each_series() -> None:
    history = HistoryTable({"train_loss": [(1, 0.5), (2, float("nan")), (3, 0.25)], HOSTILE: [(0, 1.0)]})
    html = history._repr_html_()
    shown = page(html)
    for words in ("train_loss", "0.5 step 1", "0.25 step 3", "<script>"):
        assert words in shown.text
    assert html.count("<polyline") == 1
    assert 'points="0.0,2.0 240.0,34.0"' in html
    assert page(HistoryTable()._repr_html_()).text == "nothing measured yet"
    assert html_of_flat() == 'points="0.0,18.0 240.0,18.0"'


def html_of_flat() -> str:
    found = re.search(r'points="[^"]*"', HistoryTable({"flat": [(1, 2.0), (2, 2.0)]})._repr_html_())
    return found[0] if found else ""


def test_examples_are_side_by_side_and_their_number_is_bounded() -> None:
    results = [{"text": f"found {at}", "score": 0.5, "relevant": at == 1} for at in range(9)]
    query = {"query": {"text": HOSTILE}, "results": results}
    shown = page(ExampleTable({"before": [query] * 12, "after": [query] * 12})._repr_html_())
    assert shown.text.count("beforeafter") == 10
    assert shown.text.count("found 1 0.500") == 20
    assert "found 5" not in shown.text
    assert shown.text.endswith("… and 2 more queries")
    assert "<script>" in shown.text
    assert page(ExampleTable({"before": "none"})._repr_html_()).text == "no examples"


def test_print_shows_more_than_the_line_of_repr() -> None:
    assert run_text(RUN, NOW).splitlines()[:3] == [
        "nightly/calm-curie STARTED",
        "  training, step 3 of 4, loss 0.500",
        "  created 5 min ago, took 4 min 0 s",
    ]
    assert "\u202e" not in run_text(RUN, NOW)


@pytest.mark.anyio
async def test_what_a_client_gives_is_shown(client: AsyncClient, submit: Submit) -> None:
    events = [{"kind": "metrics", "stage": "after", "values": {"mrr": 0.75}}]
    run = await submit(run_name="shown", tags=["shown"], events=events)
    await run.wait(60)
    found = await client.list_runs(tag="shown")
    assert isinstance(found, RunList)
    assert isinstance(found[:1], RunList)
    assert found[0] == run
    assert "shown" in page(found._repr_html_()).text
    assert "FINISHED" in page(found[0]._repr_html_()).text
    assert "0.750" in page((await run.metrics())._repr_html_()).text
    assert "nothing measured" in page((await run.history())._repr_html_()).text
    assert "no examples" in page((await run.example_results())._repr_html_()).text
    assert str(run).startswith("shown FINISHED")
    assert repr(run).startswith("<AsyncRun shown FINISHED")
    experiment = await client.get_experiment("default")
    assert "default" in page(experiment._repr_html_()).text
