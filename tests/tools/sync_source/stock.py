"""A part of the shop: what makes up `AsyncShop` and is no class of the sync module."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from finetuner.aio.item import AsyncItem


class StockCalls:
    """Calls about what is in stock."""

    _make: Callable[[int], AsyncItem]

    async def stocked(self, numbers: list[int], where: PurePath | None = None) -> list[AsyncItem]:
        """Give things of the stock."""
        del where
        return [self._make(number) for number in numbers]

    in_stock = stocked

    async def weighed(self, things: int | Iterable[AsyncItem] | None = None) -> int:
        """Give what things weigh: a number as it is."""
        return things if isinstance(things, int) else sum(item.number for item in things or ())

    async def get(self, number: int) -> int:
        """Give what the class itself gives otherwise."""
        return number
