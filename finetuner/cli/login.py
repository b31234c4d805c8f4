"""`finetuner login`: stores the token for a server."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from finetuner.cli.settings import Settings
from finetuner.cli.text import note

if TYPE_CHECKING:
    from finetuner.aio.client import AsyncClient


@click.command()
@click.option("--force", is_flag=True, help="Ask again though a token is stored.")
@click.pass_obj
def login(settings: Settings, force: bool) -> None:
    """Store the token for a server.

    `finetuner --host URL login` asks for the token; `--token-file FILE` takes it from a file. Whoever runs the server
    makes tokens with `finetuner server user add`. This machine's own server needs no login.
    """
    token = settings.token()

    async def work(client: AsyncClient) -> str:
        await client.login(force=force, interactive=token is None and sys.stdin.isatty(), token=token)
        return str(client.host)

    host = settings.run(work)
    note(f"Logged in to {host}.")
