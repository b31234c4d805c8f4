"""What the options before the command say, and the client that they lead to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import attrs

if TYPE_CHECKING:
    from finetuner.aio.client import AsyncClient

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Settings:
    """The options that every command shares."""

    host: str | None = None
    token_file: Path | None = None
    call_timeout_s: float = 30.0

    def token(self) -> str | None:
        """Read the token file; None where none was given.

        Raises:
            InvalidInput: It is empty, or holds no token.
        """
        if self.token_file is None:
            return None
        from finetuner.aio.credentials import normal_token  # noqa: PLC0415 - help and completion load none of it
        from finetuner.errors import InvalidInput  # noqa: PLC0415

        token = normal_token(
            self.token_file.read_text(encoding="utf-8", errors="replace"),
            f"what the token file {self.token_file} holds",
        )
        if token is None:
            raise InvalidInput(f"the token file {self.token_file} is empty")
        return token

    def client(self) -> AsyncClient:
        """Make a client for that server; nothing is sent yet."""
        from finetuner.aio.client import AsyncClient  # noqa: PLC0415 - help and completion load none of it

        return AsyncClient(host=self.host, token=self.token(), timeout_s=self.call_timeout_s)

    def run(self, work: Callable[[AsyncClient], Awaitable[T]]) -> T:
        """Open a client, run `work` with it in an event loop, and give its result.

        Raises:
            KeyboardInterrupt: Ctrl-C; `work` was cancelled and has cleaned up.
        """
        import anyio  # noqa: PLC0415 - help and completion load none of it

        async def session() -> T:
            async with self.client() as client:
                return await work(client)

        return anyio.run(session)
