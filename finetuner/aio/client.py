"""The client: every call of the SDK that is not about one run.

Past 400 lines, since `fit` and `synthesize` say all their parameters.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import numpy as np
import numpy.typing as npt

from finetuner import local
from finetuner.aio import credentials, display
from finetuner.aio.arguments import checked
from finetuner.aio.endpoint import Endpoint
from finetuner.aio.experiment import AsyncExperiment
from finetuner.aio.listing import AsyncRunIterator
from finetuner.aio.question import ask_secret
from finetuner.aio.run import AsyncRun, fetch_artifact
from finetuner.aio.submission import Submission, submit
from finetuner.aio.transport import Request, Transport
from finetuner.aio.watch import AsyncCompleted, AsyncWatch
from finetuner.api import convert
from finetuner.api.config import ExperimentRequest
from finetuner.api.models import model_names
from finetuner.api.names import check_experiment_name, check_name, is_id
from finetuner.api.types import DatasetInfo, ExperimentInfo, RunStatus, Task
from finetuner.callback import CALLBACKS, Callback, DataSource
from finetuner.data import CSVOptions
from finetuner.errors import InvalidInput, NotLoggedIn
from finetuner.model import EmbeddingModel, SynthesisModels, load_model
from finetuner.onnx_model import OnnxBackend

DEFAULT_PAGE_SIZE = 50


@checked
class AsyncClient:
    """The SDK for asyncio programs. Safe with many tasks of one event loop, and in one loop after another.

    Args:
        host: URL of a server; None: FINETUNER_HOST, or else this machine's embedded server, started when needed.
        token: For that server; None: FINETUNER_TOKEN, or what `login()` kept.
        session: An aiohttp session to use, which stays open; None: sessions of its own.
        timeout_s: How long a call may take, its retries included.
        connections: Most connections for calls; streams have their own.

    Example:
        async with AsyncClient() as client:
            runs = await client.list_runs()
    """

    def __init__(
        self,
        host: str | None = None,
        token: str | None = None,
        *,
        session: aiohttp.ClientSession | None = None,
        timeout_s: float = 60.0,
        connections: int = 32,
    ) -> None:
        if not timeout_s > 0:
            raise InvalidInput(f"timeout_s must be greater than 0, not {timeout_s!r}")
        if connections < 1:
            raise InvalidInput(f"connections must be 1 or more, not {connections!r}")
        self._connections = connections
        self._transport = Transport(
            Endpoint(host, token), session=session, timeout_s=timeout_s, connections=connections
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; a session that was given stays open.

        Example:
            await client.aclose()
        """
        await self._transport.aclose()

    @property
    def host(self) -> str:
        """The server: its URL, or `the embedded server` before that was first needed."""
        return self._transport.endpoint.shown

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.host}>"

    async def login(
        self,
        force: bool = False,
        interactive: bool | None = None,
        host: str | None = None,
        token: str | None = None,
    ) -> None:
        """Check that the server takes this user, and keep the token for later programs.

        The embedded server needs no question and is started if it does not run. Tokens are kept one a host.

        Args:
            force: Ask for a token though one is kept.
            interactive: Whether a person can be asked; None: when stdin is a terminal.
            host: Use this server from now on.
            token: The token; None: FINETUNER_TOKEN, the one that is kept, or a question.

        Raises:
            NotLoggedIn: There is no token and nobody to ask, or the server refused it.

        Example:
            await client.login(host="http://machine:8421", token="...")
        """
        endpoint = self._transport.endpoint
        if host is not None or token is not None:
            endpoint.point(host, token)
        if endpoint.is_embedded:
            if token is not None:
                raise InvalidInput("the embedded server needs no token; say which host the token is for: host=...")
            await self._transport.call(Request(route="me"))
            return
        address = await endpoint.get(self._transport.timeout_s)
        given = address.token
        if token is None and (force or given is None):
            if not (sys.stdin.isatty() if interactive is None else interactive):
                raise NotLoggedIn(
                    f"no token for {address.url}: call finetuner.login(host={address.url!r}, token=...) or set "
                    "FINETUNER_TOKEN; `finetuner server user add` on the server makes one"
                )
            given = await ask_secret(f"Token for {address.url}: ")
            endpoint.point(None, given)
        await self._transport.call(Request(route="me"))
        if given:
            await asyncio.to_thread(credentials.keep, address.url, given)

    async def get_token(self) -> str:
        """Give the token that is sent to the server.

        Raises:
            NotLoggedIn: There is none.

        Example:
            token = await client.get_token()
        """
        address = await self._transport.endpoint.get(self._transport.timeout_s)
        if not address.token:
            raise NotLoggedIn(f"no token for {address.url}: call finetuner.login(host={address.url!r}, token=...)")
        return address.token

    async def fit(
        self,
        model: str,
        train_data: DataSource | AsyncRun,
        eval_data: DataSource | None = None,
        val_split: float = 0.0,
        model_artifact: str | None = None,
        run_name: str | None = None,
        description: str | None = None,
        experiment_name: str | None = None,
        model_options: dict[str, Any] | None = None,
        loss: str = "TripletMarginLoss",
        miner: str | None = None,
        miner_options: dict[str, Any] | None = None,
        optimizer: str = "Adam",
        optimizer_options: dict[str, Any] | None = None,
        learning_rate: float | None = None,
        epochs: int = 5,
        batch_size: int | None = None,
        callbacks: Sequence[Callback] | None = None,
        scheduler: str | None = None,
        scheduler_options: dict[str, Any] | None = None,
        freeze: bool = False,
        output_dim: int | None = None,
        device: str = "cuda",
        num_workers: int = 4,
        to_onnx: bool = False,
        csv_options: CSVOptions | None = None,
        public: bool = False,
        num_items_per_class: int = 4,
        sampler: str = "auto",
        loss_optimizer: str | None = None,
        loss_optimizer_options: dict[str, Any] | None = None,
        *,
        loss_options: dict[str, Any] | None = None,
        seed: int = 42,
        tags: Sequence[str] | None = None,
        secrets: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        progress: bool | None = None,
    ) -> AsyncRun:
        """Submit a training run.

        Names, options, numbers and data are checked first; then data is uploaded, once for each content; then the run
        is created: a call whose answer is lost is repeated with the same key, and makes one run.

        Args:
            model: A short name of `list_models()`, a hub's `org/name`, or a folder on the server's machine.
            train_data: A CSV file, an open text file, a list of texts or rows, or the name of a data set that the
                server has. Two columns are pairs, or with `CSVOptions(is_labeled=True)` a text and its class; three
                are anchor, positive, negative, or two texts and their score; four are query, positive, negative and
                margin. Or what `synthesize` made: that run, its `artifact_id`, or the zip that it saved.
            eval_data: Data of the same kind for the validation loss, `val_loss`, measured at the end of each epoch.
            val_split: Share of the training data to hold out for the validation loss, from 0 to below 1, drawn by the
                seed; left aside where eval_data is given.
            model_artifact: Id of the artifact of an earlier run to go on from, instead of the model's own weights.
            run_name: Its name; None: a memorable one is made up.
            description: For people.
            experiment_name: The experiment it belongs to, made if it is not there; None: `default`.
            model_options: Options of the model; `list_model_options()` names them.
            loss: A loss of pytorch-metric-learning by its name, or `MultipleNegativesRankingLoss`, `MarginMSELoss` or
                `CosineSimilarityLoss` of sentence-transformers.
            miner: A miner of pytorch-metric-learning by its name.
            miner_options: Its options.
            optimizer: An optimizer of torch by its name.
            optimizer_options: Its options.
            learning_rate: Step size of the optimizer; None: the server's default.
            epochs: Times that the training data is gone through.
            batch_size: Examples of a step; None: the server's default.
            callbacks: Of `finetuner.callback`, such as an `EvaluationCallback`.
            scheduler: A scheduler of transformers by its name, which changes the learning rate; None keeps it.
            scheduler_options: Its options, such as `{"num_warmup_steps": 100, "scheduler_step": "batch"}`.
            freeze: Train a linear layer at the model's end alone: the one that output_dim adds, the model's own, or
                else an added one that at first changes nothing.
            output_dim: Length of the embeddings: adds a linear layer that projects to it; None keeps the model's.
            device: `cuda`, or `cpu`; the embedded server uses the CPU where there is no GPU.
            num_workers: Processes that tokenize ahead, at most; fewer where there are fewer cores, or little data.
            to_onnx: Put the model in ONNX into the artifact too, for `get_model(is_onnx=True)`.
            csv_options: How to read CSV files.
            public: Let every user of the server read the artifact.
            num_items_per_class: Examples of each class in a batch, where batches are made by class.
            sampler: `class`, `random`, or `auto`: what the loss needs.
            loss_optimizer: An optimizer of torch for the weights of a loss that has its own, such as `ArcFaceLoss`;
                None: they share the model's.
            loss_optimizer_options: Its options; `lr` may be among them.
            loss_options: Options of the loss, such as `{"margin": 0.3}`.
            seed: Of every random choice: the same seed and data give the same model on the same machine.
            tags: Words to find the run by: `list_runs(tag=...)`.
            secrets: Environment variables for the job; never shown, logged or read back.
            idempotency_key: The key of an interrupted call: gives that call's run if there is one, never a second.
            progress: Show a bar while data is uploaded; None shows it on a terminal.

        Raises:
            InvalidInput: An argument was refused; nothing was created.
            Conflict: The name is taken.
            ServerUnavailable: The server did not answer in time; `.idempotency_key` is what to call again with.

        Example:
            run = await client.fit(model="all-minilm-l6-v2", train_data="pairs.csv", epochs=1)
            print(run.name, await run.status())
        """
        wish = Submission(
            run_name=run_name,
            experiment_name=experiment_name,
            description=description,
            tags=tags,
            config={
                "model": {
                    "name": model,
                    "artifact": model_artifact,
                    "freeze": freeze,
                    "output_dim": output_dim,
                    "options": model_options,
                    "to_onnx": to_onnx,
                },
                "data": {
                    "val_split": val_split,
                    "num_workers": num_workers,
                    "num_items_per_class": num_items_per_class,
                    "sampler": sampler,
                },
                "hyper_parameters": {
                    "optimizer": optimizer,
                    "optimizer_options": optimizer_options,
                    "loss": loss,
                    "loss_options": loss_options,
                    "loss_optimizer": loss_optimizer,
                    "loss_optimizer_options": loss_optimizer_options,
                    "miner": miner,
                    "miner_options": miner_options,
                    "scheduler": scheduler,
                    "scheduler_options": scheduler_options,
                    "batch_size": batch_size,
                    "learning_rate": learning_rate,
                    "epochs": epochs,
                    "seed": seed,
                },
                "public": public,
            },
            sources={
                "train_data": train_data.artifact_id if isinstance(train_data, AsyncRun) else train_data,
                "eval_data": eval_data,
            },
            callbacks=callbacks or (),
            csv_options=csv_options,
            device=device,
            secrets=secrets,
            idempotency_key=idempotency_key,
            progress=progress,
        )
        return AsyncRun(self, await submit(self._transport, wish))

    create_training_run = fit
    create_run = fit

    async def synthesize(
        self,
        query_data: DataSource,
        corpus_data: DataSource,
        models: SynthesisModels,
        num_relations: int = 10,
        run_name: str | None = None,
        description: str | None = None,
        experiment_name: str | None = None,
        device: str = "cuda",
        num_workers: int = 4,
        csv_options: CSVOptions | None = None,
        public: bool = False,
        *,
        tags: Sequence[str] | None = None,
        secrets: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        progress: bool | None = None,
    ) -> AsyncRun:
        """Submit a synthesis run: it makes training data of queries and a corpus that nobody labelled.

        For each query, the relation miners find texts of the corpus that are near to it; the cross encoder, or the
        last relation miner, tells how much better the best of them suits the query than each other one. That makes
        rows of query, positive, negative and margin, which `fit(train_data=run, loss="MarginMSELoss")` trains on.

        Args:
            query_data: A CSV file, an open text file, a list of texts or rows, or the name of a data set that the
                server has: one column of queries; or two, each query with a text that answers it.
            corpus_data: The same, with one column: the texts to search.
            models: Which ones: `SynthesisModels(relation_miner, cross_encoder)`, or `synthesis_model_en` and
                `synthesis_model_multi` of `finetuner.model`.
            num_relations: Rows that each relation miner contributes for a query, at most.
            run_name: Its name; None: a memorable one is made up.
            description: For people.
            experiment_name: The experiment it belongs to, made if it is not there; None: `default`.
            device: `cuda`, or `cpu`; the embedded server uses the CPU where there is no GPU.
            num_workers: Kept in the config for old callers; texts are encoded in the job's process.
            csv_options: How to read CSV files; `size` and `sampling_rate` hold for the queries alone.
            public: Let every user of the server read the artifact.
            tags: Words to find the run by: `list_runs(tag=...)`.
            secrets: Environment variables for the job; never shown, logged or read back.
            idempotency_key: The key of an interrupted call: gives that call's run if there is one, never a second.
            progress: Show a bar while data is uploaded; None shows it on a terminal.

        Raises:
            InvalidInput: An argument was refused; nothing was created.
            Conflict: The name is taken.
            ServerUnavailable: The server did not answer in time; `.idempotency_key` is what to call again with.

        Example:
            miners = SynthesisModels("all-minilm-l6-v2", cross_encoder=None)
            made = await client.synthesize("queries.csv", "corpus.csv", miners)
        """
        if not isinstance(models, SynthesisModels):
            raise InvalidInput(
                "models must be finetuner.model.SynthesisModels(relation_miner, cross_encoder), synthesis_model_en or "
                f"synthesis_model_multi, not {models!r}"
            )
        wish = Submission(
            task=Task.GENERATION,
            run_name=run_name,
            experiment_name=experiment_name,
            description=description,
            tags=tags,
            config={
                "data": {"num_relations": num_relations, "num_workers": num_workers},
                "models": {
                    "relation_miner": list(models.relation_miner),
                    "cross_encoder": models.cross_encoder,
                },
                "public": public,
            },
            sources={"query_data": query_data, "corpus_data": corpus_data},
            csv_options=csv_options,
            device=device,
            secrets=secrets,
            idempotency_key=idempotency_key,
            progress=progress,
        )
        return AsyncRun(self, await submit(self._transport, wish))

    create_synthesis_run = synthesize

    async def get_run(self, run_name: str, experiment_name: str | None = None) -> AsyncRun:
        """Give a run by its name.

        Args:
            run_name: Its name.
            experiment_name: Its experiment; None: `default`.

        Raises:
            RunNotFound: There is none; near names are given.

        Example:
            run = await client.get_run("vigilant-tereshkova")
        """
        parts = {"experiment": check_experiment_name(experiment_name), "run": check_name(run_name)}
        return AsyncRun(self, (await self._transport.call(Request(route="named_run_get", parts=parts))).json())

    async def get_run_by_id(self, id: str) -> AsyncRun:
        """Give a run by its id, which no later run of the same name shares.

        Raises:
            RunNotFound: There is none.

        Example:
            run = await client.get_run_by_id("65f0c8a41b7d9e2f3a4b5c6d")
        """
        if not is_id(id):
            raise InvalidInput(f"a run's id has 24 hexadecimal digits; {id!r} has not")
        return AsyncRun(self, (await self._transport.call(Request(route="run_get", parts={"id": id}))).json())

    async def list_runs(
        self,
        experiment_name: str | None = None,
        page: int | None = None,
        size: int | None = None,
        *,
        status: str | RunStatus | Sequence[str | RunStatus] | None = None,
        name_prefix: str | None = None,
        tag: str | Sequence[str] | None = None,
        task: str | Task | None = None,
    ) -> list[AsyncRun]:
        """Give runs, newest first: each that matched throughout the call, each once.

        Pages are fetched at the same time. `run.info` of each costs no further request.

        Args:
            experiment_name: Only runs of this experiment; None: of all.
            page: One page alone, counted from 1.
            size: Runs of that page; 50 unless given, 100 at most.
            status: Only runs with this status, or one of these.
            name_prefix: Only runs whose name starts so.
            tag: Only runs that have this tag, or all of these.
            task: `training` or `generation`.

        Example:
            for run in await client.list_runs(status="FAILED"):
                print(run.name, run.info.details)
        """
        query = _filters(experiment_name, status=status, name_prefix=name_prefix, tag=tag, task=task)
        if page is None and size is None:
            async with self._iter_runs(query) as runs:
                return [run async for run in runs]
        shown = _page(page, size)
        answer = await self._transport.call(Request(route="runs_list", query={**query, **shown}))
        return [AsyncRun(self, raw) for raw in answer.json()["items"]]

    def iter_runs(
        self,
        experiment_name: str | None = None,
        *,
        status: str | RunStatus | Sequence[str | RunStatus] | None = None,
        name_prefix: str | None = None,
        tag: str | Sequence[str] | None = None,
        task: str | Task | None = None,
    ) -> AsyncRunIterator:
        """Give runs, newest first, the first of them before the last page is in; arguments as of `list_runs`.

        Args:
            experiment_name: Only runs of this experiment; None: of all.
            status: Only runs with this status, or one of these.
            name_prefix: Only runs whose name starts so.
            tag: Only runs that have this tag, or all of these.
            task: `training` or `generation`.

        Example:
            async for run in client.iter_runs(name_prefix="nightly-"):
                print(run.name, run.info.status)
        """
        return self._iter_runs(_filters(experiment_name, status=status, name_prefix=name_prefix, tag=tag, task=task))

    def _iter_runs(self, query: Mapping[str, object]) -> AsyncRunIterator:
        return AsyncRunIterator(
            self._transport,
            query=query,
            make_run=lambda raw: AsyncRun(self, raw),
            concurrency=min(self._connections, 16),
        )

    async def delete_run(self, run_name: str, experiment_name: str | None = None) -> None:
        """Delete a run with its log and artifact; one that is STARTED is stopped first.

        Args:
            run_name: Its name.
            experiment_name: Its experiment; None: `default`.

        Raises:
            RunNotFound: There is none; near names are given.

        Example:
            await client.delete_run("vigilant-tereshkova")
        """
        # By id: a repeated request must never meet a new run of the same name.
        await (await self.get_run(run_name, experiment_name)).delete()

    async def delete_runs(self, experiment_name: str | None = None) -> None:
        """Delete all runs of an experiment, or of all; those made after the call began stay.

        Args:
            experiment_name: The experiment; None: all of them.

        Example:
            await client.delete_runs("nightly")
        """
        query = _filters(experiment_name)
        newest = (await self._transport.call(Request(route="runs_list", query={**query, "limit": 1}))).json()["items"]
        if not newest:
            if experiment_name is not None:
                await self.get_experiment(experiment_name)
            return
        before = {"before_seq": newest[0]["seq"] + 1}
        if experiment_name is None:
            await self._transport.call(Request(route="runs_delete", query=before))
        else:
            parts = {"experiment": experiment_name}
            await self._transport.call(Request(route="experiment_runs_delete", parts=parts, query=before))

    async def create_experiment(self, name: str = "default", description: str = "") -> AsyncExperiment:
        """Create an experiment, or give the one of that name.

        Args:
            name: Its name.
            description: For people.

        Example:
            experiment = await client.create_experiment("nightly")
        """
        body = ExperimentRequest(name=check_name(name, "experiment"), description=description)
        request = Request(route="experiments_create", body=convert.dumps(body), keyed=True, accept={409})
        answer = await self._transport.call(request)
        return await self.get_experiment(name) if answer.status == 409 else self._experiment(answer.json())

    async def get_experiment(self, name: str) -> AsyncExperiment:
        """Give an experiment by its name.

        Raises:
            ExperimentNotFound: There is none; near names are given.

        Example:
            experiment = await client.get_experiment("nightly")
        """
        parts = {"experiment": check_name(name, "experiment")}
        return self._experiment((await self._transport.call(Request(route="experiment_get", parts=parts))).json())

    def _experiment(self, raw: Any) -> AsyncExperiment:
        return AsyncExperiment(self, convert.lenient(raw, ExperimentInfo))

    async def list_experiments(self, page: int = 1, size: int = DEFAULT_PAGE_SIZE) -> list[AsyncExperiment]:
        """Give a page of the experiments.

        Args:
            page: Which one, counted from 1.
            size: Experiments of a page, 100 at most.

        Example:
            for experiment in await client.list_experiments():
                print(experiment.name)
        """
        answer = await self._transport.call(Request(route="experiments_list", query=_page(page, size)))
        return [self._experiment(raw) for raw in answer.json()["items"]]

    async def delete_experiment(self, name: str) -> AsyncExperiment:
        """Delete an experiment with its runs, and give what it was.

        Raises:
            ExperimentNotFound: There is none; near names are given.

        Example:
            await client.delete_experiment("nightly")
        """
        experiment = await self.get_experiment(name)
        await self._transport.call(Request(route="experiment_delete", parts={"experiment": name}))
        return experiment

    async def delete_experiments(self) -> list[AsyncExperiment]:
        """Delete every experiment with its runs, and give what they were.

        Example:
            await client.delete_experiments()
        """
        found: list[AsyncExperiment] = []
        while more := await self.list_experiments(len(found) // 100 + 1, 100):
            found += more
            if len(more) < 100:
                break
        await self._transport.call(Request(route="experiments_delete"))
        return found

    async def list_datasets(self) -> list[DatasetInfo]:
        """Give the data sets that were uploaded; their names can be given as data.

        Example:
            for data in await client.list_datasets():
                print(data.name, data.rows)
        """
        answer = await self._transport.call(Request(route="datasets_list"))
        return convert.lenient(answer.json()["items"], list[DatasetInfo])

    async def console_url(self, run: AsyncRun | None = None) -> str:
        """Give a link to the server's web pages that logs its first visitor in, once and within a minute.

        Who has the link until then is this user: hand it to a browser, and keep it from logs.

        Args:
            run: Lead to the page of this run; None: to the list of all runs.

        Example:
            webbrowser.open(await client.console_url(run))
        """
        onward = None if run is None else f"/console/runs/{run.id}"
        answer = await self._transport.call(Request(route="console_ticket", query={"next": onward}))
        address = await self._transport.endpoint.get(self._transport.timeout_s)
        return f"{address.url}{answer.json()['path']}"

    def watch(self, runs: Iterable[AsyncRun] | None = None, since: int | None = None) -> AsyncWatch:
        """Follow the changes of runs over one connection: first as they stand, then what changes.

        Args:
            runs: These alone; None: every run of the user, new ones too.
            since: The `cursor` of an earlier watch: what changed after it, instead of how they stand.

        Example:
            async with client.watch() as changes:
                async for change in changes:
                    print(change.kind, change.run_id, change.after)
        """
        run_ids = None if runs is None else [run.id for run in runs]
        return AsyncWatch(self._transport, run_ids=run_ids, since=since)

    def as_completed(self, runs: Iterable[AsyncRun], timeout_s: float | None = None) -> AsyncCompleted:
        """Give runs in the order in which they end, failed ones too, over one connection.

        Args:
            runs: Which ones.
            timeout_s: Longest wait for all of them, in seconds; None waits for ever.

        Example:
            async for run in client.as_completed(runs):
                print(run.name, run.info.status)
        """
        return AsyncCompleted(self._transport, list(runs), timeout_s=timeout_s)

    async def wait_all(self, runs: Iterable[AsyncRun], timeout_s: float | None = None) -> list[AsyncRun]:
        """Wait until all these runs have ended, over one connection, and give them in the order given.

        Args:
            runs: Which ones.
            timeout_s: Longest wait in seconds; None waits for ever.

        Raises:
            RunFailed: One of them failed; raised when all have ended.
            WaitTimeout: The time was up; the runs go on.

        Example:
            await client.wait_all(runs, timeout_s=3600)
        """
        wanted = list(runs)
        async with self.as_completed(wanted, timeout_s) as ended:
            async for _ in ended:
                pass
        for run in wanted:
            run._raise_if_failed()  # noqa: SLF001 - one package
        return wanted

    async def get_model(
        self,
        artifact: str | Path | AsyncRun,
        token: str | None = None,
        batch_size: int = 32,
        select_model: str | None = None,
        device: str | None = None,
        logging_level: str = "WARNING",
        is_onnx: bool = False,
    ) -> EmbeddingModel:
        """Load a tuned model: fetched once for each content, then from the cache.

        Args:
            artifact: A run, the `artifact_id` of one, or the path of an artifact's zip.
            token: Taken for callers of the old client; this client's own is used.
            batch_size: Texts to encode at a time.
            select_model: For text-to-image models alone.
            device: `cpu`, `cuda`, ...; None: the best there is.
            logging_level: Taken for callers of the old client.
            is_onnx: Load the model in ONNX that a run with `to_onnx=True` left: onnxruntime is needed, torch is not.

        Raises:
            RunInProgress: The run has not ended yet.
            RunFailed: It failed and has no artifact.
            InvalidInput: It is no artifact, or the training data of a synthesis run.
            NotFound: It holds no model in ONNX, and is_onnx asks for one.
            MissingExtra: torch or sentence-transformers is not installed here; with is_onnx, onnxruntime.

        Example:
            tuned = await client.get_model(run)
            vectors = await client.encode(tuned, ["a text"])
        """
        del token, logging_level
        _refuse_select_model(select_model)
        path = await self._artifact_file(artifact)
        return await asyncio.to_thread(load_model, path, device, batch_size, is_onnx=is_onnx)

    async def _artifact_file(self, artifact: str | Path | AsyncRun) -> Path:
        if isinstance(artifact, AsyncRun):
            artifact = artifact.artifact_id
        if isinstance(artifact, str) and is_id(artifact) and not Path(artifact).exists():
            target = local.cache_dir() / "artifacts" / f"{artifact}.zip"
            await fetch_artifact(self, artifact, target, overwrite=True, progress=None, task=Task.TRAINING)
            return target
        path = Path(artifact).expanduser()
        if not path.exists():
            raise InvalidInput(
                f"artifact must be a run, a run's artifact_id (24 hexadecimal digits), or the path of an artifact; "
                f"{str(artifact)!r} is none of them"
            )
        return path

    async def build_model(
        self,
        name: str,
        model_options: dict[str, Any] | None = None,
        batch_size: int = 32,
        select_model: str | None = None,
        device: str | None = None,
        is_onnx: bool = False,
    ) -> EmbeddingModel:
        """Load a model as it is before any tuning, to compare with.

        Args:
            name: A short name of `list_models()`, a hub's `org/name`, or a folder.
            model_options: `max_seq_length`: tokens of a text that are read.
            batch_size: Texts to encode at a time.
            select_model: For text-to-image models alone.
            device: `cpu`, `cuda`, ...; None: the best there is.
            is_onnx: Only False is possible: a run's artifact alone has a model in ONNX.

        Raises:
            InvalidInput: There is no such model; near names are given.
            MissingExtra: torch or sentence-transformers is not installed here.

        Example:
            plain = await client.build_model("all-minilm-l6-v2")
        """
        _refuse_select_model(select_model)
        if is_onnx:
            raise InvalidInput("is_onnx=True: only a run's artifact has a model in ONNX, where it had to_onnx=True")
        options = dict(model_options or {})
        length = options.pop("max_seq_length", None)
        if options:
            raise InvalidInput(f"model_options has {min(options)!r}; a text model has max_seq_length")
        return await asyncio.to_thread(_load, name, device, batch_size, length)

    async def encode(self, model: EmbeddingModel, data: Sequence[str], batch_size: int = 32) -> npt.NDArray[np.float32]:
        """Turn texts into vectors, in a thread.

        Args:
            model: What `get_model` or `build_model` gave.
            data: n texts.
            batch_size: Texts at a time.

        Returns:
            An array of shape (n, dim), float32; row i belongs to text i.

        Example:
            vectors = await client.encode(tuned, ["a text", "another"])
        """
        return await asyncio.to_thread(model.encode, data, batch_size)

    def list_models(self) -> list[str]:
        """Give the short names of the models that can be trained.

        Example:
            print(client.list_models())
        """
        return model_names()

    def describe_models(self, task: str | None = None) -> None:
        """Print the models that have a short name as a table.

        Args:
            task: Only those of this task, such as `text-to-text`.

        Example:
            client.describe_models(task="text-to-text")
        """
        display.print_models(task)

    def list_callbacks(self) -> dict[str, type[Callback]]:
        """Give the callbacks by their names.

        Example:
            print(sorted(client.list_callbacks()))
        """
        return dict(CALLBACKS)

    def list_model_options(self) -> dict[str, list[dict[str, Any]]]:
        """Give the options that `model_options` can have, for each model.

        Example:
            print(client.list_model_options()["all-minilm-l6-v2"])
        """
        option = {"name": "max_seq_length", "type": "int", "default": None, "description": "tokens of a text to read"}
        return {name: [dict(option)] for name in model_names()}


def _filters(experiment_name: str | None, **given: Any) -> dict[str, object]:
    if experiment_name is not None:
        check_name(experiment_name, "experiment")
    query: dict[str, object] = {"experiment": experiment_name}
    for key, value in given.items():
        query[key] = value if value is None or isinstance(value, str) else [str(one) for one in value]
    statuses = query.get("status")
    for status in [statuses] if isinstance(statuses, str) else statuses or []:  # type: ignore[attr-defined] # a list
        if status not in RunStatus.__members__:
            raise InvalidInput(f"there is no status {status!r}; there are {', '.join(RunStatus)}")
    return query


def _page(page: int | None, size: int | None) -> dict[str, int]:
    page, size = 1 if page is None else page, DEFAULT_PAGE_SIZE if size is None else size
    if page < 1 or not 1 <= size <= 100:
        raise InvalidInput(f"page must be 1 or more and size 1 to 100, not page={page}, size={size}")
    return {"page": page, "size": size}


def _refuse_select_model(select_model: str | None) -> None:
    if select_model is not None:
        raise InvalidInput("select_model chooses a half of a text-to-image model; those are not offered")


def _load(source: str | Path, device: str | None, batch_size: int, max_seq_length: int | None = None) -> EmbeddingModel:
    loaded = load_model(source, device, batch_size)
    if max_seq_length is not None and not isinstance(loaded.backend, OnnxBackend):
        loaded.backend.max_seq_length = max_seq_length
    return loaded
