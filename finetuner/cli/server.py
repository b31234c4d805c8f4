"""`finetuner server`: this machine's own server, a server for a team, and its users."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from finetuner.cli.exits import ExitCode
from finetuner.cli.text import note, say, say_json
from finetuner.errors import InvalidInput

if TYPE_CHECKING:
    from finetuner.local import LocalServer
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

_as_json = click.option("--json", "as_json", is_flag=True, help="Print it as a JSON object.")


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
@_as_json
def start(timeout_s: float, as_json: bool) -> None:
    """Start this machine's own server, if it does not run."""
    from finetuner import local  # noqa: PLC0415 - help and completion load none of it

    found = local.ensure_server(timeout_s=timeout_s)
    if as_json:
        say_json(_said(found))
    else:
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
@_as_json
def stop(timeout_s: float, as_json: bool) -> None:
    """Stop this machine's own server; its runs go on."""
    from finetuner import local  # noqa: PLC0415 - help and completion load none of it

    stopped = local.stop_server(timeout_s=timeout_s)
    if as_json:
        say_json({"stopped": stopped})
    else:
        note("Stopped; its runs go on." if stopped else "No server runs.")


@server.command()
@_as_json
@click.pass_context
def status(context: click.Context, as_json: bool) -> None:
    """Say whether this machine's own server runs, and where; exit code 1 where it does not."""
    from finetuner import local  # noqa: PLC0415 - help and completion load none of it

    found = local.find_server()
    if as_json:
        say_json(_said(found))
    elif found is None:
        say(f"No server runs. Its state: {local.state_dir()}")
    else:
        say(f"Version {found.version} listens on {found.url}. Its state: {local.state_dir()}")
    context.exit(ExitCode.OK if found is not None else ExitCode.ERROR)


def _said(found: LocalServer | None) -> dict[str, Any]:
    """Give what is known of a server, for programs."""
    from finetuner import local  # noqa: PLC0415 - help and completion load none of it

    said: dict[str, Any] = {"running": found is not None, "state_dir": str(local.state_dir())}
    if found is not None:
        said |= {"url": found.url, "version": found.version, "embedded": found.embedded}
    return said


@server.command()
@click.option("--lines", "-n", type=click.IntRange(min=0), default=50, show_default=True, help="The last so many.")
@click.option("--json", "as_json", is_flag=True, help="Print only lines that are JSON objects, whatever came between.")
def logs(lines: int, as_json: bool) -> None:
    """Print the log of this machine's own server, JSON lines.

    What a library prints in between is passed on as it is, unless --json leaves it out.
    """
    from finetuner import local  # noqa: PLC0415 - help and completion load none of it

    if as_json:
        for line in filter(_is_object, local.log_lines(lines)):
            say(line)
        return
    for line in local.log_lines(lines):
        say(line)


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


