"""An async module with every construct that the generator has a rule for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Self, overload

from finetuner.aio.stock import StockCalls

DEFAULT_SIZE = 7


class AsyncCount:
    """Numbers, one after the other.

    Example:
        async with shop.count(3) as numbers:
            async for number in numbers:
                print(number)
    """

    def __init__(self, end: int) -> None:
        self.end: int = end
        """The first number that is not given."""
        self._next = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AsyncItem:
        await asyncio.sleep(0)
        if self._next >= self.end:
            raise StopAsyncIteration
        self._next += 1
        return AsyncItem(self._next - 1)

    async def first(self) -> list[AsyncItem]:
        """Give the first of them."""
        return [await self.__anext__()]

    async def aclose(self) -> None:
        """Close it."""
        self._next = self.end


class AsyncItem:
    """A thing that a shop has; `AsyncShop` gives it."""

    def __init__(self, number: int) -> None:
        self.number: int = number
        """Which one."""
        self._note = ""

    @property
    def note(self) -> str:
        """What was noted."""
        return self._note

    @note.setter
    def note(self, value: str) -> None:
        self._note = value

    def __eq__(self, other: object) -> bool:
        return self.number == other.number if isinstance(other, AsyncItem) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.number)

    def __repr__(self) -> str:
        return f"<AsyncItem {self.number}>"

    async def renew(self) -> AsyncItem:
        """Give the item itself.

        Example:
            print((await item.renew()).number)
        """
        return self

    def _hidden(self) -> None: ...


class AsyncShop(StockCalls):
    """Has items.

    Args:
        size: How many.

    Example:
        async def main() -> None:
            async with AsyncShop() as shop:
                print(await shop.get(1))

        asyncio.run(main())
    """

    def __init__(self, size: int = DEFAULT_SIZE, *, title: str = "shop") -> None:
        self.title: str = title
        """What stands over the door."""
        self._size = size
        self._make = AsyncItem

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close it.

        Example:
            await shop.aclose()
        """

    async def get(self, number: int, /, *more: int, size: int = DEFAULT_SIZE, **named: int) -> AsyncItem:
        """Give an item."""
        return AsyncItem(number + sum(more) + sum(named.values()) + size)

    fetch = get

    @overload
    async def find(self, number: int, *, known: Literal[True]) -> AsyncItem: ...
    @overload
    async def find(self, number: int, *, known: bool = ...) -> AsyncItem | None: ...
    async def find(self, number: int, *, known: bool = False) -> AsyncItem | None:
        """Give an item, or nothing."""
        return AsyncItem(number) if known or number < self._size else None

    async def every(self, numbers: Iterable[int]) -> list[AsyncItem]:
        """Give items."""
        return [AsyncItem(number) for number in numbers]

    async def named(self) -> dict[str, AsyncItem]:
        """Give items by names."""
        return {"one": AsyncItem(1)}

    async def pair(self) -> tuple[AsyncItem, int]:
        """Give an item and its number."""
        return AsyncItem(2), 2

    async def several(self) -> tuple[AsyncItem, ...]:
        """Give items."""
        return AsyncItem(1), AsyncItem(2)

    async def groups(self) -> dict[str, list[AsyncItem]]:
        """Give items in groups."""
        return {"all": [AsyncItem(1)]}

    async def total(
        self, items: Iterable[AsyncItem] | None = None, by_name: Mapping[str, AsyncItem] | None = None
    ) -> int:
        """Add up."""
        return sum(item.number for item in [*(items or ()), *(by_name or {}).values()])

    async def number_of(self, item: int | AsyncItem | None) -> int | None:
        """Give the number of an item."""
        return item.number if isinstance(item, AsyncItem) else item

    async def walk(self, end: int) -> AsyncGenerator[AsyncItem, None]:
        """Give items one by one.

        Example:
            async for item in shop.walk(3):
                print(item)
        """
        for number in range(end):
            yield AsyncItem(number)

    def stroll(self, end: int) -> AsyncGenerator[AsyncItem, None]:
        """Give items one by one."""
        return self.walk(end)

    def count(self, end: int) -> AsyncCount:
        """Give numbers."""
        asyncio.get_running_loop()
        return AsyncCount(end)

    def plain(self, names: Sequence[str], where: str | Path = "here") -> str:
        """Need no loop."""
        return f"{', '.join(names)} {where}"

    async def told(self, end: int, progress: Callable[[int], None] | None = None) -> None:
        """Tell how far it is."""
        for number in range(end):
            if progress is not None:
                progress(number)
