"""`finetuner completion`: the script that completes commands, flags and run names in a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    r"""Print the script that completes commands in a shell.

    \b
    bash:  echo 'eval "$(finetuner completion bash)"' >> ~/.bashrc
    zsh:   echo 'eval "$(finetuner completion zsh)"' >> ~/.zshrc
    fish:  finetuner completion fish > ~/.config/fish/completions/finetuner.fish
    """
    from finetuner.cli.main import COMPLETE_VARIABLE, PROGRAM, cli  # noqa: PLC0415 - main loads this module lazily

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"there is no completion for {shell}")
    click.echo(kind(cli, {}, PROGRAM, COMPLETE_VARIABLE).source())
