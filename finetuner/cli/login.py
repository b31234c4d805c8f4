"""`finetuner login`: stores the token for a server."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from finetuner.cli.settings import Settings
from finetuner.cli.text import note, say_json

if TYPE_CHECKING:
    from finetuner.aio.client import AsyncClient


@click.command()
@click.option("--force", is_flag=True, help="Ask again though a token is stored.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object: host.")
@click.pass_obj
def login(settings: Settings, force: bool, as_json: bool) -> None:
    """Store the token for a server.

    `finetuner --host URL login` asks for the token; `--token-file FILE` takes it from a file. Whoever runs the server
    makes tokens with `finetuner server user add`. This machine's own server needs no login.
    """
    from finetuner.errors import NotLoggedIn  # noqa: PLC0415 - help and completion load none of it

    host = settings.host or os.environ.get("FINETUNER_HOST")
    can_ask = host is not None and sys.stdin.isatty()
    token = settings.token()
    if token is None and force and can_ask:
        token = _ask(host)
    try:
        logged_in = settings.run(lambda client: _login(client, token))
    except NotLoggedIn:
        if token is not None or not can_ask:
            raise
        asked = _ask(host)
        logged_in = settings.run(lambda client: _login(client, asked))
    if as_json:
        say_json({"host": logged_in})
    else:
        note(f"Logged in to {logged_in}.")


async def _login(client: AsyncClient, token: str | None) -> str:
    await client.login(interactive=False, token=token)
    return client.host


def _ask(host: str | None) -> str:
    """Ask for a token; here, and not in the event loop, whose threads Ctrl-C does not end."""
    return str(click.prompt(f"Token for {host}", hide_input=True, err=True)).strip()
