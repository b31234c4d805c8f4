"""Which server would be used, whether it answers and takes this user, and whether models can be fetched."""

from __future__ import annotations

import os
import queue
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

import anyio

from finetuner import local
from finetuner.api import embedded
from finetuner.api.models import MODELS
from finetuner.cli.exits import innermost
from finetuner.cli.finding import Finding
from finetuner.cli.models import where_here
from finetuner.cli.settings import Settings
from finetuner.errors import FinetunerError, NotAllowed, NotLoggedIn

if TYPE_CHECKING:
    from finetuner.aio.client import AsyncClient

HUB: Final = "https://huggingface.co"
_TRUE: Final = {"1", "ON", "YES", "TRUE"}


def server(settings: Settings, timeout_s: float) -> Iterator[Finding]:
    """Look at the server that a command would use; the embedded one is not started."""
    host = settings.host or os.environ.get("FINETUNER_HOST")
    if host:
        said_by = "--host" if settings.host else "FINETUNER_HOST"
        yield _login(host, settings.token, timeout_s, f"{host} ({said_by})")
        return
    if os.environ.get("FINETUNER_TOKEN"):
        yield Finding(
            name="token",
            state="warning",
            message="FINETUNER_TOKEN is set, and no host: this machine's own server needs none",
            hint="Set FINETUNER_HOST to the server that the token is for.",
        )
    found = local.find_server()
    yield _embedded(found)
    if found is not None:
        token = found.token
        yield _login(found.url, lambda: token, timeout_s, found.url)


def _embedded(found: local.LocalServer | None) -> Finding:
    ours = embedded.package_version()
    if found is not None and embedded.is_newer(ours, found.version) and found.embedded:
        message = f"version {found.version} runs at {found.url}; this is {ours}"
        return Finding(name="server", state="ok", message=f"{message}: the next command replaces it, its runs go on")
    if found is not None:
        kind = "this machine's own server" if found.embedded else "a server for a team"
        return Finding(name="server", state="ok", message=f"{kind}, version {found.version}, runs at {found.url}")
    folder = local.state_dir() / embedded.STATE_VERSION
    if local.is_held():
        return Finding(
            name="server",
            state="broken",
            message=f"a server holds {folder / embedded.LOCK_NAME}, and does not answer, or in another protocol",
            hint="Try again; then end its process, or `finetuner server stop`. Its log: `finetuner server logs`.",
        )
    left = (folder / embedded.FILE_NAME).exists()
    more = "; the file of one that ended is still there, and not believed" if left else ""
    return Finding(name="server", state="ok", message=f"none runs on this machine; one is started when needed{more}")


def _login(host: str, read_token: Callable[[], str | None], timeout_s: float, shown: str) -> Finding:
    """Make a call that needs a login, and say what came of it."""
    from finetuner.aio.client import AsyncClient  # noqa: PLC0415 - half of what this command loads

    async def ask() -> None:
        async with AsyncClient(host=host, token=read_token(), timeout_s=timeout_s) as client:
            await _call(client)

    try:
        anyio.run(ask)
    except (FinetunerError, OSError, ValueError, BaseExceptionGroup) as raised:
        error = innermost(raised)
        hint = None
        if isinstance(error, NotLoggedIn | NotAllowed):
            hint = f"finetuner --host {host} login"
        return Finding(name="login", state="broken", message=f"{shown}: {error}", hint=hint)
    return Finding(name="login", state="ok", message=f"{shown} answers and takes this user")


async def _call(client: AsyncClient) -> None:
    await client.list_runs(page=1, size=1)


def hub(timeout_s: float) -> Iterator[Finding]:
    """Say which models are here, and whether others can be fetched."""
    here = [model.name for model in MODELS if where_here(model)]
    yield Finding(name="models", state="ok", message=f"on this machine: {', '.join(here) or 'none'}")
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in _TRUE:
        yield Finding(
            name="hub", state="ok", message="not used (HF_HUB_OFFLINE): only models that are on this machine load"
        )
        return
    endpoint = os.environ.get("HF_ENDPOINT") or HUB
    why = _unreachable(endpoint, timeout_s)
    if why is None:
        yield Finding(name="hub", state="ok", message=f"{endpoint} answers")
    else:
        yield Finding(
            name="hub",
            state="warning",
            message=f"{endpoint} cannot be reached: {why}",
            hint="Only models that are on this machine load.",
        )


def _unreachable(url: str, timeout_s: float) -> str | None:
    """Ask in a thread that nobody waits for longer: a name server may be silent for minutes."""
    answer: queue.Queue[str | None] = queue.Queue()

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=timeout_s):  # noqa: S310
                answer.put(None)
        except urllib.error.HTTPError:
            answer.put(None)
        except (OSError, ValueError) as error:
            answer.put(str(getattr(error, "reason", error)))

    threading.Thread(target=ask, daemon=True).start()
    try:
        return answer.get(timeout=timeout_s)
    except queue.Empty:
        return f"no answer within {timeout_s:g} s"
