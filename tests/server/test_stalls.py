"""Runs of which nothing is heard for long are marked, until they go on; so after a restart."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import attrs
import pytest

from finetuner.errors import InvalidInput
from finetuner.server.console.runview import view
from finetuner.server.settings import DEFAULT_STALL_S, Settings, stall_after_s
from finetuner.server.store import runs
from tests.server.serving import Service, make_settings, serving
from tests.server.streams import Stream, data, opened
from tests.server.test_scheduler import ended, job, reached, run_dir, stop_runs

pytestmark = pytest.mark.anyio

STALL_S = 2.0
"""Longer than a look at a run is late on a slow machine: what was said in between would go by unseen."""
SPEAKS = job(
    "print('begins', flush=True)\n"
    "until('speak'); print('goes on', flush=True)\n"
    "until('report'); tell(kind='progress', phase='training', step=1, steps=2)\n"
    "until('go')\n"
)


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    made = make_settings(tmp_path / "state", job_argv=SPEAKS, grace_s=1.0, stall_s=STALL_S)
    yield made
    stop_runs(made.runs_dir)


@pytest.fixture
async def service(settings: Settings) -> AsyncIterator[Service]:
    async with serving(settings) as running:
        await running.client.dataset()
        yield running


async def kinds_until(stream: Stream, wanted: str) -> list[str]:
    """Give the kinds of the changes up to one of this kind."""
    kinds: list[str] = []
    while not kinds or kinds[-1] != wanted:
        change = data(await stream.event("change"))
        kinds.append(change["kind"])
        if change["kind"] == "stalled" and change["run"]["stalled_since"]:  # what is told again is told as it is now
            since = dt.datetime.fromisoformat(change["run"]["stalled_since"])
            assert dt.datetime.now(dt.UTC) - since >= dt.timedelta(seconds=STALL_S - 0.05)
    return kinds


async def test_a_silent_run_is_marked_until_a_line_or_progress_comes(service: Service, settings: Settings) -> None:
    run = await service.client.run()
    async with opened(service.client, f"/api/v1/events?since=0&run={run['id']}") as stream:
        for step in ("speak", "report", "go"):
            assert (await kinds_until(stream, "stalled")).count("stalled") == 1
            (run_dir(settings, run) / step).touch()
            if step != "go":
                assert "stalled" not in await kinds_until(stream, "resumed")
    last = await ended(service, run)
    assert (last["status"], last["stalled_since"]) == ("FINISHED", None)


async def test_what_a_stalled_run_says_when_it_is_asked_to_end_is_no_sign_that_it_goes_on(settings: Settings) -> None:
    last_words = job(
        "import signal\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('not yet', flush=True))\n"
        "print('begins', flush=True); until('never')\n"
    )
    async with serving(attrs.evolve(settings, job_argv=last_words)) as service:
        await service.client.dataset()
        run = await service.client.run()
        async with opened(service.client, f"/api/v1/events?since=0&run={run['id']}") as stream:
            await kinds_until(stream, "stalled")
            await service.client.call("run_cancel", id=run["id"])
            change = data(await stream.event("change"))
        assert (change["kind"], change["after"]) == ("status", "FAILED")
        last = await ended(service, run)
    assert (last["status"], last["stalled_since"]) == ("FAILED", None)
    assert "not yet" in (run_dir(settings, run) / "log").read_text("utf-8")


@pytest.mark.parametrize("stall_s", [3600.0, 0.0])
async def test_a_mark_outlives_the_server_and_is_taken_away_by_the_next(settings: Settings, stall_s: float) -> None:
    async with serving(settings) as service:
        await service.client.dataset()
        run = await service.client.run()
        async with opened(service.client, f"/api/v1/events?since=0&run={run['id']}") as stream:
            await kinds_until(stream, "stalled")
            marked = await reached(service, run, "STARTED")
    (run_dir(settings, run) / "speak").touch()
    async with serving(attrs.evolve(settings, stall_s=stall_s)) as service:
        async with opened(service.client, f"/api/v1/events?since=0&run={run['id']}") as stream:
            assert (await kinds_until(stream, "resumed")).count("stalled") == 1
        found = await reached(service, run, "STARTED")
    assert marked["stalled_since"] is not None
    assert found["stalled_since"] is None


async def test_the_pages_say_that_a_run_is_stalled(settings: Settings) -> None:
    async with serving(settings) as service:
        await service.client.dataset()
        run = await service.client.run()
        async with opened(service.client, f"/api/v1/events?since=0&run={run['id']}") as stream:
            await kinds_until(stream, "stalled")
        async with service.database.read() as conn:
            row = await runs.get(conn, run["id"], with_config=False)
    assert row is not None
    assert view(row).text.startswith("stalled since 20")
    assert view(row).text.endswith(" UTC: nothing in its log, no progress")


def test_never_is_never(settings: Settings) -> None:
    assert stall_after_s(0.0) == stall_after_s(None, {"FINETUNER_STALL_MINUTES": "0"}) == 0.0


def test_the_minutes_come_from_the_command_line_then_the_environment_then_are_30() -> None:
    environ = {"FINETUNER_STALL_MINUTES": "2.5"}
    assert stall_after_s(None, {}) == DEFAULT_STALL_S == 30 * 60
    assert stall_after_s(None, environ) == 150.0
    assert stall_after_s(1.0, environ) == 60.0


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "soon", "20160.5"])
def test_what_are_no_minutes_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"minutes, 0 for never and 20160 \(two weeks\) at most, not '"):
        stall_after_s(None, {"FINETUNER_STALL_MINUTES": text})