@server.command()
@click.option("--host", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="Listen on this address.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8421, show_default=True, help="Listen on this port.")
@click.option("--slots", type=click.IntRange(min=1), help="Runs at the same time.  [one a GPU, else 1]")
@click.option(
    "--models-dir",
    metavar="DIR",
    multiple=True,
    type=click.Path(exists=True, file_okay=False),
    help="Take models in this folder by their path; may be given more than once; FINETUNER_MODELS_DIR is another way.",
)
@click.option(
    "--stall-minutes",
    metavar="MINUTES",
    type=click.FloatRange(min=0),
    help="Mark a run as stalled where so long nothing comes into its log and no progress; 0: never; "
    "FINETUNER_STALL_MINUTES is another way.  [30]",
)
@click.option(
    "--warm-workers",
    metavar="N",
    type=click.IntRange(min=0),
    help="Workers that wait ready for the next run, libraries loaded; 0: none; FINETUNER_WARM_WORKERS is another way.  "
    "[1]",
)
@click.option(
    "--warm-minutes",
    metavar="MINUTES",
    type=click.FloatRange(min=0),
    help="Let each of them wait so long; 0: none waits; FINETUNER_WARM_MINUTES is another way.  [10]",
)
@_state_dir
@click.pass_context
def run(
    context: click.Context,
    host: str,
    port: int,
    slots: int | None,
    models_dir: tuple[str, ...],
    stall_minutes: float | None,
    warm_workers: int | None,
    warm_minutes: float | None,
    state_dir: Path | None,
) -> None:
    """Run a server for a team until Ctrl-C; its runs go on.

    Its users need tokens: `finetuner server user add`. It speaks HTTP: put a proxy with TLS before it where the network
    is not your own.
    """
    main = _service("finetuner.server.__main__").main
    arguments = ["--state-dir", str(_folder(state_dir)), "--host", host, "--port", str(port)]
    arguments += ["--slots", str(slots)] if slots else []
    given = {"stall-minutes": stall_minutes, "warm-workers": warm_workers, "warm-minutes": warm_minutes}
    arguments += [word for name, value in given.items() if value is not None for word in (f"--{name}", str(value))]
    context.exit(main([*arguments, *(f"--models-dir={folder}" for folder in models_dir)]))


@server.group()
def user() -> None:
    """Add, list, disable and enable the users of a server for a team, and give them tokens.

    The commands work on the server's folder, whether it runs or not.
    """


@user.command()
@click.argument("name")
@click.option("--admin", is_flag=True, help="The user may do what is for admins.")
@_state_dir
@_as_json
def add(name: str, admin: bool, state_dir: Path | None, as_json: bool) -> None:
    """Add a user, and print a token for it: this once, it cannot be read again."""

    async def work(database: Database) -> str:
        users = _service("finetuner.server.store.users")
        async with database.write() as tx:
            made = await users.create(tx, name, is_admin=admin)
            token: str = await users.issue_token(tx, made.id)
            return token

    token = _with_database(state_dir, work)
    if as_json:
        say_json({"name": name, "is_admin": admin, "token": token})
        return
    say(token)
    note(f"That is the token of {name!r}; it is not shown again. The user stores it with `finetuner login`.")


@user.command("list")
@_state_dir
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of users: name, is_admin, disabled.")
def list_(state_dir: Path | None, as_json: bool) -> None:
    """List the users: name, what they may, and whether they are disabled."""

    async def work(database: Database) -> list[dict[str, Any]]:
        users = _service("finetuner.server.store.users")
        async with database.read() as conn:
            return [
                {"name": one.name, "is_admin": one.is_admin, "disabled": one.disabled}
                for one in await users.list_all(conn)
            ]

    found = _with_database(state_dir, work, is_there=True)
    if as_json:
        say_json(found)
        return
    for one in found:
        words = ("admin" if one["is_admin"] else "user", "disabled" if one["disabled"] else "enabled")
        say("\t".join((one["name"], *words)))


@user.command()
@click.argument("name")
@click.option("--keep", is_flag=True, help="Let the tokens that the user has be good further on.")
@_state_dir
@_as_json
def token(name: str, keep: bool, state_dir: Path | None, as_json: bool) -> None:
    """Give a user a new token in place of those it had, and print it: this once, it cannot be read again."""

    async def work(database: Database) -> str:
        users = _service("finetuner.server.store.users")
        async with database.write() as tx:
            made: str = await users.renew_token(tx, name, is_kept=keep)
            return made

    made = _with_database(state_dir, work, is_there=True)
    if as_json:
        say_json({"name": name, "token": made})
        return
    say(made)
    earlier = "are good further on" if keep else "are refused from now on"
    note(f"That is a token of {name!r}; it is not shown again. Earlier ones {earlier}.")


@user.command()
@click.argument("name")
@_state_dir
@_as_json
def disable(name: str, state_dir: Path | None, as_json: bool) -> None:
    """Refuse a user's tokens from now on; what the user has stays."""
    _set_disabled(name, state_dir, is_disabled=True)
    if as_json:
        say_json({"name": name, "disabled": True})
        return
    note(f"The tokens of {name!r} are refused from now on; `finetuner server user enable` takes them again.")


@user.command()
@click.argument("name")
@_state_dir
@_as_json
def enable(name: str, state_dir: Path | None, as_json: bool) -> None:
    """Take the tokens of a user who was disabled again."""
    _set_disabled(name, state_dir, is_disabled=False)
    if as_json:
        say_json({"name": name, "disabled": False})
        return
    note(f"The tokens of {name!r} are taken from now on.")


def _set_disabled(name: str, state_dir: Path | None, *, is_disabled: bool) -> None:
    async def work(database: Database) -> None:
        users = _service("finetuner.server.store.users")
        async with database.write() as tx:
            await users.set_disabled(tx, name, disabled=is_disabled)

    _with_database(state_dir, work, is_there=True)


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


def _with_database(state_dir: Path | None, work: Callable[[Database], Awaitable[T]], *, is_there: bool = False) -> T:
    """Do something with a server's database.

    Raises:
        InvalidInput: It must be there, and is not: making one would hide a wrong folder.
    """
    import anyio  # noqa: PLC0415 - help and completion load none of it

    opener = _service("finetuner.server.store.database").Database
    settings = _service("finetuner.server.settings").Settings(state_dir=_folder(state_dir))
    is_folder = settings.state_dir.is_dir() or not settings.state_dir.exists()
    if is_there and is_folder and not settings.db_path.exists():
        raise InvalidInput(
            f"{settings.state_dir} is no server's folder: {settings.db_path} is not there. --state-dir, or "
            "FINETUNER_STATE_DIR, says which one is; `finetuner server user add` makes one"
        )

    async def session() -> T:
        database = await opener.open(settings.db_path)
        try:
            return await work(database)
        finally:
            await database.close()

    return anyio.run(session)
