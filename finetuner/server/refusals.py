"""What a request is answered when it is refused: every exception has its status, its code and its JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import orjson
from aiohttp import web

from finetuner import errors
from finetuner.api.convert import write
from finetuner.errors import FieldError, FinetunerError
from finetuner.server.store.blobs import OffsetMismatch
from finetuner.server.store.schema import is_full


class Refusal(Exception):
    """An answer that no exception of `finetuner.errors` stands for.

    Attributes:
        status: Of HTTP.
        code: For programs.
        headers: To send with it.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        fields: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.fields: tuple[FieldError, ...] = tuple(fields)
        self.headers: dict[str, str] = dict(headers or {})


_STATUS: Final[tuple[tuple[type[FinetunerError], int, str], ...]] = (
    (errors.InvalidInput, 422, "invalid"),
    (errors.RunNotFound, 404, "run_not_found"),
    (errors.ExperimentNotFound, 404, "experiment_not_found"),
    (errors.ArtifactNotFound, 404, "artifact_not_found"),
    (errors.DataNotFound, 404, "data_not_found"),
    (errors.NotFound, 404, "not_found"),
    (errors.Conflict, 409, "conflict"),
    (errors.RunInProgress, 409, "run_in_progress"),
    (errors.RunFailed, 409, "run_failed"),
    (errors.RunDeleted, 410, "gone"),
    (errors.LogTruncated, 416, "log_truncated"),
    (errors.NotLoggedIn, 401, "not_logged_in"),
    (errors.NotAllowed, 403, "not_allowed"),
    (errors.RateLimited, 429, "too_many_requests"),
    (errors.StorageFull, 507, "storage_full"),
    (errors.StateCorrupt, 503, "state_corrupt"),
    (errors.ServerUnavailable, 503, "unavailable"),
)
_OF_HTTP: Final = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}


def answer(error: Exception, request_id: str, told: Callable[[Exception], str] = str) -> web.Response | None:
    """Give the answer that an exception stands for; None where it is none of these: a fault of the server.

    Args:
        error: What was raised.
        request_id: Of the request.
        told: Gives the text of an error for a client.
    """
    if isinstance(error, Refusal):
        return _response(error.status, error.code, str(error), request_id, error.fields, headers=error.headers)
    if isinstance(error, FinetunerError):
        return _of_error(error, request_id, told(error))
    if isinstance(error, web.HTTPException):
        code = _OF_HTTP.get(error.status, "http_error")
        headers = {name: value for name, value in error.headers.items() if name.lower() == "allow"}
        return _response(error.status, code, f"{error.reason}", request_id, headers=headers)
    if isinstance(error, web.RequestPayloadError):
        return _response(400, "bad_request", f"the request's body cannot be read: {error}", request_id)
    if is_full(error):
        return _response(507, "storage_full", "the server's disk is full: free some space there", request_id)
    return None


def _of_error(error: FinetunerError, request_id: str, text: str) -> web.Response | None:
    found = next(((status, code) for kind, status, code in _STATUS if isinstance(error, kind)), None)
    if found is None:
        return None
    status, code = found
    extra: dict[str, Any] = {}
    headers: dict[str, str] = {}
    if isinstance(error, errors.RunFailed):
        extra = {"failure": write(error.failure), "run_name": error.run_name}
    if isinstance(error, errors.RateLimited):
        headers["Retry-After"] = f"{error.retry_after_s:g}"
    if isinstance(error, errors.NotLoggedIn):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, OffsetMismatch):
        headers |= upload_headers(error.upload.offset, error.upload.length, is_complete=error.upload.complete)
    fields = error.errors if isinstance(error, errors.InvalidInput) else ()
    return _response(status, code, text, request_id, fields, headers=headers, extra=extra)


def upload_headers(offset: int, length: int | None, *, is_complete: bool) -> dict[str, str]:
    """Give the headers that say where an upload stands."""
    headers = {"Upload-Offset": str(offset), "Upload-Complete": "?1" if is_complete else "?0"}
    return headers if length is None else {**headers, "Upload-Length": str(length)}


def _response(
    status: int,
    code: str,
    detail: str,
    request_id: str,
    fields: Sequence[FieldError] = (),
    *,
    headers: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> web.Response:
    body = {"detail": detail, "code": code, "request_id": request_id, "errors": write(list(fields)), **(extra or {})}
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json", headers=headers)


def fault(request_id: str) -> web.Response:
    """Give the answer for a fault of the server, which the log has under the same request id."""
    detail = f"the server failed; its log says more under {request_id}"
    return _response(500, "internal", detail, request_id)
