"""The two scripts that do what the demo did: a sync one and an async one, to be run beside the demo's data."""

from __future__ import annotations

from typing import Final

QUERY: Final = "the malware deletes shadow copies before it encrypts files"
BATCH_SIZE: Final = 64
LEARNING_RATE: Final = 2e-4
MAX_SEQ_LENGTH: Final = 40
"""Tokens of a text that the model reads; sentences of reports seldom have more."""
LOSS: Final = "MultipleNegativesRankingLoss"
MODEL: Final = "all-minilm-l6-v2"

_SYNC: Final = """\
import csv

import finetuner
from finetuner.callback import EvaluationCallback

run = finetuner.fit(
{arguments})
print(run.name, run.status())
for line in run.stream_logs():
    print(line)
run.display_metrics()
print(run.save_artifact("."))

model = finetuner.get_model(run)
with open("names.csv", newline="", encoding="utf-8") as file:
    names = [row[0] for row in csv.reader(file)][1:]
query = "{query}"
vectors = finetuner.encode(model, [query, *names])
print(query, "->", names[(vectors[1:] @ vectors[0]).argmax()])
"""

_ASYNC: Final = """\
import asyncio
import csv

import finetuner
from finetuner.callback import EvaluationCallback


async def main():
    async with finetuner.AsyncClient() as client:
        run = await client.fit(
{arguments}        )
        print(run.name, await run.status())
        async with run.stream_logs() as log:
            async for line in log:
                print(line)
        await run.display_metrics()
        print(await run.save_artifact("."))

        model = await client.get_model(run)
        with open("names.csv", newline="", encoding="utf-8") as file:
            names = [row[0] for row in csv.reader(file)][1:]
        query = "{query}"
        vectors = await client.encode(model, [query, *names])
        print(query, "->", names[(vectors[1:] @ vectors[0]).argmax()])


asyncio.run(main())
"""

_ARGUMENTS: Final = f"""\
model="{MODEL}",
train_data="train.csv",
loss="{LOSS}",
learning_rate={LEARNING_RATE},
batch_size={BATCH_SIZE},
epochs=1,
seed={{seed}},
model_options={{{{"max_seq_length": {MAX_SEQ_LENGTH}}}}},
callbacks=[
    EvaluationCallback("queries.csv", index + ".csv", caption=index)
    for index in ("names", "descriptions")
],
"""


def sync_script(seed: int) -> str:
    """Give the script for a plain program."""
    return _filled(_SYNC, seed, indent=4)


def async_script(seed: int) -> str:
    """Give the script for an asyncio program."""
    return _filled(_ASYNC, seed, indent=12)


def _filled(template: str, seed: int, indent: int) -> str:
    lines = _ARGUMENTS.format(seed=seed).splitlines(keepends=True)
    return template.format(arguments="".join(" " * indent + line for line in lines), query=QUERY)
