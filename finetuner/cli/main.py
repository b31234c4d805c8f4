"""The command line's entrance: the tree of commands, and the place where an error becomes a line and an exit code."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from finetuner.cli.exits import ExitCode, exit_code, innermost
from finetuner.cli.lazy import LazyCommand, LazyGroup
from finetuner.cli.settings import Settings
from finetuner.cli.text import buffered, note

PROGRAM: Final = "finetuner"
COMPLETE_VARIABLE: Final = "_FINETUNER_COMPLETE"

LOG_CHARS: Final = 300
"""The service's log has long lines; so much of one tells what went wrong."""

_OPTION: Final = re.compile(r"CSVOptions\((?P<name>\w+)=(?P<value>\{.*?\}|[^(){}]+)\)")

COMMANDS: Final = {
    name: LazyCommand(where=where, short_help=short_help)
    for name, where, short_help in (
        ("demo", "finetuner.cli.demo:demo", "Fine-tune a real model on real data, in two minutes."),
        ("fit", "finetuner.cli.fit:fit", "Submit a training run, and print its name."),
        (
            "synthesize",
            "finetuner.cli.synthesize:synthesize",
            "Submit a run that makes training data, and print its name.",
        ),
        (
            "runs",
            "finetuner.cli.runs:runs",
            "List, show and follow runs, fetch what they gave, cancel and delete them.",
        ),
        (
            "data",
            "finetuner.cli.datasets:data",
            "Upload data sets, list, show and delete them; their names can be given as data.",
        ),
        ("top", "finetuner.cli.top:top", "Watch all runs at once, over one connection, until q or Ctrl-C."),
        ("models", "finetuner.cli.models:models", "List the models that have a short name."),
        ("encode", "finetuner.cli.encode:encode", "Turn texts into vectors with a model."),
        ("login", "finetuner.cli.login:login", "Store the token for a server."),
        ("server", "finetuner.cli.server:server", "Start, stop and host the service; manage its users."),
        ("doctor", "finetuner.cli.doctor:doctor", "Check this installation, and explain what is wrong."),
        (
            "completion",
            "finetuner.cli.completion:completion",
            "Print the script that completes commands in a shell.",
        ),
    )
}


def _show_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from importlib import metadata  # noqa: PLC0415 - slow to load, and only needed here

        try:
            version = metadata.version(PROGRAM)
        except metadata.PackageNotFoundError:
            version = "(run from its source, not installed)"
        click.echo(f"{PROGRAM} {version}")
        context.exit()


@click.command(PROGRAM, cls=LazyGroup, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Print it.")
@click.option(
    "--host",
    metavar="URL",
    help="The server to use; FINETUNER_HOST is another way to say so. Neither: this machine's own, started if needed.",
)
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with the token for that server, instead of FINETUNER_TOKEN or `finetuner login`.",
)
@click.option(
    "--call-timeout-s",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long one request may take, its retries included.",
)
@click.pass_context
def cli(context: click.Context, host: str | None, token_file: Path | None, call_timeout_s: float) -> None:
    """Fine-tune embedding models, as runs.

    Begin with `finetuner demo`.
    """
    context.obj = Settings(host=host, token_file=token_file, call_timeout_s=call_timeout_s)


def main() -> None:
    """Run the program and end the process with its exit code."""
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - it is there until the process ends
    if sys.stdout is None:  # before a file takes its number, and what is printed goes there
        note("Error: standard output is closed; nothing can be printed.")
        sys.exit(ExitCode.ERROR)
    sys.stdout, sys.stderr = buffered(sys.stdout), buffered(sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    instruction = os.environ.get(COMPLETE_VARIABLE)
    if instruction:
        from click.shell_completion import shell_complete  # noqa: PLC0415 - only completion needs it

        sys.exit(shell_complete(cli, {}, PROGRAM, COMPLETE_VARIABLE, instruction))
    code = run(sys.argv[1:])
    sys.exit(_flushed(code))


def run(arguments: Sequence[str]) -> int:
    """Run one command line and give its exit code; errors are told on stderr."""
    try:
        with cli.make_context(PROGRAM, list(arguments)) as context:
            cli.invoke(context)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.exceptions.NoArgsIsHelpError as stop:
        stop.show()
        return ExitCode.USAGE
    except click.ClickException as error:
        return _refused(error)
    except (KeyboardInterrupt, click.Abort):
        return ExitCode.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the process ends here: one line for the user, the traceback on request
        return report(error)
    return ExitCode.OK


def _said(error: BaseException) -> str:
    """Give an error in the words of the command line: what Python has a call for, it has a command for."""
    from finetuner.errors import NotLoggedIn  # noqa: PLC0415 - only failures need it

    if isinstance(error, NotLoggedIn) and error.host is not None:
        return (
            f"{error.reason}; `{PROGRAM} --host {error.host} login --force` asks for a token and keeps it. Whoever "
            f"runs the server makes one: `{PROGRAM} server user add NAME`, and `server user token NAME` a new one"
        )
    return _OPTION.sub(_as_flag, str(error))


def _as_flag(found: re.Match[str]) -> str:
    """Write an option of how to read a CSV file as a flag says it."""
    try:
        value = ast.literal_eval(found["value"])
    except (SyntaxError, ValueError):
        return found[0]
    text = value if isinstance(value, str) else json.dumps(value)
    name = found["name"]
    return f"--csv-options {shlex.quote(f'{name}={text}')}"


def report(error: BaseException) -> int:
    """Tell an error in one line, with the traceback where FINETUNER_DEBUG asks for it, and give its exit code."""
    from finetuner.errors import FinetunerError, ServerStartFailed  # noqa: PLC0415 - only failures need it

    error = innermost(error)
    if isinstance(error, BrokenPipeError):
        return ExitCode.PIPE_CLOSED
    debug = os.environ.get("FINETUNER_DEBUG") == "1"
    if debug:
        note("".join(traceback.format_exception(error)).rstrip())
    if isinstance(error, FinetunerError):
        note(f"Error: {_said(error)}")
        if isinstance(error, ServerStartFailed):
            for line in error.log[-5:]:
                if line.removeprefix("Error: ") not in str(error):  # what it says itself is not said twice
                    note(f"  {line[:LOG_CHARS]}")
        return exit_code(error)
    more = "" if debug else " FINETUNER_DEBUG=1 shows where."
    if isinstance(error, OSError):
        note(f"Error: {error}.{more}")
    else:
        note(f"Error: {type(error).__name__}: {error}. This is a fault in finetuner.{more}")
    return ExitCode.ERROR


def _refused(error: click.ClickException) -> int:
    context: Any = getattr(error, "ctx", None)
    asked = f" `{context.command_path} --help` explains." if context is not None else ""
    message = error.format_message()
    note(f"Error: {message}{'' if message.endswith(('.', '?', '!')) else '.'}{asked}")
    return error.exit_code


def _flushed(code: int) -> int:
    """Flush what is left; where its reader has gone, end silently."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = ExitCode.PIPE_CLOSED
    if code == ExitCode.PIPE_CLOSED:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return code
