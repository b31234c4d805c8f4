"""The calls of the client about data sets."""

from __future__ import annotations

from finetuner.aio import stored_data
from finetuner.aio.arguments import checked
from finetuner.aio.calls import ClientCalls
from finetuner.aio.transport import Request
from finetuner.aio.workfolder import WorkFolder
from finetuner.api import convert
from finetuner.api.names import check_name
from finetuner.api.types import DatasetInfo
from finetuner.callback import DataSource
from finetuner.data import CSVOptions, prepare


@checked
class DatasetCalls(ClientCalls):
    """The calls about data sets."""

    async def upload_dataset(
        self,
        source: DataSource,
        name: str | None = None,
        csv_options: CSVOptions | None = None,
        progress: bool | None = None,
    ) -> DatasetInfo:
        """Check data and store it under a name, which can then be given as data, as often as is wanted.

        Content that the server has is not sent again, and an upload that was cut goes on where it ended.

        Args:
            source: What `fit` takes as data.
            name: What to call it; None: after the file and the sha256 of its content.
            csv_options: How to read CSV files.
            progress: Show a bar; None shows it on a terminal.

        Raises:
            InvalidData: It cannot be used; nothing was sent.
            Conflict: The name has other content.

        Example:
            data = await client.upload_dataset([("a dog barks", "an animal"), ("it rains", "weather")], "pairs-1")
            print(data.name, data.kind, data.rows)
        """
        if name is not None:
            check_name(name, "data set")
        with WorkFolder() as folder:
            prepared = await folder.in_thread(lambda: prepare(source, csv_options, directory=folder.path))
            return await stored_data.put(self._transport, prepared, name=name, show=progress)

    async def list_datasets(self) -> list[DatasetInfo]:
        """Give the data sets that were uploaded, newest first; their names can be given as data.

        Example:
            for data in await client.list_datasets():
                print(data.name, data.rows)
        """
        answer = await self._transport.call(Request(route="datasets_list"))
        return convert.lenient(answer.json()["items"], list[DatasetInfo])

    async def get_dataset(self, name: str) -> DatasetInfo:
        """Give a data set by its name.

        Raises:
            DataNotFound: There is none; near names are given.

        Example:
            print((await client.get_dataset("pairs-1")).rows)
        """
        request = Request(route="dataset_get", parts={"name": check_name(name, "data set")})
        return convert.lenient((await self._transport.call(request)).json(), DatasetInfo)

    async def delete_dataset(self, name: str) -> None:
        """Forget a data set; runs that were submitted with it, queued ones too, keep its content until they end.

        Raises:
            DataNotFound: There is none; near names are given.

        Example:
            await client.delete_dataset("pairs-1")
        """
        await self._transport.call(Request(route="dataset_delete", parts={"name": check_name(name, "data set")}))
