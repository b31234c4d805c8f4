"""Every route of the wire, once: the server serves this table, the client builds its URLs from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal
from urllib.parse import urlencode

import attrs

from finetuner.api.names import path_segment

Who = Literal["anyone", "user", "admin"]
Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
NO_SUCH_PARAMETER: Final = "is no parameter of this route"
"""What is said of a name in a query that should not be there: by a server older than its client, for one."""


@attrs.frozen
class Route:
    """One route.

    Attributes:
        name: What the code calls it.
        method: HTTP method.
        path: Template; `{part}` is one quoted segment.
        who: `anyone`; `user`: whoever has a token, and then only for what is theirs; `admin`.
        summary: One line for the documentation.
    """

    name: str
    method: Method
    path: str
    who: Who
    summary: str

    def url(self, query: Mapping[str, object] | None = None, **parts: str) -> str:
        """Give the path with its segments quoted and the query appended; None values are left out."""
        path = self.path.format_map({key: path_segment(value) for key, value in parts.items()})
        pairs = [(key, one) for key, value in (query or {}).items() for one in _values(value)]
        return f"{path}?{urlencode(pairs)}" if pairs else path


def _values(value: object) -> list[object]:
    if value is None:
        return []
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, bool):
        return [int(value)]
    return [value]


_E = "/api/v1/experiments"
_R = _E + "/{experiment}/runs/{run}"
_I = "/api/v1/runs/{id}"


def _of_run(name: str, method: Method, suffix: str, summary: str) -> tuple[Route, Route]:
    """A run is reached by experiment and name, and by its id, which no later run of the name shares."""
    return (
        Route(f"named_run_{name}", method, _R + suffix, "user", summary),
        Route(f"run_{name}", method, _I + suffix, "user", summary),
    )


ROUTES: Final = (
    Route("health", "GET", "/health", "anyone", "Version, protocol range, and whether the server is well"),
    Route("me", "GET", "/api/v1/me", "user", "Whose token this is"),
    Route("shutdown", "POST", "/api/v1/server/shutdown", "admin", "Stop the embedded server; its runs go on"),
    Route("experiments_list", "GET", f"{_E}/", "user", "Pages of experiments"),
    Route("experiments_create", "POST", f"{_E}/", "user", "Create an experiment"),
    Route("experiments_delete", "DELETE", f"{_E}/", "user", "Delete every experiment with its runs"),
    Route("experiment_get", "GET", _E + "/{experiment}", "user", "One experiment"),
    Route("experiment_delete", "DELETE", _E + "/{experiment}", "user", "Delete an experiment with its runs"),
    Route("experiment_runs_list", "GET", _E + "/{experiment}/runs", "user", "Pages of runs of one experiment"),
    Route("experiment_runs_create", "POST", _E + "/{experiment}/runs", "user", "Submit a run"),
    Route("plan_create", "POST", _E + "/{experiment}/plans", "user", "What a submission would do; nothing is made"),
    Route("experiment_runs_delete", "DELETE", _E + "/{experiment}/runs", "user", "Delete the runs of an experiment"),
    Route("runs_list", "GET", "/api/v1/runs", "user", "Runs of all experiments, by ranges of seq"),
    Route("runs_delete", "DELETE", "/api/v1/runs", "user", "Delete the runs of all experiments"),
    Route("runs_batch", "POST", "/api/v1/runs/batch", "user", "Cancel, delete or tag several runs"),
    *_of_run("get", "GET", "", "One run"),
    *_of_run("update", "PATCH", "", "Change the tags and the description of a run"),
    *_of_run("delete", "DELETE", "", "Delete a run; one that is STARTED is stopped first"),
    *_of_run("status", "GET", "/status", "Status and details"),
    *_of_run("logs", "GET", "/logs", "The log so far, as text; Range, or ?tail=, ?level= and ?contains="),
    *_of_run(
        "logstream", "GET", "/logstream", "The log as server-sent events; ?after=, ?tail=, ?level= and ?contains="
    ),
    *_of_run("metrics", "GET", "/metrics", "Evaluation before and after"),
    *_of_run("examples", "GET", "/examples", "Example results before and after"),
    *_of_run("events", "GET", "/events", "Progress, metrics and structured log records"),
    *_of_run("cancel", "POST", "/cancel", "Stop a run; one that has ended stays as it is"),
    Route("datasets_list", "GET", "/api/v1/datasets", "user", "The data sets of the user"),
    Route("dataset_get", "GET", "/api/v1/datasets/{name}", "user", "One data set"),
    Route("dataset_put", "PUT", "/api/v1/datasets/{name}", "user", "Give an uploaded blob a name"),
    Route("dataset_delete", "DELETE", "/api/v1/datasets/{name}", "user", "Forget a data set"),
    Route("blob_head", "HEAD", "/api/v1/blobs/{upload}", "user", "How much of an upload has arrived"),
    Route("blob_patch", "PATCH", "/api/v1/blobs/{upload}", "user", "Append to an upload at an offset"),
    Route("artifact_get", "GET", "/api/v1/artifacts/{id}", "user", "Size, sha256 and files of an artifact"),
    Route("artifact_content", "GET", "/api/v1/artifacts/{id}/content", "user", "The artifact's bytes; Range, ETag"),
    Route(
        "console_ticket",
        "POST",
        "/api/v1/console/ticket",
        "user",
        "A link that opens the console once, without a token",
    ),
    Route("changes", "GET", "/api/v1/events", "user", "Changes of the user's runs, as server-sent events"),
)
BY_NAME: Final = {route.name: route for route in ROUTES}


def url(name: str, query: Mapping[str, object] | None = None, **parts: str) -> str:
    """Give the path and query of a route, such as `url("run_get", id=run_id)`."""
    return BY_NAME[name].url(query, **parts)
