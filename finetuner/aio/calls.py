"""What the parts of `AsyncClient` share."""

from __future__ import annotations

from finetuner.aio.transport import Transport
from finetuner.errors import InvalidInput

DEFAULT_PAGE_SIZE = 50


class ClientCalls:
    """A part of `AsyncClient`: calls about one noun, over the connections of the client."""

    _transport: Transport
    _connections: int
    """Most connections for calls."""


def page_query(page: int | None, size: int | None) -> dict[str, int]:
    """Give the query for one page, as old callers count them.

    Raises:
        InvalidInput: There is no such page.
    """
    page, size = 1 if page is None else page, DEFAULT_PAGE_SIZE if size is None else size
    if page < 1 or not 1 <= size <= 100:
        raise InvalidInput(f"page must be 1 or more and size 1 to 100, not page={page}, size={size}")
    return {"page": page, "size": size}
