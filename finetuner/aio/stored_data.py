"""A prepared data set on its way to the server: its content once, then its name."""

from __future__ import annotations

from finetuner.aio.transport import Request, Transport
from finetuner.aio.upload import upload
from finetuner.api import convert
from finetuner.api.config import DatasetRequest
from finetuner.api.types import DatasetInfo
from finetuner.data import PreparedData


async def put(transport: Transport, prepared: PreparedData, *, name: str | None, show: bool | None) -> DatasetInfo:
    """Upload what the server does not have, and name it.

    Args:
        transport: How to reach the server.
        prepared: The data.
        name: What to call it; None: as it was prepared.
        show: Whether to show a progress bar; None: on a terminal.

    Raises:
        Conflict: The name has other content.
        StorageFull: The server's disk is full.
    """
    name = name or prepared.name
    await upload(
        transport, prepared.path, sha256=prepared.sha256, size_bytes=prepared.size_bytes, show=show, label=name
    )
    body = DatasetRequest(
        sha256=prepared.sha256,
        kind=prepared.kind,  # type: ignore[arg-type] # the kinds of finetuner.data are these
        columns=list(prepared.columns),
        rows=prepared.rows,
    )
    answer = await transport.call(Request(route="dataset_put", parts={"name": name}, body=convert.dumps(body)))
    return convert.lenient(answer.json(), DatasetInfo)
