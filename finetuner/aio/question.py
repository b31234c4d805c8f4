"""A question to the person at the terminal, asked without holding up the loop."""

from __future__ import annotations

import asyncio
import threading
from getpass import getpass

from finetuner.errors import NotLoggedIn


async def ask_secret(prompt: str) -> str:
    """Ask for a text that is not shown while it is typed.

    A thread of its own waits for the answer: cancelled, or at exit, nobody has to press Enter for it to end.

    Raises:
        NotLoggedIn: The terminal was closed instead.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    def settle(text: str | None) -> None:
        if answer.done():
            return
        if text is None:
            answer.set_exception(NotLoggedIn("no token was given"))
        else:
            answer.set_result(text.strip())

    def ask() -> None:
        try:
            text = getpass(prompt)
        except (EOFError, OSError):
            text = None
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, text)

    threading.Thread(target=ask, name="finetuner question", daemon=True).start()
    return await answer
