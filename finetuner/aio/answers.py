"""What an answer of the server means: its body, or the exception that its `code` stands for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import attrs
import orjson

from finetuner import errors
from finetuner.api import convert
from finetuner.api.retry import parse_retry_after
from finetuner.errors import Failure, FieldError, FinetunerError, ServerError


class CursorTooOld(ServerError):
    """The server no longer keeps the changes after a cursor; `ChangeFeed` lists again, and no caller sees it."""


_BY_CODE: Final[Mapping[str, type[FinetunerError]]] = {
    "not_logged_in": errors.NotLoggedIn,
    "not_allowed": errors.NotAllowed,
    "not_found": errors.NotFound,
    "run_not_found": errors.RunNotFound,
    "experiment_not_found": errors.ExperimentNotFound,
    "artifact_not_found": errors.ArtifactNotFound,
    "data_not_found": errors.DataNotFound,
    "conflict": errors.Conflict,
    "key_reused": errors.Conflict,
    "run_in_progress": errors.RunInProgress,
    "log_truncated": errors.LogTruncated,
    "cursor_too_old": CursorTooOld,
    "gone": errors.RunDeleted,
    "storage_full": errors.StorageFull,
    "unavailable": errors.ServerUnavailable,
    "state_corrupt": errors.StateCorrupt,
}
_BY_STATUS: Final[Mapping[int, type[FinetunerError]]] = {
    401: errors.NotLoggedIn,
    403: errors.NotAllowed,
    408: errors.ServerUnavailable,
    502: errors.ServerUnavailable,
    503: errors.ServerUnavailable,
    504: errors.ServerUnavailable,
    507: errors.StorageFull,
}
DEFAULT_RETRY_AFTER_S: Final = 1.0
"""Where a 429 does not say when to come back."""


@attrs.frozen(kw_only=True)
class Answer:
    """One answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes = attrs.field(repr=False)
    length: int
    """Bytes of the body; where that is more than what is in `body`, the body was not read."""
    is_cut: bool = False
    """Whether `length` is what had come when the reading was ended."""

    def json(self) -> Any:
        """Decode the body.

        Raises:
            BadResponse: It is not JSON.
        """
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise errors.BadResponse(
                "the server's answer is not JSON; is this a Finetuner server, and no proxy in its place?",
                status=self.status,
                request_id=self.headers.get("X-Request-Id"),
            ) from error

    @property
    def retry_after_s(self) -> float | None:
        """Seconds the server said to wait."""
        return parse_retry_after(self.headers.get("Retry-After"), datetime.now(UTC))


def to_error(answer: Answer, what: str, url: str) -> FinetunerError:
    """Give the exception that an answer stands for.

    Args:
        answer: One whose status is 300 or more.
        what: What was asked, such as `GET /api/v1/runs`.
        url: The server's base URL.
    """
    body = _fields(answer)
    code, detail = body.get("code"), body.get("detail")
    request_id = str(body.get("request_id") or answer.headers.get("X-Request-Id") or "") or None
    if not isinstance(code, str) or not isinstance(detail, str):
        return _foreign(answer, what, url, request_id)
    if code == "too_many_requests" or answer.status == 429:
        wait_s = answer.retry_after_s
        return errors.RateLimited(detail, retry_after_s=DEFAULT_RETRY_AFTER_S if wait_s is None else wait_s)
    if code == "invalid":
        return errors.InvalidInput(detail, errors=convert.lenient(body.get("errors") or [], list[FieldError]))
    if code == "run_failed":
        failure = body.get("failure") or {"type": "Unknown", "message": detail}
        return errors.RunFailed(
            detail, run_name=str(body.get("run_name") or ""), failure=convert.lenient(failure, Failure)
        )
    kind = _BY_CODE.get(code) or _BY_STATUS.get(answer.status, ServerError)
    if issubclass(kind, ServerError):
        shown = f"{detail} ({what}, request {request_id})" if request_id else f"{detail} ({what})"
        return kind(shown, status=answer.status, request_id=request_id)
    return _not_logged_in(detail, url) if kind is errors.NotLoggedIn else kind(detail)


def _not_logged_in(reason: str, url: str) -> errors.NotLoggedIn:
    advice = f"call finetuner.login(host={url!r}, token=...) or set FINETUNER_TOKEN"
    return errors.NotLoggedIn(f"{reason}; {advice}", reason=reason, host=url)


def _fields(answer: Answer) -> Mapping[str, Any]:
    try:
        value = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _foreign(answer: Answer, what: str, url: str, request_id: str | None) -> FinetunerError:
    """Say what an answer means that is not in the form of this protocol: a proxy's, or a stranger's."""
    if 300 <= answer.status < 400:
        return errors.BadResponse(
            f"{url} answers {what} with a redirect to {answer.headers.get('Location', 'nowhere')}; tokens are not "
            "carried along: give the address it leads to as host",
            status=answer.status,
        )
    if answer.status == 429:
        wait_s = answer.retry_after_s
        return errors.RateLimited(
            f"{url} answers {what} with 429, too many requests",
            retry_after_s=DEFAULT_RETRY_AFTER_S if wait_s is None else wait_s,
        )
    kind = _BY_STATUS.get(answer.status, errors.BadResponse)
    shown = f"{url} answers {what} with status {answer.status}"
    if issubclass(kind, ServerError):
        hint = "; is this a Finetuner server?" if kind is errors.BadResponse else ""
        return kind(f"{shown}{hint}", status=answer.status, request_id=request_id)
    if kind is errors.NotLoggedIn:
        return _not_logged_in(shown, url)
    return kind(f"{shown}; call finetuner.login(host={url!r}, token=...)")
