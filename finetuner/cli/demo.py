"""`finetuner demo`: from nothing to a tuned model, on real data, saying what it does at each step."""

from __future__ import annotations

from pathlib import Path

import click

from finetuner.cli.files import Folder
from finetuner.cli.settings import Settings


@click.command()
@click.option(
    "--directory",
    type=Folder(),
    default=Path("finetuner-demo"),
    show_default=True,
    help="Where the data, the tuned model and two scripts go.",
)
@click.option("--run-name", metavar="NAME", help="Name of the run; none given, the server makes one up.")
@click.option(
    "--steps", type=click.IntRange(min=1), default=40, show_default=True, help="Training steps of 64 sentence pairs."
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the split, the order, the training."
)
@click.option(
    "--timeout-s",
    type=click.FloatRange(min=0, min_open=True),
    default=1800,
    show_default=True,
    metavar="SECONDS",
    help="Give up waiting for the run after so long; the run goes on.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print a JSON object at the end: run, directory, path; the rest to stderr."
)
@click.pass_obj
def demo(
    settings: Settings,
    directory: Path,
    run_name: str | None,
    steps: int,
    seed: int,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Fine-tune a real model on real data, in two minutes.

    Data, service, training, metrics before and after, and the tuned model answering: each step says what it does.
    Ctrl-C leaves the run going, and says how to follow or cancel it.
    """
    from finetuner.cli.demo_tour import Tour  # noqa: PLC0415 - help and completion load none of it

    tour = Tour(
        directory=directory,
        run_name=run_name,
        steps=steps,
        seed=seed,
        timeout_s=timeout_s,
        host=settings.host,
        as_json=as_json,
    )
    tour.prepare()
    try:
        settings.run(tour.train)
    except KeyboardInterrupt:
        tour.tell_interrupted()
        raise
    tour.close()
