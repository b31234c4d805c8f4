"""`finetuner encode`: texts to vectors, streamed: memory does not grow with the input."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from finetuner.api.words import count
from finetuner.cli.completing import complete_files, complete_models
from finetuner.cli.names import complete_runs, find_run
from finetuner.cli.settings import Settings
from finetuner.cli.submitting import csv_options
from finetuner.cli.text import note, say_json
from finetuner.cli.values import options_callback

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from finetuner.aio.client import AsyncClient
    from finetuner.cli.texts import Texts
    from finetuner.model import EmbeddingModel

CHUNK_BATCHES: Final = 16
"""Batches encoded at a time: texts of like length are put together among them."""
FORMATS: Final = (".npy", ".jsonl")


def _complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return complete_models(context, parameter, incomplete) + complete_runs(context, parameter, incomplete)


@click.command()
@click.argument("model", shell_complete=_complete)
@click.argument("file", default="-", shell_complete=complete_files)
@click.option("--column", metavar="NAME|N", help="The file is CSV: take this column, by its header or counted from 1.")
@click.option(
    "--csv-options",
    multiple=True,
    metavar="KEY=VALUE",
    callback=options_callback,
    help="How to read the file: encoding, and with --column dialect; may be given more than once.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write to this file: FILE.npy or FILE.jsonl.  [default: JSON lines on stdout]",
)
@click.option("--overwrite", is_flag=True, help="Replace the file of --output.")
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True, help="Texts at a time.")
@click.option("--device", metavar="NAME", help="cpu, cuda, ...  [default: the best there is]")
@click.option(
    "--onnx", "--is-onnx", "is_onnx", is_flag=True, help="Load the model in ONNX that a run with --to-onnx left."
)
@click.option("--progress/--no-progress", default=None, help="Show a bar.  [default: on a terminal]")
@click.option("--json", "as_json", is_flag=True, help="With --output, print a JSON object: output, rows, dim, model.")
@click.pass_obj
def encode(
    settings: Settings,
    model: str,
    file: str,
    column: str | None,
    csv_options: dict[str, Any] | None,
    output: Path | None,
    overwrite: bool,
    batch_size: int,
    device: str | None,
    is_onnx: bool,
    progress: bool | None,
    as_json: bool,
) -> None:
    """Turn texts into vectors with a model.

    MODEL is a run, an artifact's id or zip, or a model's name or folder. FILE has a text a line, blank lines too; - is
    standard input. Vectors go to stdout as JSON lines, {"text": ..., "vector": [...]}, or into the file of --output.
    """
    check_output(output, overwrite=overwrite)
    source = open_texts(file, column, csv_options)
    with source.opened():
        loaded = load(settings, model, device, batch_size, is_onnx=is_onnx)
        from finetuner.cli.vectors import open_writer  # noqa: PLC0415 - help and completion load none of it

        rows = 0
        try:
            with open_writer(output, loaded.dim) as writer, _bar(source, show=progress) as advance:
                for texts in _chunks(source.read(), batch_size * CHUNK_BATCHES):
                    writer.write(texts, loaded.encode(texts))
                    rows += len(texts)
                    advance(rows)
        except KeyboardInterrupt:
            note(f"\nStopped after {count(rows, 'text')}." + (f" {output} was not written." if output else ""))
            raise
    if output is None:
        return
    if as_json:
        say_json({"output": str(output), "rows": rows, "dim": loaded.dim, "model": model})
    else:
        note(f"Wrote {count(rows, 'vector')} of {loaded.dim} numbers to {output}.")


def check_output(output: Path | None, *, overwrite: bool) -> None:
    """Refuse an output before anything is loaded.

    Raises:
        click.UsageError: Its name says no format.
        ArtifactExists: It is there already.
    """
    if output is None:
        return
    if output.suffix not in FORMATS:
        raise click.UsageError(f"--output must end with {' or '.join(FORMATS)}, which says what is written")
    if output.exists() and not overwrite:
        from finetuner.errors import ArtifactExists  # noqa: PLC0415 - only a mistake needs it

        raise ArtifactExists(f"{output} exists; give --overwrite, or another name")


def open_texts(file: str, column: str | None, given: dict[str, Any] | None) -> Texts:
    """Give the texts of a file, or of standard input, to be read as they are needed."""
    from finetuner.cli.texts import Texts  # noqa: PLC0415 - help and completion load none of it
    from finetuner.data import CSVOptions  # noqa: PLC0415

    if file == "-" and sys.stdin.isatty():
        note("Reading texts from the terminal, one a line; Ctrl-D ends them.")
    path = None if file == "-" else Path(file).expanduser()
    return Texts(path=path, column=column, options=csv_options(given) or CSVOptions())


def load(
    settings: Settings, name: str, device: str | None, batch_size: int, *, is_onnx: bool = False
) -> EmbeddingModel:
    """Load the model that a command line names.

    Raises:
        MissingExtra: torch or sentence-transformers is not installed here; with is_onnx, onnxruntime.
        RunNotFound: It is neither a run nor a model; near names are given.
        NotFound: It holds no model in ONNX, and is_onnx asks for one.
    """
    from finetuner.api.models import MODELS  # noqa: PLC0415 - help and completion load none of it
    from finetuner.model import check_packages, load_model  # noqa: PLC0415

    if not is_onnx:
        check_packages()
    known = {text for one in MODELS for text in (one.name, one.hub_id, one.backbone)}
    if is_onnx and name in known and not Path(name).exists():
        raise click.UsageError(f"--onnx: {name} is as it was before any tuning; only a run has its model in ONNX")
    if Path(name).expanduser().exists() or name in known or name.startswith((".", "/", "~")):
        return load_model(name, device, batch_size, is_onnx=is_onnx)
    return settings.run(lambda client: _load_run(client, name, device, batch_size, is_onnx=is_onnx))


async def _load_run(
    client: AsyncClient, name: str, device: str | None, batch_size: int, *, is_onnx: bool
) -> EmbeddingModel:
    """Load what a run made; a name with a slash that is no run's is a hub's."""
    from finetuner.api.models import model_names  # noqa: PLC0415 - help and completion load none of it
    from finetuner.api.names import is_id, near_hint  # noqa: PLC0415
    from finetuner.errors import ArtifactNotFound, RunNotFound  # noqa: PLC0415

    if is_id(name):
        try:
            return await client.get_model(name, batch_size=batch_size, device=device, is_onnx=is_onnx)
        except ArtifactNotFound:
            pass
    try:
        run = await find_run(client, name, None)
    except RunNotFound as error:
        if "/" in name:
            return await client.build_model(name, batch_size=batch_size, device=device, is_onnx=is_onnx)
        raise RunNotFound(f"{error} Nor is it a model's name.{near_hint(name.lower(), model_names())}") from error
    return await client.get_model(run, batch_size=batch_size, device=device, is_onnx=is_onnx)


def _chunks(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    left = iter(texts)
    while chunk := list(islice(left, size)):
        yield chunk


@contextmanager
def _bar(source: Texts, *, show: bool | None) -> Iterator[Any]:
    """Show on a terminal's stderr how far it is: a share of the file, or a number of texts."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415 - as above

    from finetuner.cli.console import PlainConsole  # noqa: PLC0415

    is_shown = (sys.stderr.isatty() and not sys.stdout.isatty()) if show is None else show
    bar = Progress(
        TextColumn("encoding"),
        BarColumn(),
        TextColumn("{task.fields[texts]}"),
        TimeRemainingColumn(),
        console=PlainConsole(stderr=True),
        transient=True,
        disable=not is_shown,
        redirect_stdout=False,
    )
    with bar:
        task = bar.add_task("", total=source.size_bytes, texts="")
        yield lambda rows: bar.update(task, completed=source.read_bytes, texts=count(rows, "text"))
