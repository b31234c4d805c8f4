"""A question to the person at the terminal, asked without holding up the loop."""

from __future__ import annotations

from getpass import getpass

from finetuner.aio.blocking import in_daemon_thread
from finetuner.errors import NotLoggedIn


async def ask_secret(prompt: str) -> str:
    """Ask for a text that is not shown while it is typed.

    Raises:
        NotLoggedIn: The terminal was closed instead.
    """
    try:
        return (await in_daemon_thread(lambda: getpass(prompt))).strip()
    except (EOFError, OSError) as error:
        raise NotLoggedIn("no token was given") from error
