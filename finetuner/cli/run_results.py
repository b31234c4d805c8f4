"""What a run has given: `finetuner runs metrics`, `examples` and `download`; and `open`, its page in the console."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from finetuner.cli.names import complete_runs, experiment_option, find_run, run_argument
from finetuner.cli.settings import Settings
from finetuner.cli.text import note, say, say_json

if TYPE_CHECKING:
    from finetuner.aio.client import AsyncClient
    from finetuner.api.types import Metrics


@click.command()
@run_argument
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object: before, after.")
@click.pass_obj
def metrics(settings: Settings, run: str, experiment_name: str | None, as_json: bool) -> None:
    """Print what an EvaluationCallback measured, before and after training."""

    async def work(client: AsyncClient) -> tuple[str, Metrics]:
        found = await find_run(client, run, experiment_name)
        return found.name, await found.metrics()

    name, measured = settings.run(work)
    from finetuner.cli import render, results  # noqa: PLC0415 - help and completion load none of it

    if as_json:
        render.print_json(measured)
    else:
        results.print_metrics(name, measured)


@click.command()
@run_argument
@click.option("-k", type=click.IntRange(min=1), default=5, show_default=True, help="Results of each query.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object, with every result: before, after.")
@click.pass_obj
def examples(settings: Settings, run: str, experiment_name: str | None, k: int, as_json: bool) -> None:
    """Print what example queries find, before and after training.

    A run has examples where its EvaluationCallback gathers them: gather_examples=True.
    """

    async def work(client: AsyncClient) -> tuple[str, dict[str, Any]]:
        found = await find_run(client, run, experiment_name)
        return found.name, await found.example_results()

    name, found = settings.run(work)
    from finetuner.cli import render, results  # noqa: PLC0415 - help and completion load none of it

    if as_json:
        render.print_json(found)
    else:
        results.print_examples(name, found, k)


@click.command()
@run_argument
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("artifacts"),
    show_default=True,
    help="Where to; made if it is not there.",
)
@click.option("--overwrite", is_flag=True, help="Replace a file of that name that has another content.")
@click.option("--progress/--no-progress", default=None, help="Show a bar.  [default: on a terminal]")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object: run, artifact_id, path, size_bytes.")
@click.pass_obj
def download(
    settings: Settings,
    run: str,
    experiment_name: str | None,
    directory: Path,
    overwrite: bool,
    progress: bool | None,
    as_json: bool,
) -> None:
    """Save what a run made as DIRECTORY/RUN.zip, and print that path.

    What an interrupted call left is used by the next. The file appears whole, its sha256 checked.
    """

    async def work(client: AsyncClient) -> dict[str, Any]:
        found = await find_run(client, run, experiment_name)
        path = Path(await found.save_artifact(directory, overwrite=overwrite, progress=progress))
        return {
            "run": found.name,
            "experiment_name": found.experiment_name,
            "artifact_id": found.artifact_id,
            "path": str(path),
            "size_bytes": path.stat().st_size,
        }

    saved = settings.run(work)
    if as_json:
        from finetuner.cli import render  # noqa: PLC0415 - help and completion load none of it

        render.print_json(saved)
    else:
        say(saved["path"])


@click.command("open")
@click.argument("run", required=False, shell_complete=complete_runs)
@experiment_option
@click.option("--browser/--no-browser", default=True, help="Open it in a browser, or print the link alone.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object, url, and open no browser.")
@click.pass_obj
def open_(settings: Settings, run: str | None, experiment_name: str | None, browser: bool, as_json: bool) -> None:
    """Open the page of a run in a browser; without RUN the list of all runs.

    The link logs its first visitor in, once and within a minute: it is a secret until then.
    """

    async def work(client: AsyncClient) -> str:
        found = None if run is None else await find_run(client, run, experiment_name)
        return await client.console_url(found)

    url = settings.run(work)
    if as_json:
        say_json({"url": url})
        return
    if browser:
        import webbrowser  # noqa: PLC0415 - help and completion load none of it

        if webbrowser.open(url):
            note("Opened in a browser. The link works once; this command makes another.")
            return
        note("No browser could be opened here. The link logs in whoever opens it first, within a minute:")
    say(url)
