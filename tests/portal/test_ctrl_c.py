"""Ctrl-C at each moment of what the portal does, in a real process."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.portal.scripts import LIMIT_S, ROOT, run

WALKS = {
    "plain": [
        *("first-answered", "waiting", "failed", "progress", "again"),
        *("items", "batches", "dropped", "kept", "counted", "again_in_stream"),
    ],
    "looped": ["waiting", "items", "again", "again_in_stream"],
    "grouped": ["waiting"],
    "called_back": ["waiting"],
}
PRESS = "signal.raise_signal(signal.SIGINT)"


@pytest.mark.parametrize("place", WALKS)
def test_ctrl_c_at_each_moment_ends_what_waits_and_leaves_nothing(place: str) -> None:
    command = [sys.executable, "-m", "tests.portal.walk", place, *WALKS[place]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=3 * LIMIT_S, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    shown = [line.split() for line in done.stdout.splitlines()]
    assert [words[1] for words in shown] == WALKS[place], done.stdout
    assert all(int(number) > (10 if scene.startswith("again") else 40) for _, scene, number in shown), done.stdout


@pytest.mark.parametrize(
    "body",
    [
        f"{PRESS}\n        portal.call(wait_for_ever)",
        f"asyncio.get_running_loop().call_soon(lambda: {PRESS})\n        await asyncio.Event().wait()",
    ],
    ids=["while it is called", "while the loop runs"],
)
@pytest.mark.parametrize("is_child", [False, True])
def test_who_is_interrupted_in_a_loop_can_still_call_to_clean_up(body: str, *, is_child: bool) -> None:
    source = f"""
    import warnings
    warnings.simplefilter("ignore")

    async def work():
        try:
            {body.replace("        ", "            ")}
        finally:
            say(portal.call(double, 20), portal.call(double, 21))

    async def main():
        async with asyncio.TaskGroup() as group:
            group.create_task(work())

    try:
        asyncio.run({"main" if is_child else "work"}())
    except KeyboardInterrupt:
        say("interrupted")
    """
    code, output, errors = run(source)
    assert (code, errors) == (0, "")
    assert output.splitlines()[-2:] == ["40 42", "interrupted"]
