"""`finetuner fit`: submits a training run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from finetuner.cli.completing import complete_files, complete_models, names_of, options_of
from finetuner.cli.names import complete_runs, find_run
from finetuner.cli.settings import Settings
from finetuner.cli.submitting import data_source, run_options, submit
from finetuner.cli.values import Call, calls_callback, options_callback

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from finetuner.aio.client import AsyncClient
    from finetuner.aio.run import AsyncRun
    from finetuner.api.catalog import Kind
    from finetuner.api.plan import Plan
    from finetuner.callback import Callback

Command = TypeVar("Command", bound=Callable[..., Any])


def _named(flag: str, kind: Kind, help: str, default: str | None = None) -> Callable[[Command], Command]:
    return click.option(
        flag,
        metavar="NAME",
        default=default,
        show_default=default is not None,
        shell_complete=names_of(kind),
        help=help,
    )


def _options(flag: str, kind: Kind | None = None) -> Callable[[Command], Command]:
    of = flag.removeprefix("--").removesuffix("-options").replace("-", "_")
    return click.option(
        flag,
        multiple=True,
        metavar="KEY=VALUE",
        callback=options_callback,
        shell_complete=None if kind is None else options_of(kind, of),
        help=f"An option of the {of.replace('_', ' ')}, or a JSON object of them; may be given more than once.",
    )


def _complete_data(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return complete_files(context, parameter, incomplete) + complete_runs(context, parameter, incomplete)


@click.command()
@click.option(
    "--model",
    required=True,
    metavar="NAME",
    shell_complete=complete_models,
    help="A short name (`finetuner models`), a hub's org/name, or a folder on the server's machine.",
)
@click.option(
    "--train-data",
    required=True,
    metavar="FILE",
    shell_complete=_complete_data,
    help="A CSV file, - for standard input, the name of a data set that the server has, or of a run that made one.",
)
@click.option("--eval-data", metavar="FILE", shell_complete=complete_files, help="Data for the validation loss.")
@click.option("--val-split", type=float, default=0.0, show_default=True, help="Share of the data to hold out for it.")
@click.option("--model-artifact", metavar="ID", help="Artifact of an earlier run to go on from.")
@_options("--model-options")
@_named("--loss", "loss", "What is minimized.", "TripletMarginLoss")
@_options("--loss-options", "loss")
@_named("--miner", "miner", "Chooses the pairs or triplets that a metric loss sees.")
@_options("--miner-options", "miner")
@_named("--optimizer", "optimizer", "Makes the steps.", "Adam")
@_options("--optimizer-options", "optimizer")
@_named("--loss-optimizer", "optimizer", "For a loss's own weights; else they share the optimizer.")
@_options("--loss-optimizer-options", "optimizer")
@_named("--scheduler", "scheduler", "How the learning rate changes.")
@_options("--scheduler-options", "scheduler")
@click.option("--learning-rate", type=float, help="Step size.  [default: the server's]")
@click.option("--epochs", type=int, default=5, show_default=True, help="Times that the data is gone through.")
@click.option("--batch-size", type=int, help="Examples of a step.  [default: the server's]")
@click.option(
    "--callback",
    "callbacks",
    multiple=True,
    metavar="NAME(KEY=VALUE, ...)",
    callback=calls_callback,
    shell_complete=names_of("callback"),
    help="Such as 'EvaluationCallback(query_data=q.csv, index_data=ix.csv)'; may be given more than once.",
)
@click.option("--freeze", is_flag=True, help="Train the added layer alone.")
@click.option("--output-dim", type=int, help="Length of the embeddings.  [default: the model's]")
@click.option("--to-onnx", is_flag=True, help="Also export the model to ONNX.")
@click.option(
    "--num-items-per-class", type=int, default=4, show_default=True, help="Of each class in a batch made by class."
)
@click.option(
    "--sampler",
    type=click.Choice(["auto", "class", "random"]),
    default="auto",
    show_default=True,
    help="How batches are made; auto: what the loss needs.",
)
@click.option("--seed", type=int, default=42, show_default=True, help="Of every random choice.")
@run_options
@click.pass_obj
def fit(
    settings: Settings,
    /,
    wait: bool,
    follow: bool,
    timeout_s: float | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Submit a training run, and print its name.

    Everything is checked before anything is sent. A run that is waited for, with --wait or --follow, and fails ends the
    command with exit code 3. Ctrl-C leaves the run going.
    """
    arguments = {
        **given,
        "train_data": data_source(given["train_data"]),
        "eval_data": data_source(given["eval_data"]),
        "callbacks": make_callbacks(given["callbacks"]) or None,
    }

    async def submitted(client: AsyncClient, arguments: dict[str, Any]) -> AsyncRun | Plan:
        train_data = await training_data(client, arguments["train_data"])
        made: AsyncRun | Plan = await client.fit(**{**arguments, "train_data": train_data})
        return made

    submit(settings, submitted, arguments, wait=wait, follow=follow, timeout_s=timeout_s, as_json=as_json)


async def training_data(client: AsyncClient, given: Any) -> Any:
    """Give what the SDK takes for `--train-data`: the run, where it is a synthesis run's name.

    Raises:
        InvalidData: It is no file, no data set and no run, or the run made a model; near names are given.
    """
    from finetuner.api.names import is_id  # noqa: PLC0415 - help and completion load none of it
    from finetuner.errors import DataNotFound, InvalidData, InvalidName, RunNotFound  # noqa: PLC0415

    if not isinstance(given, str) or is_id(given) or Path(given).expanduser().exists():
        return given
    try:
        if "/" not in given:
            await client.get_dataset(given)
            return given
    except InvalidName:
        return given  # a path, as whose absence it is told
    except DataNotFound as error:
        unknown = f"the server has {error}"
    else:
        unknown = "no data set has such a name."
    try:
        run = await find_run(client, given, None)
    except (InvalidName, RunNotFound) as error:
        if "/" in given:
            return given  # as above
        raise InvalidData(f"there is no such file; {unknown} And there is {error}", path=given) from error
    if run.info.task != "generation":
        raise InvalidData(
            f"it is a run that made a model, no data; to go on from it: --model-artifact {run.artifact_id}", path=given
        )
    return run


def make_callbacks(calls: Sequence[Call]) -> list[Callback]:
    """Make the SDK's callbacks of what the flags say.

    Raises:
        InvalidInput: There is no such callback or option, with near names; or a value cannot be used.
    """
    from finetuner.callback import from_wire  # noqa: PLC0415 - help and completion load none of it

    return [from_wire(call.name, call.options) for call in calls]
