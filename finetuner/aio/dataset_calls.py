"""The calls of the client about data sets."""

from __future__ import annotations

from finetuner.aio.arguments import checked
from finetuner.aio.calls import ClientCalls
from finetuner.aio.transport import Request
from finetuner.api import convert
from finetuner.api.types import DatasetInfo


@checked
class DatasetCalls(ClientCalls):
    """The calls about data sets."""

    async def list_datasets(self) -> list[DatasetInfo]:
        """Give the data sets that were uploaded; their names can be given as data.

        Example:
            for data in await client.list_datasets():
                print(data.name, data.rows)
        """
        answer = await self._transport.call(Request(route="datasets_list"))
        return convert.lenient(answer.json()["items"], list[DatasetInfo])
