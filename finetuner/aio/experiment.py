"""An experiment: a name under which runs have names of their own.

Past 400 lines where its submissions say all their parameters, once for each kind of answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

from finetuner.aio.arguments import checked
from finetuner.aio.listing import AsyncRunIterator
from finetuner.aio.notebook import RunList, experiment_html
from finetuner.aio.run import AsyncRun
from finetuner.api.plan import Plan
from finetuner.api.types import ExperimentInfo
from finetuner.callback import Callback, DataSource
from finetuner.data import CSVOptions
from finetuner.model import SynthesisModels

if TYPE_CHECKING:
    from finetuner.aio.experiment_calls import ExperimentCalls


@checked
class AsyncExperiment:
    """One experiment, as `client.get_experiment(name)` gives it."""

    def __init__(self, client: ExperimentCalls, info: ExperimentInfo) -> None:
        self._client = client
        self._info = info

    @property
    def name(self) -> str:
        """Its name."""
        return self._info.name

    @property
    def status(self) -> str:
        """`ACTIVE`."""
        return self._info.status

    @property
    def info(self) -> ExperimentInfo:
        """All that the server said of it."""
        return self._info

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def _repr_html_(self) -> str:
        return experiment_html(self._info)

    def __eq__(self, other: object) -> bool:
        return self._info == other._info if isinstance(other, AsyncExperiment) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._info)

    async def get_run(self, name: str) -> AsyncRun:
        """Give a run of this experiment by its name.

        Raises:
            RunNotFound: There is none; near names are given.

        Example:
            run = await experiment.get_run("vigilant-tereshkova")
        """
        return await self._client.get_run(name, self.name)

    async def list_runs(self, page: int | None = None, size: int | None = None) -> RunList[AsyncRun]:
        """Give the runs of this experiment, newest first.

        Args:
            page: One page of them alone, counted from 1.
            size: Runs of a page; 50 unless given, 100 at most.

        Example:
            runs = await experiment.list_runs()
        """
        return await self._client.list_runs(self.name, page, size)

    def iter_runs(self) -> AsyncRunIterator:
        """Give the runs of this experiment, newest first, as they come.

        Example:
            async for run in experiment.iter_runs():
                print(run.name)
        """
        return self._client.iter_runs(self.name)

    async def delete_run(self, name: str) -> None:
        """Delete a run of this experiment; one that is STARTED is stopped first.

        Raises:
            RunNotFound: There is none.

        Example:
            await experiment.delete_run("vigilant-tereshkova")
        """
        await self._client.delete_run(name, self.name)

    async def delete_runs(self) -> None:
        """Delete all runs of this experiment.

        Example:
            await experiment.delete_runs()
        """
        await self._client.delete_runs(self.name)

    @overload
    async def create_training_run(
        self,
        model: str,
        train_data: DataSource | AsyncRun,
        run_name: str | None = None,
        eval_data: DataSource | None = None,
        csv_options: CSVOptions | None = None,
        val_split: float = 0.0,
        model_artifact: str | None = None,
        description: str | None = None,
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
        dry_run: Literal[False] = False,
    ) -> AsyncRun: ...

    @overload
    async def create_training_run(
        self,
        model: str,
        train_data: DataSource | AsyncRun,
        run_name: str | None = None,
        eval_data: DataSource | None = None,
        csv_options: CSVOptions | None = None,
        val_split: float = 0.0,
        model_artifact: str | None = None,
        description: str | None = None,
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
        dry_run: Literal[True],
    ) -> Plan: ...

    @overload
    async def create_training_run(
        self,
        model: str,
        train_data: DataSource | AsyncRun,
        run_name: str | None = None,
        eval_data: DataSource | None = None,
        csv_options: CSVOptions | None = None,
        val_split: float = 0.0,
        model_artifact: str | None = None,
        description: str | None = None,
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
        dry_run: bool,
    ) -> AsyncRun | Plan: ...

    async def create_training_run(
        self,
        model: str,
        train_data: DataSource | AsyncRun,
        run_name: str | None = None,
        eval_data: DataSource | None = None,
        csv_options: CSVOptions | None = None,
        val_split: float = 0.0,
        model_artifact: str | None = None,
        description: str | None = None,
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
        dry_run: bool = False,
    ) -> AsyncRun | Plan:
        """Submit a training run of this experiment; `AsyncClient.fit` says more.

        Args:
            model: A short name of `list_models()`, a hub's `org/name`, or a folder on the server's machine.
            train_data: A CSV file, an open text file, a list of texts or rows, or the name of a data set that the
                server has. Two columns are pairs, or with `CSVOptions(is_labeled=True)` a text and its class; three
                are anchor, positive, negative, or two texts and their score; four are query, positive, negative and
                margin. Or what `synthesize` made: that run, its `artifact_id`, or the zip that it saved.
            run_name: Its name; None: a memorable one is made up.
            eval_data: Data of the same kind for the validation loss, `val_loss`, measured at the end of each epoch.
            csv_options: How to read CSV files.
            val_split: Share of the training data to hold out for the validation loss, from 0 to below 1, drawn by the
                seed; left aside where eval_data is given.
            model_artifact: Id of the artifact of an earlier run to go on from, instead of the model's own weights.
            description: For people.
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
            dry_run: Check all of it and give a `Plan` of what would be done; nothing is created or uploaded.

        Raises:
            InvalidInput: An argument was refused; nothing was created.
            Conflict: The name is taken.
            ServerUnavailable: The server did not answer in time; `.idempotency_key` is what to call again with.

        Example:
            run = await experiment.create_training_run("all-minilm-l6-v2", "pairs.csv", "first-try", epochs=1)
        """
        return await self._client.fit(
            model=model,
            train_data=train_data,
            eval_data=eval_data,
            val_split=val_split,
            model_artifact=model_artifact,
            run_name=run_name,
            description=description,
            model_options=model_options,
            loss=loss,
            miner=miner,
            miner_options=miner_options,
            optimizer=optimizer,
            optimizer_options=optimizer_options,
            learning_rate=learning_rate,
            epochs=epochs,
            batch_size=batch_size,
            callbacks=callbacks,
            scheduler=scheduler,
            scheduler_options=scheduler_options,
            freeze=freeze,
            output_dim=output_dim,
            device=device,
            num_workers=num_workers,
            to_onnx=to_onnx,
            csv_options=csv_options,
            public=public,
            num_items_per_class=num_items_per_class,
            sampler=sampler,
            loss_optimizer=loss_optimizer,
            loss_optimizer_options=loss_optimizer_options,
            loss_options=loss_options,
            seed=seed,
            tags=tags,
            secrets=secrets,
            idempotency_key=idempotency_key,
            progress=progress,
            dry_run=dry_run,
            experiment_name=self.name,
        )

    @overload
    async def create_synthesis_run(
        self,
        query_data: DataSource,
        corpus_data: DataSource,
        models: SynthesisModels,
        num_relations: int = 10,
        run_name: str | None = None,
        csv_options: CSVOptions | None = None,
        description: str | None = None,
        device: str = "cuda",
        num_workers: int = 4,
        public: bool = False,
        *,
        tags: Sequence[str] | None = None,
        secrets: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        progress: bool | None = None,
        dry_run: Literal[False] = False,
    ) -> AsyncRun: ...

    @overload
    async def create_synthesis_run(
        self,
        query_data: DataSource,
        corpus_data: DataSource,
        models: SynthesisModels,
        num_relations: int = 10,
        run_name: str | None = None,
        csv_options: CSVOptions | None = None,
        description: str | None = None,
        device: str = "cuda",
        num_workers: int = 4,
        public: bool = False,
        *,
        tags: Sequence[str] | None = None,
        secrets: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        progress: bool | None = None,
        dry_run: Literal[True],
    ) -> Plan: ...

    @overload
    async def create_synthesis_run(
        self,
        query_data: DataSource,
        corpus_data: DataSource,
        models: SynthesisModels,
        num_relations: int = 10,
        run_name: str | None = None,
        csv_options: CSVOptions | None = None,
        description: str | None = None,
        device: str = "cuda",
        num_workers: int = 4,
        public: bool = False,
        *,
        tags: Sequence[str] | None = None,
        secrets: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        progress: bool | None = None,
        dry_run: bool,
    ) -> AsyncRun | Plan: ...

    async def create_synthesis_run(
        self,
        query_data: DataSource,
        corpus_data: DataSource,
        models: SynthesisModels,
        num_relations: int = 10,
        run_name: str | None = None,
        csv_options: CSVOptions | None = None,
        description: str | None = None,
        device: str = "cuda",
        num_workers: int = 4,
        public: bool = False,
        *,
        tags: Sequence[str] | None = None,
        secrets: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        progress: bool | None = None,
        dry_run: bool = False,
    ) -> AsyncRun | Plan:
        """Submit a synthesis run of this experiment; `AsyncClient.synthesize` says more.

        Args:
            query_data: A CSV file, an open text file, a list of texts or rows, or the name of a data set that the
                server has: one column of queries; or two, each query with a text that answers it.
            corpus_data: The same, with one column: the texts to search.
            models: Which ones: `SynthesisModels(relation_miner, cross_encoder)`, or `synthesis_model_en` and
                `synthesis_model_multi` of `finetuner.model`.
            num_relations: Rows that each relation miner contributes for a query, at most.
            run_name: Its name; None: a memorable one is made up.
            csv_options: How to read CSV files; `size` and `sampling_rate` hold for the queries alone.
            description: For people.
            device: `cuda`, or `cpu`; the embedded server uses the CPU where there is no GPU.
            num_workers: Kept in the config for old callers; texts are encoded in the job's process.
            public: Let every user of the server read the artifact.
            tags: Words to find the run by: `list_runs(tag=...)`.
            secrets: Environment variables for the job; never shown, logged or read back.
            idempotency_key: The key of an interrupted call: gives that call's run if there is one, never a second.
            progress: Show a bar while data is uploaded; None shows it on a terminal.
            dry_run: Check all of it and give a `Plan` of what would be done; nothing is created or uploaded.

        Raises:
            InvalidInput: An argument was refused; nothing was created.
            Conflict: The name is taken.
            ServerUnavailable: The server did not answer in time; `.idempotency_key` is what to call again with.

        Example:
            made = await experiment.create_synthesis_run("queries.csv", "corpus.csv", synthesis_model_en)
        """
        return await self._client.synthesize(
            query_data=query_data,
            corpus_data=corpus_data,
            models=models,
            num_relations=num_relations,
            run_name=run_name,
            description=description,
            experiment_name=self.name,
            device=device,
            num_workers=num_workers,
            csv_options=csv_options,
            public=public,
            tags=tags,
            secrets=secrets,
            idempotency_key=idempotency_key,
            progress=progress,
            dry_run=dry_run,
        )
