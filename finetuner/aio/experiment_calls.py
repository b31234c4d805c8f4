"""The calls of the client about experiments."""

from __future__ import annotations

from typing import Any

from finetuner.aio.arguments import checked
from finetuner.aio.bulk_calls import BulkCalls
from finetuner.aio.calls import DEFAULT_PAGE_SIZE, page_query
from finetuner.aio.experiment import AsyncExperiment
from finetuner.aio.submit_calls import SubmitCalls
from finetuner.aio.transport import Request
from finetuner.api import convert
from finetuner.api.config import ExperimentRequest
from finetuner.api.names import check_name
from finetuner.api.types import ExperimentInfo


@checked
class ExperimentCalls(BulkCalls, SubmitCalls):
    """The calls about experiments, and those that an experiment makes in its own name."""

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
        answer = await self._transport.call(Request(route="experiments_list", query=page_query(page, size)))
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
