from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from finetuner.server.console import guard


@pytest.mark.parametrize(
    ("headers", "is_own"),
    [
        ({}, True),
        ({"Origin": "http://here:8421"}, True),
        ({"Origin": "https://here:8421"}, True),
        ({"Origin": "http://here:9999"}, False),
        ({"Origin": "http://elsewhere"}, False),
        ({"Origin": "null"}, False),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://rewritten-by-a-proxy"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://here:8421"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
    ],
)
def test_who_may_send_a_form(headers: dict[str, str], is_own: bool) -> None:
    assert guard.is_own_origin(headers, "here:8421") is is_own


@given(st.text(max_size=60))
@example("//evil.example/console/")
@example("/console/../../evil")
@example("/console//evil.example")
@example("/console/\\evil")
@example("https://evil.example/console/")
@example("/console/\r\nSet-Cookie: a=b")
def test_a_login_leads_to_the_console_alone(path: str) -> None:
    onward = guard.safe_next(path)
    assert onward == guard.HOME or (onward == path and onward.startswith("/console/"))
    assert "//" not in onward
    assert "\\" not in onward
    assert onward.isprintable()


def test_a_login_leads_to_the_page_that_was_asked_for() -> None:
    for path in ("/console/", "/console/runs/0123456789abcdef01234567/logs?at=100", "/console/?q=a+b&tag=x%2Fy"):
        assert guard.safe_next(path) == path


@pytest.mark.parametrize(
    ("authority", "host"),
    [("127.0.0.1:80", "127.0.0.1"), ("[::1]:80", "::1"), ("LOCALHOST", "localhost"), ("[::1", ""), ("", "")],
)
def test_the_host_of_an_authority(authority: str, host: str) -> None:
    assert guard.host_of(authority) == host
