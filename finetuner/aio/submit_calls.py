"""The calls of the client that submit a run.

Past 400 lines where `fit` and `synthesize` say all their parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Unpack, overload

from finetuner.aio.arguments import checked
from finetuner.aio.calls import ClientCalls
from finetuner.aio.rerun import RunChanges, arguments
from finetuner.aio.run import AsyncRun
from finetuner.aio.submission import Submission, plan, submit
from finetuner.api.plan import Plan
from finetuner.api.types import Task
from finetuner.callback import Callback, DataSource
from finetuner.data import CSVOptions
from finetuner.errors import InvalidInput
from finetuner.model import SynthesisModels


@checked
class SubmitCalls(ClientCalls):
    """The calls that submit a run."""

    @overload
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
        dry_run: Literal[False] = False,
    ) -> AsyncRun: ...

    @overload
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
        dry_run: Literal[True],
    ) -> Plan: ...

    @overload
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
        dry_run: bool,
    ) -> AsyncRun | Plan: ...

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
        dry_run: bool = False,
    ) -> AsyncRun | Plan:
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
            dry_run: Check all of it and give a `Plan` of what would be done; nothing is created or uploaded.

        Raises:
            InvalidInput: An argument was refused; nothing was created.
            Conflict: The name is taken.
            ServerUnavailable: The server did not answer in time; `.idempotency_key` is what to call again with.

        Example:
            run = await client.fit(model="all-minilm-l6-v2", train_data="pairs.csv", epochs=1)
            print(run.name, await run.status())
            print(await client.fit(model="all-minilm-l6-v2", train_data="pairs.csv", dry_run=True))
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
        return await self._submitted(wish, dry_run=dry_run)

    create_training_run = fit

    create_run = fit

    @overload
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
        dry_run: Literal[False] = False,
    ) -> AsyncRun: ...

    @overload
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
        dry_run: Literal[True],
    ) -> Plan: ...

    @overload
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
        dry_run: bool,
    ) -> AsyncRun | Plan: ...

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
        dry_run: bool = False,
    ) -> AsyncRun | Plan:
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
            dry_run: Check all of it and give a `Plan` of what would be done; nothing is created or uploaded.

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
        return await self._submitted(wish, dry_run=dry_run)

    create_synthesis_run = synthesize

    @overload
    async def rerun(
        self, run: AsyncRun, *, dry_run: Literal[False] = False, **changes: Unpack[RunChanges]
    ) -> AsyncRun: ...

    @overload
    async def rerun(self, run: AsyncRun, *, dry_run: Literal[True], **changes: Unpack[RunChanges]) -> Plan: ...

    @overload
    async def rerun(self, run: AsyncRun, *, dry_run: bool, **changes: Unpack[RunChanges]) -> AsyncRun | Plan: ...

    async def rerun(self, run: AsyncRun, *, dry_run: bool = False, **changes: Unpack[RunChanges]) -> AsyncRun | Plan:
        """Submit a run again, with its config, its data sets as they are on the server, and its callbacks.

        What is not changed stays: tags and description too. The name is a new one, the experiment that of the run.
        With another loss, miner, optimizer or scheduler, the options of the one before are left out; with another
        `model`, the artifact that the run went on from. Secrets are never kept: give them again.

        Args:
            run: The run, whatever became of it.
            dry_run: Check all of it and give a `Plan` of what would be done; nothing is created.
            changes: Parameters of `fit`, or of `synthesize` for a synthesis run, such as `epochs=3`.

        Raises:
            InvalidInput: There is no such parameter, with near names; a value was refused; or secrets are missing.
            InvalidData: One of its data sets is no longer on the server.
            Conflict: The name is taken.
            RunNotFound: The run was deleted.

        Example:
            again = await client.rerun(run, epochs=3, learning_rate=1e-4)
        """
        fresh = await AsyncRun(self, {"id": run.id}).refresh()
        is_embedded = self._transport.endpoint.is_embedded
        given = arguments(fresh.info, fresh.config, changes, is_embedded=is_embedded)
        if fresh.info.task is Task.GENERATION:
            return await self.synthesize(**given, dry_run=dry_run)
        return await self.fit(**given, dry_run=dry_run)

    async def _submitted(self, wish: Submission, *, dry_run: bool) -> AsyncRun | Plan:
        if dry_run:
            return await plan(self._transport, wish)
        return AsyncRun(self, await submit(self._transport, wish))
