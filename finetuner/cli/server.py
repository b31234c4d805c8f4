"""`finetuner server`: this machine's own server, a server for a team, and its users."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final, TypeVar

import click

from finetuner.cli.exits import ExitCode
from finetuner.cli.text import note, say

if TYPE_CHECKING:
    from finetuner.server.store.database import Database

T = TypeVar("T")
START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 30.0

_state_dir = click.option(
    "--state-dir",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="The server's folder; FINETUNER_STATE_DIR is another way to say so.",
)


@click.group()
def server() -> None:
    """Start, stop and host the service; manage its users.

    This machine's own server starts by itself when it is needed, and stops when nobody was there for 15 minutes.
    """


@server.command()
@click.option(
    "--timeout-s",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    default=START_TIMEOUT_S,
    show_default=True,
    help="Give up after so long.",
)
def start(timeout_s: float) -> None:
    """Start this machine's own server, if it does not run."""
    from finetuner import local  # noqa: PLC0415 - help and completion load none of it

    found = local.ensure_server(timeout_s=timeout_s)
    say(found.url)
    note(f"Version {found.version}. Its state: {local.state_dir()}")


@server.command()
@click.option(
    "--timeout-s",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    default=STOP_TIMEOUT_S,
    show_default=True,
    help="Give up after so long.",
)
def stop(timeout_s: float) -> None:
    """Stop this machine's own server; its runs go on."""
    from finetuner import local  # noqa: PLC0415 - help and completion load none of it

    note("Stopped; its runs go on." if local.stop_server(timeout_s=timeout_s) else "No server runs.")


@server.command()
@click.option("--json", "as_json", is_flag=True, help="Print it as a JSON object.")
@click.pass_context
def status(context: click.Context, as_json: bool) -> None:
    """Say whether this machine's own server runs, and where; exit code 1 where it does not."""
    from finetuner import local  # noqa: PLC0415 - help and completion load none of it

    found = local.find_server()
    if as_json:
        said = {"running": found is not None, "state_dir": str(local.state_dir())}
        if found is not None:
            said |= {"url": found.url, "version": found.version, "embedded": found.embedded}
        say(json.dumps(said, indent=2))
    elif found is None:
        say(f"No server runs. Its state: {local.state_dir()}")
    else:
        say(f"Version {found.version} listens on {found.url}. Its state: {local.state_dir()}")
    context.exit(ExitCode.OK if found is not None else ExitCode.ERROR)


@server.command()
@click.option("--lines", "-n", type=click.IntRange(min=0), default=50, show_default=True, help="The last so many.")
def logs(lines: int) -> None:
    """Print the log of this machine's own server, JSON lines."""
    from finetuner import local  # noqa: PLC0415 - help and completion load none of it

    for line in local.log_lines(lines):
        say(line)


@server.command()
@click.option("--host", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="Listen on this address.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8421, show_default=True, help="Listen on this port.")
@click.option("--slots", type=click.IntRange(min=1), help="Runs at the same time.  [one a GPU, else 1]")
@_state_dir
@click.pass_context
def run(context: click.Context, host: str, port: int, slots: int | None, state_dir: Path | None) -> None:
    """Run a server for a team until Ctrl-C; its runs go on.

    Its users need tokens: `finetuner server user add`. It speaks HTTP: put a proxy with TLS before it where the network
    is not your own.
    """
    main = _service("finetuner.server.__main__").main
    arguments = ["--state-dir", str(_folder(state_dir)), "--host", host, "--port", str(port)]
    context.exit(main([*arguments, *(["--slots", str(slots)] if slots else [])]))


@server.group()
def user() -> None:
    """Add, list and disable the users of a server for a team.

    The commands work on the server's folder, whether it runs or not.
    """


@user.command()
@click.argument("name")
@click.option("--admin", is_flag=True, help="The user may do what is for admins.")
@_state_dir
def add(name: str, admin: bool, state_dir: Path | None) -> None:
    """Add a user, and print a token for it: this once, it cannot be read again."""

    async def work(database: Database) -> str:
        users = _service("finetuner.server.store.users")
        async with database.write() as tx:
            made = await users.create(tx, name, is_admin=admin)
            token: str = await users.issue_token(tx, made.id)
            return token

    say(_with_database(state_dir, work))
    note(f"That is the token of {name!r}; it is not shown again. The user stores it with `finetuner login`.")


@user.command("list")
@_state_dir
def list_(state_dir: Path | None) -> None:
    """List the users: name, what they may, and whether they are disabled."""

    async def work(database: Database) -> list[str]:
        users = _service("finetuner.server.store.users")
        async with database.read() as conn:
            return [
                f"{one.name}\t{'admin' if one.is_admin else 'user'}\t{'disabled' if one.disabled else 'enabled'}"
                for one in await users.list_all(conn)
            ]

    for line in _with_database(state_dir, work):
        say(line)


@user.command()
@click.argument("name")
@_state_dir
def disable(name: str, state_dir: Path | None) -> None:
    """Refuse a user's tokens from now on; what the user has stays."""

    async def work(database: Database) -> None:
        users = _service("finetuner.server.store.users")
        async with database.write() as tx:
            await users.set_disabled(tx, name, disabled=True)

    _with_database(state_dir, work)
    note(f"The tokens of {name!r} are refused from now on.")


def _service(module: str) -> ModuleType:
    """Import a part of the service, which is an extra.

    Raises:
        MissingExtra: It is not installed.
    """
    from importlib import import_module  # noqa: PLC0415 - help and completion load none of it

    from finetuner.local import check_service_packages  # noqa: PLC0415 - the same

    check_service_packages()
    return import_module(module)


def _folder(given: Path | None) -> Path:
    from finetuner import local  # noqa: PLC0415 - help and completion load none of it

    return local.state_dir() if given is None else given.absolute()


def _with_database(state_dir: Path | None, work: Callable[[Database], Awaitable[T]]) -> T:
    import anyio  # noqa: PLC0415 - help and completion load none of it

    opener = _service("finetuner.server.store.database").Database
    settings = _service("finetuner.server.settings").Settings(state_dir=_folder(state_dir))

    async def session() -> T:
        database = await opener.open(settings.db_path)
        try:
            return await work(database)
        finally:
            await database.close()

    return anyio.run(session)
