"""A sync call that processes of `multiprocessing` find by its name."""

from __future__ import annotations

import asyncio

from finetuner.portal import portal


async def double(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


def doubled(number: int) -> int:
    return portal.call(double, number)
