"""`finetuner synthesize`: submits a run that makes training data of queries and a corpus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from finetuner.cli.completing import complete_files, complete_models
from finetuner.cli.settings import Settings
from finetuner.cli.submitting import data_source, run_options, submit

if TYPE_CHECKING:
    from finetuner.aio.client import AsyncClient
    from finetuner.aio.run import AsyncRun
    from finetuner.api.plan import Plan
    from finetuner.model import SynthesisModels


@click.command()
@click.option(
    "--query-data",
    required=True,
    metavar="FILE",
    shell_complete=complete_files,
    help="Queries, or each with a text that answers it: a CSV file, - for standard input, or a data set's name.",
)
@click.option(
    "--corpus-data",
    required=True,
    metavar="FILE",
    shell_complete=complete_files,
    help="The texts to search, given likewise.",
)
@click.option(
    "--models",
    type=click.Choice(["synthesis_model_en", "synthesis_model_multi"]),
    help="The ready-made models, for English or for many languages; else give --relation-miner.",
)
@click.option(
    "--relation-miner",
    multiple=True,
    metavar="NAME",
    shell_complete=complete_models,
    help="Finds the texts that are near to a query: a model or an artifact's id; may be given more than once.",
)
@click.option(
    "--cross-encoder",
    metavar="NAME",
    help="Scores what was found: org/name of a hub, or a folder.  [default: the last relation miner]",
)
@click.option(
    "--num-relations", type=int, default=10, show_default=True, help="Rows that each miner adds for a query, at most."
)
@run_options
@click.pass_obj
def synthesize(
    settings: Settings,
    /,
    models: str | None,
    relation_miner: tuple[str, ...],
    cross_encoder: str | None,
    wait: bool,
    follow: bool,
    timeout_s: float | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Submit a run that makes training data, and print its name.

    `finetuner fit` trains on what it made: --train-data takes the artifact's id, which `finetuner runs show` tells, or
    the zip that `finetuner runs download` saves.
    """
    if (models is None) == (not relation_miner) or (models is not None and cross_encoder is not None):
        raise click.UsageError("give either --models, or --relation-miner with or without --cross-encoder")
    arguments = {
        **given,
        "query_data": data_source(given["query_data"]),
        "corpus_data": data_source(given["corpus_data"]),
        "models": make_models(models, relation_miner, cross_encoder),
    }

    async def submitted(client: AsyncClient, arguments: dict[str, Any]) -> AsyncRun | Plan:
        made: AsyncRun | Plan = await client.synthesize(**arguments)
        return made

    submit(settings, submitted, arguments, wait=wait, follow=follow, timeout_s=timeout_s, as_json=as_json)


def make_models(name: str | None, relation_miner: tuple[str, ...], cross_encoder: str | None) -> SynthesisModels:
    """Make the SDK's models of what the flags say.

    Raises:
        InvalidInput: A value is no model.
    """
    from finetuner import model  # noqa: PLC0415 - help and completion load none of it

    if name is not None:
        ready_made: SynthesisModels = getattr(model, name)
        return ready_made
    return model.SynthesisModels(list(relation_miner), cross_encoder)
