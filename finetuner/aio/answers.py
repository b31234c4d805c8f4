"""What an answer of the server means: its body, or the exception that its `code` stands for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import attrs
import orjson

from finetuner import errors
from finetuner.api import convert, routes
from finetuner.api.retry import parse_retry_after
from finetuner.errors import Failure, FieldError, FinetunerError, ServerError


class CursorTooOld(ServerError):
    """The server no longer keeps the changes after a cursor; `ChangeFeed` lists again, and no caller sees it."""


_BY_CODE: Final[Mapping[str, type[FinetunerError]]] = {
    "not_logged_in": errors.NotLoggedIn,
    "not_allowed": errors.NotAllowed,
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
_HINTS: Final[Mapping[type[FinetunerError], str]] = {
    errors.BadResponse: "; is this a Finetuner server?",
    errors.ServerUnavailable: "; try again later",
}
_NO_SUCH_CALL: Final = frozenset({"not_found", "method_not_allowed"})
_UNKNOWN: Final = (convert.NO_SUCH_FIELD, routes.NO_SUCH_PARAMETER)
REQUEST_ID: Final = "X-Request-Id"
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
        """Decode the body, an object.

        Raises:
            BadResponse: It is none.
        """
        try:
            value = orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise self._strange("is not JSON") from error
        if not isinstance(value, dict):
            raise self._strange("is no JSON object")
        return value

    def _strange(self, what: str) -> errors.BadResponse:
        return errors.BadResponse(
            f"the server's answer {what}; is this a Finetuner server, and no proxy in its place?",
            status=self.status,
            request_id=self.headers.get(REQUEST_ID),
        )

    @property
    def is_ours(self) -> bool:
        """Whether a Finetuner server gave it: each names the request in each of its answers."""
        return REQUEST_ID in self.headers

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
    request_id = str(body.get("request_id") or answer.headers.get(REQUEST_ID) or "") or None
    if not isinstance(code, str) or not isinstance(detail, str):
        return _foreign(answer, what, url, request_id)
    if (lacking := _lacking(body, what)) is not None:
        shown = f"{url} {lacking}: it is older than this client; update the server"
        return errors.ServerTooOld(shown, status=answer.status, request_id=request_id)
    if (carrying := _carrying(answer, body, detail)) is not None:
        return carrying
    kind = _BY_CODE.get(code) or _BY_STATUS.get(answer.status, ServerError)
    if issubclass(kind, ServerError):
        shown = f"{detail} ({what}, request {request_id})" if request_id else f"{detail} ({what})"
        return kind(shown, status=answer.status, request_id=request_id)
    return _not_logged_in(detail, url) if kind is errors.NotLoggedIn else kind(detail)


def _carrying(answer: Answer, body: Mapping[str, Any], detail: str) -> FinetunerError | None:
    """Give an error that carries data; None where it is none of those."""
    code = body["code"]
    if code == "too_many_requests" or answer.status == 429:
        wait_s = answer.retry_after_s
        return errors.RateLimited(detail, retry_after_s=DEFAULT_RETRY_AFTER_S if wait_s is None else wait_s)
    if code == "invalid":
        return errors.InvalidInput(detail, errors=_refused(body))
    if code == "run_failed":
        failure = body.get("failure") or {"type": "Unknown", "message": detail}
        return errors.RunFailed(
            detail, run_name=str(body.get("run_name") or ""), failure=convert.lenient(failure, Failure)
        )
    return None


def _refused(body: Mapping[str, Any]) -> list[FieldError]:
    return convert.lenient(body.get("errors") or [], list[FieldError])


def _lacking(body: Mapping[str, Any], what: str) -> str | None:
    """Say what a server lacks that a request of this client needs; None where that is not why it was refused.

    What this client sends, its own version knows: it is the server that is of an older one.
    """
    if body["code"] in _NO_SUCH_CALL:
        return f"has no such call ({what})"
    unknown = [one.path for one in _refused(body) if one.message.startswith(_UNKNOWN)]
    return f"does not know {', '.join(unknown)} ({what})" if unknown else None


def _not_logged_in(reason: str, url: str) -> errors.NotLoggedIn:
    advice = f"call finetuner.login(host={url!r}, token=...) or set FINETUNER_TOKEN"
    return errors.NotLoggedIn(f"{reason}; {advice}", reason=reason, host=url)


def _fields(answer: Answer) -> Mapping[str, Any]:
    try:
        value = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def stranger(answer: Answer, what: str, url: str) -> errors.BadResponse:
    """Give the error for an answer that looks good and is not a Finetuner server's: a network's log-in page, say."""
    kind = answer.headers.get("Content-Type", "no content type")
    return errors.BadResponse(
        f"{url} answers {what} with status {answer.status} and {kind}, and not as a Finetuner server does, which sends "
        f"{REQUEST_ID}: does another one answer, or a network's log-in page, or does a proxy drop that header?",
        status=answer.status,
    )


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
            f"{url} answers {what} with 429, too many requests; try again later",
            retry_after_s=DEFAULT_RETRY_AFTER_S if wait_s is None else wait_s,
        )
    kind = _BY_STATUS.get(answer.status, errors.BadResponse)
    shown = f"{url} answers {what} with status {answer.status}"
    if issubclass(kind, ServerError):
        return kind(f"{shown}{_HINTS.get(kind, '')}", status=answer.status, request_id=request_id)
    if kind is errors.NotLoggedIn:
        return _not_logged_in(shown, url)
    return kind(f"{shown}; call finetuner.login(host={url!r}, token=...)")
