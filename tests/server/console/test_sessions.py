from __future__ import annotations

import pytest

from finetuner.server.console.sessions import IDLE_S, TICKET_S, Sessions, is_own_form


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_session_lives_while_it_is_used(clock: Clock) -> None:
    sessions = Sessions(clock)
    secret = sessions.open("sha")
    for _ in range(3):
        clock.now_s += IDLE_S - 1
        found = sessions.get(secret)
        assert found is not None
        assert found.token_sha256 == "sha"
    clock.now_s += IDLE_S + 1
    assert sessions.get(secret) is None
    assert sessions.get(secret) is None


def test_a_closed_session_is_gone_and_no_other() -> None:
    sessions = Sessions()
    one, other = sessions.open("a"), sessions.open("b")
    sessions.close(one)
    assert sessions.get(one) is None
    assert sessions.get(other) is not None
    assert sessions.get("") is None


def test_a_ticket_opens_one_session_and_soon(clock: Clock) -> None:
    sessions = Sessions(clock)
    ticket, late = sessions.issue("sha"), sessions.issue("sha")
    assert sessions.redeem(ticket) == "sha"
    assert sessions.redeem(ticket) is None
    clock.now_s += TICKET_S + 1
    assert sessions.redeem(late) is None
    assert sessions.redeem("made up") is None


def test_a_form_belongs_to_its_session() -> None:
    sessions = Sessions()
    mine, theirs = sessions.get(sessions.open("a")), sessions.get(sessions.open("a"))
    assert mine is not None
    assert theirs is not None
    assert is_own_form(mine, mine.form_key)
    assert not is_own_form(mine, theirs.form_key)
    assert not is_own_form(mine, "é")


def test_the_server_remembers_no_secret() -> None:
    sessions = Sessions()
    secrets = [sessions.open("a"), sessions.issue("a")]
    kept = repr(vars(sessions))
    assert not any(secret in kept for secret in secrets)
